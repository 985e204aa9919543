"""Which appointments get a deal: the operator's filters."""

from __future__ import annotations

from datetime import UTC

import pandas as pd

from tasks.records import Kind
from tasks.workspace import Workspace

__all__ = ["within_filters"]


def within_filters(space: Workspace, deals: pd.DataFrame) -> pd.DataFrame:
    """Leave out appointments that the filters keep from getting a deal.

    A deal that is there already goes on being kept up to date: a filter that is set later must not freeze it
    in a state that is long over.
    """
    filters = space.settled_mapping().filters
    if filters.is_open or deals.empty:
        return deals
    passing = pd.Series(data=True, index=deals.index)
    for column, allowed in (
        ("branch", filters.branches),
        ("doctor", filters.doctors),
        ("status", [status.value for status in filters.statuses]),
    ):
        if allowed:
            passing &= deals[column].isin(allowed)
    now = pd.Timestamp.now(tz=UTC)
    if filters.days_back is not None:
        passing &= deals["start_at"] >= now - pd.Timedelta(days=filters.days_back)
    if filters.days_ahead is not None:
        passing &= deals["start_at"] <= now + pd.Timedelta(days=filters.days_ahead)
    known = space.ledger.applied_index(space.uid, Kind.LEAD).source_ids
    return deals[passing | deals["root_id"].isin(known)].reset_index(drop=True)
