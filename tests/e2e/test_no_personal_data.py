"""After the whole road nothing on disk, and nothing that was said, holds anything of a person.

The clinic's own database lies in the test server's memory; everything else that the commands could write to is
looked at: the home folder with the ledger and Prefect's database, the folder they were run in, the user's
own folder, the folder for temporary files, the server's log.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from datetime import date
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest

from tests.e2e.conftest import JOURNEYS, TOKEN, Journey
from tests.e2e.traces import Traces
from tests.support.clinic_database import PASSWORD, TIMEZONE

ZONE = ZoneInfo(TIMEZONE)
PERSON = {
    "ID": 17,
    "Surname": "Берёзкина",
    "Name": "Анна",
    "Patronymic": None,
    "Phone": None,
    "MobilePhone": "8 (916) 123 45 67",
    "Email": "patient17@example.org",
    "Birthday": date(1987, 6, 5),
}


def files(journey: Journey) -> list[Path]:
    """Everything that the commands left, but for the two secrets that the test wrote itself."""
    folder = journey.installation.folder.parent
    given = {folder / "token", folder / "password"}
    return [path for path in folder.rglob("*") if path.is_file() and path not in given]


@pytest.fixture(autouse=True)
def _troubled(request: pytest.FixtureRequest) -> None:
    """Errors tell more than success: the last journey goes through some before it is looked at."""
    if "journey" in request.fixturenames:
        journey: Journey = request.getfixturevalue("journey")
        if journey.kind == JOURNEYS[-1]:
            journey.go_through_trouble()


def of(journey: Journey) -> Traces:
    """The traces of all persons, doctors included, as they were and as they are now."""
    persons = [*journey.clinic.data.tables["Persons"], *journey.clinic.rows("Persons")]
    # The day on which the test server's database was created is part of the clinic's fingerprint.
    return Traces.of(persons, ZONE).without([date(2019, 3, 4)])


@pytest.mark.odbc
def test_no_file_holds_anything_of_a_person(journey: Journey) -> None:
    traces, found = of(journey), files(journey)
    assert {"ledger.db", "prefect.db", "server.log"} <= {path.name for path in found}
    leaks = {path.name: sorted(leak)[:5] for path in found if (leak := traces.in_file(path))}
    assert leaks == {}


@pytest.mark.odbc
def test_no_command_said_anything_of_a_person(journey: Journey) -> None:
    traces = of(journey)
    said = {
        f"{number}: {run.args[3]}": sorted(leak)[:5]
        for number, run in enumerate(journey.installation.runs)
        if (leak := traces.in_bytes(f"{run.stdout}\n{run.stderr}".encode()))
    }
    assert said == {}


@pytest.mark.odbc
def test_no_file_holds_password_or_token(journey: Journey) -> None:
    secrets = (TOKEN.encode(), journey.clinic.password.encode())
    forms = [form for secret in secrets for form in (secret, base64.b64encode(secret)[:-4])]
    assert [path.name for path in files(journey) if any(form in path.read_bytes() for form in forms)] == []
    said = "".join(run.stdout + run.stderr for run in journey.installation.runs)
    assert TOKEN not in said
    assert journey.clinic.password not in said


@pytest.mark.odbc
def test_commands_write_into_their_home_only(journey: Journey) -> None:
    home = journey.installation.home
    outside = [path for path in files(journey) if home not in path.parents]
    assert [path.name for path in outside] == ["server.log"]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("name", "Пациент берёзкина, 5 лет".encode()),
        ("name", "БЕРЁЗКИНА".encode("cp1251")),
        ("name", b"x" + "Берёзкина".encode("utf-16-le")),
        ("name", json.dumps({"last_name": "Берёзкина"}).encode()),
        ("name", f"/contacts?query={quote('Берёзкина')}".encode()),
        ("name", base64.b64encode("Карточка: Берёзкина Анна".encode())),
        ("phone", b"+7 916 123-45-67"),
        ("phone", b'{"value": "79161234567"}'),
        ("phone", b"contacts?query=9161234567"),
        ("e-mail", b"<Patient17@example.org>"),
        ("birthday", b"born 1987-06-05T00:00:00"),
        ("birthday", b"05.06.1987"),
    ],
)
def test_a_trace_is_found(kind: str, data: bytes) -> None:
    assert Traces.of([PERSON], ZONE).in_bytes(data) == {f"{kind} of person 17"}


@pytest.mark.parametrize("value", [79161234567, 549849600, "Берёзкина".encode()])
def test_a_trace_in_a_table_is_found(value: object, tmp_path: Path) -> None:
    link = sqlite3.connect(tmp_path / "a.db")
    with link:
        link.execute("CREATE TABLE a (b)")
        link.execute("INSERT INTO a VALUES (?)", [value])
    link.close()
    assert len(Traces.of([PERSON], ZONE).in_file(tmp_path / "a.db")) == 1


def test_ordinary_data_are_no_trace() -> None:
    data = "Записан пациент 17, 2026-03-12, IDENT-abcdefgh-P-17, 1773312005.123456".encode()
    assert Traces.of([PERSON], ZONE).in_bytes(data) == set()
    assert PASSWORD not in data.decode()


def test_a_counter_is_no_birthday(tmp_path: Path) -> None:
    """The first of January 1970 begins at zero seconds, and a ledger is full of zeros."""
    link = sqlite3.connect(tmp_path / "a.db")
    with link:
        link.execute("CREATE TABLE a (b)")
        link.executemany("INSERT INTO a VALUES (?)", [(0,), (-10800,)])
    link.close()
    person = {**PERSON, "Birthday": date(1970, 1, 1)}
    traces = Traces.of([person], ZONE)
    assert traces.in_file(tmp_path / "a.db") == set()
    assert traces.in_bytes(b"1970-01-01") == {"birthday of person 17"}
