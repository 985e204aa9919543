"""Reviewing what was kept back: which rule, which rows, and what is to become of them."""

from __future__ import annotations

from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import BaseModel, Field

from tasks.errors import ConfigurationError, IdentAmocrmError
from tasks.forms import ask_until, failed, forget_answers, run_scope
from tasks.review_form import accept_decision, decide, decision_form, publish_decision, publish_groups

__all__ = ["Review", "review_rejects"]

#: The form's name in a run.
DECISION = "decision"


class Review(BaseModel):
    """Что разобрать."""

    clinic: str = Field(default="", title="Клиника", description="Пусто, если подключена одна.")


@flow(name="review-rejects", flow_run_name="Разбор непереданного {review.clinic}", persist_result=False)
def review_rejects(review: Review) -> State[None]:
    """Разобрать, что не передано: таблица по правилам, затем форма — повторить, принять на время, отозвать.

    Таблица — на вкладке «Artifacts» этого запуска. Решение принимается по одному правилу за запуск; пустой
    ответ ничего не меняет.

    Args:
        review: Какую клинику.
    """
    try:
        if not publish_groups(review.clinic, run_scope()):
            return Completed(message="Всё передано: разбирать нечего.")
        answer = ask_until(
            DECISION,
            partial(decision_form, review.clinic),
            partial(accept_decision, review.clinic),
            refusal=ConfigurationError,
            unkept=("note", "by"),
        )
        told = publish_decision(decide(review.clinic, answer))
    except IdentAmocrmError as error:
        forget_answers(DECISION)
        return failed(error)
    forget_answers(DECISION)
    return Completed(message=told)
