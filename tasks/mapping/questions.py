"""A form as data: what is asked, what may be answered, what an answer means.

Kept in the ledger while a person fills it in, so that the same form is there when the run starts again, and
an answer means what it meant when it was given. How it is shown is not this room's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.errors import MappingError

__all__ = ["Form", "Option", "Question", "choice", "labelled"]

Kind = Literal["choice", "many", "text", "texts", "number", "flag"]


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Option(_Stored):
    """One thing that may be chosen.

    Attributes:
        label: What a person reads; no two of a question are the same.
        value: What it means.
    """

    label: str
    value: str


class Question(_Stored):
    """One line of a form.

    Attributes:
        name: Its name in the answer.
        title: What is asked.
        kind: How it is answered.
        options: What may be chosen, for ``choice`` and ``many``.
        default: The safe answer, already given: values of options, or a text, number or flag.
        hint: What helps to answer.
    """

    name: str
    title: str
    kind: Kind = "choice"
    options: tuple[Option, ...] = ()
    default: Any = None
    hint: str = ""

    @property
    def shown_default(self) -> Any:
        """Return the default as it is shown."""
        labels = {option.value: option.label for option in self.options}
        if self.kind == "choice":
            return labels.get(str(self.default), self.options[0].label)
        if self.kind == "many":
            return [labels[value] for value in self.default or () if value in labels]
        return self.default

    def meaning(self, answer: Any) -> Any:
        """Return what an answer means."""
        values = {option.label: option.value for option in self.options}
        if self.kind == "choice":
            return values[answer]
        return [values[label] for label in answer] if self.kind == "many" else answer


class Form(_Stored):
    """A form with its heading text (Markdown)."""

    title: str
    text: str = ""
    questions: tuple[Question, ...] = Field(default_factory=tuple)

    def answered(self, answer: Mapping[str, Any], wrong: str) -> Form:
        """Return the form with answers given already, and what is wrong about them."""
        questions = tuple(
            question.model_copy(update={"default": answer.get(question.name, question.default)})
            for question in self.questions
        )
        return self.model_copy(update={"questions": questions, "text": f"⚠️ **{wrong}**\n\n{self.text}"})

    def read(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the answers mean, by question.

        Raises:
            MappingError: When something was answered that was not offered.
        """
        try:
            return {
                question.name: question.meaning(answer.get(question.name, question.shown_default))
                for question in self.questions
            }
        except KeyError:
            raise MappingError(
                problem="An answer is none of those that the form offered.",
                remedy="Start the flow again and choose from the lists.",
                code="unfit_choice",
            ) from None


def labelled(pairs: Sequence[tuple[str, str]]) -> tuple[Option, ...]:
    """Return options of (label, value); labels that stand twice are told apart by their value."""
    labels = [label for label, _value in pairs]
    return tuple(
        Option(label=label if labels.count(label) == 1 else f"{label} (№ {value})", value=value)
        for label, value in pairs
    )


def choice(name: str, title: str, pairs: Sequence[tuple[str, str]], default: str, hint: str = "") -> Question:
    """Return a question with a drop-down."""
    return Question(name=name, title=title, options=labelled(pairs), default=default, hint=hint)
