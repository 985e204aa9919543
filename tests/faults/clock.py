"""Virtual time: nobody sleeps, and two scans a minute apart take no minute."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

__all__ = ["Clock"]

_time, _monotonic = time.time, time.monotonic  # as they are before a child replaces them


class Clock:
    """Real clocks plus what was slept or skipped.

    Attributes:
        ahead: Seconds in front of the real clock.
    """

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead

    def time(self) -> float:
        return _time() + self.ahead

    def monotonic(self) -> float:
        return _monotonic() + self.ahead

    def sleep(self, seconds: float) -> None:
        self.ahead += max(0.0, seconds)

    def local(self, zone: str) -> datetime:
        """The wall clock of a clinic, naive."""
        return datetime.fromtimestamp(self.time(), tz=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
