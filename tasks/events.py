"""Events: what happened, for the Prefect UI's feed and for the ledger's audit table.

The audit row is written first: Prefect's feed is best effort (its own errors are only logged, its retention
is a week by default), the ledger's is not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from prefect.events import emit_event

from tasks.errors import GuardError
from tasks.ledger.store import Ledger

__all__ = ["PREFIX", "Level", "emit"]

PREFIX: Final = "ident-amocrm."
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
    sent = emit_event(
        event=f"{PREFIX}{event}",
        resource={
            "prefect.resource.id": resource,
            "prefect.resource.name": clinic_name,
            f"{PREFIX}level": level,
        },
        payload=dict(payload),
    )
    if sent is not None:
        ledger.mark_emitted(number)
