"""Events: what happened, for the Prefect UI's feed and for the ledger's audit table.

The audit row is written first: Prefect's feed is best effort (its own errors are only logged, its retention
is a week by default), the ledger's is not.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal

from prefect.events import emit_event

from tasks.errors import GuardError
from tasks.ledger.store import Ledger

__all__ = ["PREFIX", "Level", "emit", "emit_missed"]

PREFIX: Final = "ident-amocrm."
#: Prefect takes events of the past no older than this into its feed and automations sensibly.
MISSED_SECONDS: Final = 7 * 86_400.0
Level = Literal["info", "warning", "error"]
#: Counts, flags, ids and codes only: a name or a phone does not fit in here.
SAFE_TEXT: Final = re.compile(r"[a-z0-9_.-]{0,64}")


def emit(
    event: str,
    clinic_uid: str,
    clinic_name: str,
    level: Level,
    payload: Mapping[str, object],
    ledger: Ledger,
) -> None:
    """Record an event.

    Args:
        event: ``<area>.<past participle>``, such as ``transfer.started``.
        clinic_uid: The clinic, ``all`` for the installation.
        clinic_name: Its label, as the operator chose it.
        level: How serious it is.
        payload: Counts and codes.
        ledger: The installation's ledger.

    Raises:
        GuardError: When the payload holds free text, which could be a person's.
    """
    for name, value in payload.items():
        if not isinstance(value, (int, float, bool)) and not (
            isinstance(value, str) and SAFE_TEXT.fullmatch(value)
        ):
            raise GuardError(
                problem=f"The event {event} was about to carry free text in {name!r}.",
                remedy="This is a defect: please report it. Nothing was recorded.",
                code="event_payload",
            )
    resource = f"{PREFIX}clinic.{clinic_uid}"
    number = ledger.append_audit(f"{PREFIX}{event}", resource, level, payload)
    _send(ledger, number, f"{PREFIX}{event}", resource, clinic_name, level, payload)


def emit_missed(ledger: Ledger, limit: int = 100) -> int:
    """Emit what was recorded while Prefect did not listen, with the time at which it happened.

    Returns:
        How many.
    """
    missed = ledger.unemitted(time.time() - MISSED_SECONDS, limit)
    names = {f"{PREFIX}clinic.{record.clinic_uid}": record.name for record in ledger.connections()}
    for row in missed:
        name = names.get(row.resource, row.resource.removeprefix(f"{PREFIX}clinic."))
        occurred = datetime.fromtimestamp(row.occurred_at, tz=UTC)
        _send(ledger, row.id, row.event, row.resource, name, row.level, row.payload, occurred=occurred)
    return len(missed)


def _send(
    ledger: Ledger,
    number: int,
    event: str,
    resource: str,
    name: str,
    level: str,
    payload: Mapping[str, object],
    *,
    occurred: datetime | None = None,
) -> None:
    described = {"prefect.resource.id": resource, "prefect.resource.name": name, f"{PREFIX}level": level}
    if emit_event(event=event, resource=described, payload=dict(payload), occurred=occurred) is not None:
        ledger.mark_emitted(number)
