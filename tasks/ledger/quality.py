"""What each rule of data quality said in each run: counts only, for the trend."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from tasks.ledger.database import Database
from tasks.ledger.tables import quality

__all__ = ["Quality", "RuleCount"]

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class RuleCount:
    """What one rule said in one run.

    Attributes:
        rule: Code of the rule.
        checked: Rows it looked at.
        failed: Rows of them that broke it; a rule about the whole table counts as one row.
        entity: What the rows are.
        run_id: The run.
        is_whole: Whether the run saw every row of the clinic, not only what changed.
        at: When, epoch seconds.
    """

    rule: str
    checked: int
    failed: int
    entity: str = ""
    run_id: str = ""
    is_whole: bool = False
    at: float = 0.0


class Quality:
    """The history of the rules."""

    database: Database

    def record_quality(
        self,
        clinic_uid: str,
        run_id: str,
        entity: str,
        counts: Sequence[RuleCount],
        *,
        is_whole: bool,
        keep_days: float,
    ) -> None:
        """Record what the rules of one entity said, and forget what is older than the trend, of any clinic.

        Of a run that saw only changes, rules that all rows passed are left out: there are thousands of such
        runs a day, and they say nothing about the clinic.

        Args:
            clinic_uid: The clinic.
            run_id: The run.
            entity: What the rows are.
            counts: What each rule said.
            is_whole: Whether the run saw every row of the clinic.
            keep_days: How many days are kept.
        """
        now = time.time()
        rows = [
            {
                "run_id": run_id,
                "entity": entity,
                "rule": count.rule,
                "clinic_uid": clinic_uid,
                "is_whole": is_whole,
                "checked": count.checked,
                "failed": count.failed,
                "at": now,
            }
            for count in counts
            if is_whole or count.failed
        ]
        if not rows:
            return
        with self.database.write() as link:
            self.database.upsert(link, quality, rows, ["is_whole", "checked", "failed", "at"])
            link.execute(sa.delete(quality).where(quality.c.at < now - keep_days * DAY))

    def quality(self, clinic_uid: str, runs: int = 10) -> list[RuleCount]:
        """Return what the rules said of the whole clinic lately, and of its changes since, oldest first.

        Args:
            clinic_uid: The clinic.
            runs: How many runs that saw the whole clinic to reach back.
        """
        mine = quality.c.clinic_uid == clinic_uid
        whole = (
            sa.select(quality.c.run_id, sa.func.max(quality.c.at).label("ended"))
            .where(mine, quality.c.is_whole)
            .group_by(quality.c.run_id)
            .order_by(sa.desc("ended"))
            .limit(runs)
        )
        with self.database.read() as link:
            latest = link.execute(whole).all()
            if not latest:
                return []
            since = sa.and_(quality.c.is_whole.is_(False), quality.c.at > latest[0].ended)
            names = [row.run_id for row in latest]
            wanted = sa.select(quality).where(mine, sa.or_(quality.c.run_id.in_(names), since))
            rows = link.execute(wanted.order_by(quality.c.at, quality.c.rule)).mappings()
            return [
                RuleCount(
                    row["rule"],
                    row["checked"],
                    row["failed"],
                    row["entity"],
                    row["run_id"],
                    row["is_whole"],
                    row["at"],
                )
                for row in rows
            ]
