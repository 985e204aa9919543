"""The supervisor behind ``ident-amocrm up``: Prefect's server, a worker, the deployments, the pages.

It imports no Prefect: it starts it in processes of their own, starts again what died, and applies the
deployments anew whenever a clinic was connected, disconnected, started or stopped.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

from filelock import Timeout
from sqlalchemy.exc import SQLAlchemyError

import flows
from deployments.child import Child, cut_log
from deployments.cli.output import say
from deployments.doors import free_port, is_loopback, refuse_open_door, within_reach
from deployments.environment import answers, prepare_environment, stop_file, up_file, up_lock
from deployments.watch import Watch, post_alert
from tasks.errors import ConfigurationError, TransientError
from tasks.ledger.store import Ledger
from tasks.settings import Settings

__all__ = ["run_up"]

POOL = "ident-amocrm"
#: Runs that the worker executes at once; each is a process of some 250 MB.
RUNS_AT_ONCE = "5"
SERVER_READY_SECONDS = 180.0
#: A worker told to end kills the runs it executes; the ledger takes them up again.
WORKER_STOP_SECONDS = 20.0
SERVER_STOP_SECONDS = 15.0
BESIDE_STOP_SECONDS = 5.0
LOOK_SECONDS = 5.0
APPLY_AGAIN_SECONDS = 60.0
PULSE = 0.3

#: Name, uid, whether started, and whom to tell, of each clinic.
Wanted = list[tuple[str, str, bool, str]]


def run_up(
    settings: Settings,
    *,
    port: int = 4200,
    host: str = "127.0.0.1",
    ready: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> int:
    """Run Prefect's server and worker until told to stop: by ``stop``, a signal, or the file ``up.stop``.

    Args:
        settings: The settings of the installation.
        port: The port of the UI; the next free one is taken where it is in use.
        host: The address to listen on.
        ready: Called once with the UI's address, when everything runs.
        stop: Ends it when set; SIGINT and SIGTERM do too.

    Returns:
        The exit code.

    Raises:
        ConfigurationError: When it runs already for this home, or would be open to the network.
        TransientError: When the server does not come up.
    """
    refuse_open_door(host)
    _refuse_other_server()
    settings.prepare_home()
    lock = up_lock(settings)
    try:
        # A command may hold it for a moment, to see whether up runs.
        lock.acquire(timeout=2)
    except Timeout:
        raise ConfigurationError(
            problem=f"ident-amocrm up runs already for {settings.home}.",
            remedy="Use it, or stop it first; another IDENT_AMOCRM_HOME may run beside it.",
            code="already_up",
        ) from None
    try:
        # One that came too late for the last up is not meant for this one.
        stop_file(settings).unlink(missing_ok=True)
        supervisor = _Supervisor(settings, host, free_port(host, port), stop or threading.Event())
        with supervisor.signals():
            supervisor.run(ready)
    finally:
        stop_file(settings).unlink(missing_ok=True)
        lock.release()
    return 0


class _Supervisor:
    def __init__(self, settings: Settings, host: str, port: int, stop: threading.Event) -> None:
        self.settings = settings
        self._stop = stop
        self._stop_file = stop_file(settings)
        self._signals = 0
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self.api = f"http://{within_reach(host)}:{port}/api"
        root = Path(str(flows.__file__)).resolve().parent.parent
        common = _environment(settings, root)
        self.pages_url = ""
        pages_port = free_port(host, settings.data_docs_port, taken=port) if settings.data_docs_port else 0
        if pages_port:
            # The runs link to their pages.
            address = f"http://{within_reach(host)}:{pages_port}"
            self.pages_url = common.setdefault("IDENT_AMOCRM_DATA_DOCS_URL", address)
        served = {**common, "PREFECT_SERVER_API_HOST": host, "PREFECT_SERVER_API_PORT": str(port)}
        self._loopback = is_loopback(host)
        served.setdefault("PREFECT_SERVER_UI_API_URL", self.api if self._loopback else "/api")
        client = {**common, "PREFECT_API_URL": self.api}
        logs = settings.home / "logs"
        start = ("server", "start", "--host", host, "--port", str(port))
        self.server = Child("server", "deployments.server", start, root, logs / "server.log", served)
        pool = ("worker", "start", "--pool", POOL, "--type", "process", "--limit", RUNS_AT_ONCE)
        self.worker = Child("worker", "prefect", pool, root, logs / "worker.log", client)
        self.setup = Child("setup", "deployments.apply", (), root, logs / "setup.log", client)
        #: What runs beside the server and the worker, and may be away for a while.
        self.beside: list[Child] = []
        if pages_port:
            listen = ("--host", host, "--port", str(pages_port))
            self.beside.append(
                Child("pages", "deployments.data_docs", listen, root, logs / "pages.log", common)
            )
        if sys.platform == "linux":
            home = (str(settings.home.resolve()),)
            log = logs / "runs.log"
            self.beside.append(
                Child("host of runs", "deployments.run_host", home, root, log, client, attached=False)
            )
        self._ledger = Ledger(settings.ledger_url)
        self._watch = Watch(self._ledger, partial(post_alert, settings))
        self._applied: Wanted | None = None
        self._again_at: float | None = 0.0
        self._look_after = 0.0

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

    def run(self, ready: Callable[[str], None] | None) -> None:
        """Run until told to stop."""
        try:
            self._ledger.open()
            self._start_server()
            if not self.stopping:
                place = {"url": self.url, "api": self.api, "pages": self.pages_url, "pid": os.getpid()}
                _write(up_file(self.settings), place)
                self._follow_ledger()
            if not self.stopping:
                for child in self.beside:
                    child.start()
                self._start_worker()
                if self.pages_url:
                    say(f"Pages of data quality: {self.pages_url}")
                if ready is not None:
                    ready(self.url)
            while not self.stopping:
                self._stop.wait(PULSE)
                for child in (self.server, self.worker, *self.beside):
                    self._revive(child)
                self._follow_ledger()
        finally:
            up_file(self.settings).unlink(missing_ok=True)
            for child, seconds in (
                (self.setup, 0.0),
                (self.worker, WORKER_STOP_SECONDS),
                *((child, BESIDE_STOP_SECONDS) for child in self.beside),
                (self.server, SERVER_STOP_SECONDS),
            ):
                child.stop(seconds, hurry=lambda: self._signals > 1)
            self._ledger.close()

    def _start_server(self) -> None:
        self.server.start()
        deadline = time.monotonic() + SERVER_READY_SECONDS
        while not self.stopping and not answers(self.api):
            if not self.server.alive or time.monotonic() > deadline:
                raise TransientError(
                    problem="Prefect's server did not start.",
                    remedy=f"See the end of {self.server.log}, then run: ident-amocrm up",
                    code="server_not_started",
                )
            self._stop.wait(PULSE)

    def _revive(self, child: Child) -> None:
        """Start a child again that died, at growing intervals."""
        if child.alive or self.stopping:
            return
        if child.process is not None:
            code = child.exit_code
            pause = child.schedule_restart()
            say(f"The {child.name} ended ({code}); it is started again in {pause:.0f} s. See {child.log}")
        # A worker that finds no server ends at once.
        if time.monotonic() < child.not_before:
            return
        if child is not self.worker:
            child.start()
        elif answers(self.api):
            self._start_worker()

    def _start_worker(self) -> None:
        """Start the worker; no run that an earlier one was executing is alive by then."""
        self._apply("--end-dead-runs", *([] if self._loopback else ["--of-this-machine"]))
        if not self.stopping:
            self.worker.start()

    def _follow_ledger(self) -> None:
        """Apply the deployments when the ledger says something new, or the last time failed."""
        now = time.monotonic()
        if now < self._look_after:
            return
        self._look_after = now + LOOK_SECONDS
        for child in (self.server, self.worker, *self.beside):
            cut_log(child.log)
        serves = answers(self.api)
        if self.worker.started_at:
            self._watch.look("server", well=serves)
            self._watch.look("worker", well=self.worker.steady)
        wanted = self._wanted()
        changed = wanted is not None and wanted != self._applied
        again = self._again_at is not None and now >= self._again_at
        if (changed or again) and serves:
            self._applied = wanted
            self._again_at = None if self._apply() else time.monotonic() + APPLY_AGAIN_SECONDS

    def _wanted(self) -> Wanted | None:
        from tasks.launch import NOTIFY  # noqa: PLC0415 - not needed to refuse a second up
        from tasks.transfer import is_started  # noqa: PLC0415

        try:
            return [
                (
                    record.name,
                    record.clinic_uid,
                    is_started(self._ledger, record),
                    str((self._ledger.setting(f"clinic:{record.clinic_uid}", NOTIFY) or {}).get("block", "")),
                )
                for record in self._ledger.connections()
            ]
        except SQLAlchemyError:
            # Locked for a moment, or its server is away: look again later.
            return None

    def _apply(self, *arguments: str) -> bool:
        self.setup.arguments = arguments
        self.setup.start()
        while self.setup.alive and not self.stopping:
            self._stop.wait(PULSE / 3)
        code = self.setup.exit_code
        self.setup.stop(0)
        if code != 0 and not self.stopping:
            say(
                f"Prefect was not brought in line completely (see {self.setup.log}); the next attempt is in "
                f"{APPLY_AGAIN_SECONDS:.0f} s."
            )
        return code == 0


def _environment(settings: Settings, root: Path) -> dict[str, str]:
    """Return what every child finds in its environment."""
    result = dict(os.environ)
    prepare_environment(settings, result)
    result["IDENT_AMOCRM_HOME"] = str(settings.home.resolve())
    if settings.state_url:
        result["IDENT_AMOCRM_STATE_URL"] = settings.state_url
    # From a checkout the packages are found by their folder only.
    result["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), result.get("PYTHONPATH"))))
    result["PYTHONUNBUFFERED"] = "1"
    result["PYTHONUTF8"] = "1"
    # The command line silences Prefect's console for itself; here it is the log.
    result["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "INFO"
    return result


def _refuse_other_server() -> None:
    """Two servers with two stores would confuse every later command."""
    if address := os.environ.get("PREFECT_API_URL"):
        raise ConfigurationError(
            problem=f"PREFECT_API_URL names another Prefect server ({address}); up brings its own.",
            remedy=(
                "Unset PREFECT_API_URL; or, to stay with that server, run: python -m deployments.apply, "
                f"then: prefect worker start --pool {POOL} --type process"
            ),
            code="other_server",
        )


def _write(path: Path, data: dict[str, object]) -> None:
    """Write a file that is never seen half written."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(data), encoding="utf-8")
    draft.replace(path)
