"""A value that is withheld: its card goes without it, and what amoCRM has of it stays.

The frame holds nothing in its place, and that must not read as "emptied in IDENT". So the datum keeps the
hash that amoCRM last acknowledged, 0 where it never did, and is in no plan: once IDENT has a good value it
differs, and goes out then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import pandas as pd

from tasks.frames import Entity
from tasks.records import Kind, PlanRow
from tasks.workspace import Workspace

__all__ = ["data_of", "hold_withheld", "note_withheld", "without_withheld"]

#: Column of a frame -> data of a card, where they are not called the same.
DATA_OF_COLUMN: Final[Mapping[str, tuple[str, ...]]] = {"amount": ("amount", "price")}


def data_of(column: str) -> tuple[str, ...]:
    """Return the data of a card that a column becomes."""
    return DATA_OF_COLUMN.get(column, (column,))


def note_withheld(space: Workspace, entity: Entity, cells: Sequence[tuple[int, str]]) -> None:
    """Remember which values were taken out of the frame.

    Args:
        space: The run.
        entity: Whose frame it is.
        cells: Source id and column of each value.
    """
    known = space.withheld.setdefault(entity, {})
    for key, column in cells:
        known[key] = known.get(key, frozenset()) | frozenset(data_of(column))


def hold_withheld(space: Workspace, kind: Kind, hashes: pd.DataFrame, rows: pd.Series) -> pd.DataFrame:
    """Give withheld data the hash that amoCRM last acknowledged.

    Args:
        space: The run.
        kind: Contact or lead.
        hashes: Hash of every datum, by key of the card.
        rows: The key of the row that each card shows.
    """
    of_rows = space.withheld.get(Entity.PATIENT if kind is Kind.CONTACT else Entity.APPOINTMENT, {})
    touched = rows.isin(list(of_rows)).to_numpy()
    shown = zip(hashes.index[touched].tolist(), rows[touched].tolist(), strict=True)
    withheld = {key: of_rows[row] for key, row in shown}
    space.left_out[kind] = withheld
    if not withheld:
        return hashes
    known = space.ledger.applied_rows(space.uid, kind, withheld)
    held = hashes.copy()
    for key, data in withheld.items():
        for datum in data & set(held.columns):
            held.loc[key, datum] = known[key].hashes.get(datum, 0) if key in known else 0
    return held


def without_withheld(space: Workspace, rows: list[PlanRow]) -> list[PlanRow]:
    """Leave withheld data out of what planned rows change."""
    return [
        replace(row, changed=tuple(name for name in row.changed if name not in out))
        if (out := space.left_out.get(row.kind, {}).get(row.source_id))
        else row
        for row in rows
    ]
