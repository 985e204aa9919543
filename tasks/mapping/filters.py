"""Which appointments pass the operator's filters."""

from __future__ import annotations

import pandas as pd

from tasks.mapping.model import Filters

__all__ = ["passes"]


def passes(filters: Filters, deals: pd.DataFrame, now: pd.Timestamp) -> pd.Series:
    """Tell of each appointment whether it may get a deal.

    Args:
        filters: The filters.
        deals: Canonical appointments, one row per deal.
        now: The present, with a zone.
    """
    passing = pd.Series(data=True, index=deals.index)
    for column, allowed in (
        ("branch", filters.branches),
        ("doctor", filters.doctors),
        ("status", [status.value for status in filters.statuses]),
    ):
        if allowed:
            passing &= deals[column].isin(allowed)
    if filters.days_back is not None:
        passing &= deals["start_at"] >= now - pd.Timedelta(days=filters.days_back)
    if filters.days_ahead is not None:
        passing &= deals["start_at"] <= now + pd.Timedelta(days=filters.days_ahead)
    return passing
