"""``thresholds`` on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import thresholds
from deployments.cli.main import app
from expectations.thresholds import Thresholds
from tasks.errors import ConfigurationError
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.validate import thresholds_of


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Ledger]:
    found = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").open()
    record = ConnectionRecord(name="Север", clinic_uid="n", block_name="b", timezone="Europe/Moscow")
    found.save_connection(record)
    monkeypatch.setattr(thresholds, "open_session", lambda **_options: found)
    yield found
    found.close()


def run(*arguments: str) -> Any:
    done = CliRunner().invoke(app, ["thresholds", *arguments, "--output", "json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_thresholds_are_shown_changed_and_put_back(ledger: Ledger) -> None:
    assert run("show", "Север") == Thresholds().model_dump(mode="json")
    changed = run("set", "Север", "opens=8", "working_days=1,2,3")
    assert (changed["opens"], changed["working_days"]) == (8, [1, 2, 3])
    assert thresholds_of(ledger, "n") == Thresholds(opens=8, working_days=(1, 2, 3))
    assert run("set", "Север", "opens=", "working_days=") == Thresholds().model_dump(mode="json")
    history = ledger.setting_history("clinic:n", "thresholds")
    assert [row["value"] for row in history] == [{"opens": 8, "working_days": [1, 2, 3]}, {}]


@pytest.mark.parametrize("change", ["opens", "opens=later", "doors=2"])
def test_what_makes_no_sense_changes_nothing(ledger: Ledger, change: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        run("set", "Север", change)
    assert caught.value.code == "thresholds"
    assert thresholds_of(ledger, "n") == Thresholds()
