"""What is kept back as a file for a spreadsheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tasks.review import Listed
from tasks.spreadsheet import as_table

__all__ = ["as_csv"]

COLUMNS: Final = (
    "clinic",
    "entity",
    "source_id",
    "reason",
    "severity",
    "field",
    "first_seen",
    "last_seen",
    "held_by",
    "explanation",
    "remedy",
)


def as_csv(rows: Sequence[Listed]) -> str:
    """Return the rows as CSV: ids, codes and our own texts; the name of a clinic is anybody's."""
    listed = [row.as_dict() for row in rows]
    return as_table(COLUMNS, ([data[name] for name in COLUMNS] for data in listed))
