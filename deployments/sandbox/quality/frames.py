"""Frames of any size for the measurement: plausible, made column by column, one row of a thousand broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import numpy as np
import pandas as pd

from tasks.frames import FRAMES, Entity, Status, canonical

__all__ = ["NOW", "frame", "references"]

NOW: Final = datetime(2026, 3, 2, 12, 0)  # noqa: DTZ001 - a clinic's wall clock
#: One row of so many has a defect of each kind.
BROKEN_EVERY: Final = 1000
VISITS_EACH: Final = 4
SYLLABLES: Final = ("во", "ри", "ми", "ло", "та", "не", "со", "ка", "ду", "пе")


def references(rows: int) -> dict[str, range]:
    """Return the patients of that many appointments; the last ones are missing."""
    return {"patients": range(1, rows // VISITS_EACH + 1)}


def frame(entity: Entity, rows: int) -> pd.DataFrame:
    """Return a canonical frame, always the same one.

    Args:
        entity: What its rows are.
        rows: How many.
    """
    keys = np.arange(1, rows + 1)
    made = _MAKERS[entity](keys, np.random.default_rng(1))
    blank: dict[str, Any] = dict.fromkeys(FRAMES[entity])
    flags = {name: False for name, dtype in FRAMES[entity].items() if dtype == "bool"}
    return canonical(pd.DataFrame({**blank, **flags, **made}, index=range(rows)), entity)


def _patients(keys: np.ndarray, dice: np.random.Generator) -> Mapping[str, Any]:
    phones = _text("+79", keys, 9)
    phones[keys % BROKEN_EVERY == 1] = "8 000 нет"
    last_names = _names(keys)
    last_names[keys % BROKEN_EVERY == 2] = None
    first_names = _names(keys // 7)
    first_names[keys % BROKEN_EVERY == 2] = None
    emails = _text("u", keys, 7) + "@example.org"
    emails[keys % 3 != 0] = None
    emails[keys % BROKEN_EVERY == 3] = "not an address"
    births = pd.Timestamp("1940-01-01") + pd.to_timedelta(dice.integers(0, 27_000, len(keys)), unit="D")
    visits = dice.integers(0, 20, len(keys))
    changed = pd.Timestamp("2026-02-01", tz="UTC") + pd.to_timedelta(keys % 40_000, unit="min")
    return {
        "patient_id": keys,
        "last_name": last_names,
        "first_name": first_names,
        "birth_date": births.where(keys % BROKEN_EVERY != 4, pd.Timestamp("1800-01-01")),
        "phone_mobile": phones,
        "email": emails,
        "card_number": _text("К-", keys, 8),
        "comment": _where(keys % 5 == 0, "перезвонить после обеда"),
        "visits_completed": visits,
        "visits_total": visits + 1,
        "debt": np.where(keys % BROKEN_EVERY == 5, -1.0, 0.0),
        "changed_at": changed,
    }


def _appointments(keys: np.ndarray, dice: np.random.Generator) -> Mapping[str, Any]:
    minute = pd.Timedelta(minutes=1)
    # Back from yesterday, three minutes apart, round and round in six years.
    back = pd.to_timedelta(keys * 3 % (6 * 365 * 24 * 60), unit="min")
    start = pd.Timestamp("2026-03-01T06:00Z") - back
    end = start + 30 * minute
    done = keys % 4 != 0
    statuses = np.where(done, Status.COMPLETED.value, Status.CANCELLED.value).astype(object)
    statuses[keys % BROKEN_EVERY == 1] = "lost"
    amounts = dice.integers(10, 500, len(keys)) * 100.0
    never = pd.Series(pd.NaT, index=range(len(keys)), dtype="datetime64[us, UTC]")
    starts, ends = pd.Series(start), pd.Series(end)
    return {
        "appointment_id": keys,
        "patient_id": pd.array((keys + VISITS_EACH - 1) // VISITS_EACH, dtype="Int64"),
        "start_at": starts,
        "end_at": ends.where(keys % BROKEN_EVERY != 2, starts - 5 * minute),
        "status": statuses,
        "arrived_at": starts.where(done, never),
        "started_at": (starts + 5 * minute).where(done, never),
        "ended_at": ends.where(done, never),
        "cancelled_at": starts.where(~done, never),
        "doctor": _names(keys % 30),
        "services": np.where(keys % 2 == 0, "Осмотр; Лечение кариеса", "Осмотр"),
        "amount": amounts,
        "paid": amounts,
        "debt": np.where(keys % BROKEN_EVERY == 3, amounts + 1, 0.0),
        "comment": _where(keys % 6 == 0, "просил напомнить за час"),
        "created_at": starts - 7 * 24 * 60 * minute,
        "changed_at": starts,
    }


_MAKERS: Final[Mapping[Entity, Callable[[np.ndarray, np.random.Generator], Mapping[str, Any]]]] = {
    Entity.PATIENT: _patients,
    Entity.APPOINTMENT: _appointments,
}


def _text(before: str, numbers: np.ndarray, width: int) -> Any:
    return np.char.add(before, np.char.zfill(numbers.astype(str), width)).astype(object)


def _where(chosen: Any, text: str) -> Any:
    return np.array([None, text], dtype=object)[chosen.astype(int)]


def _names(numbers: np.ndarray) -> Any:
    parts = np.array(SYLLABLES)
    text: Any = np.array(["К"])
    for power in range(5):
        text = np.char.add(text, parts[numbers // 10**power % 10])
    return text.astype(object)
