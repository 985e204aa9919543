"""The form of the review: what it offers, what it accepts, what it does, and what it forgets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.review import DECISION
from tasks import forms, review_form
from tasks.errors import ConfigurationError
from tasks.forms import ask_until, forget_answers, run_input
from tasks.hints import HINTS
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.mapping.questions import Form
from tasks.records import Reject
from tasks.review_form import accept_decision, decide, decision_form, groups, publish_decision, publish_groups
from tests.steps.test_asking import Person, Suspended

UID, CLINIC = "clinicuid1", "Улыбка"
RULE = "phone_mobile_e164"
WAIVE: dict[str, Any] = {
    "rule": f"patient:{RULE}",
    "action": "waive",
    "rows": "7, 8",
    "note": "Так ведут",
    "days": 30,
    "by": "",
}


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    found = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").open()
    found.save_connection(ConnectionRecord(CLINIC, UID, "b", "Europe/Moscow"))
    found.add_rejects(UID, [Reject("patient", key, RULE, "phone_mobile") for key in range(7, 40)])
    found.add_rejects(UID, [Reject("contact", 7, "NotSupportedChoice", "Пол", 5)])
    for module in (review_form, forms):
        monkeypatch.setattr(module, "open_ledger", lambda: found)
    monkeypatch.setattr("tasks.events.emit_event", lambda **_parts: None)
    yield found
    found.close()


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would stand in the Prefect UI."""
    shown: list[Any] = []
    for name in ("create_table_artifact", "create_markdown_artifact"):
        monkeypatch.setattr(review_form, name, lambda content, **_named: shown.append(content))
    return shown


def answered(**answers: Any) -> dict[str, Any]:
    form = decision_form("")
    return form.read(run_input(form)().model_dump(mode="json")) | answers


def test_an_empty_answer_changes_nothing(ledger: Ledger) -> None:
    answer = answered()
    accept_decision("", answer)
    assert decide("", answer)["action"] == "nothing"
    assert (ledger.audit(), ledger.waivers(UID), ledger.released_keys(UID)) == ([], [], {})


def test_the_form_lists_rules_with_up_to_twenty_ids(ledger: Ledger) -> None:
    form = decision_form(CLINIC)
    rule = next(question for question in form.questions if question.name == "rule")
    assert [option.value for option in rule.options] == [
        "",
        f"patient:{RULE}",
        "contact:NotSupportedChoice",
    ]
    assert "— 33 (" in rule.options[1].label
    assert ", 26, …" in form.text
    assert "27" not in form.text
    assert len(groups(ledger, ledger.connection(CLINIC))[0].ids) == 33


def test_the_table_is_published_once_a_run(ledger: Ledger, published: list[Any]) -> None:
    for _ in range(2):
        assert publish_groups.fn(CLINIC, "run:1") == 2
    [rows] = published
    assert [row["Строк"] for row in rows] == [33, 1]
    assert all(row["Что это значит"] and row["Что делать"] for row in rows)


def test_more_rules_than_a_table_may_have_are_cut(ledger: Ledger, published: list[Any]) -> None:
    ledger.add_rejects(UID, [Reject("contact", 1, f"Code{number}") for number in range(700)])
    publish_groups.fn(CLINIC, "run:1")
    assert len(published[0]) == 500
    assert len(decision_form(CLINIC).text) < 5000


def test_rows_are_waived_and_the_result_has_no_note(ledger: Ledger, published: list[Any]) -> None:
    accept_decision("", WAIVE)
    result = decide("", WAIVE)
    assert [one.source_id for one in ledger.waivers(UID)] == [7, 8]
    assert {one.waived_by for one in ledger.waivers(UID)} == {"operator"}
    sentence = publish_decision.fn(result)
    assert sentence == f"Приняты как есть: 2 строк, до {result['until']}."
    assert "7, 8" in published[0]
    assert WAIVE["note"] not in f"{result}{published}{ledger.audit()}"
    assert "принято: 2" in decision_form("").questions[0].options[1].label


def test_all_rows_and_back(ledger: Ledger) -> None:
    assert decide("", WAIVE | {"rows": " Все "})["rows"] == 33
    assert [one.source_id for one in ledger.waivers(UID)] == [None]
    assert decide("", WAIVE | {"rows": "все", "action": "revoke"})["rows"] == 1
    assert ledger.waivers(UID) == []


def test_what_stopped_the_last_run_can_be_accepted(ledger: Ledger) -> None:
    key = "patient:rows_volume"
    assert key not in {group.key for group in groups(ledger, ledger.connection(CLINIC))}
    ledger.start_run("r", UID, "incremental", by="sync")
    ledger.finish_run("r", "failed", {"code": "validation_stop"})
    label = next(one.label for one in decision_form("").questions[0].options if one.value == key)
    assert "— вся таблица (" in label
    answer = WAIVE | {"rule": key, "rows": "все", "days": 1}
    accept_decision("", answer)
    decide("", answer)
    assert [(one.entity, one.source_id, one.reason) for one in ledger.waivers(UID)] == [
        ("patient", None, "rows_volume")
    ]
    with pytest.raises(ConfigurationError):
        accept_decision("", answer | {"rows": "7"})


def test_a_retry(ledger: Ledger) -> None:
    result = decide("", WAIVE | {"rule": "contact:NotSupportedChoice", "action": "retry", "rows": "все"})
    assert result["rows"] == 1
    assert ledger.released_keys(UID) != {}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"rule": ""}, "no_rule_chosen"),
        ({"rows": ""}, "which_rows"),
        ({"rows": "7; восемь"}, "which_rows"),
        ({"rows": "0"}, "which_rows"),
        ({"rows": "1"}, "not_listed"),
        ({"note": ""}, "waiver_text"),
        ({"by": "a@b.example"}, "waiver_personal"),
        ({"days": -1}, "waiver_days"),
        ({"days": 367}, "waiver_days"),
        ({"rule": "contact:NotSupportedChoice", "rows": "7"}, "amocrm_refusal"),
    ],
)
@pytest.mark.usefixtures("ledger")
def test_what_cannot_be_is_refused_with_a_hint(change: dict[str, Any], code: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        accept_decision("", WAIVE | change)
    assert refusal.value.code == code
    assert code in HINTS


def test_a_phone_in_the_note_is_asked_again_without_it_and_forgotten(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, deleted = Person(ledger), list[str]()
    monkeypatch.setattr(forms, "flow_run", SimpleNamespace(id="run-1"))
    monkeypatch.setattr(forms, "suspend_flow_run", person)
    monkeypatch.setattr(forms, "delete_flow_run_input", deleted.append)
    label = decision_form("").questions[0].options[1].label
    shown = {"rule": label, "action": "Принять как есть на время", "rows": "7", "note": "+7 916 1234567"}
    person.submitted[DECISION] = shown

    def ask() -> dict[str, Any]:
        return ask_until(
            DECISION,
            lambda: decision_form(""),
            lambda answer: accept_decision("", answer),
            refusal=ConfigurationError,
            unkept=("note",),
        )

    with pytest.raises(Suspended):
        ask()
    again = Form.model_validate((ledger.setting("run:run-1", f"{DECISION}-2") or {})["form"])
    assert HINTS["waiver_personal"] in again.text
    kept = again.read(run_input(again)().model_dump(mode="json"))
    assert (kept["rows"], kept["note"]) == ("7", "")
    person.submitted[f"{DECISION}-2"] = shown | {"note": "Так ведут"}
    decide("", ask())
    forget_answers(DECISION)
    assert deleted == [f"suspended-{name}-response" for name in (DECISION, f"{DECISION}-2")]
    assert ledger.setting("run:run-1", DECISION) is None
    assert ledger.setting_history("run:run-1", DECISION) == []
    assert [one.note for one in ledger.waivers(UID)] == ["Так ведут"]
