"""``backup`` and ``restore`` as an operator calls them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli.main import app
from deployments.environment import up_lock
from tasks import connections
from tasks.errors import ConfigurationError
from tasks.ledger.store import ConnectionRecord
from tasks.settings import Settings, load_settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("IDENT_AMOCRM_HOME", str(tmp_path / "home"))
    for name in ("PREFECT_HOME", "PREFECT_SERVER_ENCRYPTION_KEY"):
        monkeypatch.setenv(name, "test")  # what a command would set in this process
    load_settings.cache_clear()
    connections._ledger.cache_clear()
    yield tmp_path / "home"
    load_settings.cache_clear()
    connections._ledger.cache_clear()


def test_a_backup_says_that_the_keys_are_not_inside_and_comes_back(home: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "b.zip")
    ledger = connections.open_ledger()
    ledger.save_connection(ConnectionRecord("north", "u", "north", "Europe/Moscow"))
    done = CliRunner().invoke(app, ["backup", file, "--output", "json"])
    assert done.exit_code == 0, done.output
    assert "keys are not inside" in done.stderr
    assert json.loads(done.stdout)["tables"]["connection"] == 1
    ledger.close()
    back = CliRunner().invoke(app, ["restore", file, "--output", "json"])
    assert back.exit_code == 0, back.output
    assert "sync north --dry-run" in back.stderr
    answer = json.loads(back.stdout)
    assert (answer["clinics"], answer["same_key"]) == (["north"], True)
    assert Path(answer["replaced"]).parent == home
    with_key = CliRunner().invoke(app, ["backup", file, "--with-key", "--force"])
    assert "The keys are inside" in with_key.stderr


def test_a_restore_is_refused_while_up_runs(home: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "b.zip")
    assert CliRunner().invoke(app, ["backup", file]).exit_code == 0
    with up_lock(Settings(home=home)):
        done = CliRunner().invoke(app, ["restore", file])
    assert isinstance(done.exception, ConfigurationError)
    assert done.exception.code == "up_running"
    assert "Stop it" in done.exception.remedy
