"""The machine: versions, home folder, keys, environment; and what is taken out of a bundle's texts."""

from __future__ import annotations

import os
import sqlite3
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deployments.doors import make_password
from tasks.doctor.bundle import Mask, counts_only, name_of_host, write_bundle
from tasks.doctor.environment import check_environment, described_variables
from tasks.doctor.findings import Finding, Report, State, attempt
from tasks.doctor.home import AUTH_FILE, check_files, check_folder, check_key_place, check_keys, check_local
from tasks.doctor.versions import check_versions, read_tested, read_tested_file, requirements
from tasks.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="this system has no modes of files")


def codes(findings: list[Finding]) -> set[str]:
    return {one.code for one in findings if one.state is not State.OK}


# ---- versions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("installed", "state", "words"),
    [
        ({"prefect": "3.9.1", "sqlalchemy": "2.0.58"}, State.OK, "2 packages"),
        ({"prefect": "3.9.2", "sqlalchemy": "2.0.58"}, State.WARNING, "prefect 3.9.2 (tested: 3.9.1)"),
        ({"prefect": "3.9.1", "sqlalchemy": "2.1.0"}, State.FAULT, "sqlalchemy 2.1.0 (needed: <2.1"),
        ({"prefect": "3.9.1"}, State.FAULT, "sqlalchemy missing"),
    ],
)
def test_versions_that_nobody_tested_and_that_cannot_work(
    installed: dict[str, str], state: State, words: str
) -> None:
    tested = read_tested("# set\nprefect==3.9.1\nSQLAlchemy==2.0.58\n")
    needed = [Requirement("prefect>=3.8.8,<4"), Requirement("sqlalchemy>=2.0.40,<2.1")]
    found = check_versions(tested, installed=installed, needed=needed)[-1]
    assert found.state is state
    assert words in found.found
    assert bool(found.remedy) == (state is not State.OK)


def test_the_tested_set_covers_what_the_program_needs() -> None:
    tested = read_tested_file(ROOT / "deployments/constraints.txt")
    assert {one.name.lower() for one in requirements()} <= tested.keys()
    assert read_tested_file(ROOT / "nothing") == {}


# ---- home folder -----------------------------------------------------------------------------------------


@posix
def test_a_folder_that_others_may_look_into(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert check_folder(home).code == "home_missing"
    home.mkdir(mode=0o700)
    assert check_folder(home).state is State.OK
    home.chmod(0o750)
    found = check_folder(home)
    assert (found.state, found.code) == (State.WARNING, "home_open")
    assert "chmod 700" in found.remedy
    (tmp_path / "file").touch()
    assert check_folder(tmp_path / "file").state is State.FAULT


@posix
def test_keys_and_ledger_that_others_may_read(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    for path in (ledger, tmp_path / "installation.key"):
        path.touch(mode=0o600)
    assert codes(check_files(tmp_path, ledger)) == set()
    ledger.chmod(0o644)
    (tmp_path / "installation.key").chmod(0o640)
    found = check_files(tmp_path, ledger)
    assert {one.code: one.state for one in found} == {
        "key_open": State.FAULT,
        "ledger_open": State.WARNING,
    }


@pytest.mark.parametrize(
    ("kind", "state"), [("ext4", State.OK), ("nfs4", State.FAULT), ("cifs", State.FAULT)]
)
@pytest.mark.skipif(sys.platform == "win32", reason="reads Linux's list of mounts")
def test_a_folder_on_another_machine(tmp_path: Path, kind: str, state: State) -> None:
    mounts = tmp_path / "mounts"
    place = tmp_path / "with space"
    escaped = str(place).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {escaped} {kind} rw 0 0\n", encoding="utf-8")
    assert check_local(place / "home", mounts).state is state
    assert check_local(place / "home", tmp_path / "none").state is State.OK


def test_keys_that_are_missing_where_they_are_needed(tmp_path: Path) -> None:
    def found(*, ledger: bool = False, secrets: bool = False, given: bool = False) -> set[str]:
        return codes(check_keys(tmp_path, has_ledger=ledger, has_secrets=secrets, given=given))

    assert found() == set()
    assert found(ledger=True, secrets=True) == {"key_missing", "blocks_key_missing"}
    assert found(secrets=True, given=True) == set()
    (tmp_path / "installation.key").write_text("not hexadecimal", encoding="ascii")
    (tmp_path / "blocks.key").write_text("x", encoding="ascii")
    assert found(ledger=True, secrets=True) == {"key_unreadable"}
    (tmp_path / "installation.key").write_text("ab" * 32, encoding="ascii")
    assert found(ledger=True, secrets=True) == set()


def test_a_key_in_the_database_that_it_opens(tmp_path: Path) -> None:
    path = tmp_path / "prefect.db"
    assert check_key_place(path).state is State.OK
    with closing(sqlite3.connect(path)) as link, link:
        link.execute("CREATE TABLE configuration (key TEXT, value TEXT)")
    assert check_key_place(path).state is State.OK
    with closing(sqlite3.connect(path)) as link, link:
        link.execute("INSERT INTO configuration VALUES ('ENCRYPTION_KEY', 'secret-of-blocks')")
    found = check_key_place(path)
    assert (found.state, found.code) == (State.WARNING, "key_inside")
    assert "secret-of-blocks" not in str(found)
    path.write_bytes(b"no database at all, but long enough to be looked at" * 50)
    assert check_key_place(path).code == "prefect_database"


# ---- environment -----------------------------------------------------------------------------------------


def test_names_always_values_only_where_they_are_no_secret() -> None:
    shown = described_variables(
        {
            "IDENT_AMOCRM_HOME": "/srv/transfer",
            "IDENT_AMOCRM_WORKERS": "4",
            "IDENT_AMOCRM_VERIFY_TLS": "false",
            "IDENT_AMOCRM_BATCH_SIZE": "token-in-the-wrong-place",
            "IDENT_AMOCRM_STATE_URL": "postgresql+psycopg://user:hidden@db:5432/ledger?password=hidden",
            "IDENT_AMOCRM_TOKEN": "hidden",
            "HTTPS_PROXY": "http://me:hidden@proxy:3128",
            "https_proxy": "me:hidden@proxy:3128",
            "ALL_PROXY": "hidden",
            "PREFECT_SERVER_API_AUTH_STRING": "admin:hidden",
            "PREFECT_API_URL": "https://prefect.example/api?key=hidden",
            "HOME": "/root",
        }
    )
    assert shown == {
        "ALL_PROXY": "(set)",
        "HTTPS_PROXY": "http://proxy:3128 (credentials hidden)",
        "https_proxy": "proxy:3128 (credentials hidden)",
        "IDENT_AMOCRM_BATCH_SIZE": "(set)",
        "IDENT_AMOCRM_HOME": "/srv/transfer",
        "IDENT_AMOCRM_STATE_URL": "postgresql+psycopg://db:5432 (credentials hidden)",
        "IDENT_AMOCRM_TOKEN": "(set)",
        "IDENT_AMOCRM_VERIFY_TLS": "false",
        "IDENT_AMOCRM_WORKERS": "4",
        "PREFECT_API_URL": "https://prefect.example",
        "PREFECT_SERVER_API_AUTH_STRING": "(set)",
    }


def test_what_nobody_reads_and_what_is_not_there(tmp_path: Path) -> None:
    wrong = {
        "IDENT_AMOCRM_HOEM": "/srv",
        "IDENT_AMOCRM_CA_BUNDLE": str(tmp_path / "none.pem"),
        "IDENT_AMOCRM_VERIFY_TLS": "False",
    }
    found = check_environment(wrong)
    assert codes(found) == {"setting_unknown", "ca_bundle", "tls_unchecked"}
    assert (
        codes(
            check_environment(
                {"IDENT_AMOCRM_HOME": "/srv", "IDENT_AMOCRM_MINE": ""}, also=["IDENT_AMOCRM_MINE"]
            )
        )
        == set()
    )


# ---- report and bundle -----------------------------------------------------------------------------------


def test_a_check_that_breaks_is_a_line_without_its_text() -> None:
    def broken() -> Finding:
        message = "Берёзкина"
        raise RuntimeError(message)

    def refused() -> Finding:
        raise ConfigurationError(problem="It is wrong.", remedy="Correct it.", code="wrong")

    [one] = attempt("Machine", "thing", broken)
    assert (one.state, one.code) == (State.FAULT, "check_broke")
    assert "RuntimeError at test_machine.py" in one.found
    assert "Берёзкина" not in str(one)
    [two] = attempt("Machine", "thing", refused)
    assert (two.found, two.remedy, two.code) == ("It is wrong.", "Correct it.", "wrong")


def test_names_and_what_looks_like_a_persons_are_taken_out() -> None:
    mask = Mask(
        {"Клиника Иванова": "uid1", "/home/ivanov": "~", "ivanov": "uid2", "PC-IVANOV": "[database server]"}
    )
    assert mask.text("Clinic Клиника Иванова at PC-IVANOV:15000, /home/ivanov/x") == (
        "Clinic uid1 at [database server]:15000, ~/x"
    )
    assert mask.text("at OTHER-PC:15000, X.local\\PZ, localhost:4200, a.py:12, http://srv:80/api") == (
        "at [host]:15000, [host]\\PZ, localhost:4200, a.py:12, http://[host]:80/api"
    )
    assert mask.text("ivanov and ivanovsky") == "uid2 and ivanovsky"
    assert mask.text("Анна-Мария Иванова, a@example.org, +7 (916) 123-45-67") == "[text], [e-mail], [number]"
    assert mask.text("2026-11-26T12:00:00+00:00, 35 s ago, 192.168.0.5:15000") == (
        "2026-11-26T12:00:00+00:00, 35 s ago, 192.168.0.5:15000"
    )
    assert [name_of_host(one) for one in ("", "localhost", "10.0.0.5", "::1", "PC-IVANOV")] == [False] * 4 + [
        True
    ]


def test_of_a_runs_counts_only_numbers_and_codes_are_kept() -> None:
    counts = {
        "clinic": "ivanova",
        "code": "authentication",
        "mode": "Иванова",
        "planned": {"contacts": {"create": 2}, "Иванова": 1},
        "warnings": ["Иванова"],
        "plan": [{"name": "Иванова"}],
        "seconds": 1.5,
        "dry_run": False,
    }
    assert counts_only(counts) == {
        "code": "authentication",
        "planned": {"contacts": {"create": 2}},
        "seconds": 1.5,
        "dry_run": False,
    }


def test_the_bundle_is_its_owners_alone_and_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    write_bundle(path, {"a.txt": "text"})
    write_bundle(path, {"a.txt": "текст"})
    assert zipfile.ZipFile(path).read("a.txt").decode() == "текст"
    assert [one.name for one in tmp_path.iterdir()] == ["b.zip"]
    if os.name == "posix":
        assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigurationError) as refusal:
        write_bundle(tmp_path / "none" / "b.zip", {})
    assert refusal.value.code == "bundle_not_written"


def test_the_report_groups_its_lines_and_counts_them() -> None:
    from datetime import UTC, datetime

    found = (
        Finding("A", "one", State.OK, "fine"),
        Finding("B", "two", State.FAULT, "bad", "do it"),
        Finding("A", "three", State.WARNING, "so so"),
    )
    report = Report(datetime(2026, 3, 12, tzinfo=UTC), found)
    text = report.text()
    assert text.index("three") < text.index("B\n")
    assert "→ do it" in text
    assert (report.state, report.summary) == (State.FAULT, "1 faults, 1 warnings, 1 ok")
    assert report.as_dict()["summary"] == {"ok": 1, "warning": 1, "fault": 1}


@posix
def test_a_password_of_the_server_that_others_may_read_is_a_fault(tmp_path: Path) -> None:
    path = make_password(tmp_path)
    assert path.name == AUTH_FILE
    assert [found.state for found in check_files(tmp_path, None)] == [State.OK]
    path.chmod(0o644)
    [found] = check_files(tmp_path, None)
    assert (found.state, found.code) == (State.FAULT, "key_open")
