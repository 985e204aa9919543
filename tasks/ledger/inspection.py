"""What an inspection asks of the ledger, and what may be removed by age: no value of a card is in either."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from tasks.ledger.administration import RunRecord
from tasks.ledger.database import Database
from tasks.ledger.tables import attempt, audit, outcome, plan, run, sent, setting_history, waiting, waiver

__all__ = ["Change", "Inspection", "Waived"]

RUNNING: Final = "running"


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that somebody made."""

    scope: str
    name: str
    value: dict[str, Any]
    changed_at: float
    changed_by: str


@dataclass(frozen=True, slots=True)
class Waived:
    """A waiver, without its note."""

    clinic_uid: str
    entity: str
    reason: str
    waived_by: str
    waived_at: float


class Inspection:
    """Reads who did what, and removes what is old."""

    database: Database

    def runs_between(self, since: float, until: float) -> list[RunRecord]:
        """Return runs of all clinics by their start, oldest first."""
        query = sa.select(run).where(run.c.started_at >= since, run.c.started_at < until)
        with self.database.read() as connection:
            return [
                RunRecord(**row) for row in connection.execute(query.order_by(run.c.started_at)).mappings()
            ]

    def changes_between(self, names: Collection[str], since: float, until: float) -> list[Change]:
        """Return when settings of these names were made, oldest first."""
        query = sa.select(
            setting_history.c.scope,
            setting_history.c.name,
            setting_history.c.value,
            setting_history.c.changed_at,
            setting_history.c.changed_by,
        ).where(
            setting_history.c.name.in_(list(names)),
            setting_history.c.changed_at >= since,
            setting_history.c.changed_at < until,
        )
        with self.database.read() as connection:
            return [
                Change(**row) for row in connection.execute(query.order_by(setting_history.c.id)).mappings()
            ]

    def waivers_between(self, since: float, until: float) -> list[Waived]:
        """Return waivers by when they were given, oldest first."""
        query = sa.select(
            waiver.c.clinic_uid, waiver.c.entity, waiver.c.reason, waiver.c.waived_by, waiver.c.waived_at
        ).where(waiver.c.waived_at >= since, waiver.c.waived_at < until)
        with self.database.read() as connection:
            return [Waived(**row) for row in connection.execute(query.order_by(waiver.c.id)).mappings()]

    def old_rows(self, kind: str, before: float) -> dict[str, int]:
        """Count what ``purge_rows`` would remove, by table."""
        with self.database.read() as connection:
            return {
                table.name: int(
                    connection.execute(sa.select(sa.func.count()).select_from(table).where(old)).scalar_one()
                )
                for table, old in _old(kind, before)
            }

    def purge_rows(self, kind: str, before: float) -> dict[str, int]:
        """Remove what is older, all or nothing; returns how many rows, by table.

        Args:
            kind: ``runs`` or ``events``.
            before: Epoch seconds.
        """
        with self.database.write() as connection:
            return {
                table.name: int(connection.execute(sa.delete(table).where(old)).rowcount)
                for table, old in _old(kind, before)
            }


def _old(kind: str, before: float) -> list[tuple[sa.Table, sa.ColumnElement[bool]]]:
    """Return what is old: never what a run still owes, nor of a clinic the latest run of each ending."""
    if kind == "events":
        return [(audit, audit.c.occurred_at < before)]
    owed = sa.exists().where(
        waiting.c.clinic_uid == plan.c.clinic_uid,
        waiting.c.kind == plan.c.kind,
        waiting.c.source_id == plan.c.source_id,
    )
    latest = sa.select(sa.func.max(run.c.started_at)).group_by(run.c.clinic_uid, run.c.state)
    unsettled = sa.select(sent.c.attempt_id)
    return [
        (outcome, outcome.c.ended_at < before),
        (plan, (plan.c.planned_at < before) & ~owed),
        (
            attempt,
            attempt.c.closed_at.is_not(None)
            & (attempt.c.closed_at < before)
            & attempt.c.id.not_in(unsettled),
        ),
        (run, (run.c.started_at < before) & (run.c.state != RUNNING) & run.c.started_at.not_in(latest)),
    ]
