"""Which appointments get a deal: the operator's filters."""

from __future__ import annotations

from datetime import UTC

import pandas as pd

from tasks.mapping.filters import passes
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
    passing = passes(filters, deals, pd.Timestamp.now(tz=UTC))
    known = space.ledger.applied_index(space.uid, Kind.LEAD).source_ids
    return deals[passing | deals["root_id"].isin(known)].reset_index(drop=True)
