"""A first load: its contacts leave while its appointments are still read."""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from deployments.sandbox.amocrm.server import StandIn
from tasks.amocrm import contacts
from tasks.destination import AmoDestination
from tasks.errors import DatabaseUnavailableError, GuardError, LeaseHeldError, PaymentRequiredError
from tasks.ident.reader import IdentReader
from tasks.rebaseline import BASELINE
from tasks.records import Kind, OutcomeState
from tests.faults.clinic import Clinic
from tests.faults.clock import Clock
from tests.support.sandbox_installation import TOKEN, SandboxInstallation, sandbox_installation

PATIENTS_PAGE = 20
SLOW = {"mode": "slow", "seconds": 0.5, "count": 1000, "method": "POST", "path_prefix": "/api/v4/contacts"}
LONG = 60.0  # until a test gives up


@pytest.fixture
def connected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxInstallation]:
    monkeypatch.setenv("IDENT_AMOCRM_BATCH_SIZE", "5")
    monkeypatch.setenv("IDENT_AMOCRM_WORKERS", "2")
    with (
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        sandbox_installation(tmp_path, crm, monkeypatch, appointments=120) as found,
    ):
        found.connect()
        yield found


def while_appointments_are_read(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> None:
    """Do something between the patients and the appointments of a read."""
    read = IdentReader.appointments

    def appointments(reader: IdentReader, ids: Any) -> Iterator[pd.DataFrame]:
        then()
        return read(reader, ids)

    monkeypatch.setattr(IdentReader, "appointments", appointments)


def wait_for_contacts(found: SandboxInstallation, count: int = 1) -> None:
    until = time.monotonic() + LONG
    while len(found.cards()["contacts"]) < count:
        assert time.monotonic() < until, "no contact came"
        time.sleep(0.05)


def last_run(found: SandboxInstallation) -> str:
    run = found.ledger.last_run(found.uid)
    assert run is not None
    return run.run_id


def ends(found: SandboxInstallation, run_id: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for by_state in found.ledger.outcome_counts(run_id).values():
        counts.update({state.value: number for state, number in by_state.items()})
    return counts


def test_contacts_arrive_before_the_first_appointment_is_read(
    connected: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        while_appointments_are_read(patch, lambda: wait_for_contacts(connected))
        report = connected.sync()
    assert report.planned == report.applied
    assert report.applied["contacts"]["create"] > PATIENTS_PAGE
    assert connected.differences() == []
    assert not any(connected.ledger.open_keys(connected.uid).values()), "something is still owed"
    assert len(connected.ledger.planned_rows(report.run_id)) == report.planned["links"] + sum(
        sum(report.planned[kind].values()) for kind in ("contacts", "leads")
    )
    again = connected.sync()
    assert (again.writes, sum(again.planned["leads"].values())) == (0, 0)


def test_patients_are_read_while_amocrm_is_asked_what_it_has(
    connected: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = Event()
    read, ask = IdentReader.patients, contacts.iterate_contacts

    def patients(reader: IdentReader, ids: Any) -> Iterator[pd.DataFrame]:
        begun.set()
        return read(reader, ids)

    def asked(*arguments: Any, **options: Any) -> Any:
        assert begun.wait(LONG), "nobody reads while amoCRM is asked"
        return ask(*arguments, **options)

    monkeypatch.setattr(IdentReader, "patients", patients)
    monkeypatch.setattr(contacts, "iterate_contacts", asked)
    report = connected.sync()
    assert report.planned == report.applied
    assert begun.is_set()


def test_a_run_that_waits_for_a_persons_word_reads_nothing(
    connected: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = {"for": "empty", "strangers": 0, "adopted": 1, "updates": 0, "creates": 0}
    connected.ledger.put_setting(f"clinic:{connected.uid}", BASELINE, {"counted": counted}, by="test")
    read: list[object] = []
    everything = IdentReader.everything

    def noted(reader: IdentReader, window: Any) -> Any:
        read.append(window)
        return everything(reader, window)

    monkeypatch.setattr(IdentReader, "everything", noted)
    with pytest.raises(GuardError) as refused:
        connected.sync()
    assert refused.value.code == "rebaseline_due"
    assert not read


def test_a_database_that_fails_then_stops_the_run_with_nothing_sent(
    connected: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = sa.exc.OperationalError("SELECT", {}, sqlite3.OperationalError("disk I/O error"))

    def broken(_reader: IdentReader, _ids: Any) -> Iterator[pd.DataFrame]:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(IdentReader, "patients", broken)
        with pytest.raises(DatabaseUnavailableError):
            connected.sync()
    assert not connected.cards()["contacts"]
    report = connected.sync()
    assert report.planned == report.applied
    assert connected.differences() == []


def test_the_highest_ids_are_asked_while_patients_are_read_and_again_when_that_failed(
    connected: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Kind] = []
    answered = Event()
    ask = AmoDestination.highest_id

    def fails_once(destination: AmoDestination, kind: Kind) -> int:
        asked.append(kind)
        if asked == [Kind.CONTACT]:
            answered.set()
            raise GuardError(problem="Not told.", remedy="Ask again.", code="validation_stop")
        return ask(destination, kind)

    read = IdentReader.patients

    def patients(reader: IdentReader, ids: Any) -> Iterator[pd.DataFrame]:
        assert answered.wait(LONG), "nobody asked while the patients are read"
        return read(reader, ids)

    monkeypatch.setattr(AmoDestination, "highest_id", fails_once)
    monkeypatch.setattr(IdentReader, "patients", patients)
    report = connected.sync()
    assert asked == [Kind.CONTACT, Kind.CONTACT, Kind.LEAD]
    assert report.planned == report.applied


def test_a_failure_while_contacts_are_sent_ends_them_and_loses_none(
    connected: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        wait_for_contacts(connected)
        raise GuardError(problem="A rule failed.", remedy="Look.", code="validation_stop")

    with monkeypatch.context() as patch:
        connected.crm.admin("faults", SLOW)  # so that some are left
        while_appointments_are_read(patch, fail)
        with pytest.raises(GuardError, match="A rule failed"):
            connected.sync()
    connected.crm.admin("faults", method="DELETE")
    writes = connected.writes()
    arrived = len(connected.cards()["contacts"])
    run_id = last_run(connected)
    known = connected.ledger.applied_index(connected.uid, Kind.CONTACT)
    planned = connected.ledger.planned_rows(run_id)
    assert 0 < arrived == len(known.source_ids) < len(planned)
    assert ends(connected, run_id) == {
        OutcomeState.APPLIED.value: arrived,
        OutcomeState.DEFERRED.value: len(planned) - arrived,
    }
    time.sleep(0.5)
    assert connected.writes() == writes, "something was still on its way"
    report = connected.sync()
    assert report.applied["contacts"]["create"] == len(planned) - arrived
    assert connected.differences() == []


def test_what_stops_the_contacts_stops_the_deals(connected: SandboxInstallation) -> None:
    connected.crm.admin("faults", {**SLOW, "seconds": 0.1, "count": 2})
    connected.crm.admin("faults", {"mode": "status", "status": 402, "method": "POST"})
    with pytest.raises(PaymentRequiredError):
        connected.sync()
    run_id = last_run(connected)
    counts = ends(connected, run_id)
    assert counts.total() == len(connected.ledger.planned_rows(run_id))
    assert not connected.cards()["leads"]
    connected.crm.admin("faults", method="DELETE")
    connected.sync()
    assert connected.differences() == []


def test_a_patient_who_comes_meanwhile_is_transferred_by_the_next_run(
    connected: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:

    totals: list[str] = []

    def come() -> None:
        clinic = Clinic(connected.database, Clock(), random.Random(1))
        clinic.new_patient()
        before = {row["ID"]: row["ID_Patients"] for row in clinic.store.rows("Receptions")}
        clinic.first_booking_handed_to_latest_patient()
        after = {row["ID"]: row["ID_Patients"] for row in clinic.store.rows("Receptions")}
        # Whose it was IDENT has forgotten: that patient's count of visits is put right by the next full read.
        (former,) = {before[key] for key in before if before[key] != after[key]}
        totals.append(f"contact {former}: IDENT: Всего приёмов")

    with monkeypatch.context() as patch:
        while_appointments_are_read(patch, come)
        assert connected.sync().invalid
    assert not connected.sync().invalid
    assert set(connected.differences()) <= set(totals)
    connected.sync("full")
    assert connected.differences() == []


def test_an_emptied_clinic_is_noticed_before_a_contact_leaves(
    connected: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first load that was interrupted goes on from nothing: what it had sent must still be there."""
    with monkeypatch.context() as patch:

        def fail() -> None:
            wait_for_contacts(connected, PATIENTS_PAGE)
            raise LeaseHeldError(problem="Lost.", remedy="Wait.")

        while_appointments_are_read(patch, fail)
        with pytest.raises(LeaseHeldError):
            connected.sync()
    with closing(sqlite3.connect(connected.database)) as link, link:
        link.execute("DELETE FROM Patients WHERE ID_Persons NOT IN (SELECT max(ID_Persons) FROM Patients)")
    writes = connected.writes()
    with pytest.raises(GuardError) as error:
        connected.sync()
    assert error.value.code == "shrunk"
    assert connected.writes() == writes


@pytest.mark.parametrize("how", ["dry", "full again"])
def test_any_other_run_sends_nothing_before_its_plan_is_whole(
    connected: SandboxInstallation, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "full again":
        connected.sync()
        connected.hour(2)
    writes = connected.writes()
    counts: list[int] = []
    while_appointments_are_read(monkeypatch, lambda: counts.append(connected.writes()))
    connected.sync("full", dry_run=how == "dry")
    assert set(counts) == {writes}
