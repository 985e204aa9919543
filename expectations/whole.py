"""What is known of a whole table, however little of it changed since the last run.

An increment holds a few changed rows. Whether the table shrank, fell silent or lost a column is told by
counts that the caller brings along, never by the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from expectations.thresholds import Thresholds

__all__ = ["Whole", "emptied", "filled_shares", "measures", "quiet_hours"]

#: From this share on a column counts as mostly filled, so that its emptying is no chance.
MOSTLY = 0.5
#: In an increment only a column that was hardly ever empty tells anything.
HARDLY_EMPTY = 0.95
#: Fewer rows may all lack a value by chance.
SOME_ROWS = 20


@dataclass(frozen=True, slots=True)
class Whole:
    """What is known of a table as a whole; what is unknown is judged by no rule.

    Attributes:
        rows: Rows of the table in IDENT.
        rows_before: Usual number of rows in the last days.
        known: Rows that amoCRM has.
        vanished: Those of them that IDENT has no more.
        newest_change: When anything was last changed, on the clinic's wall clock.
        filled_before: Share of filled values by column, at the last full read.
        is_full: Whether the frame holds all rows.
    """

    rows: int | None = None
    rows_before: int | None = None
    known: int = 0
    vanished: int = 0
    newest_change: datetime | None = None
    filled_before: Mapping[str, float] = field(default_factory=dict)
    is_full: bool = False


def measures(whole: Whole, thresholds: Thresholds, now: datetime) -> dict[str, float | None]:
    """Return the numbers that rules about the whole judge; ``None`` where nothing can be said.

    Args:
        whole: What is known.
        thresholds: The clinic's thresholds.
        now: The clinic's wall clock, naive.
    """
    ratio = vanished = None
    if whole.rows is not None and (whole.rows_before or 0) >= thresholds.fewest_rows:
        ratio = round(whole.rows / (whole.rows_before or 1), 4)
    if whole.known >= thresholds.fewest_rows:
        vanished = round(whole.vanished / whole.known, 4)
    return {"row_ratio": ratio, "vanished": vanished, "hours_quiet": quiet_hours(whole, thresholds, now)}


def quiet_hours(whole: Whole, thresholds: Thresholds, now: datetime) -> float | None:
    """Return for how many working hours nothing was changed; ``None`` outside the working hours."""
    if whole.newest_change is None or not _is_working(now, thresholds):
        return None
    hours, day = 0.0, whole.newest_change.replace(hour=0, minute=0, second=0, microsecond=0)
    # Two weeks of silence are as loud as two years.
    day = max(day, now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=14))
    while day <= now:
        if day.isoweekday() in thresholds.working_days:
            begin = max(day + timedelta(hours=thresholds.opens), whole.newest_change)
            end = min(day + timedelta(hours=thresholds.closes), now)
            hours += max(0.0, (end - begin).total_seconds() / 3600)
        day += timedelta(days=1)
    return round(hours, 2)


def _is_working(moment: datetime, thresholds: Thresholds) -> bool:
    return (
        moment.isoweekday() in thresholds.working_days and thresholds.opens <= moment.hour < thresholds.closes
    )


def filled_shares(frame: pd.DataFrame) -> dict[str, float]:
    """Return the share of filled values of each column."""
    shares: dict[Any, float] = frame.notna().mean().to_dict() if len(frame) else {}
    return {str(name): round(float(share), 4) for name, share in shares.items()}


def emptied(shares: Mapping[str, float], rows: int, whole: Whole) -> list[str]:
    """Return columns that hold nothing any more, although they used to be filled.

    Args:
        shares: Share of filled values by column, now.
        rows: How many rows that is told by.
        whole: What was filled before.
    """
    if rows < SOME_ROWS:
        return []
    least = MOSTLY if whole.is_full else HARDLY_EMPTY
    return sorted(
        name for name, share in shares.items() if share == 0 and whole.filled_before.get(name, 0.0) >= least
    )
