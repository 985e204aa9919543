"""The pace of one integration: amoCRM counts requests per second, over all our threads and processes.

Spacing between starts, not a bucket: a bucket of seven lets eleven requests into one second.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

__all__ = ["Pacer"]

#: A recorded time further ahead than this is a clock that was set back, not a queue.
BELIEVABLE_SECONDS = 120.0
FORMAT = struct.Struct("<d")


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
        self._next = 0.0

    def wait(self) -> None:
        """Wait for the next free start and take it."""
        self._sleep_until(self._reserve(self._gap))

    def penalise(self, seconds: float) -> None:
        """Let nobody start for some seconds: amoCRM said 429."""
        self._reserve(seconds)

    def _sleep_until(self, start: float) -> None:
        delay = start - self._clock()
        if delay > 0:
            self._sleep(delay)

    def _reserve(self, gap: float) -> float:
        with self._lock:
            if self._file_lock is None or self._path is None:
                start, self._next = self._after(self._next, gap)
                return start
            with self._file_lock:
                start, following = self._after(self._read(self._path), gap)
                self._path.write_bytes(FORMAT.pack(following))
                return start

    def _after(self, recorded: float, gap: float) -> tuple[float, float]:
        now = self._clock()
        start = recorded if now < recorded <= now + BELIEVABLE_SECONDS else now
        return start, start + gap

    @staticmethod
    def _read(path: Path) -> float:
        try:
            return float(FORMAT.unpack(path.read_bytes())[0])
        except (FileNotFoundError, struct.error):
            return 0.0
