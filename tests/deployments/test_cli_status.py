"""``status`` and ``--version``: what runs here, and how each clinic's transfer stands."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from deployments.cli import main, output, transfer
from deployments.cli.main import app
from tasks.ledger.database import HEAD
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.records import Action, Kind, Outcome, OutcomeState, PlanRow, Reject


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    found = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").open()
    monkeypatch.setattr(transfer, "open_session", lambda **_options: found)
    monkeypatch.setenv("COLUMNS", "200")
    yield found
    found.close()


def test_the_version_is_told() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"ident-amocrm {version('ident-amocrm')}\n")


def test_status_tells_versions_and_clinics(ledger: Ledger) -> None:
    ledger.save_connection(ConnectionRecord("Север", "clinicuid1", "b", "Asia/Novosibirsk"))
    ledger.put_setting("clinic:clinicuid1", "transfer", {"started": True}, by="test")
    ledger.add_rejects("clinicuid1", [Reject("patient", 7, "phone_mobile_e164", "phone_mobile")])
    done = CliRunner().invoke(app, ["status", "--output", "json"])
    told = json.loads(done.stdout)
    assert (told["version"], told["ledger"]) == (version("ident-amocrm"), HEAD)
    (clinic,) = told["clinics"]
    assert (clinic["clinic"], clinic["started"], clinic["rejects"]) == ("Север", True, 1)
    text = CliRunner().invoke(app, ["status"]).stdout
    assert f"ident-amocrm {version('ident-amocrm')}, ledger {HEAD}" in text
    assert "запущена" in text


@pytest.mark.usefixtures("ledger")
def test_status_without_a_clinic_tells_the_versions_all_the_same() -> None:
    told = json.loads(CliRunner().invoke(app, ["status", "--output", "json"]).stdout)
    assert told == {"version": version("ident-amocrm"), "ledger": HEAD, "clinics": []}


def test_a_long_load_under_way_is_told_and_a_killed_one_is_not(ledger: Ledger) -> None:
    ledger.save_connection(ConnectionRecord("Север", "clinicuid1", "b", "Asia/Novosibirsk"))
    ledger.start_run("run", "clinicuid1", "full", by="sync")
    ledger.save_plan("run", "clinicuid1", [PlanRow(Kind.CONTACT, key, Action.CREATE) for key in range(2000)])
    ended = [Outcome("run", Kind.CONTACT, key, OutcomeState.APPLIED) for key in range(500)]
    ledger.record_outcomes("clinicuid1", ended)
    assert "25.0" not in CliRunner().invoke(app, ["status"]).stdout, "nobody holds the clinic"
    ledger.acquire_lease("clinicuid1", "another-machine:1:owner", 60)
    assert "25.0 %. Осталось меньше минуты" in CliRunner().invoke(app, ["status"]).stdout
    told = json.loads(CliRunner().invoke(app, ["status", "--output", "json"]).stdout)
    load = told["clinics"][0]["load"]
    assert (load["percent"], load["contacts"], load["seconds_left"]) == (25.0, [500, 2000], 6)
    ledger.start_run("check", "clinicuid1", "full", by="reconcile")
    assert "25.0" not in CliRunner().invoke(app, ["status"]).stdout, "another job holds it now"


def test_a_narrow_window_cuts_nothing_off() -> None:
    shown = output.table("События", "Событие", "Клиника")
    shown.add_row("ident-amocrm.transfer.started", "Северная")
    window = io.StringIO()
    Console(file=window, width=30).print(shown)
    told = [line.split("│")[1].strip() for line in window.getvalue().splitlines() if line.count("│") == 3]
    assert "".join(told) == "ident-amocrm.transfer.started"


def test_from_a_folder_that_may_not_be_entered_it_goes_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``sudo -u`` leaves one in the folder of whoever called it; here stands in for that what stat says there."""
    here, home, stat = tmp_path / "here", tmp_path / "home", Path.stat

    def closed(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path == Path(".env"):
            raise PermissionError(13, "Permission denied", ".env")
        return stat(path, follow_symlinks=follow_symlinks)

    here.mkdir()
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    # The handler of SIGTERM is for a process of its own.
    monkeypatch.setattr("deployments.cli.main.signal.signal", lambda *_: None)
    monkeypatch.setattr(main, "app", lambda: typer.echo(Path.cwd()))
    monkeypatch.chdir(here)
    main.main()
    assert capsys.readouterr().out == f"{here}\n"
    monkeypatch.setattr(Path, "stat", closed)
    main.main()
    told = capsys.readouterr()
    assert told.out == f"{home}\n"
    assert str(home) in told.err.replace("\n", "")
