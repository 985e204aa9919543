"""Forms of the Prefect UI: asked once, kept in the ledger, answered by a person who may take a day.

A run that waits is suspended: it holds no process, and starts again from the top when the form is submitted.
So a form and its answer lie in the ledger under the run's id before anything else happens, and asking again
returns the answer that was given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from http import HTTPStatus
from typing import Any, Final, Literal

from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectHTTPStatusError
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.input.actions import delete_flow_run_input
from prefect.runtime import flow_run
from prefect.states import Failed
from pydantic import Field, create_model

from tasks.connections import open_ledger
from tasks.errors import IdentAmocrmError, MappingError
from tasks.hints import hint
from tasks.mapping.questions import Form, Question

__all__ = ["ask", "ask_until", "failed", "forget_answers", "run_input", "run_key", "run_scope"]

#: How long a person may take.
TIMEOUT_SECONDS: Final = 86_400
#: How often a form is shown again with what was wrong about its answers.
TRIES: Final = 5


def run_key() -> str:
    """Return the id of this flow run, for the history of settings."""
    return str(flow_run.id or "")


def run_scope() -> str:
    """Return the scope under which the ledger keeps what this run asked and was answered."""
    return f"run:{run_key()}"


def run_input(form: Form) -> type[RunInput]:
    """Return a form in Prefect's shape; resuming without an answer takes the defaults, which are safe."""
    fields: dict[str, Any] = {
        question.name: (
            _annotation(question),
            Field(
                default=question.shown_default,
                title=question.title,
                description=question.hint or None,
                ge=-1 if question.kind == "number" else None,
            ),
        )
        for question in form.questions
    }
    model: type[RunInput] = create_model("Answer", __base__=RunInput, **fields)
    return model.with_initial_data(description=form.text)


def _annotation(question: Question) -> Any:
    labels = tuple(option.label for option in question.options)
    match question.kind:
        case "choice":
            return Literal[labels]
        case "many":
            return list[Literal[labels]] if labels else list[str]  # type: ignore[valid-type]
        case "texts":
            return list[str]
        case "flag":
            return bool
        case "number":
            return int
        case _:
            return str


def ask(key: str, build: Callable[[], Form]) -> dict[str, Any]:
    """Ask a person; called in a flow, not in a task.

    Args:
        key: The form's own name in this run.
        build: Makes the form, the first time.

    Returns:
        What the answers mean, by question.
    """
    ledger = open_ledger()
    stored = ledger.setting(run_scope(), key)
    if stored is None:
        form = build()
        stored = {"form": form.model_dump(mode="json")}
        ledger.put_setting(run_scope(), key, stored, by=run_key())
    form = Form.model_validate(stored["form"])
    if "answer" not in stored:
        answer = suspend_flow_run(wait_for_input=run_input(form), key=key, timeout=TIMEOUT_SECONDS)
        stored = {**stored, "answer": answer.model_dump(mode="json")}
        ledger.put_setting(run_scope(), key, stored, by=run_key())
    return form.read(stored["answer"])


def ask_until(
    key: str,
    build: Callable[[], Form],
    accept: Callable[[dict[str, Any]], object],
    *,
    refusal: type[IdentAmocrmError] = MappingError,
    unkept: Collection[str] = (),
) -> dict[str, Any]:
    """Ask a person until the answers can be: what is wrong stands above the form, the answers are kept in it.

    Args:
        key: The form's own name in this run.
        build: Makes the form, the first time.
        accept: Raises an error of the kind ``refusal`` for answers that cannot be.
        refusal: What ``accept`` raises.
        unkept: Questions whose answers are not shown again.

    Raises:
        IdentAmocrmError: The last refusal, when the last try is wrong too.
    """
    answer: dict[str, Any] = {}
    wrong = ""
    for number in range(1, TRIES + 1):

        def again(answer: dict[str, Any] = answer, wrong: str = wrong) -> Form:
            return build() if not wrong else build().answered(answer, wrong)

        answer = ask(key if number == 1 else f"{key}-{number}", again)
        try:
            accept(answer)
        except refusal as error:
            if number == TRIES:
                raise
            wrong = hint(error.code)
            answer = {name: value for name, value in answer.items() if name not in unkept}
        else:
            break
    return answer


def forget_answers(key: str) -> None:
    """Forget what ``ask_until`` was answered, here and in Prefect: it was acted on, or refused for good."""
    ledger = open_ledger()
    for number in range(1, TRIES + 1):
        form = key if number == 1 else f"{key}-{number}"
        if "answer" in (ledger.setting(run_scope(), form) or {}):
            _delete_response(form)
    ledger.drop_settings(run_scope())


def _delete_response(key: str) -> None:
    try:
        delete_flow_run_input(f"suspended-{key}-response")
    except PrefectHTTPStatusError as error:
        if error.response.status_code != HTTPStatus.NOT_FOUND:
            raise


def failed(error: IdentAmocrmError) -> State[None]:
    """Return the end of a run that was refused: cause and remedy as an operator reads them."""
    state: State[None] = Failed(message=hint(error.code))
    return state
