"""Whom a clinic never transfers again.

The tombstone is IDENT's number of the patient and nothing else: without it every run would send the person
again, with it nobody learns who that was without the clinic's own database. It is written before anything is
cleared, so that an erasure that dies half-way is known to be open, and sends nobody meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tasks.ledger.database import Database
from tasks.ledger.packing import chunks
from tasks.ledger.resend import OTHERS
from tasks.ledger.tables import applied, attempt, erasure, outcome, plan, reject, sent, waiting, waiver
from tasks.records import Action, Kind

__all__ = ["ErasureRecord", "Erasures", "keep_erasures"]

#: Of which entities a reject or a waiver may be, by the kind of their card.
ENTITIES = {Kind.CONTACT: ("patient", "contact"), Kind.LEAD: ("appointment", "lead")}


@dataclass(frozen=True, slots=True)
class ErasureRecord:
    """One tombstone.

    Attributes:
        finished_at: When the person's cards and all local traces were gone; ``None`` until then.
    """

    clinic_uid: str
    patient_id: int
    asked_at: float
    asked_by: str
    finished_at: float | None = None


class Erasures:
    """Tombstones, and the removal of what the ledger knows of a person."""

    database: Database

    def erase(self, clinic_uid: str, patient_ids: Collection[int], *, by: str) -> None:
        """Write tombstones; one that is there is open again, and keeps who asked for it first."""
        rows = [
            {
                "clinic_uid": clinic_uid,
                "patient_id": key,
                "asked_at": time.time(),
                "asked_by": by[:64],
                "finished_at": None,
            }
            for key in sorted(set(patient_ids))
        ]
        with self.database.write() as connection:
            self.database.upsert(connection, erasure, rows, ["finished_at"])

    def erasures(self, clinic_uid: str | None = None) -> list[ErasureRecord]:
        """Return the tombstones, by clinic and patient."""
        query = sa.select(erasure).order_by(erasure.c.clinic_uid, erasure.c.patient_id)
        if clinic_uid is not None:
            query = query.where(erasure.c.clinic_uid == clinic_uid)
        with self.database.read() as connection:
            return [ErasureRecord(**row) for row in connection.execute(query).mappings()]

    def erased(self, clinic_uid: str) -> frozenset[int]:
        """Return the patients who are never transferred."""
        return frozenset(one.patient_id for one in self.erasures(clinic_uid))

    def last_clearing(self, clinic_uid: str, run_prefix: str) -> float | None:
        """Return when an erasure last sent something, epoch seconds; ``None`` where it never did."""
        query = sa.select(sa.func.max(attempt.c.started_at)).where(
            attempt.c.clinic_uid == clinic_uid, attempt.c.run_id.startswith(run_prefix, autoescape=True)
        )
        with self.database.read() as connection:
            moment: float | None = connection.execute(query).scalar()
        return moment

    def lift_erasure(self, clinic_uid: str, patient_id: int) -> bool:
        """Remove a tombstone and make the patient due; returns whether there was one.

        An erasure that did not end may have cleared some of the cards that the ledger still knows: what they
        hold is unknown then, and they are due too.
        """
        here = sa.and_(erasure.c.clinic_uid == clinic_uid, erasure.c.patient_id == patient_id)
        with self.database.write() as connection:
            lifted = connection.execute(sa.delete(erasure).where(here)).rowcount > 0
            if lifted:
                due = {Kind.CONTACT: [patient_id], Kind.LEAD: _deals_of(connection, clinic_uid, patient_id)}
                for kind, ids in due.items():
                    self._resend(connection, clinic_uid, kind, ids)
        return lifted

    def _resend(self, connection: sa.Connection, clinic_uid: str, kind: Kind, ids: Sequence[int]) -> None:
        """Make rows due, and what their cards hold unknown."""
        now = time.time()
        owed: list[dict[str, Any]] = [
            {"clinic_uid": clinic_uid, "kind": kind.value, "source_id": key, "since": now} for key in ids
        ]
        self.database.upsert(connection, waiting, owed, [])
        for part in chunks(ids):
            connection.execute(
                sa.update(applied)
                .where(
                    applied.c.clinic_uid == clinic_uid,
                    applied.c.kind == kind.value,
                    applied.c.source_id.in_(part),
                    applied.c.row_hash.not_in(OTHERS),
                )
                .values(row_hash=0)
            )

    def deals_of(self, clinic_uid: str, contact_ids: Collection[int]) -> dict[int, int]:
        """Return the contact of each deal that the ledger links to one of these contacts, by its root."""
        found: dict[int, int] = {}
        with self.database.read() as connection:
            for part in chunks(contact_ids):
                query = sa.select(applied.c.source_id, applied.c.amo_id).where(
                    applied.c.clinic_uid == clinic_uid,
                    applied.c.kind == Kind.LINK.value,
                    applied.c.amo_id.in_(part),
                )
                found |= {int(key): int(amo_id) for key, amo_id in connection.execute(query)}
        return found

    def awaited_deals(self, clinic_uid: str, contact_ids: Collection[int]) -> frozenset[int]:
        """Return deals of these contacts whose creation left and has no answer yet."""
        query = (
            sa.select(sent.c.source_id)
            .join(attempt, attempt.c.id == sent.c.attempt_id)
            .where(
                sent.c.clinic_uid == clinic_uid,
                sent.c.kind == Kind.LINK.value,
                sent.c.amo_id.in_(list(contact_ids)),
                attempt.c.action == Action.CREATE.value,
                attempt.c.closed_at.is_(None),
            )
        )
        with self.database.read() as connection:
            return frozenset(connection.execute(query).scalars())

    def finish_erasure(self, clinic_uid: str, patient_id: int, roots: Collection[int]) -> None:
        """Remove what the ledger knows of a patient and their deals, all or nothing; the tombstone stays."""
        with self.database.write() as connection:
            for kinds, ids in (
                ((Kind.CONTACT,), [patient_id]),
                ((Kind.LEAD, Kind.LINK, Kind.NOTE), list(roots)),
            ):
                _forget(connection, clinic_uid, kinds, ids)
                _leave_attempts(connection, clinic_uid, kinds, frozenset(ids))
            # Their appointments are listed as held by them, also those that never became a deal.
            connection.execute(
                sa.delete(reject).where(reject.c.clinic_uid == clinic_uid, reject.c.held_by == patient_id)
            )
            connection.execute(
                sa.update(erasure)
                .where(erasure.c.clinic_uid == clinic_uid, erasure.c.patient_id == patient_id)
                .values(finished_at=time.time())
            )


def _deals_of(connection: sa.Connection, clinic_uid: str, patient_id: int) -> list[int]:
    """Return the deals that the ledger links to a patient's contact."""
    mine = applied.c.clinic_uid == clinic_uid
    contact = sa.select(applied.c.amo_id).where(
        mine, applied.c.kind == Kind.CONTACT.value, applied.c.source_id == patient_id
    )
    links = sa.select(applied.c.source_id).where(
        mine, applied.c.kind == Kind.LINK.value, applied.c.amo_id.in_(contact)
    )
    return list(connection.execute(links).scalars())


def _forget(connection: sa.Connection, clinic_uid: str, kinds: Sequence[Kind], ids: Collection[int]) -> None:
    entities = [entity for kind in kinds for entity in ENTITIES.get(kind, ())]
    names = [kind.value for kind in kinds]
    for part in chunks(ids):
        for table in (applied, sent, plan, outcome, waiting):
            connection.execute(
                sa.delete(table).where(
                    table.c.clinic_uid == clinic_uid, table.c.kind.in_(names), table.c.source_id.in_(part)
                )
            )
        for table in (reject, waiver):
            connection.execute(
                sa.delete(table).where(
                    table.c.clinic_uid == clinic_uid,
                    table.c.entity.in_(entities),
                    table.c.source_id.in_(part),
                )
            )


def _leave_attempts(
    connection: sa.Connection, clinic_uid: str, kinds: Sequence[Kind], ids: frozenset[int]
) -> None:
    """Take rows out of batches whose end is not known: nobody looks any more for what became of them."""
    query = sa.select(attempt.c.id, attempt.c.source_ids).where(
        attempt.c.clinic_uid == clinic_uid,
        attempt.c.kind.in_([kind.value for kind in kinds]),
        attempt.c.closed_at.is_(None),
    )
    for number, listed in connection.execute(query).all():
        left = [key for key in listed.split(",") if key and int(key) not in ids]
        change = sa.update(attempt).where(attempt.c.id == number)
        connection.execute(change.values(source_ids=",".join(left)))


def keep_erasures(connection: sa.Connection, known: Sequence[ErasureRecord]) -> None:
    """Put tombstones into a restored ledger, which may be older than they are; all are carried out again.

    Args:
        connection: A writing transaction on the restored ledger.
        known: The tombstones of the ledger that it replaces.
    """
    connection.execute(sa.update(erasure).values(finished_at=None))
    for one in known:
        here = sa.and_(erasure.c.clinic_uid == one.clinic_uid, erasure.c.patient_id == one.patient_id)
        connection.execute(sa.delete(erasure).where(here))
        connection.execute(
            sa.insert(erasure).values(
                clinic_uid=one.clinic_uid,
                patient_id=one.patient_id,
                asked_at=one.asked_at,
                asked_by=one.asked_by,
                finished_at=None,
            )
        )
