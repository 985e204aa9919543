"""Which appointments get a deal: the mapping's filters, the block's branches, the launch configuration."""

from __future__ import annotations

from datetime import UTC

import pandas as pd

from tasks.mapping.filters import narrowed, passes
from tasks.records import Kind
from tasks.workspace import Workspace

__all__ = ["within_filters"]


def within_filters(space: Workspace, deals: pd.DataFrame) -> pd.DataFrame:
    """Leave out appointments that filters or launch configuration keep from getting a deal.

    A deal that is there already goes on being kept up to date: a filter that is set later must not freeze it
    in a state that is long over.
    """
    filters = narrowed(space.settled_mapping().filters, space.connection.branch_names)
    if deals.empty or (filters.is_open and space.launch.deals):
        return deals
    passing = passes(filters, deals, pd.Timestamp.now(tz=UTC)) & space.launch.deals
    known = space.ledger.applied_index(space.uid, Kind.LEAD, deals["root_id"].tolist()).source_ids
    return deals[passing | deals["root_id"].isin(known)].reset_index(drop=True)
