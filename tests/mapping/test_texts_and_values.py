"""Rendering, writing and reading back agree with one another."""

from __future__ import annotations

from decimal import Decimal
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.frames import APPOINTMENT_COLUMNS, CONTACT_DATA, LEAD_DATA, PATIENT_COLUMNS, Entity, canonical
from tasks.mapping.model import FieldRule
from tasks.mapping.texts import contact_texts, lead_texts
from tasks.mapping.values import from_amo, local_time, number, price, to_amo

MOSCOW = "Europe/Moscow"


def patients(**values: object) -> pd.DataFrame:
    row: dict[str, object] = dict.fromkeys(PATIENT_COLUMNS)
    row |= {"patient_id": 5, "archived": False, "sms_opt_out": True, "visits_completed": 2, "visits_total": 3}
    return canonical(pd.DataFrame([row | values]), Entity.PATIENT)


def deals(**values: object) -> pd.DataFrame:
    row: dict[str, object] = dict.fromkeys(APPOINTMENT_COLUMNS)
    row |= {
        "appointment_id": 9,
        "patient_id": 5,
        "status": "planned",
        "is_no_show": False,
        "is_primary": True,
    }
    row |= {"start_at": pd.Timestamp("2026-03-12T07:00:00Z"), "doctor": "Петров Пётр Павлович"}
    frame = canonical(pd.DataFrame([row | values]), Entity.APPOINTMENT)
    return frame.assign(root_id=7, stage_key="planned")


def test_a_patient_is_rendered_as_canonical_text() -> None:
    frame = patients(
        last_name="Иванова",
        first_name="Анна",
        middle_name="Ильинична",
        sex="female",
        birth_date=pd.Timestamp("1961-02-03"),
        debt=Decimal("1500.00"),
        last_visit_at=pd.Timestamp("2026-03-12T07:00:00Z"),
        comment="я" * 4000,
    )
    texts = contact_texts(frame)
    assert tuple(texts.columns) == CONTACT_DATA
    row = texts.loc[5]
    assert row["first_name"] == "Анна Ильинична"
    assert row["sex"] == "Женский"
    assert row["birth_date"] == "1961-02-03"
    assert row["debt"] == "1500.00"
    assert row["last_visit_at"] == "2026-03-12T07:00:00Z"
    assert row["sms_opt_out"] == "1"
    assert row["archived"] == "0"
    assert row["visits_total"] == "3"
    assert len(row["comment"]) == 3000
    assert texts["city"].isna().all()


def test_a_deal_is_named_after_time_and_doctor_never_after_the_patient() -> None:
    row = lead_texts(deals(amount=Decimal("10.50")), ZoneInfo(MOSCOW)).loc[7]
    assert row["name"] == "Приём 12.03.2026 10:00 · Петров П. П."
    assert row["price"] == "10.50"
    assert row["status"] == "Запланирован"
    assert row["is_primary"] == "Первичный"
    assert row["patient_id"] == "5"
    assert row["stage"] == "planned"
    assert tuple(lead_texts(deals(doctor=None), ZoneInfo(MOSCOW)).columns) == LEAD_DATA
    assert lead_texts(deals(doctor=None), ZoneInfo(MOSCOW)).loc[7, "name"] == "Приём 12.03.2026 10:00"


@pytest.mark.parametrize(
    ("kind", "datum", "text"),
    [
        ("text", "city", "Тверь"),
        ("textarea", "comment", "две\nстроки"),
        ("numeric", "debt", "1500.00"),
        ("numeric", "visits_total", "3"),
        ("checkbox", "archived", "1"),
        ("checkbox", "archived", "0"),
        ("date_time", "start_at", "2026-03-12T07:00:00Z"),
        ("date", "birth_date", "1961-02-03"),
        ("birthday", "birth_date", "1961-02-03"),
        ("select", "sex", "Женский"),
        ("multitext", "phone_mobile", "+79161234567"),
    ],
)
def test_what_is_written_reads_back_as_the_same_text(kind: str, datum: str, text: str) -> None:
    rule = FieldRule(datum=datum, field_id=1, field_type=kind, enums={"Женский": 8}, enum_code="MOB")
    written = to_amo(rule, text, MOSCOW)
    assert written is not None
    assert from_amo(rule, written, MOSCOW) == text


@pytest.mark.parametrize(
    ("kind", "datum", "stored", "text"),
    [
        ("numeric", "debt", "1500", "1500.00"),
        ("numeric", "visits_total", "3.0", "3"),
        ("numeric", "debt", "много", "много"),
        ("birthday", "birth_date", -281242800, "1961-02-02"),
        ("date_time", "start_at", "1773298800", "2026-03-12T07:00:00Z"),
        ("checkbox", "archived", "true", "1"),
        ("text", "city", "", None),
    ],
)
def test_what_amocrm_stores_in_its_own_shape_is_understood(
    kind: str, datum: str, stored: object, text: str | None
) -> None:
    rule = FieldRule(datum=datum, field_id=1, field_type=kind)
    assert from_amo(rule, [{"value": stored}], MOSCOW) == text
    assert from_amo(rule, [], MOSCOW) is None


def test_an_option_renamed_by_hand_is_not_ours() -> None:
    rule = FieldRule(datum="sex", field_id=1, field_type="select", enums={"Женский": 8})
    assert from_amo(rule, [{"value": "Жен.", "enum_id": 99}], MOSCOW) == "Жен."
    assert from_amo(rule, [{"value": "Жен.", "enum_id": 8}], MOSCOW) == "Женский"


@given(st.decimals(min_value=0, max_value=10**9, places=2))
def test_money_survives_any_number_of_readings(value: Decimal) -> None:
    text = number(str(value), money=True)
    assert number(text, money=True) == text
    assert abs(price(text) - value) <= Decimal("0.5")


def test_local_time_is_the_clinics() -> None:
    assert local_time("2026-03-12T07:00:00Z", "Asia/Yekaterinburg") == "12.03.2026 12:00"
