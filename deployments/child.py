"""A process that ``up`` keeps running: its log, its restart, its end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Child", "cut_log"]

LOG_BYTES = 10_000_000
LONGEST_PAUSE = 60.0
#: A child that lived this long did not die of its start.
STEADY_SECONDS = 120.0
#: A child that died before and lives this long counts as running again.
SETTLED_SECONDS = 30.0


@dataclass(slots=True)
class Child:
    """A module run as a child process, in a process group of its own.

    The terminal's Ctrl-C reaches the supervisor only, which ends its children in the right order. They are
    told to stop by closing their standard input, see ``deployments.attached``.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    folder: Path
    log: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    #: Whether ``deployments.attached`` runs the module; one that ends with its standard input needs none.
    attached: bool = True
    failures: int = 0
    not_before: float = 0.0
    started_at: float = field(default=0.0)

    def start(self) -> None:
        """Start the process; what it prints is appended to its log."""
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        cut_log(self.log)
        wrapper = ["deployments.attached"] if self.attached else []
        command = [sys.executable, "-m", *wrapper, self.module, *self.arguments]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
                command,
                cwd=self.folder,
                env=dict(self.environment),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=os.name != "nt",
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        self.started_at = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def steady(self) -> bool:
        """Whether the process runs and is not dying again and again."""
        lived = time.monotonic() - self.started_at
        return self.alive and (not self.failures or lived > SETTLED_SECONDS)

    @property
    def exit_code(self) -> int | None:
        """Its exit code, once it ended."""
        return None if self.process is None else self.process.poll()

    def schedule_restart(self) -> float:
        """Note that the process died, and return how many seconds to wait before it is started again."""
        self.sweep()
        steady = time.monotonic() - self.started_at > STEADY_SECONDS
        self.failures = 1 if steady else self.failures + 1
        pause = min(LONGEST_PAUSE, 2.0 ** (self.failures - 1))
        self.not_before = time.monotonic() + pause
        return pause

    def stop(self, seconds: float, hurry: Callable[[], bool] = lambda: False) -> None:
        """End the process: ask, wait, then kill it with all that it started."""
        if self.process is None:
            return
        self._close_input()
        deadline = time.monotonic() + seconds
        while self.alive and time.monotonic() < deadline and not hurry():
            time.sleep(0.1)
        self.sweep()

    def sweep(self) -> None:
        """Kill what is left of the process and its own children, and forget it."""
        process, self.process = self.process, None
        if process is None:
            return
        if os.name == "nt":
            if process.poll() is None:
                process.kill()
        else:
            # The group outlives its leader: a worker that died leaves the run it was executing.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def _close_input(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()


def cut_log(log: Path) -> None:
    """Move a log that grew too long aside; also while a process, which only appends, writes to it."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > LOG_BYTES:
            shutil.copyfile(log, log.with_suffix(".1.log"))
            os.truncate(log, 0)
