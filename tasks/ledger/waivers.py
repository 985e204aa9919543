"""Waivers: what an analyst lets pass although it breaks a rule, until when, and what became of it.

A waiver has three moments that a run has to notice, each once: it was given (its rows are judged with it), it
was revoked or expired (they are judged without it). ``taken_at`` and ``ended_at`` record that a run did. They
are set by the run, with the waivers it knew when it began: one given while a run is under way is left to the
next.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from tasks.ledger.database import Database
from tasks.ledger.packing import chunks
from tasks.ledger.tables import waiver
from tasks.records import Waiver

__all__ = ["WaiverRecord", "Waivers"]

#: Stands for every row: two NULLs are never the same to a unique index.
EVERY_ROW = 0


@dataclass(frozen=True, slots=True)
class WaiverRecord:
    """A waiver with what became of it.

    Attributes:
        id: Number of the line.
        waiver: What was said.
        taken_at: When a run first judged its rows with it, epoch seconds.
        revoked_at: When it was taken back.
        revoked_by: Who took it back, or gave the one that replaced it.
        ended_at: When its rows were judged without it, or another one took its place.
    """

    id: int
    waiver: Waiver
    taken_at: float | None = None
    revoked_at: float | None = None
    revoked_by: str | None = None
    ended_at: float | None = None

    def is_valid(self, now: float) -> bool:
        """Tell whether its rows pass."""
        return self.ended_at is None and self.revoked_at is None and self.waiver.until > now


class Waivers:
    """Gives waivers, takes them back, keeps them all."""

    database: Database

    def waive(self, clinic_uid: str, given: Sequence[Waiver]) -> None:
        """Record waivers; one for the same row or rule that is not over yet gives way to its successor."""
        now = time.time()
        with self.database.write() as connection:
            for one in given:
                replaced = waiver.c.revoked_at.is_(None) & (waiver.c.until > now)
                connection.execute(
                    sa.update(waiver)
                    .where(_of(clinic_uid, one.entity, one.reason), waiver.c.source_id == _key(one.source_id))
                    .values(
                        ended_at=now,
                        revoked_at=sa.case((replaced, now), else_=waiver.c.revoked_at),
                        revoked_by=sa.case((replaced, one.waived_by), else_=waiver.c.revoked_by),
                    )
                )
            rows = [
                {
                    "clinic_uid": clinic_uid,
                    "entity": one.entity,
                    "source_id": _key(one.source_id),
                    "reason": one.reason,
                    "note": one.note,
                    "waived_by": one.waived_by,
                    "waived_at": one.waived_at,
                    "until": one.until,
                }
                for one in given
            ]
            if rows:
                connection.execute(sa.insert(waiver), rows)

    def waivers(self, clinic_uid: str, now: float | None = None) -> list[Waiver]:
        """Return the waivers that are valid."""
        moment = time.time() if now is None else now
        return [one.waiver for one in self.open_waivers(clinic_uid) if one.is_valid(moment)]

    def open_waivers(self, clinic_uid: str) -> list[WaiverRecord]:
        """Return what a run has to look at: the valid ones, and those whose end no run has noticed yet."""
        return self._read(waiver.c.clinic_uid == clinic_uid, waiver.c.ended_at.is_(None))

    def waiver_history(
        self, clinic_uid: str, entity: str | None = None, ids: Collection[int] | None = None
    ) -> list[WaiverRecord]:
        """Return every waiver ever given, oldest first.

        Args:
            clinic_uid: The clinic.
            entity: Only of this entity.
            ids: Only of these rows, and those of every row.
        """
        conditions = [waiver.c.clinic_uid == clinic_uid]
        if entity is not None:
            conditions.append(waiver.c.entity == entity)
        if ids is not None:
            conditions.append(waiver.c.source_id.in_([EVERY_ROW, *ids]))
        return self._read(*conditions)

    def revoke_waiver(
        self, clinic_uid: str, entity: str, reason: str, ids: Collection[int] | None, by: str
    ) -> int:
        """Take waivers back; returns how many were valid.

        Args:
            clinic_uid: The clinic.
            entity: Patient or appointment.
            reason: Code of the rule.
            ids: The rows; ``None`` for the waiver of every row.
            by: Who takes them back.
        """
        now = time.time()
        valid = sa.and_(_of(clinic_uid, entity, reason), waiver.c.revoked_at.is_(None), waiver.c.until > now)
        change = sa.update(waiver).values(revoked_at=now, revoked_by=by)
        with self.database.write() as connection:
            return sum(
                int(connection.execute(change.where(valid, waiver.c.source_id.in_(part))).rowcount)
                for part in chunks([EVERY_ROW] if ids is None else ids)
            )

    def settle_waivers(self, taken: Collection[int], ended: Collection[int]) -> None:
        """Record that a run judged the rows of some waivers with them, and those of others without."""
        now = time.time()
        with self.database.write() as connection:
            for numbers, column in ((taken, "taken_at"), (ended, "ended_at")):
                change = sa.update(waiver).values({column: now}).where(waiver.c[column].is_(None))
                for part in chunks(numbers):
                    connection.execute(change.where(waiver.c.id.in_(part)))

    def _read(self, *conditions: sa.ColumnElement[bool]) -> list[WaiverRecord]:
        with self.database.read() as connection:
            rows = connection.execute(sa.select(waiver).where(*conditions).order_by(waiver.c.id)).mappings()
            return [
                WaiverRecord(
                    row["id"],
                    Waiver(
                        row["entity"],
                        row["source_id"] or None,
                        row["reason"],
                        row["note"],
                        row["waived_by"],
                        row["until"],
                        row["waived_at"],
                    ),
                    row["taken_at"],
                    row["revoked_at"],
                    row["revoked_by"],
                    row["ended_at"],
                )
                for row in rows
            ]


def _key(source_id: int | None) -> int:
    return EVERY_ROW if source_id is None else source_id


def _of(clinic_uid: str, entity: str, reason: str) -> sa.ColumnElement[bool]:
    """Return the condition of waivers of one rule that are not over."""
    return sa.and_(
        waiver.c.clinic_uid == clinic_uid,
        waiver.c.entity == entity,
        waiver.c.reason == reason,
        waiver.c.ended_at.is_(None),
    )
