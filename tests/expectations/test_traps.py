"""Traps of Great Expectations, each measured before this was written: a test for every one of them."""

from __future__ import annotations

import json
import socket
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from expectations import custom, gate, suites
from expectations.gate import validate
from expectations.rules import Rule
from expectations.suites import SUITES, load_rules
from expectations.whole import Whole, filled_shares
from tasks.errors import GuardError
from tasks.frames import Entity
from tests.expectations.test_gate import NOW, appointment, frame, patient

MARK = "приметазначения"


def test_threads_do_not_get_one_anothers_results() -> None:
    """One context shared by threads gave 27 wrong results of 40, without a word.

    Upstream's parser of suite parameters, used by two threads at once for the first time, fails ever after.
    """

    def judged(number: int) -> list[int]:
        rows = [patient(key, email="broken" if key % 8 == number % 8 else None) for key in range(1, 41)]
        verdict = validate(frame(Entity.PATIENT, rows), Entity.PATIENT, now=NOW)
        return [key for key, code, *_rest in verdict.withheld if code == "email_shape"]

    numbers = list(range(32))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(judged, numbers))
    assert found == [[key for key in range(1, 41) if key % 8 == number % 8] for number in numbers]


def test_a_rule_of_an_unknown_type_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream only logs it, and the suite checks less than it says."""
    odd = Rule("odd", "email", "report", "warning", "x", "y", "expect_nothing_of_the_kind")
    monkeypatch.setitem(suites.SUITES, Entity.PATIENT, (*SUITES[Entity.PATIENT], odd))
    with pytest.raises(GuardError, match="expect_nothing_of_the_kind") as caught:
        validate(frame(Entity.PATIENT, [patient(1)]), Entity.PATIENT, now=NOW)
    assert caught.value.code == "suite_incomplete"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("phone_mobile", "+79160000001\n"),
        ("phone_mobile", "x+79160000001"),
        ("phone_mobile", "+79160000001x"),
        ("phone_mobile", "+7916000000"),
        ("phone_mobile", "+791600000012"),
        ("email", "anna@example.org\n"),
        ("email", "см. anna@example.org"),
        ("email", "anna@example.org, мама"),
        ("email", "a@b@example.org"),
    ],
)
def test_a_pattern_means_the_whole_value(column: str, value: str) -> None:
    """Upstream searches, and a dollar sign lets a newline pass."""
    verdict = validate(frame(Entity.PATIENT, [patient(1, **{column: value})]), Entity.PATIENT, now=NOW)
    assert [found for _key, _code, found, _severity in verdict.withheld] == [column]


@pytest.mark.parametrize("present", ["start_at", "end_at", "arrived_at", "started_at", "ended_at"])
def test_a_pair_with_one_side_missing_is_no_fault_of_the_pair(present: str) -> None:
    """Upstream counts it as one by default."""
    rows = [
        appointment(1, **{"start_at": None, "end_at": None, present: pd.Timestamp("2026-03-01T07:00Z")}),
        appointment(2, amount=None, debt=3, paid=None, rescheduled_from_id=9),
    ]
    verdict = validate(
        frame(Entity.APPOINTMENT, rows), Entity.APPOINTMENT, references={"patients": {1}}, now=NOW
    )
    pairs = {
        rule.code
        for rule in load_rules(Entity.APPOINTMENT)
        if "column_B" in rule.arguments or "column_list" in rule.arguments
    }
    assert len(pairs) >= 8
    found = {code for _key, code, *_rest in [*verdict.rejects, *verdict.withheld, *verdict.warnings]}
    assert found & pairs == set()


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Great Expectations is handed."""
    from great_expectations.core.batch_definition import BatchDefinition

    calls: list[dict[str, Any]] = []
    get_batch = BatchDefinition.get_batch

    def noted(self: BatchDefinition[Any], parameters: dict[str, Any]) -> Any:
        calls.append(parameters)
        return get_batch(self, parameters)

    monkeypatch.setattr(BatchDefinition, "get_batch", noted)
    return calls


@pytest.mark.parametrize("entity", list(Entity))
def test_times_are_handed_over_in_nanoseconds(entity: Entity, handed: list[dict[str, Any]]) -> None:
    """Other units are compared value by value in Python: 4 seconds instead of a third of one."""
    row = patient(1) if entity is Entity.PATIENT else appointment(1)
    validate(frame(entity, [row]), entity, references={"patients": {1}}, now=NOW)
    dtypes = {str(dtype) for dtype in handed[0]["dataframe"].dtypes}
    assert {kind for kind in dtypes if "date" in kind} == {"datetime64[ns]"}
    assert not any("decimal" in kind for kind in dtypes)


@pytest.mark.parametrize("day", ["0001-01-01", "1600-05-05", "2300-01-01", "9999-12-31"])
def test_what_nanoseconds_cannot_hold_is_still_implausible(day: str) -> None:
    rows = [patient(1, birth_date=pd.Timestamp(day).as_unit("us"))]
    verdict = validate(frame(Entity.PATIENT, rows), Entity.PATIENT, now=NOW)
    assert [code for _key, code, *_rest in verdict.withheld] == ["birth_date_plausible"]


def test_a_rule_that_cannot_be_evaluated_stops_the_run() -> None:
    """Upstream returns no list of rows then, which would read as "nobody is wrong"."""
    given = frame(Entity.PATIENT, [patient(1)]).drop(columns="email")
    verdict = validate(given, Entity.PATIENT, now=NOW)
    assert {"columns", "email_shape"} <= set(verdict.stop)
    waived = validate(given, Entity.PATIENT, now=NOW, accepted=[(None, "email_shape"), (None, "columns")])
    assert {"columns", "email_shape"} <= set(waived.stop), "nobody can accept what was not evaluated"


def test_a_rule_that_raises_stops_the_run() -> None:
    given = frame(Entity.PATIENT, [patient(1)]).assign(debt="много")
    assert {"column_types", "debt_not_negative"} <= set(validate(given, Entity.PATIENT, now=NOW).stop)


def test_a_column_without_any_value_is_no_pass() -> None:
    """Rules about values skip what is missing: only a rule about the table sees that all of it is."""
    full = frame(Entity.PATIENT, [patient(key, city="Тверь") for key in range(1, 31)])
    bare = full.assign(city=pd.Series(pd.NA, index=full.index).astype("str"))
    whole = Whole(filled_before=filled_shares(full), is_full=True)
    verdict = validate(bare, Entity.PATIENT, now=NOW, whole=whole)
    assert (verdict.stop, verdict.named) == (["columns_emptied"], {"columns_emptied": ["city"]})
    nameless = [patient(key, last_name=None, first_name=None) for key in (1, 2)]
    verdict = validate(frame(Entity.PATIENT, nameless), Entity.PATIENT, now=NOW)
    assert [code for _key, code, *_rest in verdict.rejects] == ["name_present"] * 2


def test_no_rule_observes_values() -> None:
    """Aggregates write what they see into results and pages, whatever the format says."""
    observing: tuple[str, ...] = (
        "_min_",
        "_max_",
        "_mean_",
        "_median_",
        "_sum_",
        "_stdev_",
        "quantile",
        "distinct",
        "most_common",
    )
    observing += ("proportion", "unique_value_count", "kl_divergence", "z_score")
    for rule in (rule for rules in SUITES.values() for rule in rules):
        assert not any(part in rule.expectation for part in observing), rule.code
        if rule.is_table:
            assert "column" not in rule.configuration(defaultdict(str))["kwargs"], rule.code


def test_nothing_of_a_row_is_in_the_result() -> None:
    marked = {
        "last_name": f"{MARK}1\x07",
        "phone_mobile": MARK,
        "phone_other": MARK,
        "email": MARK,
        "comment": f"{MARK}\x01" + MARK * 300,
        "card_number": MARK,
        "birth_date": pd.Timestamp("1815-06-07"),
    }
    rows = [patient(key, **marked) for key in (1, 1, 2)] + [patient(3, last_name=None, first_name=None)]
    verdict = validate(frame(Entity.PATIENT, rows), Entity.PATIENT, now=NOW)
    assert len({code for _key, code, *_rest in [*verdict.rejects, *verdict.withheld, *verdict.warnings]}) >= 8
    told = json.dumps(verdict.outcome.to_json_dict(), ensure_ascii=False)
    assert MARK not in told
    assert MARK not in told.encode().decode("unicode_escape", errors="ignore")
    assert "1815" not in told
    assert MARK not in repr(
        [verdict.rejects, verdict.withheld, verdict.warnings, verdict.named, verdict.results]
    )


def test_nothing_of_a_row_is_in_the_result_of_a_rule_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception quotes the value it stumbled over, and upstream keeps its text."""

    def stumble(text: str) -> bool:
        raise ValueError(text)

    monkeypatch.setattr(custom, "_is_phone", stumble)
    verdict = validate(frame(Entity.PATIENT, [patient(1, phone_mobile=MARK)]), Entity.PATIENT, now=NOW)
    assert verdict.stop == ["phone_mobile_e164"]
    told = json.dumps(verdict.outcome.to_json_dict(), ensure_ascii=False)
    assert MARK not in told
    assert "could not be evaluated" in told


def test_it_works_in_silence_and_tells_nobody(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    def refuse(*_arguments: object) -> None:
        pytest.fail("somebody was called")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    caplog.set_level("INFO")
    validate(frame(Entity.PATIENT, [patient(1, email="x")]), Entity.PATIENT, now=NOW)
    context = gate._context()
    assert not context.variables.progress_bars.globally
    assert context.variables.config.analytics_enabled is False
    assert capfd.readouterr() == ("", "")
    assert [record.name for record in caplog.records] == []
    assert list(tmp_path.iterdir()) == [], "no folder for pages that nobody asked for"
