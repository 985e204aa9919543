"""``subscription status|quote|activate|extend`` as an operator types them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import subscription as commands
from deployments.cli.main import app
from deployments.sandbox.amocrm.server import StandIn
from tasks import subscribe
from tasks.errors import ConfigurationError
from tests.support.sandbox_installation import TOKEN, SandboxInstallation, sandbox_installation


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxInstallation]:
    with (
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        sandbox_installation(tmp_path, crm, monkeypatch, patients=5, appointments=10) as found,
    ):
        found.connect()
        monkeypatch.setattr(commands, "open_session", lambda **_options: found.ledger)
        yield found


def ask(*arguments: str) -> Any:
    done = CliRunner().invoke(app, ["subscription", *arguments, "--output", "json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_whole_way(clinic: SandboxInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    status = ask("status")
    assert (status["state"], status["lets_transfer"]) == ("trial", True)
    assert status["text"].startswith("Бесплатный пробный период, до ")

    prices = ask("quote")
    active = sum(user.is_active for user in clinic.crm.sandbox.state.users)
    assert prices["active_users"] == active
    users = max(active, 5)
    assert [one["amount"] for one in prices["quotes"]] == [990 * 6 * users, 990 * 10 * users]

    with pytest.raises(ConfigurationError) as refusal:
        ask("activate", "--months", "10")
    assert refusal.value.code == "offer_not_accepted"
    made = ask("activate", "--months", "10", "--accept-offer")
    assert made["amount"] == 990 * 10 * users
    assert Path(made["file"]).is_file()
    paid = ask("activate", "--paid", made["number"])
    assert paid["state"] == "active"

    later = datetime.now(tz=UTC) + timedelta(days=30)
    monkeypatch.setattr(subscribe, "_now", lambda: later)
    extra = ask("extend", "--users", "2", "--accept-offer")
    # 14 days of trial and 10 months were paid; 30 days are over, a month begun counts.
    assert extra["amount"] == 990 * 2 * 10
    assert ask("extend", "--paid", extra["number"])["paid_users"] == users + 2
    again = ask("extend", "--months", "6", "--accept-offer")
    before = datetime.fromisoformat(paid["ends_at"])
    ends_at = datetime.fromisoformat(ask("extend", "--paid", again["number"])["ends_at"])
    assert (ends_at - before).days in range(180, 185)


def test_what_a_person_reads(clinic: SandboxInstallation) -> None:
    for command in ("status", "quote"):
        done = CliRunner().invoke(app, ["subscription", command])
        assert done.exit_code == 0, done.output
        assert "Бесплатный пробный период" in done.output
