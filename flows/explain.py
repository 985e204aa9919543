"""The most common question: why is this patient or appointment in amoCRM, or not?"""

from __future__ import annotations

from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import BaseModel, Field

from tasks.explain import tell_row
from tasks.frames import Entity

__all__ = ["Question", "explain"]

ENTITIES = {"пациент": Entity.PATIENT, "приём": Entity.APPOINTMENT}


class Question(BaseModel):
    """О какой строке IDENT спрашивают."""

    clinic: str = Field(
        default="",
        title="Клиника",
        description="Имя, как при подключении базы; пусто, если подключена одна.",
    )
    what: Literal["пациент", "приём"] = Field(default="приём", title="Что")
    number: int = Field(
        ge=1,
        title="Номер в IDENT",
        description="ID приёма (Receptions.ID) или пациента (Persons.ID).",
    )


@flow(name="explain", flow_run_name="{question.what} {question.number}", persist_result=False)
def explain(question: Question) -> State[None]:
    """Объяснить, почему пациент или приём передан в amoCRM или не передан.

    Ответ — на вкладке «Artifacts» этого запуска: путь строки от IDENT до карточки, итог и что делать.

    Args:
        question: О чём спрашивают.
    """
    told = tell_row(question.clinic or None, ENTITIES[question.what].value, question.number)
    return Completed(message=told["message"])
