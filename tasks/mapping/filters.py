"""Which appointments pass the operator's filters."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from tasks.mapping.model import Filters

__all__ = ["narrowed", "passes"]


def narrowed(filters: Filters, branches: Collection[str]) -> Filters:
    """Return filters that let through only what the clinic's connection is for, too.

    Args:
        filters: The mapping's filters.
        branches: Branches that the connection names; empty means all.
    """
    if not branches:
        return filters
    both = [name for name in branches if not filters.branches or name in filters.branches]
    # No branch in both: nothing passes, which an empty list would not say.
    return filters.model_copy(update={"branches": both or [""]})


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
