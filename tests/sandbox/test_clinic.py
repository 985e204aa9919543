"""The demo clinic: believable, deterministic, consistent, and honest about what its simulator did."""

import re
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import phonenumbers
import pytest

from deployments.sandbox.clinic.generator import ClinicData, ClinicSpec, generate, stream
from deployments.sandbox.clinic.rows import SENTINEL, sql_datetime
from deployments.sandbox.clinic.schema import FOREIGN_KEYS, METADATA, ROW_VERSIONED, TSQL_TYPES

TODAY = date(2026, 3, 12)
SPEC = ClinicSpec(today=TODAY)

LOGICAL_KEYS = (
    *FOREIGN_KEYS,
    ("Orders", "ID_Patients", "Patients", "ID_Persons"),
    ("Orders", "ID_Staffs", "Staffs", "ID_Persons"),
    ("Orders", "ID_DiscountGroupMembers", "DiscountGroupMembers", "ID"),
    ("OrderPaymentsJournal", "ID_Orders", "Orders", "ID"),
    ("OrderPaymentsJournal", "ID_Patients", "Patients", "ID_Persons"),
    ("PaymentsIn", "ID_Patients", "Patients", "ID_Persons"),
    ("PaymentsIn", "ID_OwnCompanies", "OwnCompanies", "ID"),
    ("Receptions", "ID_StaffsReceptionAdded", "Staffs", "ID_Persons"),
    ("Receptions", "ID_StaffsReceptionCanceled", "Staffs", "ID_Persons"),
    ("ScheduledReceptions", "ID_Receptions", "Receptions", "ID"),
    ("CurrentTimeTable", "ID_Staffs", "Staffs", "ID_Persons"),
)


@pytest.fixture(scope="module")
def clinic() -> ClinicData:
    return generate(SPEC)


@pytest.fixture(scope="module")
def receptions(clinic: ClinicData) -> dict[int, dict[str, Any]]:
    return {row["ID"]: row for row in clinic.tables["Receptions"]}


# --- schema -------------------------------------------------------------------------------------------------


def test_schema_declares_every_column_with_its_tsql_type() -> None:
    assert len(TSQL_TYPES) == 23
    assert {name: set(table.c.keys()) for name, table in METADATA.tables.items()} == {
        name: set(columns) for name, columns in TSQL_TYPES.items()
    }
    assert TSQL_TYPES["Orders"]["DateTimeBill"] == "datetime"
    assert TSQL_TYPES["OrderPaymentsJournal"]["Debt"] == "decimal(18,10)"
    assert TSQL_TYPES["Armchairs"]["ID"] == "smallint"
    assert {"Receptions", "CurrentTimeTable", "OnlineTickets"} == ROW_VERSIONED
    assert ("Receptions", "ID_ReceptionsTransferFrom", "Receptions", "ID") in FOREIGN_KEYS


def test_sql_datetime_keeps_the_steps_of_sql_server() -> None:
    assert sql_datetime(datetime(2026, 1, 1, 0, 0, 0, 129999)).microsecond == 127000
    assert sql_datetime(datetime(2026, 1, 1, 0, 0, 0, 992000)).microsecond == 990000
    assert sql_datetime(datetime(2026, 1, 1, 0, 0, 0, 456000)).microsecond == 453000


# --- generator ----------------------------------------------------------------------------------------------


def test_same_seed_same_clinic(clinic: ClinicData) -> None:
    assert generate(SPEC) == clinic
    assert generate(replace(SPEC, seed=8)).tables["Persons"] != clinic.tables["Persons"]


def test_stream_and_generate_agree(clinic: ClinicData) -> None:
    streamed: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for table, rows in stream(SPEC):
        streamed[table].extend(rows)
    assert {table: rows for table, rows in clinic.tables.items() if rows} == streamed


@pytest.mark.parametrize(
    ("appointments", "branches", "seed"), [(1, 1, 1), (40, 3, 2), (300, 2, 7), (2000, 2, 11)]
)
def test_counts(appointments: int, branches: int, seed: int) -> None:
    made = generate(ClinicSpec(today=TODAY, appointments=appointments, branches=branches, seed=seed))
    assert len(made.tables["Receptions"]) == appointments
    assert len(made.tables["Patients"]) == max(1, appointments // 3)
    assert len(made.tables["OwnCompanies"]) == branches
    assert {row["ID_OwnCompanies"] for row in made.tables["Armchairs"]} == set(range(1, branches + 1))
    coming = sum(row["PlanStart"] >= datetime.combine(TODAY, time()) for row in made.tables["Receptions"])
    assert coming == round(appointments / 4)


def test_patients_can_be_given() -> None:
    assert len(generate(replace(SPEC, patients=17)).tables["Patients"]) == 17


@pytest.mark.parametrize("wrong", [{"appointments": 0}, {"patients": 0}, {"branches": 0}, {"days_ahead": 0}])
def test_nonsense_specifications_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ClinicSpec(today=TODAY, **wrong)


@pytest.mark.parametrize("seed", [7, 8])
def test_every_special_case_is_present(seed: int) -> None:
    cases = generate(replace(SPEC, seed=seed)).cases
    for case in (
        "planned", "moved", "arrived", "in_progress", "ended", "issued", "moved_issued", "cancelled", "no_show",
        "transferred", "successor", "blocked", "imported", "imported_order", "past_still_planned", "with_debt",
        "moved_in_place", "shared_phone", "foreign_phone", "broken_phone", "no_phone", "archived", "guardian",
        "sms_refusal",
    ):  # fmt: skip
        assert cases.get(case), case


@pytest.mark.parametrize("seed", [7, 8])
def test_every_reference_holds(seed: int) -> None:
    tables = generate(replace(SPEC, seed=seed, appointments=900)).tables
    for table, column, referred, key in LOGICAL_KEYS:
        known = {row[key] for row in tables[referred]} | {None}
        missing = {row[column] for row in tables[table]} - known
        assert not missing, (table, column, missing)
    for name, rows in tables.items():
        keys = [column.name for column in METADATA.tables[name].primary_key.columns]
        assert len({tuple(row[key] for key in keys) for row in rows}) == len(rows), name
        assert all(set(row) == set(TSQL_TYPES[name]) for row in rows), name


@pytest.mark.parametrize("appointments", [300, 6000])
def test_receptions_of_a_chair_or_a_doctor_never_overlap(appointments: int) -> None:
    rows = generate(replace(SPEC, appointments=appointments)).tables["Receptions"]
    for column in ("ID_Armchairs", "ID_Staffs"):
        taken: defaultdict[int, list[tuple[datetime, datetime]]] = defaultdict(list)
        for row in rows:
            assert row["PlanStart"] < row["PlanEnd"]
            if row[column] is not None:
                taken[row[column]].append((row["PlanStart"], row["PlanEnd"]))
        for spans in taken.values():
            spans.sort()
            assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_instants_are_consistent(clinic: ClinicData, receptions: dict[int, dict[str, Any]]) -> None:
    noon = datetime.combine(TODAY, time(12))
    for row in receptions.values():
        stamps = [
            row[name] for name in ("PatientAppeared", "ReceptionStarted", "ReceptionEnded", "CheckIssued")
        ]
        course = [stamp for stamp in stamps if stamp is not None]
        assert course == sorted(course)
        assert row["DateTimeAdded"] <= row["DateTimeChanged"] <= noon + timedelta(seconds=12)
        assert row["DateTimeAdded"] < row["PlanStart"]
        assert all(stamp <= noon for stamp in course)
        assert row["ReceptionCanceled"] is None or not course
        for value in row.values():
            if isinstance(value, datetime):
                assert value.tzinfo is None
                assert value.microsecond % 1000 == 0
                assert value.microsecond // 1000 % 10 in (0, 3, 7)
    last_change = {row["ID"]: row["DateTimeChanged"] for row in receptions.values()}
    for case in ("issued", "ended", "cancelled"):
        stamp = {"issued": "CheckIssued", "ended": "ReceptionEnded", "cancelled": "ReceptionCanceled"}[case]
        for key in clinic.cases[case]:
            assert abs(last_change[key] - receptions[key][stamp]) < timedelta(seconds=12)


def test_statuses_follow_the_calendar(clinic: ClinicData, receptions: dict[int, dict[str, Any]]) -> None:
    start = datetime.combine(TODAY, time())
    for row in receptions.values():
        if row["PlanStart"] >= start + timedelta(days=1):
            assert row["PatientAppeared"] is None
    today = [key for case in ("arrived", "in_progress") for key in clinic.cases[case]]
    assert {
        receptions[key]["ReceptionStarted"] is None for key in today if receptions[key]["PlanStart"] >= start
    } == {
        True,
        False,
    }
    for key in clinic.cases["past_still_planned"]:
        row = receptions[key]
        assert row["PlanEnd"] < datetime.combine(TODAY, time(12))
        assert row["PatientAppeared"] is row["ReceptionCanceled"] is row["ID_ReceptionCancelReasons"] is None


def test_cancelled_no_shows_and_blocked(clinic: ClinicData, receptions: dict[int, dict[str, Any]]) -> None:
    reasons = {row["ID"]: row["Name"] for row in clinic.tables["ReceptionCancelReasons"]}
    for key in clinic.cases["no_show"]:
        row = receptions[key]
        assert reasons[row["ID_ReceptionCancelReasons"]] == "Не явился"
        assert row["ID_ReceptionCancelReasons"] == 8
        assert row["ReceptionCanceled"] == row["PlanEnd"]
        assert row["ID_StaffsReceptionCanceled"] is None
    for key in clinic.cases["cancelled"]:
        row = receptions[key]
        assert row["ID_StaffsReceptionCanceled"] is not None
        assert row["ID_ReceptionCancelReasons"] not in (None, 8)
    assert all(receptions[key]["ID_Patients"] is None for key in clinic.cases["blocked"])
    assert sum(row["ID_Patients"] is None for row in receptions.values()) == len(clinic.cases["blocked"])


def test_reschedule_chains() -> None:
    rows = {row["ID"]: row for row in generate(replace(SPEC, appointments=1500)).tables["Receptions"]}
    lengths: Counter[int] = Counter()
    for row in rows.values():
        length, at = 1, row
        while at["ID_ReceptionsTransferFrom"] is not None:
            old = rows[at["ID_ReceptionsTransferFrom"]]
            assert old["ReceptionCanceled"] == at["DateTimeAdded"]
            assert old["ID_ReceptionCancelReasons"] == 5
            assert old["ID_Patients"] == at["ID_Patients"]
            assert old["PlanStart"] < at["PlanStart"]
            length, at = length + 1, old
        lengths[length] += 1
    assert lengths[2]
    assert lengths[3]
    assert max(lengths) == 3
    successors = Counter(row["ID_ReceptionsTransferFrom"] for row in rows.values())
    del successors[None]
    assert max(successors.values()) == 1


def test_money_adds_up(clinic: ClinicData, receptions: dict[int, dict[str, Any]]) -> None:
    price = {row["ID"]: row["Price"] for row in clinic.tables["ServiceItemPrices"]}
    full: defaultdict[int, Decimal] = defaultdict(Decimal)
    net: defaultdict[int, Decimal] = defaultdict(Decimal)
    for line in clinic.tables["OrderServiceRelation"]:
        full[line["ID_Orders"]] += price[line["ID_ServicePrices"]] * line["CountService"]
        net[line["ID_Orders"]] += price[line["ID_ServicePrices"]] * line["CountService"] - (
            line["DiscountSum"] or 0
        )
    journal = {row["ID_Orders"]: row for row in clinic.tables["OrderPaymentsJournal"]}
    orders = {row["ID_Receptions"]: row for row in clinic.tables["Orders"] if row["ID_Receptions"]}
    paid = Decimal(0)
    for order in clinic.tables["Orders"]:
        row = journal[order["ID"]]
        assert (row["Amount"], row["AmountWithDiscount"]) == (full[order["ID"]], net[order["ID"]])
        assert 0 <= row["Debt"] <= row["AmountWithDiscount"]
        assert order["ID_ReceptionsForUnique"] == (order["ID_Receptions"] or -order["ID"])
        if order["ID_Receptions"]:
            paid += row["AmountWithDiscount"] - row["Debt"]
    assert paid == sum(row["Payment"] for row in clinic.tables["PaymentsIn"])
    billed = {key for key, row in receptions.items() if row["CheckIssued"] is not None}
    assert billed == {key for key, order in orders.items() if order["IsBillFormed"]}
    assert all(journal[orders[key]["ID"]]["Debt"] > 0 for key in clinic.cases["with_debt"])
    assert {orders[key]["ID_Patients"] == receptions[key]["ID_Patients"] for key in orders} == {True}


def test_imports_carry_sentinel_dates(clinic: ClinicData, receptions: dict[int, dict[str, Any]]) -> None:
    orders = {row["ID"]: row for row in clinic.tables["Orders"]}
    for key in clinic.cases["imported_order"]:
        assert orders[key]["ID_Receptions"] is None
        assert orders[key]["DateTimeOrder"].date() == SENTINEL.date()
    assert all(receptions[key]["ReceptionAdded"] == SENTINEL for key in clinic.cases["imported"])
    assert {row["FirstVisit"] for row in clinic.tables["Patients"]} > {None}


def valid(text: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse((text or "").split(",")[0], "RU"))
    except phonenumbers.NumberParseException:
        return False


def test_phones_are_as_untidy_as_declared() -> None:
    made = generate(replace(SPEC, appointments=3000))
    patients = {row["ID_Persons"] for row in made.tables["Patients"]}
    persons = {row["ID"]: row for row in made.tables["Persons"] if row["ID"] in patients}
    assert len(made.cases["broken_phone"]) == 10
    odd = {*made.cases["broken_phone"], *made.cases["no_phone"]}
    for key, row in persons.items():
        both = [row["MobilePhone"], row["Phone"]]
        assert all(text is None or len(text) <= 50 for text in both)
        assert (
            [valid(text) for text in both if text is not None] == ([False] * (both[0] is not None))
            if key in odd
            else all(valid(text) for text in both if text is not None)
        )
    foreign = {
        phonenumbers.parse(persons[key]["MobilePhone"], "RU").country_code
        for key in made.cases["foreign_phone"]
    }
    assert foreign >= {995, 49}
    shapes = {re.sub(r"\d", "9", persons[key]["MobilePhone"] or "") for key in patients - odd}
    assert {"9-999-999-99-99", "9999999999", "+9 (999) 999-99-99", "99999999999"} <= shapes


def test_families_share_a_phone_and_children_have_guardians(clinic: ClinicData) -> None:
    persons = {row["ID"]: row for row in clinic.tables["Persons"]}
    digits = Counter(
        re.sub(r"\D", "", persons[key]["MobilePhone"] or "")[-10:] for key in clinic.cases["shared_phone"]
    )
    assert max(digits.values()) >= 2
    cards = {row["ID_Persons"]: row for row in clinic.tables["Patients"]}
    for key in clinic.cases["guardian"]:
        assert cards[key]["ParentSNP"]
        born = persons[key]["Birthday"]
        assert born is None or (TODAY - born).days < 18 * 366
    assert all(cards[key]["ID_ArchivingReasons"] for key in clinic.cases["archived"])
    assert all(cards[key]["SMSRejection"] is True for key in clinic.cases["sms_refusal"])
    assert {card["Status"] for card in cards.values()} == {1, 3}


def test_a_doctor_can_have_two_professions(clinic: ClinicData) -> None:
    assert max(Counter(row["ID_Staffs"] for row in clinic.tables["Items"]).values()) == 2


def test_grid_names_the_appointment_of_each_quarter(
    clinic: ClinicData, receptions: dict[int, dict[str, Any]]
) -> None:
    times = {row["ID"]: row["TimeStartValue"] for row in clinic.tables["Times"]}
    busy = [row for row in clinic.tables["CurrentTimeTable"] if row["ID_Receptions"] is not None]
    for cell in busy:
        at = datetime.combine(cell["DateOfWork"], times[cell["ID_Times"]])
        row = receptions[cell["ID_Receptions"]]
        assert row["PlanStart"] <= at < row["PlanEnd"]
        assert row["ID_Armchairs"] == cell["ID_Armchairs"]
        assert row["ReceptionCanceled"] is None
        assert not cell["IsHeaderCell"]
    week = datetime.combine(TODAY, time()), datetime.combine(TODAY + timedelta(days=7), time())
    kept = {
        key
        for key, row in receptions.items()
        if week[0] <= row["PlanStart"] < week[1] and row["ReceptionCanceled"] is None
    }
    assert {cell["ID_Receptions"] for cell in busy} == kept
