from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime

import pandas as pd
import pytest

from expectations.gate import _parameters, validate
from expectations.suites import judged_columns, load_rules, load_suite
from expectations.thresholds import Thresholds
from expectations.whole import Whole
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
    parameters = _parameters(frame(entity, []), entity, NOW, Thresholds(), Whole())
    suite = load_suite(entity, {**parameters, "patients": "x"})
    assert [one.meta["code"] for one in suite.expectations] == [rule.code for rule in load_rules(entity)]


@pytest.mark.parametrize(
    ("bad", "code", "column"),
    [
        ({"phone_mobile": "8 916 нет"}, "phone_mobile_e164", "phone_mobile"),
        ({"phone_mobile": "+79000000001\n"}, "phone_mobile_e164", "phone_mobile"),
        ({"phone_other": "12"}, "phone_other_e164", "phone_other"),
        ({"birth_date": pd.Timestamp("2030-01-01")}, "birth_date_plausible", "birth_date"),
        ({"email": "not an address"}, "email_shape", "email"),
    ],
)
def test_a_broken_value_is_withheld_and_the_card_goes_on(
    bad: dict[str, object], code: str, column: str
) -> None:
    given = frame(Entity.PATIENT, [patient(1), patient(2, **bad), patient(3)])
    verdict = validate(given, Entity.PATIENT, now=NOW)
    assert (verdict.withheld, verdict.rejects) == ([(2, code, column, "error")], [])
    assert verdict.good["patient_id"].tolist() == [1, 2, 3]
    assert verdict.good[column].isna().tolist() == [
        bool(given[column].isna()[0]),
        True,
        bool(given[column].isna()[2]),
    ]
    assert verdict.good.dtypes.equals(given.dtypes)
    assert given[column].notna()[1], "the frame that was handed in is left as it was"


def test_a_row_without_any_name_is_quarantined_and_the_others_go_on() -> None:
    rows = [patient(1), patient(2, last_name=None, first_name=None), patient(3)]
    verdict = validate(frame(Entity.PATIENT, rows), Entity.PATIENT, now=NOW)
    assert verdict.rejects == [(2, "name_present", "last_name", "error")]
    assert verdict.good["patient_id"].tolist() == [1, 3]
    assert verdict.stop == []


def test_a_missing_phone_is_not_a_wrong_phone() -> None:
    verdict = validate(frame(Entity.PATIENT, [patient(1, phone_mobile=None)]), Entity.PATIENT, now=NOW)
    assert verdict.rejects == []
    assert len(verdict.good) == 1


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


def test_what_an_analyst_accepted_passes_as_it_is() -> None:
    given = frame(Entity.PATIENT, [patient(1, phone_mobile="12"), patient(2, phone_mobile="12")])
    verdict = validate(given, Entity.PATIENT, now=NOW, accepted=[(1, "phone_mobile_e164")])
    assert [key for key, *_rest in verdict.withheld] == [2]
    assert [key for key, *_rest in verdict.waived] == [1]
    assert verdict.good["phone_mobile"].tolist()[0] == "12"
    everywhere = validate(given, Entity.PATIENT, now=NOW, accepted=[(None, "phone_mobile_e164")])
    assert (everywhere.withheld, len(everywhere.waived)) == ([], 2)


def test_what_cannot_be_waived_is_not() -> None:
    rows = [appointment(1, patient_id=99)]
    accepted = [(1, "patient_known"), (None, "patient_known")]
    verdict = validate(
        frame(Entity.APPOINTMENT, rows),
        Entity.APPOINTMENT,
        references={"patients": {1}},
        now=NOW,
        accepted=accepted,
    )
    assert [rule for _key, rule, *_rest in verdict.rejects] == ["patient_known"]


def test_results_count_what_was_checked_and_what_failed() -> None:
    rows = [patient(1), patient(2, email="x"), patient(3, email="y")]
    verdict = validate(frame(Entity.PATIENT, rows), Entity.PATIENT, now=NOW)
    counts = {rule.code: (checked, failing) for rule, checked, failing in verdict.results}
    assert set(counts) == {rule.code for rule in load_rules(Entity.PATIENT)}
    assert (counts["email_shape"], counts["name_present"], counts["columns"]) == ((3, 2), (3, 0), (1, 0))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for one in value.values() for text in _texts(one))
    elif isinstance(value, Collection):
        yield from (text for one in value for text in _texts(one))


@pytest.mark.parametrize("entity", list(Entity))
def test_a_rule_sees_the_values_of_every_column_that_it_names(entity: Entity) -> None:
    """Of the others Great Expectations is told only where they are filled."""
    named = {text for rule in load_rules(entity) for text in _texts(rule.arguments)} & set(FRAMES[entity])
    assert named
    assert named <= judged_columns(entity) < set(FRAMES[entity])


@pytest.mark.parametrize("is_last", [False, True])
def test_rows_that_nobody_needs_any_more_are_let_go_of(*, is_last: bool) -> None:
    def read() -> pd.DataFrame:
        return frame(Entity.APPOINTMENT, [appointment(1), appointment(2, patient_id=None), appointment(3)])

    given = read()
    arguments = {"references": {"patients": {1, 2, 3}}, "now": NOW}
    verdict = validate(given, Entity.APPOINTMENT, **arguments, is_last=is_last)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(verdict.good, read().iloc[[0, 2]].reset_index(drop=True))
    if is_last:
        assert list(given) == []
    else:
        pd.testing.assert_frame_equal(given, read())
