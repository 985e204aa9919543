"""The subscription: what it costs, buying it, extending it."""

from __future__ import annotations

from typing import Annotated, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import BaseModel, Field

from tasks.subscription_pages import confirm_payment, publish_invoice, publish_quote

__all__ = [
    "Extension",
    "Order",
    "Paid",
    "subscription_activate",
    "subscription_extend",
    "subscription_quote",
]

#: An invoice may wait for its money that long.
WAIT_SECONDS = 60 * 24 * 60 * 60
MONTHS = {"6 месяцев": 6, "10 месяцев": 10}
Term = Literal["6 месяцев", "10 месяцев"]
Accepted = Annotated[
    bool,
    Field(default=False, title="Согласен с условиями оферты", description="Иначе счёта не будет."),
]


class Order(BaseModel):
    """Какую подписку оформить."""

    term: Term = Field(default="6 месяцев", title="Период оплаты")
    offer_accepted: Accepted = False


class Extension(BaseModel):
    """Что продлить или доплатить."""

    term: Literal["6 месяцев", "10 месяцев", "Доплата за пользователей"] = Field(
        default="6 месяцев", title="Период оплаты"
    )
    extra_users: int = Field(
        default=0,
        ge=0,
        title="Сколько пользователей добавить",
        description="Только для доплаты; 0 — столько, сколько не хватает.",
    )
    offer_accepted: Accepted = False


class Paid(RunInput):
    """Отметка об оплате; пустой ответ ничего не отмечает."""

    paid: bool = Field(default=False, title="Деньги поступили, счёт оплачен")


@flow(name="subscription-quote", flow_run_name="Стоимость подписки", persist_result=False)
def subscription_quote() -> State[None]:
    """Рассчитать стоимость подписки: активные пользователи amoCRM, подключённые базы, сроки."""
    return Completed(message=publish_quote())


@flow(name="subscription-activate", flow_run_name="Активировать подписку", persist_result=False)
def subscription_activate(order: Order) -> State[None]:
    """Выставить счёт за подписку и ждать оплаты.

    Счёт — на вкладке «Artifacts» этого запуска. Когда деньги поступили, нажмите «Resume» и отметьте оплату.

    Args:
        order: Что оформить.
    """
    return _sell("activate", MONTHS[order.term], None, accepted=order.offer_accepted)


@flow(name="subscription-extend", flow_run_name="Продлить подписку", persist_result=False)
def subscription_extend(order: Extension) -> State[None]:
    """Продлить подписку или доплатить за пользователей: счёт, затем ожидание оплаты.

    Args:
        order: Что продлить.
    """
    months = MONTHS.get(order.term, 0)
    extra = None if months else order.extra_users
    return _sell("extend", months, extra, accepted=order.offer_accepted)


def _sell(
    kind: Literal["activate", "extend"], months: int, extra: int | None, *, accepted: bool
) -> State[None]:
    """Publish the invoice and wait; the run starts again from the top when it is resumed."""
    request_id = str(flow_run.id)
    told = publish_invoice(request_id, kind, months, extra, accepted=accepted)
    if told["refused"]:
        return Failed(message=str(told["refused"]))
    if not told["paid"]:
        answer = suspend_flow_run(
            wait_for_input=Paid.with_initial_data(description=str(told["markdown"])),
            timeout=WAIT_SECONDS,
            key="paid",
        )
        if not answer.paid:
            return Failed(message=f"Счёт {told['number']} ещё не оплачен; отметить позже: {told['later']}")
    return Completed(message=confirm_payment(str(told["number"])))
