"""Asking a person: once for each form, safe without an answer, again when the answer cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from tasks import forms
from tasks.errors import MappingError
from tasks.forms import ask, ask_until, failed, run_input
from tasks.hints import HINTS
from tasks.ledger.store import Ledger
from tasks.mapping.questions import Form, Question, choice

FORM = Form(
    title="Проверка",
    text="## Проверка",
    questions=(
        Question(name="approve", title="Подтверждаю", kind="flag", default=False),
        choice("field", "Поле *", [("Врач", "5"), ("Врач", "6"), ("Не передавать", "never")], "6"),
        choice("many", "Этапы", [("Один", "1"), ("Два", "2")], "").model_copy(
            update={"kind": "many", "default": ["2"]}
        ),
        Question(name="days", title="Дней", kind="number", default=-1),
        Question(name="name", title="Название", kind="text", default="Приём"),
    ),
)


class Suspended(BaseException):
    """The process ends here; the run starts again from the top when the form is submitted."""


class Person:
    """Stands for Prefect: the first call of a key suspends, the next returns what was submitted."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.submitted: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []

    def __call__(self, *, wait_for_input: Any, key: str, timeout: int) -> Any:
        assert timeout > 3600
        self.asked.append(key)
        if key not in self.submitted:
            raise Suspended
        return wait_for_input(**self.submitted[key])


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Person]:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").open()
    found = Person(ledger)
    monkeypatch.setattr(forms, "open_ledger", lambda: ledger)
    monkeypatch.setattr(forms, "flow_run", SimpleNamespace(id="run-1"))
    monkeypatch.setattr(forms, "suspend_flow_run", found)
    yield found
    ledger.close()


def test_without_an_answer_the_defaults_are_taken_and_they_are_what_was_chosen_before() -> None:
    model = run_input(FORM)
    assert FORM.read(model().model_dump(mode="json")) == {
        "approve": False,
        "field": "6",
        "many": ["2"],
        "days": -1,
        "name": "Приём",
    }
    schema = model.model_json_schema()
    assert schema["properties"]["field"]["enum"] == ["Врач (№ 5)", "Врач (№ 6)", "Не передавать"]
    assert schema["properties"]["field"]["title"] == "Поле *"
    with pytest.raises(ValidationError):
        model.model_validate({"field": "Кабинет"})


def test_a_form_is_built_once_and_an_answer_is_kept(person: Person) -> None:
    built = []

    def build() -> Form:
        built.append(FORM)
        return FORM

    with pytest.raises(Suspended):
        ask("block", build)
    person.submitted["block"] = {"field": "Врач (№ 5)", "approve": True}
    first = ask("block", build)
    assert (first["field"], first["approve"], first["many"]) == ("5", True, ["2"])
    person.submitted.clear()
    assert ask("block", build) == first, "a run that starts again for a later form asks nothing twice"
    assert len(built) == 1
    assert person.asked == ["block", "block"]


def test_an_answer_that_cannot_be_is_asked_for_again_with_the_reason(person: Person) -> None:
    shown: list[Form] = []
    person.submitted["block"] = {"field": "Врач (№ 5)", "name": "Моё"}

    def accept(answer: dict[str, Any]) -> None:
        if answer["field"] == "5":
            raise MappingError(problem="shared", remedy="", code="shared_field")

    with pytest.raises(Suspended):
        ask_until("block", lambda: FORM, accept)
    stored = person.ledger.setting("run:run-1", "block-2")
    assert stored is not None
    shown.append(Form.model_validate(stored["form"]))
    assert HINTS["shared_field"] in shown[0].text
    kept = shown[0].read(run_input(shown[0])().model_dump(mode="json"))
    assert (kept["field"], kept["name"]) == ("5", "Моё"), "what was filled in stays"
    person.submitted["block-2"] = {"field": "Не передавать"}
    assert ask_until("block", lambda: FORM, accept)["field"] == "never"


def test_what_was_not_offered_is_refused() -> None:
    with pytest.raises(MappingError) as refusal:
        FORM.read({"field": "Кабинет"})
    assert refusal.value.code == "unfit_choice"


def test_a_refused_run_says_in_russian_what_to_do() -> None:
    state = failed(MappingError(problem="", remedy="", code="transfer_running"))
    assert state.is_failed()
    assert "Остановите" in str(state.message)
