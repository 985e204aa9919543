"""How much a run has planned and how much of it has ended, for who watches it from outside."""

from __future__ import annotations

import sqlalchemy as sa

from tasks.ledger.database import Database
from tasks.ledger.tables import outcome, plan
from tasks.records import Action, Kind

__all__ = ["Counts"]


class Counts:
    """Counts the rows of a run that is under way."""

    database: Database

    def plan_counts(self, run_id: str) -> dict[tuple[Kind, Action], int]:
        """Count what a run planned; every row of the plan is looked at."""
        query = (
            sa.select(plan.c.kind, plan.c.action, sa.func.count())
            .where(plan.c.run_id == run_id)
            .group_by(plan.c.kind, plan.c.action)
        )
        with self.database.read() as connection:
            return {(Kind(kind), Action(action)): count for kind, action, count in connection.execute(query)}

    def ended_counts(self, run_id: str) -> dict[Kind, int]:
        """Count the rows of a run that have an outcome.

        Which outcome is not asked: so the index of the key alone answers, several times faster.
        """
        query = (
            sa.select(outcome.c.kind, sa.func.count())
            .where(outcome.c.run_id == run_id)
            .group_by(outcome.c.kind)
        )
        with self.database.read() as connection:
            return {Kind(kind): count for kind, count in connection.execute(query)}
