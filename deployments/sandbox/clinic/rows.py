"""Rows as IDENT keeps them: the instants of SQL Server's ``datetime``, row versions, empty rows."""

from datetime import datetime
from itertools import count
from typing import Any

from deployments.sandbox.clinic.schema import ROW_VERSIONED, TSQL_TYPES

Row = dict[str, Any]

FIRST_ROW_VERSION = 0xC41323
SENTINEL = datetime(1900, 1, 1)  # noqa: DTZ001 - clinic-local, as IDENT stores it
"""The date IDENT writes where an import from an older program had none."""

_EMPTY: dict[str, Row] = {table: dict.fromkeys(columns) for table, columns in TSQL_TYPES.items()}


def sql_datetime(moment: datetime) -> datetime:
    """The nearest earlier instant a SQL Server ``datetime`` can hold: its milliseconds end in 0, 3 or 7."""
    tens, last = divmod(moment.microsecond // 1000, 10)
    step = max(option for option in (0, 3, 7) if option <= last)
    return moment.replace(microsecond=(tens * 10 + step) * 1000)


def row_version(number: int) -> bytes:
    """Eight bytes, big end first: comparing them compares the numbers, as in SQL Server."""
    return number.to_bytes(8, "big")


class RowFactory:
    """Makes complete rows: every column present, row versions growing over the whole database."""

    def __init__(self) -> None:
        self._versions = count(FIRST_ROW_VERSION)

    def make(self, table: str, **values: Any) -> Row:
        """A row of the table; columns not given are NULL."""
        row = _EMPTY[table] | values
        if table in ROW_VERSIONED:
            row["RowVersion"] = row_version(next(self._versions))
        if len(row) != len(_EMPTY[table]):
            unknown = sorted(values.keys() - _EMPTY[table].keys())
            message = f"{table} has no columns {unknown}"
            raise KeyError(message)
        return row
