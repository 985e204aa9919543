"""Tables as files for a spreadsheet, which runs nothing of what stands in them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Final

__all__ = ["as_table"]

#: What makes a spreadsheet take a cell for a formula; some skip the spaces before it.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def as_table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV; a text that could be a formula is marked as a text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_harmless(value) for value in row] for row in rows)
    return text.getvalue()


def _harmless(value: object) -> object:
    if not isinstance(value, str):
        return "" if value is None else value
    value = value.replace("\0", "").encode("utf-8", "replace").decode()
    return f"'{value}" if value.startswith(FORMULA) or value.lstrip().startswith(FORMULA) else value
