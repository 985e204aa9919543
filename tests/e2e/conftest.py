"""The command line on a clinic in a T-SQL database and a stand-in amoCRM: once for all tests that look at it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deployments.demo import _rescheduled
from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.clinic.generator import ClinicSpec
from deployments.sandbox.clinic.simulate import SimulatedChange, simulate
from deployments.sandbox.proofs import View, Witness
from tests.support import clinic_database
from tests.support.clinic_database import TIMEZONE, ClinicDatabase, clinic_now

ROOT = Path(__file__).parents[2]
CLINIC = "clinic1"
TOKEN = "stand-in-token-e2e"
#: Size and driver of each journey; a real server takes the place of both.
JOURNEYS = ("server",) if clinic_database.SERVER_URL else ("freetds", "microsoft")
SIZES = {"freetds": (1000, 3000), "microsoft": (100, 300), "server": (1000, 3000)}

Run = subprocess.CompletedProcess[str]


def environment(home: Path) -> dict[str, str]:
    """What a command sees: its own home; no Prefect settings, no proxy, no settings of ours."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "IDENT_AMOCRM_")) and "proxy" not in name.lower()
    }
    return kept | {"IDENT_AMOCRM_HOME": str(home), "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


@dataclass
class Installation:
    """One installation: its home, the folder its commands are run in, all they said."""

    home: Path
    folder: Path
    extra: dict[str, str] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    def run(self, *arguments: str) -> Run:
        """Run a command as an operator would."""
        done = subprocess.run(
            [sys.executable, "-m", "deployments.cli.main", *arguments],
            env=environment(self.home) | self.extra,
            cwd=self.folder,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        self.runs.append(done)
        return done

    def ask(self, *arguments: str) -> Any:
        """Run a command that must not fail, and return its JSON."""
        done = self.run(*arguments, "--output", "json")
        assert done.returncode in {0, 2}, done.stderr
        return json.loads(done.stdout)


def installation(folder: Path) -> Installation:
    """Return an installation that has nothing yet."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    return Installation(folder / "home", elsewhere)


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

    def travel(self, folder: Path) -> None:
        """Connect, configure, start, transfer, transfer nothing, and follow an hour of the clinic's work."""
        ask, answers, views = self.installation.ask, self.answers, self.views
        token_file = folder / "token"
        token_file.write_text(f"{TOKEN}\n", encoding="utf-8")
        options = self.clinic.options(folder / "password")
        answers["connect-database"] = ask("connect-database", CLINIC, *options)
        answers["connect-amocrm"] = ask(
            "connect-amocrm", "--base-url", self.crm.url, "--token-file", str(token_file)
        )
        answers["autoconfigure"] = ask("autoconfigure", "--yes")
        answers["start"] = ask("start", CLINIC, "--all-history")
        answers["first"] = ask("sync", CLINIC)
        views["first"] = self.witness.look()
        answers["second"] = ask("sync", CLINIC)
        views["second"] = self.witness.look()
        self.changes = simulate(self.clinic.store, "hour", clinic_now(), seed=1)
        self.witness.rescheduled = _rescheduled(views["second"], self.witness)
        answers["hour"] = ask("sync", CLINIC)
        views["hour"] = self.witness.look()
        answers["rejects"] = ask("rejects", "list")
        answers["status"] = ask("status")


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
        _database(kind)(spec) as clinic,
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
    ):
        witness = Witness(
            rows=clinic.rows,
            base_url=crm.url,
            token=TOKEN,
            writes=lambda: crm.admin("stats")["writes"],
            timezone=TIMEZONE,
        )
        found = Journey(kind, clinic, crm, installation(folder), witness)
        found.travel(folder)
        yield found
