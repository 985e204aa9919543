"""The command line on a clinic in a T-SQL database and a stand-in amoCRM: once for all tests that look at it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deployments.child import Child
from deployments.demo import _rescheduled
from deployments.environment import answers, prepare_environment
from deployments.sandbox import compare
from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.clinic.generator import ClinicSpec
from deployments.sandbox.clinic.simulate import SimulatedChange, simulate
from deployments.sandbox.proofs import View, Witness
from tasks.settings import Settings
from tests.support import clinic_database
from tests.support.clinic_database import TIMEZONE, ClinicDatabase, clinic_now
from tests.support.migrated import begin_migrated
from tests.support.ports import free_port
from tests.support.warm_commands import run_warm

ROOT = Path(__file__).parents[2]
CLINIC = "clinic1"
TOKEN = "stand-in-token-e2e"
#: Size and driver of each journey; a real server takes the place of both.
JOURNEYS = ("server",) if clinic_database.SERVER_URL else ("freetds", "microsoft")
of_the_last_journey = pytest.mark.parametrize("journey", [JOURNEYS[-1]], indirect=True)
SIZES = {"freetds": (1000, 3000), "microsoft": (100, 300), "server": (1000, 3000)}
#: Prefect's first start migrates its database.
START_SECONDS, STOP_SECONDS = 120, 30

Run = subprocess.CompletedProcess[str]


def environment(home: Path) -> dict[str, str]:
    """What a command sees: its own home; no Prefect settings, no proxy, no settings of ours."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "IDENT_AMOCRM_")) and "proxy" not in name.lower()
    }
    return kept | {
        "IDENT_AMOCRM_HOME": str(home),
        "HOME": str(home.parent / "user"),
        "TMPDIR": str(home.parent / "temporary"),
        "PYTHONPATH": str(ROOT),
        "IDENT_AMOCRM_REQUESTS_PER_SECOND": "7",
    }


@dataclass
class Installation:
    """One installation: its home, the folder its commands are run in, all they said.

    ``is_cold`` starts every command as an operator does, which takes some seconds more.
    """

    home: Path
    folder: Path
    is_cold: bool = False
    extra: dict[str, str] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    def run(self, *arguments: str) -> Run:
        """Run a command as an operator would."""
        around = environment(self.home) | self.extra
        if not self.is_cold:
            done = run_warm(arguments, around, self.folder)
        else:
            done = subprocess.run(
                [sys.executable, "-m", "deployments.cli.main", *arguments],
                env=around,
                cwd=self.folder,
                capture_output=True,
                encoding="utf-8",
                check=False,
            )
        self.runs.append(done)
        return done

    @contextmanager
    def server(self) -> Iterator[None]:
        """Serve Prefect in the meantime: a command that brings a server of its own needs ten seconds more."""
        port = free_port()
        api = f"http://127.0.0.1:{port}/api"
        begin_migrated(self.home)
        around = environment(self.home)
        prepare_environment(Settings(home=self.home), around)
        start = ("server", "start", "--host", "127.0.0.1", "--port", str(port))
        log = self.folder.parent / "server.log"
        child = Child("server", "prefect", start, self.folder, log, around)
        child.start()
        try:
            deadline = time.monotonic() + START_SECONDS
            while not answers(api):
                assert child.alive, log.read_text(encoding="utf-8")
                assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
                time.sleep(0.1)
            self.extra["PREFECT_API_URL"] = api
            yield
        finally:
            self.extra.pop("PREFECT_API_URL", None)
            child.stop(STOP_SECONDS)

    def prepare(self, *commands: tuple[str, ...]) -> None:
        """Run commands that are not looked at in one process: most of a command's time is its start."""
        together = (
            "import json, sys; from deployments.cli.main import app\n"
            "for one in json.loads(sys.argv[1]): assert app(one, standalone_mode=False) in (None, 0, 2), one"
        )
        subprocess.run(
            [sys.executable, "-c", together, json.dumps(commands)],
            env=environment(self.home) | self.extra,
            cwd=self.folder,
            check=True,
            capture_output=True,
        )

    def ask(self, *arguments: str) -> Any:
        """Run a command that must not fail, and return its JSON."""
        done = self.run(*arguments, "--output", "json")
        assert done.returncode in {0, 2}, done.stderr
        return json.loads(done.stdout)


def installation(folder: Path, *, is_cold: bool = False) -> Installation:
    """Return an installation that has nothing yet."""
    for name in ("elsewhere", "user", "temporary"):
        (folder / name).mkdir()
    return Installation(folder / "home", folder / "elsewhere", is_cold)


@dataclass
class Journey:
    """What the whole road showed, step by step; JSON answers by step."""

    kind: str
    clinic: ClinicDatabase
    crm: StandIn
    installation: Installation
    witness: Witness
    answers: dict[str, Any] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    changes: list[SimulatedChange] = field(default_factory=list)
    unconfigured: Run | None = None
    trouble: Run | None = None
    codes: dict[str, int] = field(default_factory=dict)
    faults_left: int = 0

    def ask(self, name: str, *arguments: str) -> None:
        """Run a command and keep its JSON and its exit code under a name."""
        self.answers[name] = self.installation.ask(*arguments)
        self.codes[name] = self.installation.runs[-1].returncode

    @contextmanager
    def travel(self, folder: Path) -> Iterator[None]:
        """Connect, configure, start, transfer, transfer nothing, and follow an hour of the clinic's work.

        On the longest journey the first command finds no Prefect server and brings up one of its own. All
        others find one; it stays up for the tests. There everything up to the first transfer is started as
        an operator starts it.
        """
        ask, views = self.ask, self.views
        token_file = folder / "token"
        token_file.write_text(f"{TOKEN}\n", encoding="utf-8")
        connect = ("connect-amocrm", "--base-url", self.crm.url, "--token-file", str(token_file))
        alone = self.kind == JOURNEYS[0]
        if alone:
            ask("connect-amocrm", *connect)
        with self.installation.server():
            if not alone:
                ask("connect-amocrm", *connect)
            options = self.clinic.options(folder / "password")
            ask("connect-database", "connect-database", CLINIC, *options)
            if self.kind == JOURNEYS[-1]:
                self.unconfigured = self.installation.run("sync", CLINIC)
            ask("autoconfigure", "autoconfigure", "--yes", "--special", "all")
            ask("start", "start", CLINIC, "--all-history")
            ask("first", "sync", CLINIC)
            views["first"] = self.witness.look()
            self.installation.is_cold = False
            ask("second", "sync", CLINIC)
            views["second"] = self.witness.look()
            self.changes = simulate(self.clinic.store, "hour", clinic_now(), seed=1)
            self.witness.rescheduled = _rescheduled(views["second"], self.witness)
            ask("hour", "sync", CLINIC)
            views["hour"] = self.witness.look()
            ask("rejects", "rejects", "list")
            ask("status", "status")
            yield

    def go_through_trouble(self) -> None:
        """Another hour, in which amoCRM loses an answer, refuses a batch and hides behind a page; once only."""
        if self.trouble is not None:
            return
        before = self.witness.look()
        simulate(self.clinic.store, "hour", clinic_now(), seed=2)
        for fault in (
            {"mode": "truncate", "method": "POST", "path_prefix": "/api/v4/contacts"},
            {"mode": "status", "status": 400, "method": "PATCH", "path_prefix": "/api/v4/leads"},
            {"mode": "html", "method": "PATCH", "path_prefix": "/api/v4/contacts"},
        ):
            self.crm.admin("faults", fault)
        self.trouble = self.installation.run("--verbose", "sync", CLINIC, "--output", "json")
        self.faults_left = len(self.crm.admin("faults"))
        self.crm.admin("faults", method="DELETE")
        self.witness.rescheduled |= _rescheduled(before, self.witness)
        self.ask("after trouble", "sync", CLINIC)
        self.views["after trouble"] = self.witness.look()


def _database(kind: str) -> Callable[[ClinicSpec], Any]:
    if kind == "server":
        return clinic_database.opened_on_a_real_server
    found = {"freetds": clinic_database.free_tds, "microsoft": clinic_database.microsoft}[kind]()
    if found is None:
        pytest.skip(f"no {kind} driver here: make odbc")
    return partial(clinic_database.opened, driver=found)


@pytest.fixture(scope="session", params=JOURNEYS)
def journey(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    pytest.importorskip("pyodbc", reason="no libodbc here: make odbc", exc_type=ImportError)
    kind = str(request.param)
    folder = tmp_path_factory.mktemp(kind)
    patients, appointments = SIZES[kind]
    spec = ClinicSpec(today=clinic_now().date(), patients=patients, appointments=appointments)
    with (
        pytest.MonkeyPatch.context() as patch,
        _database(kind)(spec) as clinic,
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
    ):
        patch.setattr(compare, "PAUSE", 0)  # the stand-in has no limit here
        witness = Witness(
            rows=clinic.rows,
            base_url=crm.url,
            token=TOKEN,
            writes=lambda: crm.admin("stats")["writes"],
            timezone=TIMEZONE,
        )
        found = Journey(kind, clinic, crm, installation(folder, is_cold=kind == JOURNEYS[0]), witness)
        with found.travel(folder):
            yield found
