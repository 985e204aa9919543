"""What a read is told and what it tells: the window, the watermark, the ids that changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tasks.ident.queries import FIRST, LAST
from tasks.ident.schema import TABLES

__all__ = ["Changes", "Watermark", "Window"]

RECEPTIONS = TABLES["Receptions"]


@dataclass(frozen=True, slots=True)
class Window:
    """Which appointments are transferred, by planned start, clinic-local; ``None`` is unbounded."""

    start: datetime | None = None
    end: datetime | None = None

    @property
    def bounded(self) -> bool:
        """Whether anything is outside."""
        return self.start is not None or self.end is not None

    @property
    def condition(self) -> sa.ColumnElement[bool]:
        """The window as a condition on receptions."""
        parts = []
        if self.start is not None:
            parts.append(RECEPTIONS.c.PlanStart >= self.start)
        if self.end is not None:
            parts.append(RECEPTIONS.c.PlanStart <= self.end)
        if not parts:
            return RECEPTIONS.c.ID.is_not(None)
        return sa.and_(*parts, RECEPTIONS.c.PlanStart > FIRST, RECEPTIONS.c.PlanStart < LAST)

    @property
    def bare(self) -> sa.ColumnElement[bool]:
        """What has no start, and so is in no window.

        It gets no deal; it is read all the same, for somebody to be told, but ties no chain to the window.
        """
        start = RECEPTIONS.c.PlanStart
        return sa.or_(start.is_(None), start <= FIRST, start >= LAST) if self.bounded else sa.false()


@dataclass(frozen=True, slots=True)
class Watermark:
    """Up to where a read saw everything.

    Attributes:
        taken_at: The server's own clock before the read, clinic-local; never ours, never a row's.
        row_version: Lowest RowVersion that was still active then.
        dictionaries: Content digests of the dictionaries.
        patients_read_at: When all patients were read last, and all else whose changes leave no trace.
    """

    taken_at: datetime | None = None
    row_version: str | None = None
    dictionaries: Mapping[str, str] = field(default_factory=dict)
    patients_read_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the watermark as JSON data."""
        return {
            "taken_at": self.taken_at.isoformat() if self.taken_at else None,
            "row_version": self.row_version,
            "dictionaries": dict(self.dictionaries),
            "patients_read_at": self.patients_read_at.isoformat() if self.patients_read_at else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Watermark:
        """Read what ``to_json`` wrote."""

        def moment(name: str) -> datetime | None:
            return datetime.fromisoformat(data[name]) if data.get(name) else None

        return cls(
            moment("taken_at"),
            data.get("row_version"),
            dict(data.get("dictionaries") or {}),
            moment("patients_read_at"),
        )


@dataclass(frozen=True, slots=True)
class Changes:
    """What has to be read.

    Attributes:
        patients: Ids of patients.
        appointments: Ids of appointments, their whole reschedule chains included.
        watermark: Where the next increment begins.
        dictionaries_changed: Names of dictionaries with changed entries.
    """

    patients: frozenset[int]
    appointments: frozenset[int]
    watermark: Watermark
    dictionaries_changed: tuple[str, ...] = ()
