"""Rate limit and request statistics."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import Literal

from deployments.sandbox.amocrm.model import Json

LOG_SIZE = 200_000
API_PREFIX = "/api/"
WRITES = frozenset({"POST", "PATCH", "DELETE"})


class Limiter:
    """At most `limit` requests in any one-second window; stubborn excess blocks everything.

    A block is lifted by hand only, as the real one is by support.
    """

    def __init__(self, limit: int | None, *, block_after: int = 20, block_window: float = 10.0) -> None:
        self.limit = limit
        self.block_after = block_after
        self.blocked = False
        self._block_window = block_window
        self._accepted: deque[float] = deque()
        self._refused: deque[float] = deque()

    def arrive(self) -> Literal["ok", "excess", "blocked"]:
        """Judge a request at the moment it arrives."""
        if self.blocked:
            return "blocked"
        if self.limit is None:
            return "ok"
        now = time.monotonic()
        _forget(self._accepted, now - 1.0)
        if len(self._accepted) < self.limit:
            self._accepted.append(now)
            return "ok"
        _forget(self._refused, now - self._block_window)
        self._refused.append(now)
        self.blocked = len(self._refused) > self.block_after
        return "blocked" if self.blocked else "excess"

    def unblock(self) -> None:
        """Lift the block and forget the excess."""
        self.blocked = False
        self._refused.clear()


def _forget(moments: deque[float], before: float) -> None:
    while moments and moments[0] <= before:
        moments.popleft()


@dataclass(slots=True)
class Entry:
    """One request of the log; `status` 0 is a connection closed without an answer."""

    n: int
    at: float
    method: str
    path: str
    status: int = 0


class Stats:
    """Counts of API requests, refused ones included."""

    def __init__(self) -> None:
        self.requests = 0
        self.writes = 0
        self.max_per_second = 0
        self._by_method: Counter[str] = Counter()
        self._log: deque[Entry] = deque(maxlen=LOG_SIZE)
        self._recent: deque[float] = deque()

    def arrive(self, method: str, path: str) -> Entry:
        """Count a request; its status is filled in when it is answered."""
        now = time.monotonic()
        _forget(self._recent, now - 1.0)
        self._recent.append(now)
        self.max_per_second = max(self.max_per_second, len(self._recent))
        self.requests += 1
        self.writes += method in WRITES and path.startswith(API_PREFIX)
        self._by_method[method] += 1
        entry = Entry(self.requests, round(time.time(), 3), method, path)
        self._log.append(entry)
        return entry

    def report(self) -> Json:
        """Describe everything counted so far."""
        seconds = Counter(int(entry.at) for entry in self._log)
        return {
            "requests": self.requests,
            "writes": self.writes,
            "max_per_second": self.max_per_second,
            "by_method": dict(self._by_method),
            "per_second": {str(second): count for second, count in sorted(seconds.items())},
            "log": [asdict(entry) for entry in self._log],
        }
