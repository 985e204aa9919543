"""Watching Prefect from outside: when it is down, it can tell nobody.

After five minutes the outage stands in the ledger's audit table and a person is told directly, by a webhook
that needs no Prefect. Prefect hears of both ends of the outage from the first health check after it.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from deployments.cli.output import say
from tasks.errors import IdentAmocrmError
from tasks.ledger.store import Ledger
from tasks.settings import Settings

__all__ = ["DOWN_SECONDS", "PARTS", "Watch", "post_alert"]

DOWN_SECONDS: Final = 300.0
PARTS: Final = {"server": "сервер Prefect", "worker": "исполнитель запусков"}
#: Not ``tasks.events``: it would load Prefect into a process that lives for months.
PREFIX: Final = "ident-amocrm."
RESOURCE: Final = f"{PREFIX}clinic.all"


@dataclass(slots=True)
class Watch:
    """Since when each part is down, and whether somebody was told.

    Attributes:
        ledger: Where outages are recorded.
        tell: Tells a person.
        clock: Seconds that only grow.
    """

    ledger: Ledger
    tell: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _down_since: dict[str, float] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def look(self, part: str, *, well: bool) -> None:
        """Note how a part is now."""
        now = self.clock()
        if well:
            self._down_since.pop(part, None)
            if part in self._told:
                self._told.discard(part)
                self._record(f"{PREFIX}prefect.recovered", "info", {"part": part})
                self.tell(f"IDENT → amoCRM: {PARTS[part]} снова работает.")
            return
        minutes = int((now - self._down_since.setdefault(part, now)) // 60)
        if now - self._down_since[part] >= DOWN_SECONDS and part not in self._told:
            self._told.add(part)
            self._record(f"{PREFIX}prefect.down", "error", {"part": part, "minutes": minutes})
            self.tell(
                f"IDENT → amoCRM: {PARTS[part]} не работает уже {minutes} минут, передача стоит. "
                "Посмотрите журналы в папке logs."
            )

    def _record(self, event: str, level: str, payload: dict[str, int | str]) -> None:
        try:
            self.ledger.append_audit(event, RESOURCE, level, payload)
        except (IdentAmocrmError, SQLAlchemyError) as error:
            # A full disk may be what brought Prefect down: the person is told all the same.
            say(f"{event} could not be recorded ({type(error).__name__}).")


def post_alert(settings: Settings, text: str) -> None:
    """Post a text to the installation's webhook, in the background; without one it is only printed."""
    say(text)
    if settings.alert_file is not None:
        threading.Thread(target=_post, args=(settings, text), daemon=True).start()


def _post(settings: Settings, text: str) -> None:
    try:
        # The address may hold a token, so it stands in a file like every secret.
        address = str(settings.alert_file and settings.alert_file.read_text(encoding="utf-8-sig")).strip()
        if not address.startswith(("https://", "http://")):
            say("The alert file holds no web address.")
            return
        body = json.dumps({"text": text}, ensure_ascii=False).encode()
        request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
            address, body, {"Content-Type": "application/json; charset=utf-8"}
        )
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310
    except (OSError, ValueError) as error:
        say(f"The alert could not be posted ({type(error).__name__}).")
