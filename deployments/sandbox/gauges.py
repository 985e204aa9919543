"""Time and memory of this process. Python's own modules only: a baseline may have its own interpreter."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Memory", "Stopwatch"]


class Memory:
    """The memory that this process takes above what it holds now, where Linux tells."""

    FILES = Path("/proc/self/clear_refs"), Path("/proc/self/status")

    def __init__(self) -> None:
        self._before = self._kilobytes("VmRSS")
        if self._before:
            self.FILES[0].write_text("5", encoding="ascii")  # forgets the highest value so far

    @property
    def peak_mb(self) -> float:
        """Megabytes at the highest, above what was held; 0 where the system does not tell."""
        return max(0, self._kilobytes("VmHWM") - self._before) / 1000

    @property
    def highest_mb(self) -> float:
        """Megabytes at the highest, libraries included."""
        return self._kilobytes("VmHWM") / 1000

    def _kilobytes(self, name: str) -> int:
        if not self.FILES[0].exists():
            return 0
        lines = self.FILES[1].read_text(encoding="ascii").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))


class Stopwatch:
    """Seconds of each stage.

    Attributes:
        processor: Of the processor, all threads together: whatever else the machine does, ratios stay.
        clock: Of the clock.
    """

    def __init__(self) -> None:
        self.processor: dict[str, float] = {}
        self.clock: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add what happens inside to a stage."""
        processor, clock = time.process_time(), time.perf_counter()
        yield
        self.processor[name] = self.processor.get(name, 0.0) + time.process_time() - processor
        self.clock[name] = self.clock.get(name, 0.0) + time.perf_counter() - clock
