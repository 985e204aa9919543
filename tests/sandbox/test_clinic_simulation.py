"""The demo clinic in a database: the SQLite store, the simulator, the command line."""

import json
import sqlite3
from collections import Counter, defaultdict
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import phonenumbers
import pytest
from typer.testing import CliRunner

from deployments.sandbox.clinic.__main__ import app
from deployments.sandbox.clinic.candidates import NotEnoughAppointmentsError, free_slot
from deployments.sandbox.clinic.generator import ClinicData, ClinicSpec, generate
from deployments.sandbox.clinic.rows import sql_datetime
from deployments.sandbox.clinic.schema import METADATA, ROW_VERSIONED, TSQL_TYPES
from deployments.sandbox.clinic.simulate import KINDS, SimulatedChange, simulate
from deployments.sandbox.clinic.store import SqliteStore, write_sqlite

TODAY = date(2026, 3, 12)
NOW = datetime(2026, 3, 12, 13, 40, 5, 123456)


@pytest.fixture(scope="module")
def clinic() -> ClinicData:
    return generate(ClinicSpec(today=TODAY))


@pytest.fixture
def store(clinic: ClinicData, tmp_path: Path) -> Any:
    write_sqlite(clinic, tmp_path / "clinic.sqlite")
    opened = SqliteStore(tmp_path / "clinic.sqlite")
    yield opened
    opened.close()


def everything(store: SqliteStore) -> dict[str, list[dict[str, Any]]]:
    return {table: store.rows(table) for table in TSQL_TYPES}


# --- store --------------------------------------------------------------------------------------------------


def test_sqlite_returns_what_was_written(clinic: ClinicData, store: SqliteStore) -> None:
    for table, rows in clinic.tables.items():
        key = next(iter(METADATA.tables[table].primary_key.columns)).name
        assert store.rows(table) == sorted(rows, key=lambda row: row[key]), table


def test_sqlite_keeps_money_as_exact_text(store: SqliteStore, tmp_path: Path) -> None:
    amount = Decimal("1234567.0123456789")
    key = store.insert("PaymentsIn", {"Payment": amount, "DatePayment": TODAY})
    assert store.rows("PaymentsIn", ID=key)[0]["Payment"] == amount
    connection = sqlite3.connect(tmp_path / "clinic.sqlite")
    try:
        raw = connection.execute(
            "SELECT Payment, typeof(Payment) FROM PaymentsIn WHERE ID = ?", (key,)
        ).fetchone()
        staff = connection.execute("SELECT COUNT(*) FROM StaffsView WHERE Surname IS NOT NULL").fetchone()[0]
        versions = connection.execute(
            "SELECT DISTINCT typeof(RowVersion), length(RowVersion) FROM Receptions"
        ).fetchall()
    finally:
        connection.close()
    assert raw == ("1234567.0123456789", "text")
    assert staff == len(store.rows("Staffs"))
    assert versions == [("blob", 8)]


def test_row_version_grows_at_every_write(store: SqliteStore) -> None:
    def highest() -> bytes:
        return max(bytes(row["RowVersion"]) for table in ROW_VERSIONED for row in store.rows(table))

    before = highest()
    store.update("Receptions", {"ID": 5}, {"Comment": "x"})
    first = store.rows("Receptions", ID=5)[0]["RowVersion"]
    assert first == highest()
    assert first > before
    key = store.insert("Receptions", {"PlanStart": NOW, "RowVersion": b"\x00" * 8})
    assert key == 301
    assert store.rows("Receptions", ID=key)[0]["RowVersion"] == highest() > first


def test_store_filters_and_refuses(store: SqliteStore, tmp_path: Path) -> None:
    today = datetime.combine(TODAY, time())
    assert len(store.rows("Receptions", at_least={"PlanStart": today})) == 75
    assert all(row["ID_Patients"] is None for row in store.rows("Receptions", ID_Patients=None))
    with pytest.raises(LookupError, match="names 0 rows"):
        store.update("Receptions", {"ID": 999999}, {"Comment": "x"})
    with pytest.raises(FileExistsError):
        write_sqlite(ClinicData({}), tmp_path / "clinic.sqlite")
    with pytest.raises(FileNotFoundError):
        SqliteStore(tmp_path / "nothing.sqlite")


# --- simulator ----------------------------------------------------------------------------------------------


def check_rows(before: dict[str, Any], after: dict[str, Any], changes: list[SimulatedChange]) -> None:
    """Exactly the listed fields of exactly the listed rows differ (row versions aside)."""
    listed: dict[tuple[str, Any], dict[str, Any]] = {}
    for change in changes:
        for row in change.expect.rows:
            (key,) = row.key.values()
            listed.setdefault((row.table, key), {}).update(row.after)
    different: dict[tuple[str, Any], dict[str, Any]] = {}
    for table, rows in after.items():
        key_name = next(iter(METADATA.tables[table].primary_key.columns)).name
        old = {row[key_name]: row for row in before[table]}
        for row in rows:
            was = old.get(row[key_name])
            fields = {
                n: v
                for n, v in row.items()
                if n != "RowVersion" and (v is not None if was is None else was[n] != v)
            }
            if fields:
                different[table, row[key_name]] = fields
                assert "RowVersion" not in row or was is None or row["RowVersion"] > was["RowVersion"]
    assert different == {
        name: {
            field: value
            for field, value in fields.items()
            if value is not None or name[0] == "CurrentTimeTable"
        }
        for name, fields in listed.items()
    }


def test_an_hour_plays_each_kind_once(store: SqliteStore) -> None:
    before = everything(store)
    changes = simulate(store, "hour", NOW, 1)
    after = everything(store)
    assert Counter((change.kind, change.entity, change.action) for change in changes) == {
        ("new_patient", "patient", "create"): 1,
        ("new_patient", "appointment", "create"): 1,
        ("arrival", "appointment", "update"): 1,
        ("completion", "appointment", "update"): 1,
        ("cancel", "appointment", "update"): 1,
        ("reschedule_in_place", "appointment", "update"): 1,
        ("reschedule_new_row", "appointment", "update"): 1,
        ("reschedule_new_row", "appointment", "create"): 1,
        ("broken_phone", "patient", "create"): 1,
        ("broken_phone", "appointment", "create"): 1,
        ("phone_corrected", "patient", "update"): 1,
    }
    check_rows(before, after, changes)
    changed = [row for change in changes for row in change.expect.rows]
    assert all(
        row.after["DateTimeChanged"] == sql_datetime(NOW)
        for row in changed
        if "DateTimeChanged" in TSQL_TYPES[row.table]
    )


@pytest.mark.parametrize("span", ["hour", "day"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_events_do_not_meet(store: SqliteStore, span: Any, seed: int) -> None:
    before = everything(store)
    was = {row["ID"]: row for row in before["Receptions"]}
    changes = simulate(store, span, NOW, seed)
    after = {row["ID"]: row for row in store.rows("Receptions")}
    check_rows(before, everything(store), changes)
    assert {change.kind for change in changes} == set(KINDS)
    patients, roots = [], []
    for number, change in enumerate(changes):
        appointment = change.entity == "appointment"
        patients.append(
            (after[change.source_id]["ID_Patients"] if appointment else change.source_id, change.kind, number)
        )
        if appointment:
            roots.append((change.expect.root_id, change.kind))
            assert change.action == "create" or was[change.source_id]["PlanStart"] >= datetime.combine(
                TODAY, time()
            )
    pairs = [
        key for key, kind, _ in patients if kind in ("new_patient", "broken_phone", "reschedule_new_row")
    ]
    singles = [
        key for key, kind, _ in patients if kind not in ("new_patient", "broken_phone", "reschedule_new_row")
    ]
    assert set(Counter(pairs).values()) == {2}
    assert len(set(singles)) == len(singles)
    assert not set(pairs) & set(singles)
    assert all(
        number == (2 if kind == "reschedule_new_row" else 1) for (_, kind), number in Counter(roots).items()
    )
    if span == "day":
        assert len(changes) >= 22


def test_a_completion_is_billed(store: SqliteStore) -> None:
    (change,) = [change for change in simulate(store, "hour", NOW, 4) if change.kind == "completion"]
    assert change.expect.status == "bill_issued"
    (order,) = store.rows("Orders", ID_Receptions=change.source_id)
    (journal,) = store.rows("OrderPaymentsJournal", ID_Orders=order["ID"])
    lines = store.rows("OrderServiceRelation", ID_Orders=order["ID"])
    prices = {row["ID"]: row["Price"] for row in store.rows("ServiceItemPrices")}
    assert 1 <= len(lines) <= 3
    assert journal["AmountWithDiscount"] == sum(prices[line["ID_ServicePrices"]] for line in lines)
    assert 0 < journal["Debt"] < journal["AmountWithDiscount"]
    payment = max(store.rows("PaymentsIn", ID_Patients=order["ID_Patients"]), key=lambda row: row["ID"])
    assert payment["Payment"] == journal["AmountWithDiscount"] - journal["Debt"]
    assert change.expect.derived_patients == (order["ID_Patients"],)


def test_a_broken_phone_is_expected_to_be_withheld(store: SqliteStore) -> None:
    changes = simulate(store, "hour", NOW, 5)
    (withheld,) = [change for change in changes if change.expect.outcome == "withheld"]
    assert (withheld.kind, withheld.entity) == ("broken_phone", "patient")
    assert store.rows("Persons", ID=withheld.source_id)[0]["MobilePhone"] == "12-34"
    booked = [
        change for change in changes if change.kind == "broken_phone" and change.entity == "appointment"
    ]
    booking = store.rows("Receptions", ID=booked[0].source_id)[0]
    assert booking["ID_Patients"] == withheld.source_id
    corrected = [change for change in changes if change.kind == "phone_corrected"]
    phone = store.rows("Persons", ID=corrected[0].source_id)[0]["MobilePhone"]
    assert phonenumbers.is_valid_number(phonenumbers.parse(phone, "RU"))


def test_simulated_bookings_do_not_overlap(store: SqliteStore) -> None:
    for seed in range(3):
        simulate(store, "hour", NOW + timedelta(hours=seed), seed)
    taken: defaultdict[int, list[tuple[datetime, datetime]]] = defaultdict(list)
    for row in store.rows("Receptions"):
        taken[row["ID_Armchairs"]].append((row["PlanStart"], row["PlanEnd"]))
    for spans in taken.values():
        spans.sort()
        assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_simulation_is_deterministic(clinic: ClinicData, tmp_path: Path) -> None:
    played = []
    for name in ("a", "b"):
        write_sqlite(clinic, tmp_path / name)
        store = SqliteStore(tmp_path / name)
        played.append((simulate(store, "day", NOW, 9), everything(store)))
        store.close()
    assert played[0] == played[1]


def test_free_slot_skips_sundays_and_busy_hours(store: SqliteStore) -> None:
    saturday = datetime(2027, 1, 9, 15)
    assert free_slot(store, 1, saturday, timedelta(hours=1)) == datetime(2027, 1, 11, 8)
    store.insert(
        "Receptions",
        {
            "ID_Armchairs": 1,
            "PlanStart": datetime(2027, 1, 11, 8, 30),
            "PlanEnd": datetime(2027, 1, 11, 19, 20),
        },
    )
    assert free_slot(store, 1, saturday, timedelta(minutes=30)) == datetime(2027, 1, 11, 8)
    assert free_slot(store, 1, saturday, timedelta(hours=1)) == datetime(2027, 1, 12, 8)


def test_too_small_a_clinic_is_refused_before_anything_is_written(store: SqliteStore) -> None:
    before = everything(store)
    with pytest.raises(NotEnoughAppointmentsError, match="generate a larger clinic"):
        simulate(store, "hour", NOW + timedelta(days=400), 1)
    assert everything(store) == before


# --- command line -------------------------------------------------------------------------------------------


def test_command_line(tmp_path: Path) -> None:
    file = str(tmp_path / "clinic.sqlite")
    made = CliRunner().invoke(app, ["generate", file, "--today", "2026-03-12", "--appointments", "200"])
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["appointments"] == 200
    assert CliRunner().invoke(app, ["generate", file]).exit_code == 2
    played = CliRunner().invoke(app, ["simulate", file, "--now", "2026-03-12T13:00:00"])
    assert played.exit_code == 0, played.output
    assert {change["kind"] for change in json.loads(played.stdout)} == set(KINDS)
