"""A wall clock that a test puts forward for processes it started, while their seconds go on as before.

libfaketime cannot do that for Python 3.11: told to leave the monotonic clock alone, its 0.9.10 lets every
``time.sleep`` fail with EINVAL, and once that is mended Prefect's server spins.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["COMPILER", "WallClock"]

COMPILER = shutil.which("cc")
SECONDS = struct.Struct("q")


@dataclass(frozen=True)
class WallClock:
    """The clock of the processes that start with its environment."""

    file: Path
    library: Path

    @classmethod
    def built(cls, folder: Path) -> WallClock:
        """Compile it into a folder; needs a C compiler."""
        assert COMPILER is not None, "look at COMPILER first"
        clock = cls(folder / "clock", folder / "clock.so")
        clock.file.write_bytes(SECONDS.pack(0))
        source = Path(__file__).with_suffix(".c")
        subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", clock.library, source], check=True)
        return clock

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "WALL_CLOCK": str(self.file)}

    def put_ahead(self, seconds: int) -> None:
        """Let the clock of all its processes be ahead of the machine's."""
        with self.file.open("r+b") as file:  # mapped into them: never cut
            file.write(SECONDS.pack(seconds))
