"""How far a load is, how fast it goes and how long it still takes, from counts alone.

amoCRM's pace is the limit, so work is counted in requests: a load that has made half of them is half done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil

from tasks.records import Action, Kind

__all__ = ["LONG", "Gauge", "LoadCounts", "Progress"]

#: Requests from which on a load is worth being watched.
LONG = 20
#: Seconds of work from which on its speed says something.
MEASURED_AFTER = 3.0
#: Kinds in which a load is told to people; links and notes hang on deals.
CARDS = (Kind.CONTACT, Kind.LEAD)


@dataclass(frozen=True, slots=True)
class LoadCounts:
    """A load in numbers.

    Attributes:
        planned: Rows of its plan.
        ended: Those of them that have an outcome.
        batch_size: Entities in one request.
    """

    planned: Mapping[tuple[Kind, Action], int]
    ended: Mapping[Kind, int]
    batch_size: int

    @property
    def requests(self) -> int:
        """Requests that the whole plan takes."""
        return sum(self._requests(kind, *self._rows(kind)) for kind in Kind)

    @property
    def requests_left(self) -> int:
        """Requests that what is left takes; of each kind, creates go first."""
        left = 0
        for kind in Kind:
            (creates, updates), ended = self._rows(kind), self.ended.get(kind, 0)
            past = max(0, ended - creates)
            left += self._requests(kind, max(0, creates - ended), max(0, updates - past))
        return left

    @property
    def share(self) -> float:
        """What part of the work is done, from 0 to 1."""
        return 1 - self.requests_left / self.requests if self.requests else 1.0

    def of(self, kind: Kind) -> tuple[int, int]:
        """Return how many rows of a kind have ended, and of how many."""
        return self.ended.get(kind, 0), sum(self._rows(kind))

    def _rows(self, kind: Kind) -> tuple[int, int]:
        """Return planned creates and updates of a kind."""
        total = sum(count for (of, _action), count in self.planned.items() if of is kind)
        creates = self.planned.get((kind, Action.CREATE), 0)
        return creates, total - creates

    def _requests(self, kind: Kind, creates: int, updates: int) -> int:
        """Return the requests of so many rows.

        An update is read before it is written; a note too; the link of a new deal is created with it.
        """
        if kind is Kind.LINK:
            return updates
        if kind is Kind.NOTE:
            return 2 * creates
        return ceil(creates / self.batch_size) + 2 * ceil(updates / self.batch_size)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a load is, as it is shown.

    Attributes:
        percent: Of the work, in requests.
        cards_per_second: Contacts and deals since the first look; ``None`` before that says anything.
        share_of_ceiling: The requests that this took, of those that the configured rate allows.
        seconds_left: At the speed measured, or at the configured rate before there is one.
    """

    percent: float
    contacts: tuple[int, int]
    deals: tuple[int, int]
    cards_per_second: float | None
    share_of_ceiling: float | None
    seconds_left: int


class Gauge:
    """Tells how far a load is and measures how fast it goes since it was first looked at.

    Args:
        rate: Requests a second towards amoCRM, as configured.
        clock: A clock that nobody sets back.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._first: tuple[float, int, int] | None = None
        self._latest = (0.0, 0)  # when something had ended since the look before, and how much

    def read(self, counts: LoadCounts) -> Progress:
        """Tell how a load stands now."""
        contacts, deals = (counts.of(kind) for kind in CARDS)
        made, cards = counts.requests - counts.requests_left, contacts[0] + deals[0]
        if self._first is None:
            self._first = (self._clock(), made, cards)
        if made != self._latest[1]:
            # Contacts may be through before the deals are planned: that wait is none of amoCRM's pace.
            self._latest = (self._clock(), made)
        began, made_before, cards_before = self._first
        seconds, speed, share = self._latest[0] - began, None, None
        if seconds >= MEASURED_AFTER:
            speed = (cards - cards_before) / seconds
            share = min(1.0, (made - made_before) / seconds / self._rate)
        left = counts.requests_left / (self._rate * (share or 1.0))
        return Progress(int(1000 * counts.share) / 10, contacts, deals, speed, share, ceil(left))
