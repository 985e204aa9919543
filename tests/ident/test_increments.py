"""What an increment names: the right appointments and patients, no others, and never too few."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tasks.ident.dictionaries import changed_entries
from tasks.ident.marks import Changes, Watermark, Window
from tests.support.small_clinic import NOW, SmallClinic, without

Change = Callable[[SmallClinic], Any]
#: Long enough for no overlap to reach what happened before.
LATER = timedelta(hours=3)
PATIENTS, APPOINTMENTS = {11, 12, 13, 14}, {101, 102, 103, 104, 105, 106}


NOTHING: tuple[set[int], set[int]] = (set(), set())


def named(found: Changes) -> tuple[set[int], set[int]]:
    """Ids of appointments and of patients."""
    return set(found.appointments), set(found.patients)


def after(clinic: SmallClinic, change: Change, window: Window | None = None) -> Changes:
    """What an increment names when one thing was done since the last read."""
    mark = clinic.watermark()
    clinic.now += LATER
    change(clinic)
    clinic.now += timedelta(seconds=30)
    return clinic.changes(mark, window)


def new_reception(clinic: SmallClinic) -> None:
    clinic.add("Receptions", ID=110, ID_Patients=14, PlanStart=NOW, PlanEnd=NOW)


def successor(clinic: SmallClinic) -> None:
    clinic.add(
        "Receptions", ID=110, ID_Patients=12, PlanStart=NOW, PlanEnd=NOW, ID_ReceptionsTransferFrom=104
    )


def new_patient(clinic: SmallClinic) -> None:
    clinic.add("Persons", ID=15, Surname="Юн")
    clinic.add("Patients", ID_Persons=15)


def doctor_becomes_patient(clinic: SmallClinic) -> None:
    clinic.add("Patients", ID_Persons=1)


ROWS: dict[str, tuple[Change, set[int], set[int]]] = {
    "nothing": (lambda _: None, set(), set()),
    "reception": (lambda clinic: clinic.change("Receptions", 102, Comment="x"), {102}, {11}),
    "reception of a chain, the older": (
        lambda clinic: clinic.change("Receptions", 103, Comment="x"),
        {103, 104},
        {12},
    ),
    "reception of a chain, the newer": (
        lambda clinic: clinic.change("Receptions", 104, PlanStart=NOW),
        {103, 104},
        {12},
    ),
    "reception without a patient": (
        lambda clinic: clinic.change("Receptions", 106, Comment="x"),
        {106},
        set(),
    ),
    "slot gets its patient": (lambda clinic: clinic.change("Receptions", 106, ID_Patients=14), {106}, {14}),
    "new reception": (new_reception, {110}, {14}),
    "new successor": (successor, {103, 104, 110}, {12}),
    "patient": (lambda clinic: clinic.change("Patients", 13, CardNumber="x"), set(), {13}),
    "person": (lambda clinic: clinic.change("Persons", 13, MobilePhone="x"), set(), {13}),
    "new patient": (new_patient, set(), {15}),
    "person who is no patient": (lambda clinic: clinic.change("Persons", 2, City="x"), set(), set()),
    "doctor who is a patient, too": (doctor_becomes_patient, set(), {1}),
    "order": (lambda clinic: clinic.change("Orders", 202, ID_OwnCompanies=1), {105}, {13}),
    "new order": (
        lambda clinic: clinic.add("Orders", ID=210, ID_Receptions=102, ID_Patients=11),
        {102},
        {11},
    ),
    "order that leaves out whose it is": (
        lambda clinic: clinic.change("Orders", 202, ID_Patients=None),
        {105},
        {13},
    ),
    "order in the middle of a chain": (
        lambda clinic: clinic.add("Orders", ID=210, ID_Receptions=103, ID_Patients=12),
        {103, 104},
        {12},
    ),
    "order without a reception": (lambda clinic: clinic.add("Orders", ID=210, ID_Patients=14), set(), {14}),
    "order of a deleted reception": (
        lambda clinic: clinic.add("Orders", ID=210, ID_Receptions=999, ID_Patients=14),
        set(),
        {14},
    ),
    "service": (lambda clinic: clinic.change("OrderServiceRelation", 303, CountService=2), {105}, {13}),
    "new service": (
        lambda clinic: clinic.add("OrderServiceRelation", ID_Orders=201, ID_ServicePrices=1, CountService=1),
        {101},
        {11},
    ),
    "payment": (lambda clinic: clinic.change("PaymentsIn", 401, Payment=Decimal(1)), {101}, {11}),
    "new payment": (
        lambda clinic: clinic.add("PaymentsIn", ID_Patients=13, Payment=Decimal(500)),
        {105},
        {13},
    ),
    "payment of somebody without orders": (
        lambda clinic: clinic.add("PaymentsIn", ID_Patients=14, Payment=Decimal(500)),
        set(),
        {14},
    ),
}


@pytest.mark.parametrize(("change", "appointments", "patients"), ROWS.values(), ids=ROWS)
def test_a_change_names_what_it_touches(
    any_clinic: SmallClinic, change: Change, appointments: set[int], patients: set[int]
) -> None:
    found = after(any_clinic, change)
    assert named(found) == (appointments, patients)
    assert found.dictionaries_changed == ()


def test_a_payment_finds_orders_that_leave_out_whose_they_are(clinic: SmallClinic) -> None:
    clinic.change("Orders", 202, ID_Patients=None)
    found = after(clinic, lambda _: clinic.add("PaymentsIn", ID_Patients=13, Payment=Decimal(1)))
    assert named(found) == ({105}, {13})


@pytest.mark.parametrize("column", ["ID_Patients", "ID_OwnCompanies"])
def test_orders_without_a_column(clinic: SmallClinic, column: str) -> None:
    without(Path(clinic.connection.database), "Orders", column)
    found = after(clinic, lambda _: clinic.change("Orders", 202, ID_StaffsAssistant=2))
    assert named(found) == ({105}, {13})
    found = after(clinic, lambda _: clinic.add("PaymentsIn", ID_Patients=13, Payment=Decimal(1)))
    assert named(found) == ({105}, {13})


# ---- dictionaries --------------------------------------------------------------------------------------

NAMES: dict[str, tuple[Change, str, set[int], set[int]]] = {
    "doctor": (
        lambda clinic: clinic.store.update("Persons", {"ID": 1}, {"Surname": "Орлова-Ким"}),
        "staff",
        {101, 103, 104},
        {11},
    ),
    "profession of a doctor": (
        lambda clinic: clinic.store.update("Items", {"ID": 3}, {"ID_ProfessionNames": 1}),
        "staff",
        {102, 105},
        {12},
    ),
    "name of a profession": (
        lambda clinic: clinic.store.update("ProfessionNames", {"ID": 1}, {"NameProfession": "Хирург"}),
        "staff",
        {101, 103, 104},
        {11},
    ),
    "chair": (
        lambda clinic: clinic.store.update("Armchairs", {"ID": 2}, {"NameArmchair": "Рентген"}),
        "armchairs",
        {102},
        set(),
    ),
    "chair of another branch": (
        lambda clinic: clinic.store.update("Armchairs", {"ID": 2}, {"ID_OwnCompanies": 1}),
        "armchairs",
        {102},
        set(),
    ),
    "branch": (
        lambda clinic: clinic.store.update("OwnCompanies", {"ID": 2}, {"BranchName": "Юг"}),
        "companies",
        {102, 105},  # by the chair, by the order
        set(),
    ),
    "cancel reason": (
        lambda clinic: clinic.store.update("ReceptionCancelReasons", {"ID": 1}, {"Name": "Болен"}),
        "cancel_reasons",
        {103, 104},
        set(),
    ),
    "source of an appointment": (
        lambda clinic: clinic.store.update("AppointmentSources", {"ID": 1}, {"Name": "Звонок"}),
        "appointment_sources",
        {101},
        set(),
    ),
    "source of a patient": (
        lambda clinic: clinic.store.update("InfoSources", {"ID": 2}, {"Name": "Реклама"}),
        "info_sources",
        set(),
        {13},
    ),
    "reason of archiving": (
        lambda clinic: clinic.store.update("ArchivingReasons", {"ID": 1}, {"Name": None}),
        "archiving_reasons",
        set(),
        {12},
    ),
    "new, unused": (
        lambda clinic: clinic.store.insert("InfoSources", {"ID": 3, "Name": "Радио"}),
        "info_sources",
        set(),
        set(),
    ),
}


@pytest.mark.parametrize(("change", "name", "appointments", "patients"), NAMES.values(), ids=NAMES)
def test_a_new_name_names_all_that_show_it(
    clinic: SmallClinic, change: Change, name: str, appointments: set[int], patients: set[int]
) -> None:
    found = after(clinic, change)
    assert found.dictionaries_changed == (name,)
    assert named(found) == (appointments, patients)
    # Told once: the new watermark knows the new name.
    again = clinic.changes(found.watermark)
    assert (again.dictionaries_changed, named(again)) == ((), NOTHING)


def test_a_new_name_reaches_a_chain_through_a_row_outside_the_window(clinic: SmallClinic) -> None:
    window = Window(start=datetime(2026, 3, 25))  # 104 is in it; 103, whose reason it is, is not
    found = after(clinic, NAMES["cancel reason"][0], window)
    assert found.appointments == {103, 104}
    found = after(clinic, NAMES["doctor"][0], window)
    assert found.appointments == {103, 104}


def test_a_name_that_only_looks_different_is_the_same(clinic: SmallClinic) -> None:
    found = after(clinic, lambda _: clinic.store.update("InfoSources", {"ID": 2}, {"Name": "  Сайт "}))
    assert found.dictionaries_changed == ()


def test_entries_are_compared_by_id() -> None:
    before = {"staff": "1:aa 2:bb 3:cc", "armchairs": "1:dd"}
    assert changed_entries(before, {"staff": "1:aa 2:b0 4:ee", "armchairs": "1:dd"}) == {"staff": {2, 3, 4}}
    assert changed_entries({}, {"staff": "1:aa"}) == {"staff": {1}}
    assert changed_entries(before, before) == {}


# ---- the watermark -------------------------------------------------------------------------------------


def test_the_watermark_is_the_servers_clock_before_the_read(
    any_clinic: SmallClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = any_clinic.reader()
    mark = reader.everything(Window()).watermark
    begun = any_clinic.now = NOW + timedelta(minutes=5)
    read = reader._touched

    def slow(*arguments: Any) -> Any:
        # A row is changed after the watermark was taken and before its table is read.
        any_clinic.now += timedelta(minutes=10)
        any_clinic.change("Receptions", 102, Comment="mid-read")
        return read(*arguments)

    monkeypatch.setattr(reader, "_touched", slow)
    found = reader.changes(mark, Window())
    assert found.watermark.taken_at == begun.replace(microsecond=0)
    assert 102 in found.appointments
    # The next read names it again: better twice than never.
    any_clinic.now += LATER
    assert 102 in any_clinic.changes(found.watermark).appointments


def test_a_watermark_survives_its_json(clinic: SmallClinic) -> None:
    mark = replace(clinic.watermark(), row_version="00000000000007d0")
    assert mark.dictionaries["staff"]
    assert Watermark.from_json(json.loads(json.dumps(mark.to_json()))) == mark
    assert Watermark.from_json({}) == Watermark()


def test_without_a_watermark_everything_is_named(clinic: SmallClinic) -> None:
    found = clinic.changes(Watermark())
    assert named(found) == (APPOINTMENTS, PATIENTS)


@pytest.mark.parametrize(("minutes", "named"), [(0, True), (14, True), (15, True), (16, False), (60, False)])
def test_the_overlap_is_a_quarter_of_an_hour(clinic: SmallClinic, minutes: int, named: bool) -> None:
    stamp = NOW - timedelta(minutes=minutes)
    clinic.change("Receptions", 102, DateTimeChanged=stamp)
    clinic.change("Patients", 13, DateTimeChanged=stamp)
    found = clinic.changes(clinic.watermark())
    assert (102 in found.appointments, 13 in found.patients) == (named, named)


@pytest.mark.parametrize(("overlap", "named"), [(5, False), (30, True)])
def test_the_overlap_is_a_setting(clinic: SmallClinic, overlap: int, named: bool) -> None:
    clinic.change("Patients", 13, DateTimeChanged=NOW - timedelta(minutes=20))
    assert (13 in clinic.changes(clinic.watermark(), overlap_minutes=overlap).patients) == named


@pytest.mark.parametrize(
    ("zone", "taken", "minutes", "named"),
    [
        ("Europe/Berlin", "2026-10-25 02:40", 74, True),
        ("Europe/Berlin", "2026-10-25 02:40", 76, False),
        ("Europe/Berlin", "2026-10-25 03:30", 74, True),
        ("Europe/Berlin", "2026-03-29 03:10", 74, True),
        ("Europe/Berlin", "2026-10-24 02:40", 16, False),
        ("Europe/Moscow", "2026-10-25 02:40", 16, False),
        ("Europe/Moscow", "2014-10-26 01:40", 74, True),
    ],
)
def test_an_hour_more_on_the_night_of_a_clock_change(
    clinic: SmallClinic, zone: str, taken: str, minutes: int, named: bool
) -> None:
    clinic.connection = clinic.connection.model_copy(update={"timezone": zone})
    try:
        clinic.now = datetime.fromisoformat(taken)
        clinic.change("Patients", 13, DateTimeChanged=clinic.now - timedelta(minutes=minutes))
        mark = clinic.watermark()
        clinic.now += timedelta(seconds=30)
        assert (13 in clinic.changes(mark).patients) == named
    finally:
        clinic.connection = clinic.connection.model_copy(update={"timezone": "Europe/Moscow"})


def test_what_is_written_in_the_repeated_hour_is_found(clinic: SmallClinic) -> None:
    clinic.connection = clinic.connection.model_copy(update={"timezone": "Europe/Berlin"})
    try:
        clinic.now = datetime(2026, 10, 25, 2, 59)
        mark = clinic.watermark()
        clinic.now = datetime(2026, 10, 25, 2, 0, 30)  # ninety seconds later
        clinic.change("Patients", 13, Comment="x")
        # The next read is half a year late, behind the clock change in spring.
        clinic.now = datetime(2027, 5, 1, 12)
        assert clinic.changes(mark).patients == {13}
    finally:
        clinic.connection = clinic.connection.model_copy(update={"timezone": "Europe/Moscow"})


def test_a_clock_that_was_set_back_has_everything_read(clinic: SmallClinic) -> None:
    mark = clinic.watermark()
    clinic.now = NOW - timedelta(hours=5)
    clinic.change("Patients", 13, Comment="x")
    clinic.now += timedelta(hours=1)
    found = clinic.changes(mark)
    assert named(found) == (APPOINTMENTS, PATIENTS)
    assert found.watermark.taken_at == clinic.now


def test_a_row_without_a_stamp_is_read_each_time(clinic: SmallClinic) -> None:
    clinic.store.update(
        "Receptions", {"ID": 102}, dict.fromkeys(("DateTimeAdded", "DateTimeChanged", "ReceptionAdded"))
    )
    clinic.store.update("Persons", {"ID": 13}, {"DateTimeChanged": None})
    found = after(clinic, lambda _: None)
    assert named(found) == ({102}, {11, 13})


def test_either_stamp_tells_of_a_change(clinic: SmallClinic) -> None:
    """A program that only fills DateTimeAdded, and leaves a sentinel in the other, is heard, too."""
    found = after(
        clinic,
        lambda _: clinic.add(
            "Receptions", ID=110, ID_Patients=14, PlanStart=NOW, DateTimeChanged=datetime(1900, 1, 1)
        ),
    )
    assert named(found) == ({110}, {14})


# ---- what leaves no trace ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "everything"),
    [
        ("Persons", False),
        ("Patients", False),
        ("Receptions", True),
        ("Orders", True),
        ("OrderServiceRelation", True),
        ("PaymentsIn", True),
    ],
)
def test_what_leaves_no_trace_is_read_every_quarter_of_an_hour(
    clinic: SmallClinic, table: str, everything: bool
) -> None:
    without(Path(clinic.connection.database), table, "DateTimeChanged")
    first = clinic.watermark()
    assert first.patients_read_at == NOW
    clinic.now += timedelta(minutes=14, seconds=59)
    early = clinic.changes(first)
    assert named(early) == NOTHING
    assert early.watermark.patients_read_at == NOW
    clinic.now += timedelta(seconds=1)
    due = clinic.changes(early.watermark)
    assert named(due) == (APPOINTMENTS if everything else set(), PATIENTS)
    assert due.watermark.patients_read_at == clinic.now
    clinic.now += timedelta(seconds=30)
    assert clinic.changes(due.watermark).patients == set()


def test_nothing_is_read_for_nothing_where_changes_leave_traces(clinic: SmallClinic) -> None:
    mark = clinic.watermark()
    clinic.now += timedelta(days=3)
    assert clinic.changes(mark).patients == set()


def test_what_is_read_again_stays_within_the_window(clinic: SmallClinic) -> None:
    without(Path(clinic.connection.database), "Orders", "DateTimeChanged")
    found = after(clinic, lambda _: None, Window(start=datetime(2026, 3, 21)))
    assert found.appointments == {103, 104, 106}
