"""``ident-amocrm worker``: a worker on another machine than ``up``, against that one's Prefect and ledger.

Nothing of the machine itself may matter: which Python it has, where the project lies in it, what its clock
says. What has to be the same everywhere is looked at before the first run is taken.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import closing

from deployments.child import cut_log
from deployments.cli.output import say
from deployments.environment import answers
from deployments.supervisor import (
    BESIDE_STOP_SECONDS,
    RUNS_AT_ONCE,
    WORKER_STOP_SECONDS,
    Supervisor,
    only_one,
)
from tasks.errors import ConfigurationError
from tasks.ledger.hashing import key_check
from tasks.ledger.store import Ledger
from tasks.settings import Settings

__all__ = ["API", "KEY_FILE", "refuse_stranger", "run_worker"]

API = "PREFECT_API_URL"
KEY_FILE = "installation.key"


def run_worker(
    settings: Settings,
    *,
    limit: int = RUNS_AT_ONCE,
    health_check: bool = False,
    stop: threading.Event | None = None,
) -> int:
    """Run a worker until told to stop: by ``stop``, a signal, or the file ``up.stop``.

    Args:
        settings: The settings of this machine.
        limit: Runs at once.
        health_check: Serve Prefect's own health check of the worker (``PREFECT_WORKER_WEBSERVER_PORT``).
        stop: Ends it when set.

    Returns:
        The exit code.

    Raises:
        ConfigurationError: When this machine does not belong to the installation, or a worker runs here.
    """
    api = os.environ.get(API, "")
    with closing(Ledger(settings.ledger_url)) as ledger:
        refuse_stranger(settings, ledger, api)
    with only_one(settings):
        options = ("--with-healthcheck",) if health_check else ()
        supervisor = _WorkerSupervisor(settings, api, limit, options, stop or threading.Event())
        with supervisor.signals():
            supervisor.run()
    return 0


def refuse_stranger(settings: Settings, ledger: Ledger, api: str) -> None:
    """Refuse a machine that would work on another ledger, for another Prefect, or under another key.

    Raises:
        ConfigurationError: With what is missing.
    """
    if not api:
        raise ConfigurationError(
            problem="A worker needs the address of the Prefect server that it works for.",
            remedy=f"Set {API}=http://HOST:4200/api (and PREFECT_API_AUTH_STRING); docs/how-to/scale.md",
            code="no_prefect_server",
        )
    if ledger.database.is_sqlite:
        raise ConfigurationError(
            problem="The ledger is a file, which belongs to one machine.",
            remedy="Set IDENT_AMOCRM_STATE_URL=postgresql+psycopg://… to that of up; docs/how-to/scale.md",
            code="ledger_of_one_machine",
        )
    path = settings.home / KEY_FILE
    if not path.exists():
        raise ConfigurationError(
            problem=f"{path} is missing: with a key of its own this machine would find every card changed.",
            remedy=f"Copy {KEY_FILE} of the machine that runs up into it; docs/how-to/scale.md",
            code="no_installation_key",
        )
    from tasks.ledger.backup import BASELINE  # noqa: PLC0415 - loads Alembic

    ledger.open()
    settled = [ledger.setting(f"clinic:{one.clinic_uid}", BASELINE) or {} for one in ledger.connections()]
    if {one["key"] for one in settled if one.get("key")} - {key_check(settings.installation_key())}:
        raise ConfigurationError(
            problem=f"{path} is not the key with which the ledger's hashes were made.",
            remedy=f"Copy {KEY_FILE} of the machine that runs up into it; docs/how-to/scale.md",
            code="another_installation_key",
        )


class _WorkerSupervisor(Supervisor):
    def __init__(
        self, settings: Settings, api: str, limit: int, options: tuple[str, ...], stop: threading.Event
    ) -> None:
        super().__init__(settings, stop)
        self.api = api
        named = ("--name", socket.gethostname(), *options)
        self.worker = self.worker_child(self.common, limit, *named)
        self.beside = self.host_children(self.common)
        dead = ("--end-dead-runs", "--of-this-machine")
        self.setup = self.child("setup", "deployments.apply", dead, "setup.log", self.common)
        self._is_away = False

    def run(self) -> None:
        """Run until told to stop."""
        try:
            for child in self.beside:
                child.start()
            say(f"Working for {self.api}; logs are in {self.logs}. Stop with Ctrl-C (or SIGTERM).")
            while not self.stopping:
                self.revive(self.worker, self._start_worker)
                for child in self.beside:
                    self.revive(child, child.start)
                for child in (self.worker, *self.beside):
                    cut_log(child.log)
                self.pause()
        finally:
            stops = [(self.setup, 0.0), (self.worker, WORKER_STOP_SECONDS)]
            self.end([*stops, *((child, BESIDE_STOP_SECONDS) for child in self.beside)])

    def _start_worker(self) -> None:
        """Start the worker, once the server answers: one that finds none ends at once."""
        if not answers(self.api):
            if not self._is_away:
                say(f"No Prefect server answers at {self.api} yet; it is waited for.")
            self._is_away = True
            self.pause(2.0)
            return
        self._is_away = False
        self.finish(self.setup)
        if not self.stopping:
            self.worker.start()
