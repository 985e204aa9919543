"""The pace of one integration: amoCRM counts requests per second, over all our threads and processes.

Spacing between starts, not a bucket: a bucket of seven lets eleven requests into one second.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

__all__ = ["Pacer"]

_log = logging.getLogger(__name__)
FORMAT = struct.Struct("<3d")
#: A record written this far in the future shows that the clock was set back since.
CLOCK_TOLERANCE = 3.0
#: No queue is longer than this when nobody is paused: a time further ahead is none of ours.
LONGEST_QUEUE = 10.0
LONGEST_PENALTY = 60.0


class _State(NamedTuple):
    """What threads and processes share; the file holds it as three numbers."""

    written_at: float = 0.0
    next_start: float = 0.0
    paused_until: float = 0.0

    def believable(self, now: float) -> bool:
        """Tell whether the record fits the clock; one that does not would stop us for hours."""
        return (
            self.written_at <= now + CLOCK_TOLERANCE
            and self.paused_until <= self.written_at + LONGEST_PENALTY
            and self.next_start <= max(self.written_at, self.paused_until) + LONGEST_QUEUE
        )


class Pacer:
    """Lets one request start every ``1 / rate`` seconds.

    Args:
        rate: Requests per second.
        path: File shared by all processes that use the same token; ``None`` for one process.
        clock: Wall clock, which processes share.
        sleep: How to wait.
    """

    def __init__(
        self,
        rate: float,
        path: Path | None = None,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._gap = 1.0 / rate
        self._path = path
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._file_lock = FileLock(f"{path}.lock") if path else None
        self._own = _State()

    def wait(self) -> None:
        """Wait for the next free start and take it."""
        while True:
            start = self._change(self._take).next_start - self._gap
            delay = start - self._clock()
            if delay <= 0:
                return
            self._sleep(delay)
            if self._change(lambda state, _now: state).paused_until <= self._clock():
                return
            # Somebody was told 429 while we slept: the start we had taken is void.

    def penalise(self, seconds: float) -> None:
        """Let nobody start for some seconds, at most a minute: amoCRM said 429."""
        pause = min(max(0.0, seconds), LONGEST_PENALTY)

        def hold(state: _State, now: float) -> _State:
            until = max(state.paused_until, now + pause)
            # Starts taken before are void, so the queue begins anew behind the pause.
            return _State(now, until, until)

        self._change(hold)

    def _take(self, state: _State, now: float) -> _State:
        start = max(state.next_start, now)
        return _State(now, start + self._gap, state.paused_until)

    def _change(self, change: Callable[[_State, float], _State]) -> _State:
        """Apply a change to the shared state, under the lock of threads and that of processes."""
        with self._lock:
            if self._file_lock is not None and self._path is not None:
                try:
                    with self._file_lock:
                        return self._change_file(self._path, change)
                except OSError as error:
                    # A full disk must not stop a transfer: from here on only this process is paced.
                    _log.warning("The pace file cannot be used: %s.", type(error).__name__)
                    self._file_lock = None
            self._own = self._changed(self._own, change)
            return self._own

    def _change_file(self, path: Path, change: Callable[[_State, float], _State]) -> _State:
        try:
            before = _State(*FORMAT.unpack(path.read_bytes()))
        except (FileNotFoundError, struct.error):
            before = _State()
        after = self._changed(before, change)
        if after != before:
            path.write_bytes(FORMAT.pack(*after))
        return after

    def _changed(self, state: _State, change: Callable[[_State, float], _State]) -> _State:
        now = self._clock()
        return change(state if state.believable(now) else _State(), now)
