"""After an eventful day no file of an installation holds anything of a person, nor a secret outside its own file.

``up`` runs behind its password with the schedule started. Meanwhile a clinic full of defects is transferred, its
people work on, amoCRM and the database fail, a person is erased, a backup is restored, support is asked. Then every
file of the home, of the user's own folder and of the folder for temporary files is opened and read: logs,
Prefect's database with its log beside it, pages of data quality, exports, backups, the bundle.
"""

from __future__ import annotations

import base64
import json
import sqlite3
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from deployments.doors import make_password
from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.simulate import simulate
from deployments.sandbox.clinic.store import SqliteStore, write_sqlite
from deployments.sandbox.compare import sqlite_rows
from tasks.ledger.store import Ledger
from tasks.settings import Settings
from tests.e2e.conftest import CLINIC, TOKEN, Installation, installation
from tests.e2e.traces import Traces, leaks
from tests.support.clinic_database import TIMEZONE, clinic_now
from tests.support.migrated import begin_migrated
from tests.support.running_up import Running, running_up

pytestmark = [
    pytest.mark.soak,
    pytest.mark.server,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

PASSWORD = "password-of-the-clinics-database"
#: What nobody may read but in IDENT and in the cards of amoCRM.
CARD, VISIT, CANCELLED = (
    "Боится наркоза, звонить после шести вечера",
    "Вторая щека онемела, просила не говорить мужу",
    "Отменила: уехала к сестре в Кострому",
)


@dataclass
class Day:
    """One installation, its clinic, and what must not be found."""

    place: Installation
    running: Running
    database: Path
    crm: StandIn
    everybody: list[dict[str, Any]] = field(default_factory=list)
    while_up: dict[str, list[str]] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.place.home

    def fails(self, *arguments: str) -> None:
        """Run a command that cannot succeed."""
        assert self.place.run("--verbose", *arguments).returncode == 1

    def persons(self) -> list[dict[str, Any]]:
        return [dict(row) for row in sqlite_rows(self.database)("Persons")]

    def write(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.database)) as link, link:
            link.execute(statement, values)

    def files(self) -> list[Path]:
        return [path for path in self.place.folder.parent.rglob("*") if path.is_file()]


def first_load(day: Day) -> None:
    ask, secrets = day.place.ask, day.database.parent
    (secrets / "token").write_text(TOKEN)
    (secrets / "password").write_text(PASSWORD)
    database = ("--driver", "sqlite", "--database", str(day.database), "--timezone", TIMEZONE)
    ask("connect-database", CLINIC, *database, "--password-file", str(secrets / "password"))
    ask("connect-amocrm", "--base-url", day.crm.url, "--token-file", str(secrets / "token"))
    ask("basis", "attest", CLINIC, "--basis", "consent", "--by", "test")
    ask("autoconfigure", "--yes", "--special", "all")
    ask("start", CLINIC, "--all-history")
    ask("sync", CLINIC)


def work(day: Day) -> None:
    """An hour in the clinic, in which amoCRM loses an answer, refuses a batch and hides behind a page."""
    with closing(SqliteStore(day.database)) as store:
        simulate(store, "hour", clinic_now(), seed=1)
    for fault in (
        {"mode": "truncate", "method": "POST", "path_prefix": "/api/v4/contacts"},
        {"mode": "status", "status": 400, "method": "PATCH", "path_prefix": "/api/v4/leads"},
        {"mode": "html", "method": "PATCH", "path_prefix": "/api/v4/contacts"},
    ):
        day.crm.admin("faults", fault)
    day.place.run("--verbose", "sync", CLINIC, "--output", "json")
    day.crm.admin("faults", method="DELETE")
    day.place.ask("sync", CLINIC, "--full")


def fail(day: Day) -> None:
    """A run meets a value that nothing expects, and one finds no database and leaves a stack trace."""
    someone = max((row for row in day.persons() if row["Birthday"]), key=lambda row: int(row["ID"]))
    day.write("UPDATE Persons SET Birthday = ? WHERE ID = ?", f"{someone['Surname']}!", someone["ID"])
    day.place.run("--verbose", "sync", CLINIC, "--full")
    day.write("UPDATE Persons SET Birthday = ? WHERE ID = ?", someone["Birthday"], someone["ID"])
    away = day.database.rename(day.database.with_suffix(".away"))
    day.fails("sync", CLINIC)
    away.rename(day.database)


def ask_about(day: Day) -> None:
    """An operator looks at everything, on the command line and in the browser."""
    ask, run = day.place.ask, day.running
    listed = ask("rejects", "list")
    patients = [row for row in listed if row["entity"] == "patient" and row["source_id"] > 0]
    assert len(patients) > 5, "the clinic is full of defects"
    ask("rejects", "show", "patient", str(patients[0]["source_id"]))
    ask("rejects", "export", str(day.place.folder / "review.csv"))
    ask("explain", "patient", str(patients[0]["source_id"]))
    ask("reconcile", CLINIC)
    ask("events")
    ask("audit", "export", str(day.place.folder / "audit.csv"))
    question = {"clinic": CLINIC, "what": "пациент", "number": patients[0]["source_id"]}
    assert run.do("explain", {"question": question})[0] == "Completed"
    assert run.do("journal", {"form": {}})[0] == "Completed"


def leave(day: Day) -> None:
    """A person is erased, a backup taken, support asked."""
    ask = day.place.ask
    known = ask("sync", CLINIC, "--full", "--dry-run")
    assert known["extracted"]["patients"] > 0
    ask(
        "erase-subject",
        CLINIC,
        "--patient",
        str(max(row["ID"] for row in day.persons())),
        "--by",
        "test",
        "--yes",
    )
    ask("stop", CLINIC)
    ask("backup", str(day.place.folder / "backup.zip"))
    bundle = day.place.run("doctor", "--bundle", str(day.place.folder / "bundle.zip"), "--output", "json")
    assert json.loads(bundle.stdout)["bundle"]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    place = installation(tmp_path_factory.mktemp("day"))
    clinic = tmp_path_factory.mktemp("clinic") / "clinic.db"
    spec = ClinicSpec(today=clinic_now().date(), patients=120, appointments=360, dirty=True)
    write_sqlite(generate(spec), clinic)
    begin_migrated(place.home)
    make_password(place.home)
    ledger = Ledger(Settings(home=place.home).ledger_url).open()
    own = {
        name: str(place.folder.parent / folder)
        for name, folder in (("HOME", "user"), ("TMPDIR", "temporary"))
    }
    with StandIn(token=TOKEN, limit=None, index_lag=0) as crm:
        with running_up(place.home, ledger, own) as running:
            found = Day(place, running, clinic, crm)
            found.write("UPDATE Patients SET Comment = ? WHERE ID_Persons % 3 = 0", CARD)
            found.write("UPDATE Receptions SET Comment = ? WHERE ID % 3 = 0", VISIT)
            found.write(
                "UPDATE Receptions SET CancelReasonComment = ? WHERE ReceptionCanceled IS NOT NULL", CANCELLED
            )
            before = found.persons()
            for part in (first_load, work, fail, ask_about, leave):
                part(found)
            found.everybody = [*before, *found.persons()]
            # What Prefect has not yet folded into its database stands in the log beside it.
            assert (place.home / "prefect" / "prefect.db-wal").stat().st_size
            found.while_up = leaks(found.files(), traces(found.everybody))
        place.ask("restore", str(place.folder / "backup.zip"))
        yield found


def traces(persons: list[dict[str, Any]]) -> Traces:
    """What no file may hold: of persons in every row they ever had, what is written about them, secrets."""
    dated = [{**row, "Birthday": date.fromisoformat(row["Birthday"])} for row in persons if row["Birthday"]]
    undated = [row for row in persons if not row["Birthday"]]
    texts = {CARD: "comment of a card", VISIT: "comment of a visit", CANCELLED: "comment of a cancellation"}
    secrets = {TOKEN: "amoCRM's token", PASSWORD: "the database's password"}
    everybody = Traces.of([*dated, *undated], ZoneInfo(TIMEZONE)).with_phrases(texts | secrets)
    # Nobody's: the birthday that IDENT writes where it knows none, and by which the rule about that is
    # explained; the phone of a defect, which Prefect's description of its Secret block has for an example.
    return everybody.without([date(1900, 1, 1)], ["1234567890"])


def test_no_file_gives_anybody_away(day: Day) -> None:
    files = day.files()
    names = {path.name for path in files}
    assert names >= {"ledger.db", "prefect.db", "up.log", "index.html", "review.csv", "audit.csv"}
    assert names >= {"backup.zip", "bundle.zip"}
    assert any(name.startswith("ledger-replaced-") for name in names)
    assert [path.name for path in files if b"Traceback (most recent call last)" in path.read_bytes()]
    assert day.while_up == {}
    assert leaks(files, traces(day.everybody)) == {}


def test_what_was_said_gives_nobody_away(day: Day) -> None:
    sought = traces(day.everybody)
    said = [(run.args, sought.in_bytes(f"{run.stdout}\n{run.stderr}".encode())) for run in day.place.runs]
    assert [told for told in said if told[1]] == []


@pytest.mark.parametrize("name", ["installation.key", "blocks.key", "prefect.auth"])
def test_a_key_stands_in_its_own_file_only(day: Day, name: str) -> None:
    secret = (day.home / name).read_bytes().strip().rpartition(b":")[2]
    forms = {secret, base64.b64encode(secret).rstrip(b"="), secret.hex().encode()}
    assert len(secret) > 15
    assert [path.name for path in day.files() if any(form in path.read_bytes() for form in forms)] == [name]
    packed = [
        archive.read(member)
        for archive in (zipfile.ZipFile(day.place.folder / one) for one in ("backup.zip", "bundle.zip"))
        for member in archive.namelist()
    ]
    assert not [1 for content in packed if any(form in content for form in forms)]
