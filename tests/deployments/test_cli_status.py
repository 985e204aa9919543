"""``status`` and ``--version``: what runs here, and how each clinic's transfer stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import transfer
from deployments.cli.main import app
from tasks.ledger.database import HEAD
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.records import Reject


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
