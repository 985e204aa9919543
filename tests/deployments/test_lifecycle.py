"""The years of an installation in one story: the previous version in use, this one over it, back, and away.

Everything is done by the commands of a wheel in an empty environment, with an empty home; the demo clinic and the
stand-in amoCRM run beside it. ``previous_version`` says what the previous version is while none was released.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deployments.demo import _rescheduled
from deployments.sandbox import compare
from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.simulate import simulate
from deployments.sandbox.clinic.store import SqliteStore, write_sqlite
from deployments.sandbox.compare import sqlite_rows
from deployments.sandbox.proofs import View, Witness
from tasks.ledger.database import HEAD
from tests.support.clinic_database import TIMEZONE, clinic_now
from tests.support.empty_machine import Machine, built, copied_source, machine_in
from tests.support.ports import free_port
from tests.support.previous_version import VERSION, previous_source
from tests.support.running_up import pids_of

pytestmark = [
    pytest.mark.soak,
    pytest.mark.server,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="plays systemd"),
]

CLINIC, UNIT = "clinic1", "ident-amocrm.service"
TOKEN = "stand-in-token-of-the-years"
SCHEDULE_SECONDS = 180


@dataclass
class Installation:
    """The machine, and both sides of the transfer."""

    machine: Machine
    database: Path
    crm: StandIn
    witness: Witness = field(init=False)

    def __post_init__(self) -> None:
        self.witness = Witness(
            rows=sqlite_rows(self.database),
            base_url=self.crm.url,
            token=TOKEN,
            writes=lambda: self.crm.admin("stats")["writes"],
            timezone=TIMEZONE,
        )

    @property
    def backup(self) -> Path:
        return self.machine.folder / "backup.zip"

    def connect(self) -> None:
        """Connect both sides as the README says, and remember what is to be transferred."""
        ask = self.machine.ask
        (self.machine.folder / "token").write_text(TOKEN)
        ask("connect-database", CLINIC, "--driver", "sqlite", "--database", str(self.database))
        ask("basis", "attest", CLINIC, "--basis", "consent", "--by", "test")
        account = ("--base-url", self.crm.url, "--token-file", str(self.machine.folder / "token"))
        ask("connect-amocrm", *account)
        ask("autoconfigure", "--yes", "--special", "all")
        ask("start", CLINIC, "--all-history")
        ask("stop", CLINIC)  # the schedule's runs would mix with those that are looked at

    def hour(self, seed: int, before: View) -> None:
        """Let an hour pass in the clinic."""
        with closing(SqliteStore(self.database)) as store:
            simulate(store, "hour", clinic_now(), seed=seed)
        self.witness.rescheduled |= _rescheduled(before, self.witness)

    def unchanged(self, before: View) -> None:
        """See that amoCRM is as it was, to the last writing request, and that it is right."""
        now = self.witness.look()
        for proof in (self.witness.untouched(before, now), self.witness.complete(now)):
            assert proof.holds, proof.detail

    def followed(self, before: View) -> View:
        """See that amoCRM got what changed in the clinic and nothing else."""
        now = self.witness.look()
        for proof in (self.witness.exactly(before, now), self.witness.complete(now)):
            assert proof.holds, proof.detail
        assert now.writes > before.writes
        return now

    def ledger(self) -> list[str]:
        """Everything in the ledger, as it stands in its file."""
        with closing(
            sqlite3.connect(f"{(self.machine.home / 'ledger.db').as_uri()}?mode=ro", uri=True)
        ) as link:
            return [*link.iterdump()]


def sent(report: dict[str, Any]) -> int:
    """How many creates, updates, moves and links a run planned."""
    planned = report["planned"]
    return int(sum(planned["contacts"].values()) + sum(planned["leads"].values()) + planned["links"])


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("years")
    database = folder / "clinic.db"
    data = generate(ClinicSpec(today=clinic_now().date(), patients=40, appointments=120))
    write_sqlite(data, database)
    with (
        pytest.MonkeyPatch.context() as patch,
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        machine_in(folder) as machine,
    ):
        patch.setattr(compare, "PAUSE", 0)  # the stand-in has no limit here
        yield Installation(machine, database, crm)


def test_installed_upgraded_and_removed(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = installation.machine.folder
    previous = previous_source(folder / "previous source")
    with capsys.disabled():
        sys.stdout.write(f"\nPrevious version: {previous.told}; schema of its ledger: {previous.revision}\n")
    old = built(previous.source, folder / "old")
    new = built(copied_source(folder / "source"), folder / "new")
    loaded = first_load(installation, old, previous.revision)
    upgrade(installation, new, loaded)
    changed = follow_the_clinic(installation, loaded)
    refuse_the_previous_version(installation, old, previous.revision, changed)
    restore(installation, new, changed)
    remove(installation)
    installation.unchanged(changed)


def first_load(installation: Installation, old: Path, revision: str) -> View:
    """The previous version is installed, runs as a service, transfers a clinic, and is backed up."""
    machine, witness = installation.machine, installation.witness
    machine.install(old)
    assert machine.service("install", "--port", str(free_port()))["active"]
    assert machine.answering()["version"] == VERSION
    installation.connect()
    applied = machine.ask("sync", CLINIC)["applied"]
    assert applied["contacts"]["create"] > 30
    assert applied["leads"]["create"] > 50
    loaded = witness.look()
    complete = witness.complete(loaded)
    assert complete.holds, complete.detail
    assert machine.ask("status")["ledger"] == revision
    machine.ask("backup", str(installation.backup))
    return loaded


def upgrade(installation: Installation, new: Path, loaded: View) -> None:
    """This version comes over it, as the pages on installing say; the service of the old one goes on."""
    machine = installation.machine
    before = machine.ask("status")["clinics"][0]
    machine.systemctl("stop", UNIT)
    machine.install(new)
    machine.systemctl("start", UNIT)
    version = machine.answering()["version"]
    assert version != VERSION
    known = machine.ask("status")
    assert (known["version"], known["ledger"]) == (version, HEAD)
    kept = ("uid", "contacts", "leads", "rejects", "last_success_at")
    assert [known["clinics"][0][name] for name in kept] == [before[name] for name in kept]
    assert sent(machine.ask("sync", CLINIC)) == 0
    assert sent(machine.ask("sync", CLINIC, "--full")) == 0
    installation.unchanged(loaded)
    found = json.loads(machine.run("doctor", "--output", "json").stdout)
    assert [one for one in found["findings"] if one["state"] == "fault"] == []


def follow_the_clinic(installation: Installation, before: View) -> View:
    """What changes arrives: by a command, then by the service's schedule, once it was brought in line."""
    machine = installation.machine
    installation.hour(1, before)
    machine.ask("sync", CLINIC)
    changed = installation.followed(before)
    assert machine.service("install", "--port", str(free_port()))["active"]
    machine.answering()
    installation.hour(2, changed)
    machine.ask("start", CLINIC)
    await_scheduled_run(machine)
    machine.ask("stop", CLINIC)
    machine.systemctl("stop", UNIT)
    return installation.followed(changed)


def await_scheduled_run(machine: Machine) -> None:
    """Wait until the service has transferred the clinic once more by itself."""
    deadline = time.monotonic() + SCHEDULE_SECONDS
    before = machine.ask("status")["clinics"][0]["last_success_at"]
    while machine.ask("status")["clinics"][0]["last_success_at"] == before:
        assert time.monotonic() < deadline, machine.said
        time.sleep(2)


def refuse_the_previous_version(installation: Installation, old: Path, revision: str, before: View) -> None:
    """Installed again, it says what is the matter and touches nothing; what it recommends works."""
    machine, other = installation.machine, installation.machine.folder / "other.zip"
    machine.install(old, "--no-deps")
    held = installation.ledger()
    for command in (("sync", CLINIC), ("status",), ("backup", str(other))):
        refused = machine.run(*command)
        assert refused.returncode == 1, refused.stdout
        assert "ledger_newer" in refused.stderr
        assert "Install that version again, or restore a backup made by this one." in refused.stderr
    assert installation.ledger() == held
    assert not other.exists()
    assert machine.ask("restore", str(installation.backup))["clinics"] == [CLINIC]
    assert machine.ask("status")["ledger"] == revision
    installation.unchanged(before)


def restore(installation: Installation, new: Path, before: View) -> None:
    """This version takes the previous one's backup: compared with amoCRM, nothing is sent twice."""
    machine = installation.machine
    machine.install(new, "--no-deps")
    assert machine.ask("restore", str(installation.backup))["clinics"] == [CLINIC]
    assert machine.ask("status")["ledger"] == HEAD
    due = machine.run("sync", CLINIC)
    assert due.returncode == 1, due.stdout
    assert "rebaseline_due" in due.stderr
    planned = machine.ask("sync", CLINIC, "--rebaseline")["planned"]
    assert (planned["contacts"]["create"], planned["leads"]["create"]) == (0, 0)
    assert sent(machine.ask("sync", CLINIC, "--full")) == 0
    installation.unchanged(before)


def remove(installation: Installation) -> None:
    """The service goes and the state stays, until it is to be wiped; then the program goes, too."""
    machine = installation.machine
    machine.systemctl("start", UNIT)
    machine.answering()
    assert machine.service("uninstall", "--keep-state")["state"] == "kept"
    assert pids_of(machine.home) == {}
    assert sent(machine.ask("sync", CLINIC)) == 0
    machine.service("install", "--port", str(free_port()))
    machine.answering()
    assert machine.service("uninstall", "--wipe-state")["state"] == "wiped"
    machine.pip("uninstall", "--yes", "ident-amocrm")
    assert_nothing_is_left(machine)


def assert_nothing_is_left(machine: Machine) -> None:
    """See that neither processes nor files are there, outside of what the test itself wrote."""
    assert pids_of(machine.home) == {}
    assert not machine.home.exists()
    for name in ("config", "person", "temporary", "elsewhere"):
        left = [path for path in (machine.folder / name).rglob("*") if path.is_file()]
        assert left == [], name
    assert "ident-amocrm" not in machine.pip("list")
    environment = machine.python.parents[1]
    ours = ("deployments", "expectations", "flows", "tasks", "ident_amocrm*", "ident-amocrm*")
    assert [path for name in ours for path in environment.rglob(name) if path.is_file()] == []
    packages = next(environment.glob("lib/python3*/site-packages"))
    assert [name for name in ours[:4] if (packages / name).exists()] == []
