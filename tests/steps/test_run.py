"""What one run as a whole decides: the dry run, what waits for a person, what a change elsewhere releases."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from deployments.sandbox.amocrm.server import StandIn
from tasks.errors import LedgerUnavailableError, PaymentRequiredError, SchemaError
from tasks.planning.holding import MANY_PAST_MOVES
from tasks.records import Kind
from tasks.settings import load_settings
from tests.support.clinic_database import clinic_now
from tests.support.sandbox_installation import (
    CLINIC,
    TOKEN,
    SandboxInstallation,
    sandbox_installation,
)


@pytest.fixture(scope="module")
def transferred(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxInstallation]:
    with (
        pytest.MonkeyPatch.context() as patch,
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        sandbox_installation(tmp_path_factory.mktemp("clinic"), crm, patch, appointments=150) as found,
    ):
        found.connect()
        found.sync()
        assert found.differences() == []
        found.remember()
        yield found


@pytest.fixture
def loaded(transferred: SandboxInstallation) -> Iterator[SandboxInstallation]:
    transferred.recall()
    yield transferred
    load_settings.cache_clear()
    transferred.crm.admin("faults", method="DELETE")
    transferred.crm.admin("settings", {"paid": True})


def change(found: SandboxInstallation, sql: str, *values: object) -> int:
    """Run a statement in the clinic; returns how many rows it changed."""
    with closing(sqlite3.connect(found.database)) as link, link:
        return link.execute(sql, values).rowcount


def ids(found: SandboxInstallation, sql: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(found.database)) as link:
        return [row[0] for row in link.execute(sql, values)]


def stamp() -> str:
    return f"{clinic_now():%Y-%m-%d %H:%M:%S}"


def test_a_sync_sends_exactly_what_the_dry_run_showed(loaded: SandboxInstallation) -> None:
    loaded.hour(3)
    writes = loaded.writes()
    shown = loaded.sync(dry_run=True).plan
    assert loaded.writes() == writes
    report = loaded.sync()
    rows = [
        (row.kind.value, row.source_id, row.action.value, list(row.changed), row.amo_id)
        for row in loaded.ledger.planned_rows(report.run_id)
    ]
    names = ("kind", "source_id", "action", "changed", "amo_id")
    assert sorted(map(repr, rows)) == sorted(repr(tuple(row[name] for name in names)) for row in shown)
    assert len(rows) > 5


def test_old_appointments_closed_in_bulk_wait_for_a_persons_word(
    loaded: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As IDENT's vendor did: months later, back-dated, without a canceller (``ident.md`` 1.8)."""
    monkeypatch.setenv("IDENT_AMOCRM_PAST_MOVE_LIMIT", "3")
    load_settings.cache_clear()
    old = f"{clinic_now() - timedelta(days=10):%Y-%m-%d}"
    sql = "SELECT ID FROM Receptions WHERE PlanStart < ? AND ReceptionCanceled IS NULL AND ID_Patients > 0"
    known = set(loaded.ledger.applied_index(loaded.uid, Kind.LEAD).source_ids.tolist())
    closed = [key for key in ids(loaded, sql, old) if key in known][:6]
    marks = ",".join("?" * len(closed))
    change(
        loaded,
        "UPDATE Receptions SET ReceptionCanceled = PlanEnd, CheckIssued = NULL, ReceptionEnded = NULL,"
        f" ID_ReceptionCancelReasons = 1, DateTimeChanged = ? WHERE ID IN ({marks})",
        stamp(),
        *closed,
    )
    report = loaded.sync()
    held = {row.source_id for _uid, row in loaded.ledger.rejects(loaded.uid) if row.reason == MANY_PAST_MOVES}
    assert held == set(closed)
    assert report.planned["leads"]["move"] == 0
    assert any("rejects retry" in warning for warning in report.warnings)
    assert loaded.sync("full").planned["leads"]["move"] == 0
    loaded.ledger.release(loaded.uid, "lead", None, MANY_PAST_MOVES)
    assert loaded.sync().planned["leads"]["move"] == len(closed)
    assert MANY_PAST_MOVES not in {row.reason for _uid, row in loaded.ledger.rejects(loaded.uid)}


def test_what_amocrm_refused_is_tried_again_once_its_fields_change(loaded: SandboxInstallation) -> None:
    [patient] = ids(loaded, "SELECT ID_Persons FROM Patients ORDER BY ID_Persons LIMIT 1")
    change(loaded, "UPDATE Persons SET City = ?, DateTimeChanged = ? WHERE ID = ?", "Тверь", stamp(), patient)
    loaded.crm.admin("faults", {"mode": "status", "status": 400, "method": "PATCH", "count": 1})
    assert loaded.sync().rejected >= 1
    assert loaded.sync().planned["contacts"]["update"] == 0
    requests.post(
        f"{loaded.crm.url}/api/v4/contacts/custom_fields",
        json=[{"name": "Новое поле", "type": "text"}],
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=30,
    ).raise_for_status()
    assert loaded.sync().applied["contacts"]["update"] >= 1
    assert loaded.differences() == []


def test_a_patient_whose_appointment_went_to_another_is_read_again(loaded: SandboxInstallation) -> None:
    [reception] = ids(
        loaded,
        "SELECT ID FROM Receptions WHERE ReceptionCanceled IS NULL AND ReceptionEnded IS NULL"
        " AND ID_Patients > 0 AND ID_ReceptionsTransferFrom IS NULL AND PlanStart > ? LIMIT 1",
        stamp(),
    )
    others = "SELECT ID_Persons FROM Patients WHERE ID_Persons <> (SELECT ID_Patients FROM Receptions WHERE ID = ?)"
    known = set(loaded.ledger.applied_index(loaded.uid, Kind.CONTACT).source_ids.tolist())
    other = next(key for key in ids(loaded, others, reception) if key in known)
    sql = "UPDATE Receptions SET ID_Patients = ?, DateTimeChanged = ? WHERE ID = ?"
    change(loaded, sql, other, stamp(), reception)
    loaded.sync()
    assert loaded.differences() == []


def test_a_right_that_was_lost_stops_the_run_before_it_empties_fields(loaded: SandboxInstallation) -> None:
    change(loaded, "ALTER TABLE Persons RENAME COLUMN Email TO EmailOld")
    with pytest.raises(SchemaError, match=r"shows no more Persons\.Email") as caught:
        loaded.sync("full")
    assert caught.value.code == "schema_shrunk"


def test_an_unpaid_account_is_not_asked_by_the_schedule_until_it_answers(
    loaded: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import breaker

    loaded.crm.admin("settings", {"paid": False})
    with pytest.raises(PaymentRequiredError) as caught:
        loaded.sync()
    breaker.trip(loaded.ledger, caught.value)
    monkeypatch.setattr("tasks.gate.deployment", type("Run", (), {"id": "scheduled"}))
    asked = loaded.crm.admin("stats")["requests"]
    for _ in range(3):
        with pytest.raises(PaymentRequiredError, match="scheduled runs send nothing"):
            loaded.sync()
    assert loaded.crm.admin("stats")["requests"] == asked
    loaded.crm.admin("settings", {"paid": True})
    monkeypatch.setattr("tasks.gate.deployment", type("Run", (), {"id": None}))
    loaded.sync()  # a person tries: it answers again
    monkeypatch.setattr("tasks.gate.deployment", type("Run", (), {"id": "scheduled"}))
    loaded.sync()


def test_a_ledger_that_cannot_be_written_is_named(loaded: SandboxInstallation) -> None:
    engine = loaded.ledger.database.engine

    def read_only(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA query_only = ON")

    sa.event.listen(engine, "begin", read_only)
    try:
        with pytest.raises(LedgerUnavailableError, match="free space and rights"):
            loaded.ledger.put_setting("a", "b", {}, by=CLINIC)
    finally:
        sa.event.remove(engine, "begin", read_only)
        engine.dispose()
