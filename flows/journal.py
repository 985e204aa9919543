"""The event log as a sorted table: Prefect's own feed filters, but does not sort."""

from __future__ import annotations

from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import BaseModel, Field

from tasks.journal import Sort, publish_journal

__all__ = ["AREAS", "JournalForm", "journal"]

#: What an operator chooses -> how the names of its events begin.
AREAS = {
    "все": "",
    "основание передачи": "basis.",
    "удаление данных": "subject.",
    "подписка": "subscription.",
    "база данных": "database.",
    "amoCRM": "amocrm.",
    "запуск и остановка": "transfer.",
    "передача": "sync.",
    "сверка": "reconcile.",
    "строки": "rows.",
    "качество данных": "quality.",
    "разбор": "rejects.",
    "настройки": "settings.",
    "состояние": "health.",
}
LEVELS = {"все": "", "сведения": "info", "предупреждения": "warning", "ошибки": "error"}
ORDERS: dict[str, Sort] = {
    "сначала новые": "newest",
    "сначала старые": "oldest",
    "по событию": "event",
    "по уровню": "level",
    "по клинике": "clinic",
}


class JournalForm(BaseModel):
    """Какие события показать и в каком порядке."""

    days: int = Field(default=7, ge=1, le=3660, title="За сколько дней")
    clinic: str = Field(default="", title="Клиника", description="Пусто — все.")
    area: Literal[
        "все",
        "основание передачи",
        "удаление данных",
        "подписка",
        "база данных",
        "amoCRM",
        "запуск и остановка",
        "передача",
        "сверка",
        "строки",
        "качество данных",
        "разбор",
        "настройки",
        "состояние",
    ] = Field(default="все", title="Область")
    level: Literal["все", "сведения", "предупреждения", "ошибки"] = Field(default="все", title="Уровень")
    order: Literal["сначала новые", "сначала старые", "по событию", "по уровню", "по клинике"] = Field(
        default="сначала новые", title="Порядок"
    )
    limit: int = Field(default=200, ge=1, le=500, title="Сколько строк")


@flow(name="journal", flow_run_name="Список событий", persist_result=False)
def journal(form: JournalForm) -> State[None]:
    """Показать список событий таблицей: на вкладке «Artifacts» этого запуска.

    Args:
        form: Какие события и в каком порядке.
    """
    found = publish_journal(
        form.days, form.clinic, AREAS[form.area], LEVELS[form.level], ORDERS[form.order], form.limit
    )
    return Completed(message=f"Событий: {found}")
