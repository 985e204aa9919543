"""Starting and stopping a clinic's scheduled transfer; the form of the start is its launch configuration."""

from __future__ import annotations

from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import BaseModel, Field

from tasks.basis import MEANINGS
from tasks.launch import Window
from tasks.starting import begin, consider, halt, note_basis

__all__ = ["Confirmation", "LaunchForm", "StopForm", "start_transfer", "stop_transfer"]

#: A form may wait for its answer that long.
WAIT_SECONDS = 24 * 60 * 60
PAST = {
    "только с сегодняшнего дня": 0,
    "за 7 дней": 7,
    "за 30 дней": 30,
    "за 90 дней": 90,
    "за год": 365,
    "вся история": None,
}
WHAT = {"пациенты и приёмы": True, "только пациенты": False}
#: What the form says where nothing is to be attested anew.
AS_BEFORE = "как подтверждено раньше"
BASES = {AS_BEFORE: None, **{meaning: basis for basis, meaning in MEANINGS.items()}}
AHEAD = {"все будущие": None, "на 30 дней": 30, "на 90 дней": 90, "на 180 дней": 180}


class LaunchForm(BaseModel):
    """Что передавать и кого известить."""

    clinic: str = Field(default="", title="Клиника", description="Пусто, если подключена одна.")
    what: Literal["пациенты и приёмы", "только пациенты"] = Field(
        default="пациенты и приёмы",
        title="Что передавать",
        description="Пациенты становятся контактами, приёмы — сделками. Имеющиеся сделки обновляются всегда.",
    )
    past: Literal[
        "только с сегодняшнего дня", "за 7 дней", "за 30 дней", "за 90 дней", "за год", "вся история"
    ] = Field(
        default="только с сегодняшнего дня",
        title="Прошедшие приёмы",
        description="Более ранние приёмы не передаются. Прошедшие создаются сразу в конечных этапах.",
    )
    ahead: Literal["все будущие", "на 30 дней", "на 90 дней", "на 180 дней"] = Field(
        default="все будущие",
        title="Будущие приёмы",
        description="Более поздние приёмы не передаются, пока передачу не запустят снова.",
    )
    basis: Literal[
        "как подтверждено раньше",
        "письменное согласие пациентов на передачу сведений, составляющих врачебную тайну, в CRM",
        "обработка в медицинских целях; с владельцем CRM заключено поручение на обработку",
        "другое основание, подтверждённое юристом клиники",
    ] = Field(
        default="как подтверждено раньше",
        title="Основание передачи",
        description=(
            "То, что человек — пациент клиники, уже врачебная тайна (323-ФЗ, ст. 13). Без основания передача "
            "не запускается. Подтверждает его тот, кто указан в «Кто запускает»."
        ),
    )
    rehearse: bool = Field(
        default=False,
        title="Сначала пробный прогон",
        description="Показать, что будет сделано, и спросить, прежде чем передавать.",
    )
    started_by: str = Field(default="", max_length=60, title="Кто запускает", description="Для журнала.")
    notify: str = Field(
        default="",
        title="Кого известить о сбоях",
        description="Блок уведомлений Prefect: тип/имя, например telegram-webhook/klinika. Пусто — никого.",
    )


class StopForm(BaseModel):
    """Какую передачу остановить."""

    clinic: str = Field(default="", title="Клиника", description="Пусто, если подключена одна.")


class Confirmation(RunInput):
    """Согласие на первую передачу; пустой ответ ничего не запускает."""

    confirmed: bool = Field(default=False, title="Запустить передачу")


@flow(name="start-transfer", flow_run_name="{launch.clinic}: запустить", persist_result=False)
def start_transfer(launch: LaunchForm) -> State[None]:
    """Запустить передачу клиники: каждые 30 секунд, пока её не остановят.

    Условия: основание подтверждено, подписка действует, база и amoCRM подключены, связка настроена.
    Невыполненные будут перечислены.

    Args:
        launch: Конфигурация запуска.
    """
    window: Window = {
        "history_days": PAST[launch.past],
        "ahead_days": AHEAD[launch.ahead],
        "deals": WHAT[launch.what],
    }
    basis = BASES[launch.basis]
    if basis is not None and (refused := note_basis(launch.clinic, basis.value, by=launch.started_by)):
        return Failed(message=f"Запуск отклонён. {refused}")
    found = consider(str(flow_run.id), launch.clinic, window, rehearse=launch.rehearse)
    if found["refused"]:
        return Failed(message=f"Запуск отклонён. {found['refused']}")
    if found["ask"]:
        answer = suspend_flow_run(
            wait_for_input=Confirmation.with_initial_data(description=str(found["markdown"])),
            timeout=WAIT_SECONDS,
            key="confirm",
        )
        if not answer.confirmed:
            return Failed(message="Не подтверждено: передача не запущена")
    done, message = begin(launch.clinic, window, by=launch.started_by or "operator", notify=launch.notify)
    return Completed(message=message) if done else Failed(message=f"Запуск отклонён. {message}")


@flow(name="stop-transfer", flow_run_name="{stop.clinic}: остановить", persist_result=False)
def stop_transfer(stop: StopForm) -> State[None]:
    """Остановить передачу клиники; отправленная пачка дойдёт до конца.

    Args:
        stop: Какую передачу.
    """
    done, message = halt(stop.clinic)
    return Completed(message=message) if done else Failed(message=message)
