"""The pace of one integration: amoCRM counts requests per second, over all our threads and processes.

Spacing between starts, not a bucket: a bucket of seven lets eleven requests into one second. Processes of one
machine share a file, those of several machines a row of the ledger, which is handed in as ``SharedPace``.

Turns are handed out ahead, ``1 / rate`` apart, and whoever waits for one wakes late: by a millisecond, by
twenty on a busy machine, by seconds in a process that was stopped. Did the late one start beside a punctual
one, a second would hold a request more than the rate. So the start itself is written down too, at the last
moment, and nobody starts sooner than ``1 / rate`` after it: lateness moves all who follow. What a request
needs besides its turn is asked before that moment, for the same reason: amoCRM counts arrivals.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from filelock import FileLock

__all__ = ["Pacer", "SharedPace"]

_log = logging.getLogger(__name__)
FORMAT = struct.Struct("<3d")
#: Moments closer than this are the same: what adding to a time of today rounds off.
ROUNDING = 1e-5
#: A record written this far in the future shows that the clock was set back since.
CLOCK_TOLERANCE = 3.0
#: No queue is longer than this when nobody is paused.
LONGEST_QUEUE = 10.0
#: A time further ahead than this is none of ours.
LONGEST_PENALTY = 60.0
#: Instead of a moment at which to start.
STARTED, FULL = float("-inf"), float("inf")
#: How long who finds the queue full waits before asking again.
QUEUE_SECONDS = 1.0
#: So long before its turn a request is asked whether it may leave; the ledger answers in some milliseconds.
ASKED_AHEAD = 0.05
#: A start may take so long to be written down.
WRITING = 0.005
#: An answer older than this is asked for again: the process was stopped in between.
ANSWER_HOLDS = 1.0


class _State(NamedTuple):
    """What threads and processes share; the file holds it as three numbers."""

    last_start: float = 0.0
    next_turn: float = 0.0
    paused_until: float = 0.0

    def believable(self, now: float) -> bool:
        """Tell whether the record fits the clock; one that does not would stop us for hours."""
        return (
            self.last_start <= now + CLOCK_TOLERANCE
            and self.paused_until <= self.last_start + LONGEST_PENALTY
            and self.next_turn <= max(self.last_start, self.paused_until) + LONGEST_PENALTY
        )


class SharedPace(Protocol):
    """What processes of several machines share: the three numbers of the state, and a clock."""

    def change(
        self, change: Callable[[tuple[float, float, float], float], tuple[float, float, float]]
    ) -> tuple[tuple[float, float, float], float]:
        """Apply a change that is handed the numbers and the time; return the numbers and that time.

        Raises:
            IdentAmocrmError: When the others' requests cannot be known; none may start then.
        """


class Pacer:
    """Lets one request start every ``1 / rate`` seconds, at most.

    Args:
        rate: Requests per second.
        place: File shared by all processes that use the same token, or what those of several machines share;
            ``None`` for one process.
        clock: Wall clock, which processes of one machine share.
        sleep: How to wait.
    """

    def __init__(
        self,
        rate: float,
        place: Path | SharedPace | None = None,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._gap = 1.0 / rate
        self._path = place if isinstance(place, Path) else None
        self._shared = None if isinstance(place, Path) else place
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._file_lock = FileLock(f"{place}.lock") if isinstance(place, Path) else None
        self._own = _State()
        self._ahead = 0.0  # the clock that all share, as seen from ours

    def wait(self, may_leave: Callable[[], None] | None = None) -> None:
        """Wait for a turn, and start.

        Args:
            may_leave: Asked just before the start; raises where the request may not leave.
        """
        while True:
            turn, due = self._taken(at_once=may_leave is None)
            asked_at = turn
            # Further behind its turn: somebody was told 429, or many are late. Then there is another turn.
            while turn <= due <= turn + self._gap:
                if may_leave is not None:
                    self._sleep_until(due - ASKED_AHEAD)
                    may_leave()
                    asked_at = self._now()
                self._sleep_until(due)
                due = self._started(turn)
            if due == STARTED:
                if may_leave is not None and self._now() > asked_at + ANSWER_HOLDS:
                    may_leave()
                return
            if due == FULL:
                self._sleep(QUEUE_SECONDS)

    def penalise(self, seconds: float) -> None:
        """Let nobody start for some seconds, at most a minute: amoCRM said 429."""
        pause = min(max(0.0, seconds), LONGEST_PENALTY)

        def hold(state: _State, now: float) -> _State:
            until = max(state.paused_until, now + pause)
            # Turns taken before are void, so the queue begins anew behind the pause.
            return _State(now, until, until)

        self._change(hold)

    def _taken(self, *, at_once: bool) -> tuple[float, float]:
        """Take the next turn, and start if that is now and may be; return it, and when to try to start."""
        turn, due = 0.0, FULL

        def take(state: _State, now: float) -> _State:
            nonlocal turn, due
            soonest = max(now, state.paused_until)
            turn = max(state.next_turn, now)
            if turn > soonest and turn + self._gap > soonest + LONGEST_QUEUE:
                due = FULL  # a longer queue would not be believed
                return state
            # A start of long ago would make this turn look like one of a clock that was set back.
            last_start = max(state.last_start, now - self._gap)
            due, after = turn, _State(last_start, turn + self._gap, state.paused_until)
            if at_once:
                due, after = self._start(after, turn, now)
            return after

        self._noted(self._change(take), due)
        return turn, due

    def _started(self, turn: float) -> float:
        """Start now that the turn has come; return when to try again where that would be too soon."""
        due = STARTED

        def start(state: _State, now: float) -> _State:
            nonlocal due
            # The clock that all share may be a little behind the one that we slept by.
            due, after = self._start(state, turn, max(now, turn))
            return after if due != STARTED else after._replace(last_start=now)

        self._noted(self._change(start), due)
        return due

    def _noted(self, ago: float, due: float) -> None:
        """Let a start that was long in writing count from the end of that: its request leaves now."""

        def correct(state: _State, now: float) -> _State:
            late = min(ago, self._gap)
            return state._replace(last_start=max(state.last_start, now), next_turn=state.next_turn + late)

        if due == STARTED and ago > WRITING:
            self._change(correct)

    def _start(self, state: _State, turn: float, now: float) -> tuple[float, _State]:
        due = max(turn, state.last_start + self._gap, state.paused_until)
        if due > now + ROUNDING:
            return due, state
        late = min(max(0.0, now - due), self._gap)
        return STARTED, _State(now, state.next_turn + late, state.paused_until)

    def _sleep_until(self, moment: float) -> None:
        delay = moment - self._now()
        if delay > 0:  # and no longer than a turn can be away: the clock may have been set back
            self._sleep(min(delay, LONGEST_PENALTY + LONGEST_QUEUE))

    def _now(self) -> float:
        return self._clock() + self._ahead

    def _change(self, change: Callable[[_State, float], _State]) -> float:
        """Apply a change to the state that all share; return how many seconds ago it was."""
        at = 0.0

        def timed(state: _State, now: float) -> _State:
            nonlocal at
            at = self._clock()
            return change(state if state.believable(now) else _State(), now)

        self._apply(timed)
        return self._clock() - at

    def _apply(self, change: Callable[[_State, float], _State]) -> None:
        """Apply a change under the lock of threads and that of processes."""
        with self._lock:
            if self._shared is not None:
                _, now = self._shared.change(lambda before, now: change(_State(*before), now))
                self._ahead = now - self._clock()
                return
            if self._file_lock is not None and self._path is not None:
                try:
                    with self._file_lock:
                        self._change_file(self._path, change)
                except OSError as error:
                    # A full disk must not stop a transfer: from here on only this process is paced.
                    _log.warning("The pace file cannot be used: %s.", type(error).__name__)
                    self._file_lock = None
                else:
                    return
            self._own = change(self._own, self._clock())

    def _change_file(self, path: Path, change: Callable[[_State, float], _State]) -> None:
        try:
            before = _State(*FORMAT.unpack(path.read_bytes()))
        except (FileNotFoundError, struct.error):
            before = _State()
        after = change(before, self._clock())
        if after != before:
            path.write_bytes(FORMAT.pack(*after))
