"""The event log: filters, order, CSV, and nothing of a person in it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli.main import app
from tasks import connections, journal, recording
from tasks.errors import ConfigurationError, DatabaseUnavailableError, GuardError, LeaseHeldError
from tasks.events import emit
from tasks.journal import as_csv, journal_lines, parse_since
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.recording import recorded
from tasks.settings import Settings, load_settings

NOW = datetime(2026, 3, 12, 9, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setenv("IDENT_AMOCRM_HOME", str(tmp_path))
    load_settings.cache_clear()
    connections._ledger.cache_clear()
    monkeypatch.setattr("tasks.events.emit_event", lambda **_parts: None)
    with closing(Ledger(Settings(home=tmp_path).ledger_url).open()) as found:
        for name, uid in (("Север", "n"), ("Юг", "s")):
            found.save_connection(ConnectionRecord(name, uid, uid, "Europe/Moscow"))
        yield found
    connections._ledger.cache_clear()
    load_settings.cache_clear()


@pytest.fixture
def told(ledger: Ledger) -> Ledger:
    emit("transfer.started", "n", "Север", "info", {}, ledger)
    emit("sync.failed", "s", "Юг", "error", {"code": "blocked"}, ledger)
    emit("rows.rejected", "n", "Север", "warning", {"invalid": 3}, ledger)
    emit("transfer.stopped", "s", "Юг", "info", {}, ledger)
    for number, row in enumerate(ledger.audit(order="asc")):
        with ledger.database.write() as link:
            moment = (datetime.now(tz=UTC) - timedelta(days=10 - number)).timestamp()
            link.exec_driver_sql(f"UPDATE audit SET occurred_at = {moment} WHERE id = {row.id}")
    return ledger


def names(lines: list[journal.Line]) -> list[str]:
    return [line.event.removeprefix("ident-amocrm.") for line in lines]


def test_filters_and_orders(told: Ledger) -> None:
    everything = ["transfer.stopped", "rows.rejected", "sync.failed", "transfer.started"]
    assert names(journal_lines(told)) == everything
    assert names(journal_lines(told, sort="oldest")) == everything[::-1]
    assert names(journal_lines(told, sort="oldest", limit=1)) == ["transfer.started"]
    assert names(journal_lines(told, sort="event")) == sorted(everything)
    assert [line.level for line in journal_lines(told, sort="level")] == ["error", "warning", "info", "info"]
    assert [line.clinic for line in journal_lines(told, sort="clinic")] == ["Север", "Север", "Юг", "Юг"]
    assert names(journal_lines(told, event="transfer")) == ["transfer.stopped", "transfer.started"]
    assert names(journal_lines(told, event="ident-amocrm.rows")) == ["rows.rejected"]
    assert names(journal_lines(told, clinic="Юг")) == ["transfer.stopped", "sync.failed"]
    assert names(journal_lines(told, level="error")) == ["sync.failed"]
    since = datetime.now(tz=UTC) - timedelta(days=8, hours=1)
    assert names(journal_lines(told, since=since)) == ["transfer.stopped", "rows.rejected"]


def test_a_disconnected_clinic_is_still_named(told: Ledger) -> None:
    told.remove_connection("Север")
    assert {line.clinic for line in journal_lines(told)} == {"Север", "Юг"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T08:30", datetime(2026, 3, 1, 8, 30, tzinfo=UTC)),
        ("2026-03-01T08:30+03:00", datetime(2026, 3, 1, 5, 30, tzinfo=UTC)),
        ("90m", NOW - timedelta(minutes=90)),
        ("24h", NOW - timedelta(days=1)),
        (" 2w ", NOW - timedelta(days=14)),
    ],
)
def test_since(text: str, wanted: datetime) -> None:
    assert parse_since(text, NOW) == wanted
    for wrong in ("yesterday", "7 days", ""):
        with pytest.raises(ConfigurationError):
            parse_since(wrong, NOW)


def test_the_command(told: Ledger, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["events", "--event", "transfer", "--sort", "oldest", "--output", "json"])
    assert done.exit_code == 0, done.output
    assert [row["event"] for row in json.loads(done.stdout)] == [
        "ident-amocrm.transfer.started",
        "ident-amocrm.transfer.stopped",
    ]
    path = tmp_path / "events.csv"
    done = CliRunner().invoke(app, ["events", "--since", "9d", "--csv", str(path)])
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    assert [row["event"] for row in rows] == [
        "ident-amocrm.transfer.stopped",
        "ident-amocrm.rows.rejected",
        "ident-amocrm.sync.failed",
    ][: len(rows)]
    assert rows[1]["payload"] == "invalid=3"
    assert as_csv([]).strip() == "at,event,clinic,level,payload"


def test_the_table_in_prefect(told: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[Any] = []

    def keep(rows: list[dict[str, str]], *, key: str, description: str) -> None:
        published.append((key, description, rows))

    monkeypatch.setattr(journal, "create_table_artifact", keep)
    assert journal.publish_journal.fn(30, "", "", "", "level", 500) == 4
    [(key, _description, rows)] = published
    assert key == "journal"
    assert rows[0]["Уровень"] == "error"
    assert journal.publish_journal.fn(30, "Юг", "sync.", "error", "newest", 1) == 1


def run(ledger: Ledger, number: int, error: Exception | None) -> None:
    try:
        with recorded(f"r{number}", "Север", "incremental", ledger, job="sync", dry_run=False):
            if error is not None:
                raise error
        ledger.finish_run(f"r{number}", "completed", {})
    except (DatabaseUnavailableError, GuardError, LeaseHeldError):
        return


def test_runs_that_keep_failing_are_one_event(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr("tasks.ledger.administration.time.time", lambda: float(next(ticks)))
    down = DatabaseUnavailableError(problem="", remedy="")
    for number in range(8):
        run(ledger, number, down)
    run(ledger, 8, None)
    run(ledger, 9, LeaseHeldError(problem="", remedy=""))
    for number in range(10, 15):
        run(ledger, number, down)
    found = [row.event.removeprefix("ident-amocrm.") for row in ledger.audit(order="asc")]
    assert found == ["sync.failed", "sync.failing", "sync.failed", "sync.failing"]


def test_a_guard_that_trips_is_an_event_of_its_own(ledger: Ledger) -> None:
    run(ledger, 1, GuardError(problem="", remedy="", code="shrunk"))
    run(ledger, 2, GuardError(problem="", remedy="", code="rebaseline_due"))
    found = [row.event.removeprefix("ident-amocrm.") for row in ledger.audit(order="asc")]
    assert found == ["sync.guard_tripped", "transfer.refused"]
    assert {"subscription_expired", "subscription_suspended"} <= recording.REFUSALS
