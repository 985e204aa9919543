"""Writes rows through a store and keeps what changed, field by field."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.sandbox.clinic.rows import Row
from deployments.sandbox.clinic.store import ClinicStore


@dataclass(frozen=True)
class RowChange:
    """One row of IDENT that was added or changed.

    Attributes:
        table: Its table.
        key: Its key columns.
        before: The changed fields as they were; empty for a new row.
        after: The changed fields as they are; every given field of a new row.
    """

    table: str
    key: Mapping[str, Any]
    before: Mapping[str, Any]
    after: Mapping[str, Any]


class Recorder:
    """A store that remembers its writes."""

    def __init__(self, store: ClinicStore) -> None:
        self._store = store
        self._rows: list[RowChange] = []

    @property
    def rows(self) -> tuple[RowChange, ...]:
        """What was written so far."""
        return tuple(self._rows)

    def insert(self, table: str, key: str, values: Row) -> int:
        """Add a row; returns its key."""
        number = self._store.insert(table, values)
        self._rows.append(RowChange(table, {key: number}, {}, {key: number} | values))
        return number

    def update(self, table: str, key: Row, before: Row, values: Row) -> None:
        """Change one row; fields that keep their value are not listed."""
        self._store.update(table, key, values)
        changed = {name: value for name, value in values.items() if before.get(name) != value}
        old = {name: before.get(name) for name in changed}
        self._rows.append(RowChange(table, key, old, changed))
