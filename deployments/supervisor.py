"""What ``up`` and ``worker`` share: children that are kept running until somebody asks for the end.

It imports no Prefect: it starts it in processes of their own.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from filelock import Timeout

from deployments.child import Child
from deployments.cli.output import say
from deployments.environment import prepare_environment, stop_file, up_lock
from deployments.place import project_root
from tasks.errors import ConfigurationError
from tasks.settings import Settings

__all__ = [
    "BESIDE_STOP_SECONDS",
    "POOL",
    "PULSE",
    "PYTHON",
    "RUNS_AT_ONCE",
    "WORKER_STOP_SECONDS",
    "Supervisor",
    "only_one",
]

POOL = "ident-amocrm"
#: Runs that a worker executes at once; each is a process of some 250 MB.
RUNS_AT_ONCE = 5
#: A worker told to end kills the runs it executes; the ledger takes them up again.
WORKER_STOP_SECONDS = 20.0
BESIDE_STOP_SECONDS = 5.0
PULSE = 0.3
#: Tells the runs of a worker which Python of its machine has this project.
PYTHON = "IDENT_AMOCRM_PYTHON"


@contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Let neither ``up`` nor ``worker`` run a second time for a home.

    Raises:
        ConfigurationError: When one runs already.
    """
    settings.prepare_home()
    lock = up_lock(settings)
    try:
        # A command may hold it for a moment, to see whether up runs.
        lock.acquire(timeout=2)
    except Timeout:
        raise ConfigurationError(
            problem=f"ident-amocrm up (or worker) runs already for {settings.home}.",
            remedy="Use it, or stop it first; another IDENT_AMOCRM_HOME may run beside it.",
            code="already_up",
        ) from None
    try:
        # One that came too late for the last up is not meant for this one.
        stop_file(settings).unlink(missing_ok=True)
        yield
    finally:
        stop_file(settings).unlink(missing_ok=True)
        lock.release()


class Supervisor:
    """Starts children, starts again what died, ends them in order.

    Args:
        settings: The settings of the installation.
        stop: Ends it when set; SIGINT, SIGTERM and the file ``up.stop`` do too.
    """

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self.settings = settings
        self.root = project_root()
        self.logs = settings.home / "logs"
        self.common = _environment(settings, self.root)
        self._stop = stop
        self._stop_file = stop_file(settings)
        self._signals = 0

    @property
    def stopping(self) -> bool:
        """Whether somebody asked for the end."""
        return self._signals > 0 or self._stop.is_set() or self._stop_file.exists()

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as the wish to stop; a second one kills at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        caught = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._on_signal) for number in caught]
        try:
            yield
        finally:
            for number, handler in zip(caught, before, strict=True):
                signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        # No Event here: the main thread may be inside its lock.
        self._signals += 1

    def pause(self, seconds: float = PULSE) -> None:
        """Wait, but not beyond the wish to stop."""
        self._stop.wait(seconds)

    def child(
        self, name: str, module: str, arguments: tuple[str, ...], log: str, around: Mapping[str, str]
    ) -> Child:
        """Describe a child that logs into the home folder."""
        return Child(name, module, arguments, self.root, self.logs / log, around)

    def worker_child(self, around: Mapping[str, str], limit: int, *options: str) -> Child:
        """Describe Prefect's worker of this machine."""
        pool = ("worker", "start", "--pool", POOL, "--type", "process", "--limit", str(limit), *options)
        return self.child("worker", "prefect", pool, "worker.log", around)

    def host_children(self, around: Mapping[str, str]) -> list[Child]:
        """Describe the host of runs, where there can be one."""
        if sys.platform != "linux":
            return []
        host = self.child(
            "host of runs", "deployments.run_host", (str(self.settings.home.resolve()),), "runs.log", around
        )
        host.attached = False
        return [host]

    def revive(self, child: Child, start: Callable[[], None]) -> None:
        """Start a child again that died, at growing intervals."""
        if child.alive or self.stopping:
            return
        if child.process is not None:
            code = child.exit_code
            pause = child.schedule_restart()
            say(f"The {child.name} ended ({code}); it is started again in {pause:.0f} s. See {child.log}")
        if time.monotonic() >= child.not_before:
            start()

    def finish(self, child: Child) -> int | None:
        """Run a child to its end, and return its exit code; ``None`` when everything is to end."""
        child.start()
        while child.alive and not self.stopping:
            self.pause(PULSE / 3)
        code = child.exit_code
        child.stop(0)
        return code

    def end(self, children: Iterable[tuple[Child, float]]) -> None:
        """End children, each within its seconds."""
        for child, seconds in children:
            child.stop(seconds, hurry=lambda: self._signals > 1)


def _environment(settings: Settings, root: Path) -> dict[str, str]:
    """Return what every child finds in its environment."""
    result = dict(os.environ)
    prepare_environment(settings, result)
    result["IDENT_AMOCRM_HOME"] = str(settings.home.resolve())
    if settings.state_url:
        result["IDENT_AMOCRM_STATE_URL"] = settings.state_url
    # From a checkout the packages are found by their folder only.
    result["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), result.get("PYTHONPATH"))))
    result[PYTHON] = sys.executable
    result["PYTHONUNBUFFERED"] = "1"
    result["PYTHONUTF8"] = "1"
    # The command line silences Prefect's console for itself; here it is the log.
    result["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "INFO"
    return result
