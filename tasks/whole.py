"""What is remembered of a clinic's tables as wholes, so that a run of three rows can tell that one changed.

Counts, shares and one moment, kept as a setting of the clinic: how many rows there were on the last days,
which columns were filled, when IDENT last changed anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any, Final

import pandas as pd

from tasks.frames import Entity
from tasks.records import Kind
from tasks.workspace import Workspace

__all__ = ["SETTING", "Memory", "known_of", "newest"]

#: Name of the clinic's setting that holds all this.
SETTING: Final = "whole"
#: So many days with a run make what is usual.
DAYS: Final = 14
COUNTED: Final = {Entity.PATIENT: "patients", Entity.APPOINTMENT: "appointments"}
KINDS: Final = {Entity.PATIENT: Kind.CONTACT, Entity.APPOINTMENT: Kind.LEAD}


@dataclass(slots=True)
class Memory:
    """What was remembered, and what is to be.

    Attributes:
        basis: What it was learnt on: another database or launch window makes it void.
        days: Rows by entity and day.
        filled: Share of filled values by entity and column, at the last full read.
        newest: When IDENT last changed anything, on the clinic's wall clock.
        told: The silence since then that somebody was told of.
    """

    basis: str = ""
    days: dict[str, dict[str, int]] = field(default_factory=dict)
    filled: dict[str, dict[str, float]] = field(default_factory=dict)
    newest: str = ""
    told: str = ""

    @classmethod
    def of(cls, space: Workspace) -> Memory:
        """Read the memory of a clinic."""
        stored = space.ledger.setting(f"clinic:{space.uid}", SETTING) or {}
        basis = f"{space.clinic.connected_at}|{space.launch.model_dump_json()}"
        return cls(**stored) if stored.get("basis") == basis else cls(basis=basis)

    def keep(self, space: Workspace) -> None:
        """Write it down where it changed."""
        scope = f"clinic:{space.uid}"
        value = {name: getattr(self, name) for name in ("basis", "days", "filled", "newest", "told")}
        if value != space.ledger.setting(scope, SETTING):
            space.ledger.put_setting(scope, SETTING, value, by=space.run_id, history=False)

    def count(self, entity: Entity, rows: int, today: str, *, anew: bool) -> None:
        """Remember how many rows there are today; ``anew`` when what was usual is so no more."""
        known = {} if anew else self.days.get(entity.value, {})
        latest = sorted({**known, today: rows}.items())[-DAYS:]
        self.days[entity.value] = dict(latest)

    def usual(self, entity: Entity) -> int | None:
        """Return how many rows there usually are."""
        known = self.days.get(entity.value)
        return int(median(known.values())) if known else None


def known_of(space: Workspace, memory: Memory, entity: Entity) -> dict[str, Any]:
    """Return what is known of a table, as ``expectations.whole.Whole`` takes it."""
    kind = KINDS[entity]
    return {
        "rows": _counts(space)[COUNTED[entity]],
        "rows_before": memory.usual(entity),
        "known": space.ledger.applied_count(space.uid, kind) if space.full else 0,
        "vanished": len(space.gone.get(kind, ())),
        "newest_change": datetime.fromisoformat(memory.newest) if memory.newest else None,
        "filled_before": memory.filled.get(entity.value, {}),
        "is_full": space.full,
    }


def _counts(space: Workspace) -> Mapping[str, int]:
    if not space.counts:
        space.counts = space.reader.count()
    return space.counts


def newest(space: Workspace, memory: Memory) -> str:
    """Return when IDENT last changed anything, by what was read now and before; the future tells nothing."""
    now = pd.Timestamp(space.reader.now())
    moments = [pd.Timestamp(memory.newest)] if memory.newest else []
    for frame in (space.patients, space.appointments):
        local = frame["changed_at"].dt.tz_convert(space.zone).dt.tz_localize(None)
        latest = local[local <= now].max()
        moments += [] if pd.isna(latest) else [latest]
    return max(moments).isoformat(timespec="seconds") if moments else ""
