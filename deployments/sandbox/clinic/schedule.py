"""When the clinic works: appointments per day, and the slots of one day without overlaps."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

OPENS = time(8)
GRID = timedelta(minutes=15)
CELLS = 48
"""Quarters of an hour in a working day, 08:00 to 20:00."""

LARGEST_CHAIR_ID = 32767
_A_CHAIR_A_DAY = 9
SUNDAY = 6
_BUSY_TODAY = 12


@dataclass(frozen=True, slots=True)
class Slot:
    """A stretch of one chair's day."""

    start: datetime
    end: datetime
    chair: int


def _workdays(first: date, last: date) -> list[date]:
    days = [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
    return [day for day in days if day.weekday() != SUNDAY] or days


def _spread(total: int, days: Sequence[date], rng: random.Random) -> list[tuple[date, int]]:
    """Share out `total` over the days, some busier than others, nothing lost to rounding."""
    weights = [rng.uniform(0.6, 1.4) for _ in days]
    whole, shared, reached = sum(weights), 0, 0.0
    result = []
    for day, weight in zip(days, weights, strict=True):
        reached += weight
        upto = round(total * reached / whole)
        result.append((day, upto - shared))
        shared = upto
    return result


def appointments_per_day(
    total: int, today: date, days_back: int, days_ahead: int, rng: random.Random
) -> list[tuple[date, int]]:
    """How many appointments each day has, in order: a quarter of all is today or later."""
    coming = round(total / 4)
    past = _workdays(today - timedelta(days=days_back), today - timedelta(days=1))
    future = _workdays(today + timedelta(days=1), today + timedelta(days=days_ahead))
    # Today is never empty: an arrival and a visit in progress need it.
    now = max(coming // (len(future) + 1), min(_BUSY_TODAY, -(-coming // 3)))
    return [
        *_spread(total - coming, past, rng),
        (today, now),
        *_spread(coming - now, future, rng),
    ]


def chairs_per_branch(busiest: int, branches: int) -> int:
    """Chairs each branch needs for the busiest day.

    Raises:
        ValueError: More chairs than IDENT's smallint key can number.
    """
    needed = max(2, -(-busiest // (_A_CHAIR_A_DAY * branches)))
    if needed * branches > LARGEST_CHAIR_ID:
        message = f"{busiest} appointments on one day need too many chairs; spread them over more days"
        raise ValueError(message)
    return needed


def slots_of_day(day: date, size: int, chairs: Sequence[int], rng: random.Random) -> list[Slot]:
    """`size` slots on the day, shared out over the chairs, none overlapping on its chair."""
    first = rng.randrange(len(chairs))
    each, extra = divmod(size, len(chairs))
    slots: list[Slot] = []
    for turn in range(len(chairs)):
        count = each + (turn < extra)
        slots.extend(_slots_of_chair(day, count, chairs[(first + turn) % len(chairs)], rng))
    return slots


def _slots_of_chair(day: date, count: int, chair: int, rng: random.Random) -> list[Slot]:
    lengths = rng.choices((2, 2, 3, 4, 4, 6), k=count)
    if sum(lengths) > CELLS:
        lengths = [min(length, CELLS // count) for length in lengths]
    free = CELLS - sum(lengths)
    gaps = sorted(rng.randint(0, free) for _ in lengths)
    opens, used = datetime.combine(day, OPENS), 0
    slots = []
    for gap, length in zip(gaps, lengths, strict=True):
        start = opens + GRID * (gap + used)
        slots.append(Slot(start, start + GRID * length, chair))
        used += length
    return slots
