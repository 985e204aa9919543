"""What is old goes by class and age; an inspection sees who did what, and nobody's data."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from deployments.cli.main import app
from tasks import basis
from tasks.errors import ConfigurationError
from tasks.events import emit
from tasks.inspection import COLUMNS, as_csv, inspect
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.ledger.tables import attempt, audit, outcome, plan, run
from tasks.purge import CLASSES, purge
from tasks.records import Action, AppliedRow, Batch, Kind, Outcome, OutcomeState, PlanRow, Waiver
from tasks.settings import Settings

UID, CLINIC = "clinicuid1", "Улыбка"
RECORD = ConnectionRecord(CLINIC, UID, "b", "Europe/Moscow")
DAYS = 86_400.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings(home=tmp_path)
    found.prepare_home()
    return found


@pytest.fixture
def ledger(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setattr("tasks.events.emit_event", lambda **_parts: None)
    found = Ledger(settings.ledger_url).open()
    found.save_connection(RECORD)
    yield found
    found.close()


def transfer(ledger: Ledger, run_id: str, keys: list[int], owed: int | None = None) -> None:
    """Play a run that sent some contacts, and owes one."""
    ledger.start_run(run_id, UID, "incremental", by="sync")
    planned = [*keys, *([owed] if owed else [])]
    ledger.save_plan(run_id, UID, [PlanRow(Kind.CONTACT, key, Action.CREATE) for key in planned])
    rows = tuple(AppliedRow(Kind.CONTACT, key, 100 + key, 5, {}) for key in keys)
    batch = Batch(Kind.CONTACT, Action.CREATE, tuple(keys), 7, 0, rows)
    known = ledger.begin_attempt(run_id, UID, 1, batch)
    ledger.acknowledge(
        known.id, rows, [Outcome(run_id, Kind.CONTACT, key, OutcomeState.APPLIED) for key in keys]
    )
    counts = {"planned": {"contacts": {"create": len(planned)}}, "clinic": "Иванов", "seconds": 1.5}
    ledger.finish_run(run_id, "completed", counts)


def age(ledger: Ledger, days: float) -> None:
    """Make everything that is there older."""
    columns = (
        plan.c.planned_at,
        outcome.c.ended_at,
        attempt.c.closed_at,
        run.c.started_at,
        audit.c.occurred_at,
    )
    with ledger.database.write() as link:
        for column in columns:
            link.execute(sa.update(column.table).values({column.name: column - days * DAYS}))


def counted(ledger: Ledger) -> dict[str, int]:
    with ledger.database.read() as link:
        return {
            table.name: int(link.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
            for table in (plan, outcome, attempt, run)
        }


def test_old_runs_go_and_what_is_owed_or_the_latest_stays(ledger: Ledger, settings: Settings) -> None:
    transfer(ledger, "first", [1, 2], owed=3)
    transfer(ledger, "second", [4])
    open_one = ledger.begin_attempt("second", UID, 1, Batch(Kind.LEAD, Action.CREATE, (9,), 7))
    age(ledger, 40)
    transfer(ledger, "young", [5])
    before = counted(ledger)
    found = purge(ledger, settings, "runs", timedelta(days=30), dry_run=True)
    assert counted(ledger) == before, "only counted"
    assert purge(ledger, settings, "runs", timedelta(days=30), dry_run=False) == found
    assert found == {"outcome": 3, "plan": 3, "attempt": 2, "run": 2}
    assert ledger.open_keys(UID) == {Kind.CONTACT: frozenset({3})}
    assert [row.source_id for row in ledger.planned_rows("first")] == [3], "it is still owed"
    assert [one.id for one in ledger.open_attempts(UID)] == [open_one.id]
    assert [one.run_id for one in ledger.runs(UID)] == ["young"]
    assert ledger.applied_count(UID, Kind.CONTACT) == 4, "what was sent stays known"
    (event,) = ledger.audit(event_prefix="ident-amocrm.ledger.purged")
    assert event.payload == {"class": "runs", "days": 30, **found}
    age(ledger, 40)
    purge(ledger, settings, "runs", timedelta(days=30), dry_run=False)
    assert [one.run_id for one in ledger.runs(UID)] == ["young"], "status and health go by the latest"


def test_events_stay_for_a_year_whatever_is_asked(ledger: Ledger, settings: Settings) -> None:
    emit("database.connected", UID, CLINIC, "info", {}, ledger)
    age(ledger, 400)
    emit("database.renamed", UID, CLINIC, "info", {}, ledger)
    with pytest.raises(ConfigurationError, match="365"):
        purge(ledger, settings, "events", timedelta(days=364), dry_run=False)
    assert purge(ledger, settings, "events", timedelta(days=365), dry_run=False) == {"audit": 1}
    assert [row.event.rpartition(".")[2] for row in ledger.audit(order="asc")] == ["renamed", "purged"]
    with pytest.raises(ConfigurationError, match=r"runs, events, replaced, logs"):
        purge(ledger, settings, "patients", timedelta(days=400), dry_run=True)


def test_files_go_by_their_age_and_never_the_ledger_itself(ledger: Ledger, settings: Settings) -> None:
    (settings.home / "logs").mkdir()
    old, young = time.time() - 50 * DAYS, time.time()
    files = {"ledger-replaced-20260101.db": old, "ledger-replaced-20261101.db": young}
    files |= {
        "installation-replaced-1.key": old,
        "installation.key": old,
        "logs/worker.log.3": old,
        "logs/up.log": young,
    }
    for name, at in files.items():
        (settings.home / name).touch()
        os.utime(settings.home / name, (at, at))
    os.utime(settings.home / "ledger.db", (old, old))
    for name in ("replaced", "logs"):
        purge(ledger, settings, name, timedelta(days=30), dry_run=False)
    left = {str(path.relative_to(settings.home)) for path in settings.home.rglob("*") if path.is_file()}
    assert left >= {"ledger-replaced-20261101.db", "installation.key", "logs/up.log", "ledger.db"}
    assert not left & {"ledger-replaced-20260101.db", "installation-replaced-1.key", "logs/worker.log.3"}
    assert set(CLASSES) == {"runs", "events", "replaced", "logs"}


def told(ledger: Ledger) -> list[dict[str, str]]:
    now = datetime.now(tz=UTC)
    text = as_csv(inspect(ledger, now - timedelta(days=1), now + timedelta(minutes=1)))
    return list(csv.DictReader(io.StringIO(text)))


def test_an_inspection_sees_who_did_what_and_nobodys_data(ledger: Ledger) -> None:
    basis.attest(ledger, RECORD, basis.Basis.CONSENT, by="=Юрист()")
    ledger.save_connection(replace(RECORD, name=" =CLINIC()"))
    assert {line["clinic"] for line in told(ledger)} == {"' =CLINIC()"}, "some skip the space before it"
    ledger.save_connection(RECORD)
    transfer(ledger, "run-1", [1])
    ledger.put_setting(f"clinic:{UID}", "transfer", {"started": True, "by": "Анна"}, by="Анна")
    ledger.put_setting("account:1", "mapping", {"filters": {"doctors": ["Петров"]}}, by="configure-mapping")
    now = time.time()
    ledger.waive(UID, [Waiver("patient", 5, "name_present", "звонила Сидорова", "Главврач", now + 9, now)])
    ledger.erase(UID, [17], by="Юрист")
    lines = told(ledger)
    assert list(lines[0]) == list(COLUMNS)
    found = {(line["kind"], line["what"]): line for line in lines}
    assert found["run", "sync incremental run-1"]["counts"] == "planned.contacts.create=1, seconds=1.5"
    assert found["run", "sync incremental run-1"]["result"] == "completed"
    assert found["decision", "basis"]["who"] == "'=Юрист()", "no formula in a spreadsheet"
    assert found["decision", "basis"]["counts"] == "basis=consent"
    assert (found["decision", "transfer"]["who"], found["decision", "transfer"]["clinic"]) == ("Анна", CLINIC)
    assert (found["decision", "mapping"]["counts"], found["decision", "mapping"]["clinic"]) == ("", "all")
    assert found["waiver", "name_present"]["who"] == "Главврач"
    assert (found["erasure", "patient 17"]["who"], found["erasure", "patient 17"]["result"]) == (
        "Юрист",
        "not finished",
    )
    assert found["event", "basis.attested"]["counts"] == "basis=consent"
    assert lines == sorted(lines, key=lambda line: line["at_utc"])
    whole = str(lines)
    assert not any(name in whole for name in ("Петров", "Сидорова", "Иванов"))


def test_the_commands(
    ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("deployments.cli.law.open_session", lambda **_options: ledger)
    monkeypatch.setattr("tasks.settings.load_settings", lambda: settings)
    transfer(ledger, "first", [1])
    run_it = CliRunner().invoke
    counted_only = run_it(app, ["purge", "runs", "--older-than", "30d"])
    assert counted_only.exit_code == 0, counted_only.output
    assert "Would be removed: outcome 0" in counted_only.output
    assert run_it(app, ["purge", "runs", "--older-than", "30d", "--yes", "--output", "json"]).exit_code == 0
    file = tmp_path / "audit.csv"
    assert run_it(app, ["audit", "export", str(file), "--since", "1d"]).exit_code == 0
    assert file.read_text(encoding="utf-8-sig").startswith("at_utc,kind,clinic")
