"""One row that is kept back, with all that is known of it but its values."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, Final

from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.ledger.waivers import WaiverRecord
from tasks.review import at, known_reason, rows_held_by, waiver_state

__all__ = ["Row", "look_at", "look_up"]

#: A card has the number of the row that it shows: a deal that of the first appointment of its chain.
ROWS: Final = {"contact": "patient", "lead": "appointment"}
CARDS: Final = {row: card for card, row in ROWS.items()}
KEYS: Final = {"patient": "Persons.ID", "appointment": "Receptions.ID"}


@dataclass(frozen=True, slots=True)
class Row:
    """What an analyst is told of a row; ids, codes, times and our own texts, and the notes of waivers.

    Attributes:
        look_up: Under which key it is found in IDENT.
        reasons: What holds it back.
        holds: Rows that wait for it.
        waivers: Every waiver that ever was about it.
    """

    clinic: str
    entity: str
    source_id: int
    look_up: str
    reasons: list[dict[str, Any]]
    holds: list[dict[str, Any]]
    waivers: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)


def look_up(entity: str, source_id: int) -> str:
    """Return the key under which a row is found in IDENT."""
    return f"{KEYS[ROWS.get(entity, entity)]} = {source_id}"


def look_at(ledger: Ledger, record: ConnectionRecord, entity: str, source_id: int) -> Row:
    """Collect what the ledger knows of one row.

    Args:
        ledger: The installation's ledger.
        record: The clinic.
        entity: What it is; a card stands for its row.
        source_id: IDENT's id.
    """
    name = ROWS.get(entity, entity)
    uid = record.clinic_uid
    reasons = []
    for held in ledger.held_rows(uid, [name, CARDS[name]], [source_id]):
        reject = held.reject
        known = known_reason(reject.entity, reject.reason)
        reasons.append(
            {
                "entity": reject.entity,
                "field": reject.field,
                "first_seen": at(reject.first_seen),
                "last_seen": at(reject.last_seen),
                "held_by": reject.held_by,
                "released": held.released,
                "reason": known.code,
                "severity": known.severity,
                "explanation": known.explanation,
                "remedy": known.remedy,
                "link": known.link,
                "waivable": known.waivable,
            }
        )
    waiting = rows_held_by(ledger, uid, name, source_id)
    return Row(
        record.name,
        name,
        source_id,
        look_up(name, source_id),
        reasons,
        [{"entity": one.entity, "source_id": one.source_id, "reason": one.reason} for one in waiting],
        [_told(one) for one in ledger.waiver_history(uid, name, [source_id])],
    )


def _told(record: WaiverRecord) -> dict[str, Any]:
    waiver = record.waiver
    return {
        "reason": waiver.reason,
        "all_rows": waiver.source_id is None,
        "state": waiver_state(record, time.time()),
        "note": waiver.note,
        "waived_by": waiver.waived_by,
        "waived_at": at(waiver.waived_at),
        "until": at(waiver.until),
        "revoked_by": record.revoked_by,
        "revoked_at": at(record.revoked_at) if record.revoked_at is not None else None,
    }
