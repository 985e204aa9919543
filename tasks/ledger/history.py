"""What the ledger remembers of one row: its plans with their ends, what holds it back, what is owed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from tasks.ledger.database import Database
from tasks.ledger.packing import chunks
from tasks.ledger.tables import applied, outcome, plan, reject, waiting
from tasks.records import Action, Kind, OutcomeState, Reject

__all__ = ["HeldRow", "History", "PlannedRow"]


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """A plan of one row and how it ended.

    Attributes:
        run_id: The run that planned it.
        action: What it was to do.
        changed: Names of the data whose value had changed; empty for a create.
        planned_at: Epoch seconds.
        state: Its end; ``None`` while there is none: the run works on it, or died.
        reason: Code of the reason.
        field: Name of the offending field, where amoCRM named one.
        ended_at: Epoch seconds.
    """

    run_id: str
    action: Action
    changed: tuple[str, ...]
    planned_at: float
    state: OutcomeState | None = None
    reason: str = ""
    field: str = ""
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A reject, and whether a person let it be tried again."""

    reject: Reject
    released: bool


class History:
    """Reads what happened to single rows."""

    database: Database

    def plans_of(self, clinic_uid: str, kind: Kind, source_id: int, limit: int = 5) -> list[PlannedRow]:
        """Return the latest plans of a row with their outcomes, newest first."""
        same = sa.and_(
            outcome.c.run_id == plan.c.run_id,
            outcome.c.kind == plan.c.kind,
            outcome.c.source_id == plan.c.source_id,
        )
        query = (
            sa.select(
                plan.c.run_id,
                plan.c.action,
                plan.c.changed,
                plan.c.planned_at,
                outcome.c.state,
                outcome.c.reason,
                outcome.c.field,
                outcome.c.ended_at,
            )
            .select_from(plan.outerjoin(outcome, same))
            .where(plan.c.clinic_uid == clinic_uid, plan.c.kind == kind.value, plan.c.source_id == source_id)
            .order_by(plan.c.planned_at.desc())
            .limit(limit)
        )
        with self.database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            PlannedRow(
                row["run_id"],
                Action(row["action"]),
                tuple(name for name in row["changed"].split(",") if name),
                row["planned_at"],
                OutcomeState(row["state"]) if row["state"] else None,
                row["reason"] or "",
                row["field"] or "",
                row["ended_at"],
            )
            for row in rows
        ]

    def held_rows(self, clinic_uid: str, entities: Collection[str], ids: Collection[int]) -> list[HeldRow]:
        """Return what holds rows back, by entity, id and date."""
        found: list[HeldRow] = []
        with self.database.read() as connection:
            for part in chunks(ids):
                query = sa.select(reject).where(
                    reject.c.clinic_uid == clinic_uid,
                    reject.c.entity.in_(list(entities)),
                    reject.c.source_id.in_(part),
                )
                order = (reject.c.entity, reject.c.source_id, reject.c.first_seen, reject.c.reason)
                found += [
                    HeldRow(
                        Reject(
                            row["entity"],
                            row["source_id"],
                            row["reason"],
                            row["field"],
                            row["data_hash"],
                            row["first_seen"],
                            row["last_seen"],
                            row["held_by"],
                        ),
                        row["released"],
                    )
                    for row in connection.execute(query.order_by(*order)).mappings()
                ]
        return found

    def waiting_since(self, clinic_uid: str, kind: Kind, source_id: int) -> float | None:
        """Return since when a row is owed, ``None`` when it is not."""
        query = sa.select(waiting.c.since).where(
            waiting.c.clinic_uid == clinic_uid,
            waiting.c.kind == kind.value,
            waiting.c.source_id == source_id,
        )
        with self.database.read() as connection:
            since: float | None = connection.execute(query).scalar_one_or_none()
        return since

    def applied_at(self, clinic_uid: str, kind: Kind, source_id: int) -> float | None:
        """Return when the snapshot of a row last moved, ``None`` when amoCRM never acknowledged it."""
        query = sa.select(applied.c.applied_at).where(
            applied.c.clinic_uid == clinic_uid,
            applied.c.kind == kind.value,
            applied.c.source_id == source_id,
        )
        with self.database.read() as connection:
            at: float | None = connection.execute(query).scalar_one_or_none()
        return at
