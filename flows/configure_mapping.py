"""«Гибкая настройка»: one block at a time, chosen from what the account has."""

from __future__ import annotations

from functools import partial
from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import BaseModel, Field

from tasks.choosing import (
    STAGES,
    accept_choice,
    block_form,
    other_stages_form,
    resend_choice,
    resend_form,
    save_choice,
)
from tasks.errors import IdentAmocrmError
from tasks.forms import ask, ask_until, failed, run_key, run_scope

__all__ = ["Choice", "configure_mapping"]


class Choice(BaseModel):
    """Что настроить и для кого."""

    block: Literal[
        "Воронки и этапы",
        "Исключения",
        "Карточка контакта",
        "Карточка сделки",
        "Правила записи: контакт",
        "Правила записи: сделка",
        "Фильтры",
        "Название и ответственный",
    ] = Field(default="Воронки и этапы", title="Блок")
    clinic: str = Field(
        default="",
        title="Клиника",
        description="Имя, как при подключении базы; пусто — для всех клиник аккаунта.",
    )


@flow(name="configure-mapping", flow_run_name="настройка: {choice.block}", persist_result=False)
def configure_mapping(choice: Choice) -> State[None]:
    """Выбрать воронки, этапы и поля amoCRM для данных из IDENT.

    Откроется форма блока с выбором из того, что есть в аккаунте; сохраняется сразу после отправки.

    Args:
        choice: Что настроить.
    """
    block, clinic, by = choice.block, choice.clinic.strip(), f"configure-mapping {run_key()}"
    accept = partial(accept_choice, block, clinic)
    try:
        answer = ask_until("block", partial(block_form, block, clinic), accept)
        other = other_stages_form(clinic, answer) if block == STAGES else None
        if other is not None:
            answer = ask_until("stages", lambda: other, accept)
        result = save_choice(run_scope(), block, clinic, answer, by)
        if sum(result["rows"].values()) and ask("resend", partial(resend_form, result))["resend"]:
            resend_choice(result, by)
    except IdentAmocrmError as error:
        return failed(error)
    changes = len(result["changes"])
    return Completed(message=f"Настройка сохранена, изменений: {changes}." if changes else "Изменений нет.")
