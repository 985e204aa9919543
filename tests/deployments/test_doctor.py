"""``doctor`` on a sandbox clinic: every trouble is its own line with a remedy, and the bundle gives nobody away."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import sqlite3
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from typer.testing import CliRunner

from deployments.cli.main import app
from deployments.doctor import examine
from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.compare import sqlite_rows
from tasks import blocks
from tasks import examine as looks
from tasks.blocks import AmoCrmAccount
from tasks.clinics import rename
from tasks.doctor.findings import Finding, State
from tasks.doctor.remedies import ENGLISH
from tasks.errors import IdentAmocrmError
from tasks.hints import HINTS
from tasks.ident.connection import IdentConnection
from tasks.settings import load_settings
from tasks.transfer import start_transfer
from tests.e2e.traces import Traces
from tests.support.clinic_database import TIMEZONE
from tests.support.sandbox_installation import CLINIC, TOKEN, SandboxInstallation, sandbox_installation

NAMED_AFTER = "Клиника доктора Берёзкиной"
PASSWORD = "password-of-the-database"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxInstallation]:
    folder = tmp_path_factory.mktemp("clinic")
    with (
        pytest.MonkeyPatch.context() as patch,
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        sandbox_installation(folder, crm, patch, patients=25, appointments=60) as found,
    ):
        found.connect()
        today = datetime.now(tz=UTC).date()
        start_transfer(found.ledger, found.ledger.connection(CLINIC), today, history_days=None, by="test")
        found.sync("full")
        for name, text in (("blocks.key", Fernet.generate_key().decode()), ("prefect", "")):
            (found.home / name).mkdir() if not text else (found.home / name).write_text(text, "ascii")
        (found.home / "blocks.key").chmod(0o600)
        found.remember()
        yield found


@pytest.fixture
def clinic(site: SandboxInstallation) -> SandboxInstallation:
    site.recall()
    return site


@pytest.fixture(autouse=True)
def environ() -> Iterator[None]:
    """What a look sets for Prefect is forgotten after it."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith("PREFECT_"):
            del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(before)


def look() -> list[Finding]:
    return list(examine().findings)


#: What depends on the machine that the tests run on.
ELSEWHERE = {"port_taken", "driver_missing", "versions_untested"}


def wrong(findings: list[Finding]) -> dict[str, State]:
    bad = [one for one in findings if one.state is not State.OK]
    return {one.code: one.state for one in bad if one.code not in ELSEWHERE}


#: What is always so here: nobody started up.
NOT_UP = {"not_up": State.FAULT}


def test_a_clinic_that_is_well(clinic: SandboxInstallation) -> None:
    found = look()
    assert wrong(found) == NOT_UP, [one for one in found if one.state is not State.OK]
    told = {(one.area, one.name): one.found for one in found}
    area = f"Clinic {CLINIC}"
    assert {name for where, name in told if where == area} == {
        "server",
        "database",
        "schema",
        "database clock",
        "rights",
        "legal basis",
        "transfer",
        "rows kept back",
        "last runs",
    }
    assert told["Ledger", "integrity"] == "SQLite finds nothing wrong"
    assert told[area, "rights"] == "read only"
    assert told[area, "last runs"] == "of the last 1: 1 completed"
    assert told["amoCRM", "mapping"] == "fits the account"
    assert told["amoCRM", "clock"].startswith("agrees")
    assert {one.clinic_uid for one in found if one.area == area} == {clinic.uid}


def test_nothing_is_written_and_no_lease_is_taken(clinic: SandboxInstallation) -> None:
    before = (clinic.writes(), clinic.database.read_bytes(), len(clinic.ledger.audit()))
    token = clinic.ledger.acquire_lease(clinic.uid, "a running transfer", 60)
    assert wrong(look()) == NOT_UP
    clinic.ledger.renew_lease(clinic.uid, token, 60)
    assert (clinic.writes(), clinic.database.read_bytes(), len(clinic.ledger.audit())) == before


def gone(clinic: SandboxInstallation) -> None:
    clinic.database.unlink()


def closed(clinic: SandboxInstallation) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    clinic.secrets[CLINIC] = IdentConnection(port=port, password=SecretStr(PASSWORD), timezone=TIMEZONE)


def expired(clinic: SandboxInstallation) -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() - 86_400}).encode()).decode().rstrip("=")
    token = SecretStr(f"head.{claims}.sign")
    clinic.secrets["account"] = AmoCrmAccount(base_url=clinic.crm.url, token=token)


def cut_off(clinic: SandboxInstallation) -> None:
    with clinic.ledger.database.write() as link:
        link.exec_driver_sql("UPDATE setting SET value = replace(value, '127.0.0.1:', '127.0.0.1:1')")
    clinic.secrets["account"] = AmoCrmAccount(base_url="http://127.0.0.1:1", token=SecretStr(TOKEN))


def failing(clinic: SandboxInstallation) -> None:
    clinic.ledger.start_run("r", clinic.uid, "full", by="test")
    clinic.ledger.finish_run("r", "failed", {"code": "authentication"})


def open_home(clinic: SandboxInstallation) -> None:
    clinic.home.chmod(0o755)


def without_key(clinic: SandboxInstallation) -> None:
    (clinic.home / "blocks.key").unlink()
    with closing(sqlite3.connect(clinic.home / "prefect" / "prefect.db")) as link, link:
        link.execute("CREATE TABLE configuration (key TEXT, value TEXT)")


def unreadable(clinic: SandboxInstallation) -> None:
    (clinic.home / "prefect" / "prefect.db").write_bytes(b"this was a database once" * 500)


FAULT, WARNING = State.FAULT, State.WARNING
TROUBLES: list[tuple[Callable[[SandboxInstallation], None], dict[str, State]]] = [
    (gone, {"database_missing": FAULT, "not_checked": WARNING}),
    (closed, {"database_unavailable": FAULT, "server_first": FAULT, "not_checked": WARNING}),
    (expired, {"authentication": FAULT, "token_expired": FAULT}),
    (cut_off, {"amocrm_unavailable": FAULT}),
    (failing, {"authentication": WARNING}),
    (open_home, {"home_open": WARNING}),
    (unreadable, {"prefect_database": FAULT, "prefect_unavailable": FAULT, "not_checked": WARNING}),
    (without_key, {"blocks_key_missing": FAULT, "prefect_unavailable": FAULT, "not_checked": WARNING}),
]


@pytest.mark.parametrize(("trouble", "expected"), TROUBLES)
def test_each_trouble_has_its_line_and_its_remedy(
    clinic: SandboxInstallation,
    trouble: Callable[[SandboxInstallation], None],
    expected: dict[str, State],
) -> None:
    trouble(clinic)
    found = look()
    assert expected.items() <= wrong(found).items(), wrong(found)
    told = [one for one in found if one.state is not State.OK]
    assert [one for one in told if not one.remedy and one.code != "server_first"] == []
    # Whatever it is, what does not depend on it was looked at.
    assert {"Machine", "Environment", "Home folder", "Ports", "Ledger", "Prefect", "amoCRM", "Logs"} <= {
        one.area for one in found
    }
    assert {(one.area, one.name) for one in found} >= {
        (f"Clinic {CLINIC}", name) for name in ("transfer", "rows kept back", "last runs")
    }
    assert TOKEN not in str(found)
    assert PASSWORD not in str(found)


def damaged(path: Path) -> None:
    path.write_bytes(b"this was a ledger once" * 500)


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as link, link:
        link.execute("UPDATE alembic_version SET version_num = '9999'")


def older(path: Path) -> None:
    with closing(sqlite3.connect(path)) as link, link:
        link.execute("UPDATE alembic_version SET version_num = '0001'")


def hollow(path: Path) -> None:
    with closing(sqlite3.connect(path)) as link, link:
        link.execute("DROP TABLE connection")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("harm", "code", "state"),
    [
        (damaged, "ledger_damaged", FAULT),
        (newer, "ledger_newer", FAULT),
        (older, "ledger_older", WARNING),
        (a_folder, "ledger_unavailable", FAULT),
        (hollow, "ledger_unavailable", FAULT),
    ],
)
def test_a_ledger_that_cannot_be_used(
    clinic: SandboxInstallation, tmp_path: Path, harm: Callable[[Path], None], code: str, state: State
) -> None:
    clinic.keep_ledger()
    clinic.forget_ledger()
    path = clinic.home / "ledger.db"
    shutil.copyfile(clinic.home.parent / "kept.db", path)
    try:
        harm(path)
        before = path.read_bytes() if path.is_file() else b""
        done = CliRunner().invoke(app, ["doctor", "--output", "json", "--bundle", str(tmp_path / "b.zip")])
        assert (path.read_bytes() if path.is_file() else b"") == before, "it is looked at, not touched"
    finally:
        path.rmdir() if path.is_dir() else path.unlink()
        clinic.put_ledger(clinic.home.parent / "kept.db")
    assert done.exit_code == (state is FAULT), done.output
    found = json.loads(done.stdout)["findings"]
    assert {(one["area"], one["code"]) for one in found} >= {
        ("Ledger", code),
        ("amoCRM", "not_checked"),
        ("Clinics", "not_checked"),
    }
    assert {one["state"] for one in found if one["code"] == code} == {state}
    assert {"Machine", "Home folder", "Prefect", "Logs"} <= {one["area"] for one in found}
    assert "report.txt" in zipfile.ZipFile(tmp_path / "b.zip").namelist()


def test_a_store_that_gives_nothing_out(clinic: SandboxInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> AmoCrmAccount:
        message = f"http://127.0.0.1/?token={TOKEN}"
        raise RuntimeError(message)

    monkeypatch.setattr(blocks, "load_account", broken)
    found = look()
    assert wrong(found) == NOT_UP | {"prefect_unavailable": FAULT, "not_checked": WARNING}
    assert TOKEN not in str(found)
    assert [one.found for one in found if one.name == "last runs"] == ["of the last 1: 1 completed"]


def test_a_check_that_breaks_keeps_none_of_the_others(
    clinic: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError

    whole = {(one.area, one.name) for one in look()}
    for name in ("examine_database", "examine_rows", "examine_account", "examine_room"):
        monkeypatch.setattr(looks, name, broken)
    found = look()
    assert wrong(found) == NOT_UP | {"check_broke": FAULT}
    assert whole - {(one.area, one.name) for one in found} == {
        (f"Clinic {CLINIC}", name) for name in ("server", "schema", "database clock")
    } | {("amoCRM", "mapping")}


def test_nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENT_AMOCRM_HOME", str(tmp_path / "none"))
    load_settings.cache_clear()
    try:
        done = CliRunner().invoke(app, ["doctor", "--output", "json"])
    finally:
        load_settings.cache_clear()
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {one["code"] for one in found["findings"]} - {"", *ELSEWHERE} == {
        "home_missing",
        "no_ledger",
        "not_up",
        "amocrm_not_connected",
        "no_clinics",
    }
    assert all(one["remedy"] for one in found["findings"] if one["state"] != "ok")
    assert list(tmp_path.iterdir()) == [], "a look makes nothing"


def test_a_setting_that_is_not_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IDENT_AMOCRM_WORKERS", "hunter2")
    load_settings.cache_clear()
    try:
        done = CliRunner().invoke(app, ["doctor", "--bundle", str(tmp_path / "b.zip")])
    finally:
        load_settings.cache_clear()
    assert done.exit_code == 1
    assert "IDENT_AMOCRM_WORKERS. No command works." in done.stdout
    assert "hunter2" not in done.output + members(tmp_path / "b.zip")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("postgresql+psycopg://user:hunter2@127.0.0.1:1/ledger", "ledger_unavailable"),
        ("nonsense+driver://user:hunter2@host/ledger", "state_url"),
        ("hunter2", "state_url"),
    ],
)
def test_a_ledger_on_a_server_that_is_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, code: str
) -> None:
    monkeypatch.setenv("IDENT_AMOCRM_STATE_URL", url)
    monkeypatch.setenv("IDENT_AMOCRM_HOME", str(tmp_path))
    load_settings.cache_clear()
    try:
        done = CliRunner().invoke(app, ["doctor", "--output", "json", "--bundle", str(tmp_path / "b.zip")])
    finally:
        load_settings.cache_clear()
    assert done.exit_code == 1
    assert code in {one["code"] for one in json.loads(done.stdout)["findings"]}
    assert "hunter2" not in done.output + members(tmp_path / "b.zip")


def test_a_server_that_does_not_answer(clinic: SandboxInstallation) -> None:
    found = list(examine({"PREFECT_API_URL": "http://127.0.0.1:1/api"}).findings)
    assert wrong(found).keys() == {"prefect_down", "prefect_unavailable", "not_checked"}


def test_every_code_is_told_in_english() -> None:
    of_errors = {kind.default_code for kind in _all_errors(IdentAmocrmError)}
    page = Path(looks.__file__).parent
    checks = "".join((page / name).read_text(encoding="utf-8") for name in ("vitals.py", "authorisation.py"))
    used = {code for code in HINTS if f'"{code}"' in checks} - of_errors
    assert used - ENGLISH.keys() <= {"prefect_unavailable"}, "its error says it"


def _all_errors(kind: type[IdentAmocrmError]) -> Iterator[type[IdentAmocrmError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _all_errors(one)


# ---- the bundle ------------------------------------------------------------------------------------------


def members(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        return "\n".join(f"{name}\n{archive.read(name).decode()}" for name in archive.namelist())


def traces(clinic: SandboxInstallation) -> Traces:
    rows = sqlite_rows(clinic.database)("Persons")
    return Traces.of([{**row, "Birthday": _day(row["Birthday"])} for row in rows], ZoneInfo(TIMEZONE))


def _day(value: object) -> date | None:
    return date.fromisoformat(str(value)[:10]) if value else None


def bundle(path: Path) -> str:
    done = CliRunner().invoke(app, ["doctor", "--bundle", str(path)])
    assert done.exit_code == 1, done.output
    assert str(path) in done.stderr
    return members(path)


def test_the_bundle_holds_nothing_of_a_person_and_no_secret(
    clinic: SandboxInstallation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENT_AMOCRM_STATE_URL", f"sqlite:///{clinic.home / 'ledger.db'}?password={PASSWORD}")
    uid = clinic.uid
    failing(clinic)
    rename(clinic.ledger, CLINIC, NAMED_AFTER)
    (clinic.home / "logs").mkdir()
    log = clinic.home / "logs" / "worker.log"
    log.write_text(f"12:00:00.001 | INFO    | Flow run '{NAMED_AFTER}: full' - Planned nothing\n", "utf-8")
    found = bundle(tmp_path / "b.zip")
    for name in (
        "report.txt",
        "report.json",
        "settings.json",
        "installation.json",
        "runs.json",
        "events.json",
    ):
        assert name in found
    for name in ("rejects.json", "versions.json", "logs/worker.log", "README.txt"):
        assert name in found
    assert traces(clinic).in_bytes(found.encode()) == set()
    secrets = (TOKEN, PASSWORD, (clinic.home / "installation.key").read_text("ascii").strip())
    for value in (*secrets, (clinic.home / "blocks.key").read_text("ascii"), NAMED_AFTER, "Берёзкин"):
        assert value not in found
    for place in (str(clinic.home), str(clinic.database), str(Path.home()) + "/"):
        assert place not in found
    # What a support works with is there.
    assert uid in found
    assert '"code": "authentication"' in found
    assert "ident-amocrm.transfer.started" in found
    assert "Flow run - Planned nothing" in found


def test_the_scan_of_the_bundle_can_fail(clinic: SandboxInstallation) -> None:
    surname = next(
        row["Surname"] for row in sqlite_rows(clinic.database)("Persons") if len(row["Surname"]) > 5
    )
    assert traces(clinic).in_bytes(f"row of {surname}".encode())


def test_what_is_planted_in_a_log_stays_here(clinic: SandboxInstallation, tmp_path: Path) -> None:
    planted = ("+7 916 123-45-67", "89161234567", "Берёзкина Анна", "Berezkina", TOKEN, "hunter2", "a@b.ru")
    (clinic.home / "logs").mkdir()
    for name in ("server.log", "worker.log", "setup.log", "pages.log", "runs.log", "server.1.log"):
        lines = ["12:00:00.001 | ERROR   | prefect.flow_runs - Finished in state Failed('refused')"]
        for value in planted:
            lines += [
                f"12:00:00.002 | ERROR   | prefect.flow_runs - refused: {value}",
                f"12:00:00.003 | INFO    | Flow run '{value}' - Finished in state Failed('{value}')",
                f"2026-11-26 00:12:26,602 ERROR {value}",
                f"password={value}",
                f"ValueError: {value}",
                f"[parameters: {{'name': '{value}'}}]",
                value,
            ]
        (clinic.home / "logs" / name).write_text("\n".join(lines), "utf-8")
    found = bundle(tmp_path / "b.zip")
    assert [value for value in (*planted, "916 123", "Берёзкина", "Анна") if value in found] == []
    assert found.count("Finished in state Failed") == 6 * (1 + len(planted))
    assert "logs/server.1.log" in found


def test_an_old_ledgers_day_of_start_is_told(clinic: SandboxInstallation) -> None:
    """Runs that stopped long ago are a fault with the time of the last success."""
    with clinic.ledger.database.write() as link:
        link.exec_driver_sql(
            f"UPDATE run SET finished_at = finished_at - {timedelta(hours=2).total_seconds()}"
        )
    [one] = [one for one in look() if one.code == "lagging"]
    assert one.state is State.FAULT
    assert "Last success" in one.found
