"""What is kept back as a file for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Final

from tasks.review import Listed

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
#: What makes a spreadsheet take a cell for a formula.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_csv(rows: Sequence[Listed]) -> str:
    """Return the rows as CSV: ids, codes and our own texts; the name of a clinic is anybody's."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        data = row.as_dict()
        writer.writerow([_harmless(data[name]) for name in COLUMNS])
    return text.getvalue()


def _harmless(value: object) -> object:
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return "" if value is None else value
