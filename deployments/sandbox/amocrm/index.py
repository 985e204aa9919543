"""The search index behind `query=`: it learns of a write a little later than the database."""

from __future__ import annotations

import re
import time
from collections import deque

from deployments.sandbox.amocrm.model import KINDS, Kind

_PHONE_LIKE = re.compile(r"[\d\s()+\-]{4,}")
_NOT_DIGIT = re.compile(r"\D+")


class LaggingIndex:
    """Texts of the records as they were `lag` seconds ago."""

    def __init__(self, lag: float) -> None:
        self.lag = lag
        self._texts: dict[Kind, dict[int, str]] = {kind: {} for kind in KINDS}
        self._pending: deque[tuple[float, Kind, int, str | None]] = deque()

    def put(self, kind: Kind, record_id: int, text: str | None) -> None:
        """Queue a record's text; None takes the record out of the index."""
        self._pending.append((time.monotonic() + self.lag, kind, record_id, text))

    def _settle(self) -> None:
        now = time.monotonic()
        while self._pending and self._pending[0][0] <= now:
            _, kind, record_id, text = self._pending.popleft()
            if text is None:
                self._texts[kind].pop(record_id, None)
            else:
                self._texts[kind][record_id] = text

    def knows(self, kind: Kind, record_id: int) -> bool:
        """Tell whether the record has reached the index."""
        self._settle()
        return record_id in self._texts[kind]

    def search(self, kind: Kind, query: str) -> set[int]:
        """Return ids whose indexed text contains the query; a phone is compared by its digits too."""
        self._settle()
        wanted = query.casefold().strip()
        needles = [wanted]
        if _PHONE_LIKE.fullmatch(wanted):
            needles.append(_NOT_DIGIT.sub("", wanted))
        texts = self._texts[kind]
        return {record_id for record_id, text in texts.items() if any(needle in text for needle in needles)}


def index_text(parts: list[str], phones: list[str]) -> str:
    """Join what a person can search by; phones also as bare digits."""
    digits = [_NOT_DIGIT.sub("", phone) for phone in phones]
    return "\n".join([*parts, *phones, *digits]).casefold()
