"""The supervisor behind ``ident-amocrm up``: Prefect's server, a worker, the deployments, the pages.

It imports no Prefect: it starts it in processes of their own, starts again what died, and applies the
deployments anew whenever a clinic was connected, disconnected, started or stopped.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from deployments.child import Child, cut_log
from deployments.cli.output import say
from deployments.doors import free_port, is_loopback, refuse_open_door, within_reach
from deployments.environment import answers, up_file
from deployments.supervisor import (
    BESIDE_STOP_SECONDS,
    RUNS_AT_ONCE,
    WORKER_STOP_SECONDS,
    Supervisor,
    only_one,
)
from deployments.watch import Watch, post_alert
from tasks.errors import ConfigurationError, TransientError
from tasks.ledger.store import Ledger
from tasks.settings import Settings

__all__ = ["run_up"]

SERVER_READY_SECONDS = 180.0
SERVER_STOP_SECONDS = 15.0
LOOK_SECONDS = 5.0
APPLY_AGAIN_SECONDS = 60.0

#: Name, uid, whether started, and whom to tell, of each clinic.
Wanted = list[tuple[str, str, bool, str]]


def run_up(
    settings: Settings,
    *,
    port: int = 4200,
    host: str = "127.0.0.1",
    worker: bool = True,
    ready: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> int:
    """Run Prefect's server and worker until told to stop: by ``stop``, a signal, or the file ``up.stop``.

    Args:
        settings: The settings of the installation.
        port: The port of the UI; the next free one is taken where it is in use.
        host: The address to listen on.
        worker: Run a worker beside the server; without it, other machines have them.
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
    with only_one(settings):
        supervisor = _Supervisor(
            settings, host, free_port(host, port), stop or threading.Event(), works=worker
        )
        with supervisor.signals():
            supervisor.run(ready)
    return 0


class _Supervisor(Supervisor):
    def __init__(
        self, settings: Settings, host: str, port: int, stop: threading.Event, *, works: bool = True
    ) -> None:
        super().__init__(settings, stop)
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self.api = f"http://{within_reach(host)}:{port}/api"
        self.pages_url = ""
        pages_port = free_port(host, settings.data_docs_port, taken=port) if settings.data_docs_port else 0
        if pages_port:
            # The runs link to their pages.
            address = f"http://{within_reach(host)}:{pages_port}"
            self.pages_url = self.common.setdefault("IDENT_AMOCRM_DATA_DOCS_URL", address)
        served = {**self.common, "PREFECT_SERVER_API_HOST": host, "PREFECT_SERVER_API_PORT": str(port)}
        self._loopback = is_loopback(host)
        served.setdefault("PREFECT_SERVER_UI_API_URL", self.api if self._loopback else "/api")
        client = {**self.common, "PREFECT_API_URL": self.api}
        start = ("server", "start", "--host", host, "--port", str(port))
        self.server = self.child("server", "deployments.server", start, "server.log", served)
        self.worker = self.worker_child(client, RUNS_AT_ONCE)
        self._works = works
        self.setup = self.child("setup", "deployments.apply", (), "setup.log", client)
        #: What runs beside the server and the worker, and may be away for a while.
        self.beside: list[Child] = []
        if pages_port:
            listen = ("--host", host, "--port", str(pages_port))
            self.beside.append(self.child("pages", "deployments.data_docs", listen, "pages.log", self.common))
        if works:
            self.beside += self.host_children(client)
        self._ledger = Ledger(settings.ledger_url)
        self._watch = Watch(self._ledger, partial(post_alert, settings))
        self._applied: Wanted | None = None
        self._again_at: float | None = 0.0
        self._look_after = 0.0

    def run(self, ready: Callable[[str], None] | None) -> None:
        """Run until told to stop."""
        try:
            self._open_ledger()
            self._start_server()
            if not self.stopping:
                place = {"url": self.url, "api": self.api, "pages": self.pages_url, "pid": os.getpid()}
                _write(up_file(self.settings), place)
                self._follow_ledger()
            if not self.stopping:
                for child in self.beside:
                    child.start()
                if self._works:
                    self._start_worker()
                if self.pages_url:
                    say(f"Pages of data quality: {self.pages_url}")
                if ready is not None:
                    ready(self.url)
            while not self.stopping:
                self.pause()
                self._revive_all()
                self._follow_ledger()
        finally:
            up_file(self.settings).unlink(missing_ok=True)
            self.end(
                (
                    (self.setup, 0.0),
                    (self.worker, WORKER_STOP_SECONDS),
                    *((child, BESIDE_STOP_SECONDS) for child in self.beside),
                    (self.server, SERVER_STOP_SECONDS),
                )
            )
            self._ledger.close()

    def _open_ledger(self) -> None:
        self._ledger.open()
        if not self._ledger.database.is_sqlite:
            self.settings.installation_key()  # the workers of other machines get a copy of its file

    def _revive_all(self) -> None:
        for child in (self.server, *self.beside):
            self.revive(child, child.start)
        if self._works:
            self.revive(self.worker, self._start_worker_again)

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
            self.pause()

    def _start_worker_again(self) -> None:
        # A worker that finds no server ends at once.
        if answers(self.api):
            self._start_worker()

    def _start_worker(self) -> None:
        """Start the worker; no run that an earlier one was executing is alive by then."""
        alone = self._loopback and self._ledger.database.is_sqlite
        self._apply("--end-dead-runs", *([] if alone else ["--of-this-machine"]))
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
        if self.worker.started_at or not self._works:
            self._watch.look("server", well=serves)
        if self.worker.started_at:
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
        code = self.finish(self.setup)
        if code != 0 and not self.stopping:
            say(
                f"Prefect was not brought in line completely (see {self.setup.log}); the next attempt is in "
                f"{APPLY_AGAIN_SECONDS:.0f} s."
            )
        return code == 0


def _refuse_other_server() -> None:
    """Two servers with two stores would confuse every later command."""
    if address := os.environ.get("PREFECT_API_URL"):
        raise ConfigurationError(
            problem=f"PREFECT_API_URL names another Prefect server ({address}); up brings its own.",
            remedy=(
                "Unset PREFECT_API_URL; or, to work for that server, run: ident-amocrm worker. For a server "
                "that is not up's, first: python -m deployments.apply"
            ),
            code="other_server",
        )


def _write(path: Path, data: dict[str, object]) -> None:
    """Write a file that is never seen half written."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(data), encoding="utf-8")
    draft.replace(path)
