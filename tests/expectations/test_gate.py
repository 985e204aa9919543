from __future__ import annotations

from datetime import datetime

import pandas as pd
import pytest

from expectations.gate import validate
from expectations.suites import load_rules, load_suite
from tasks.frames import FRAMES, Entity, canonical, empty_frame

NOW = datetime(2026, 3, 2, 12, 0)


def frame(entity: Entity, rows: list[dict[str, object]]) -> pd.DataFrame:
    blank = dict.fromkeys(FRAMES[entity])
    flags = {"archived": False, "sms_opt_out": False, "is_no_show": False, "is_primary": True}
    counts = {"visits_completed": 0, "visits_total": 0}
    filled = [
        {name: value for name, value in {**blank, **flags, **counts, **row}.items() if name in blank}
        for row in rows
    ]
    return canonical(pd.DataFrame(filled, columns=list(blank)), entity)


def patient(key: int, **values: object) -> dict[str, object]:
    return {
        "patient_id": key,
        "last_name": "Тестова",
        "first_name": "Анна",
        "phone_mobile": "+79000000001",
    } | values


def appointment(key: int, **values: object) -> dict[str, object]:
    start = pd.Timestamp("2026-03-03T07:00Z")
    base = {"appointment_id": key, "patient_id": 1, "status": "planned"}
    return base | {"start_at": start, "end_at": start + pd.Timedelta("30min")} | values


@pytest.mark.parametrize("entity", list(Entity))
def test_every_described_rule_is_loaded(entity: Entity) -> None:
    assert len(load_suite(entity).expectations) == len(load_rules(entity))


@pytest.mark.parametrize(
    ("bad", "code", "column"),
    [
        ({"phone_mobile": "8 916 нет"}, "phone_mobile_e164", "phone_mobile"),
        ({"phone_mobile": "+79000000001\n"}, "phone_mobile_e164", "phone_mobile"),
        ({"phone_other": "12"}, "phone_other_e164", "phone_other"),
        ({"last_name": None, "first_name": None}, "name_present", "last_name"),
    ],
)
def test_a_wrong_patient_is_quarantined_and_the_others_go_on(
    bad: dict[str, object], code: str, column: str
) -> None:
    verdict = validate(
        frame(Entity.PATIENT, [patient(1), patient(2, **bad), patient(3)]), Entity.PATIENT, now=NOW
    )
    assert verdict.rejects == [(2, code, column, "critical")]
    assert verdict.good["patient_id"].tolist() == [1, 3]
    assert verdict.stop == []


def test_a_missing_phone_is_not_a_wrong_phone() -> None:
    verdict = validate(frame(Entity.PATIENT, [patient(1, phone_mobile=None)]), Entity.PATIENT, now=NOW)
    assert verdict.rejects == []
    assert len(verdict.good) == 1


@pytest.mark.parametrize(
    ("odd", "code"),
    [
        ({"birth_date": pd.Timestamp("2030-01-01")}, "birth_date_sane"),
        ({"email": "not an address"}, "email_shape"),
    ],
)
def test_an_odd_patient_goes_on_with_a_warning(odd: dict[str, object], code: str) -> None:
    verdict = validate(frame(Entity.PATIENT, [patient(1), patient(2, **odd)]), Entity.PATIENT, now=NOW)
    assert [(key, rule) for key, rule, _column, _severity in verdict.warnings] == [(2, code)]
    assert len(verdict.good) == 2


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"patient_id": 99}, "patient_known"),
        ({"start_at": None}, "start_at_present"),
        ({"end_at": pd.Timestamp("2026-03-01T07:00Z")}, "end_not_before_start"),
        ({"status": "lost"}, "status_known"),
    ],
)
def test_a_wrong_appointment_is_quarantined(bad: dict[str, object], code: str) -> None:
    rows = [appointment(1), appointment(2, **bad)]
    verdict = validate(
        frame(Entity.APPOINTMENT, rows), Entity.APPOINTMENT, references={"patients": {1}}, now=NOW
    )
    assert [(key, rule) for key, rule, _column, _severity in verdict.rejects] == [(2, code)]
    assert verdict.good["appointment_id"].tolist() == [1]


def test_a_blocked_slot_is_skipped_not_rejected() -> None:
    rows = [appointment(1), appointment(2, patient_id=None)]
    verdict = validate(
        frame(Entity.APPOINTMENT, rows), Entity.APPOINTMENT, references={"patients": {1}}, now=NOW
    )
    assert verdict.rejects == []
    assert [(key, rule) for key, rule, _column, _severity in verdict.skipped] == [(2, "no_patient")]
    assert verdict.good["appointment_id"].tolist() == [1]


def test_a_doubled_key_is_quarantined() -> None:
    verdict = validate(frame(Entity.PATIENT, [patient(1), patient(1), patient(2)]), Entity.PATIENT, now=NOW)
    assert {rule for _key, rule, _column, _severity in verdict.rejects} == {"patient_id_unique"}
    assert verdict.good["patient_id"].tolist() == [2]


def test_an_undeclared_column_stops_the_run() -> None:
    wrong = frame(Entity.PATIENT, [patient(1)]).assign(diagnosis="x")
    assert validate(wrong, Entity.PATIENT, now=NOW).stop == ["columns"]


def test_an_empty_frame_passes() -> None:
    verdict = validate(empty_frame(Entity.PATIENT), Entity.PATIENT, now=NOW)
    assert verdict.stop == []
    assert verdict.rejects == []
