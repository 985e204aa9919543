"""The faults that a request may meet, and how they are dealt out."""

from __future__ import annotations

import random
from collections import Counter

from deployments.sandbox.amocrm.faults import Fault, Faults

__all__ = ["FAULTS", "PATIENCE", "RandomFaults"]

#: Real seconds that a client waits here. A busy machine must not make an honest answer come later: in virtual
#: time the minute that proves a creation absent is over at once.
PATIENCE = 2.0
SILENT = 60.0

BEFORE: dict[str, Fault] = {
    "429 JSON": Fault(mode="status", status=429),
    "429 HTML": Fault(mode="html", status=429),
    "402": Fault(mode="status", status=402),
    "403 HTML": Fault(mode="html", status=403),
    "500 before": Fault(mode="status", status=500),
    "502 before": Fault(mode="html", status=502),
    "504 before": Fault(mode="html", status=504),
    "reset before": Fault(mode="drop_before"),
    "hang before": Fault(mode="hang", seconds=SILENT),
    "stale index": Fault(mode="stale_index"),
    "ignored filter": Fault(mode="ignored_filter"),
}
AFTER: dict[str, Fault] = {
    "500 after": Fault(mode="status", status=500, when="after"),
    "502 after": Fault(mode="html", status=502, when="after"),
    "504 after": Fault(mode="html", status=504, when="after"),
    "reset after": Fault(mode="drop_after"),
    "hang after": Fault(mode="hang", seconds=SILENT, when="after"),
    "truncated JSON": Fault(mode="truncate"),
    "HTML with 200": Fault(mode="html", status=200, when="after"),
    "reordered": Fault(mode="reorder"),
    "no request_id": Fault(mode="no_request_id"),
}
FAULTS = BEFORE | AFTER


class RandomFaults(Faults):
    """Spoils a share of the requests, half of them after the work was done."""

    def __init__(self, rate: float, seed: int, *, names: tuple[str, ...] = tuple(FAULTS)) -> None:
        super().__init__()
        self.rate = rate
        self.dealt: Counter[str] = Counter()
        self._rng = random.Random(seed)
        self._halves = [[name for name in half if name in names] for half in (BEFORE, AFTER)]

    def take(self, method: str, path: str) -> Fault | None:
        if (asked := super().take(method, path)) is not None:
            self.dealt[asked.mode] += 1
            return asked
        if self._rng.random() >= self.rate:
            return None
        half = self._halves[self._rng.randrange(2)] or self._halves[0] or self._halves[1]
        name = self._rng.choice(half)
        self.dealt[name] += 1
        return FAULTS[name].model_copy()
