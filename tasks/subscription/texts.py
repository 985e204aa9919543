"""What an operator reads about the subscription: the state, what it means, what to do."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from tasks.records import Invoice
from tasks.subscription.states import Cause, Standing, State
from tasks.subscription.terms import MONTHS, PRICE, Quote, minimum_users

__all__ = ["NAMES", "action", "explanation", "label", "money", "quote_markdown"]

#: The widget's names of the states.
NAMES: Final = {
    State.TRIAL: "Бесплатный пробный период",
    State.ACTIVE: "Активная ✅",
    State.EXPIRING: "Срок действия истекает ⚠️",
    State.EXPIRED: "Срок действия истёк 🔴",
    State.SUSPENDED: "Приостановлена 🔴",
    State.OFF: "Отключена в настройках",
}
EXPLANATIONS: Final = {
    State.TRIAL: "Передача работает бесплатно до {ends}.",
    State.ACTIVE: "Подписка оплачена до {ends}, пользователей: {paid}.",
    State.EXPIRING: "До окончания подписки осталось менее 2 недель: она действует до {ends}.",
    State.EXPIRED: "Срок действия закончился {ends}. Работа связки приостановлена.",
    State.SUSPENDED: (
        "Активных пользователей в amoCRM больше, чем оплачено: {required} вместо {paid}. "
        "Работа связки приостановлена."
    ),
    State.OFF: "Подписка не требуется: она отключена в настройках (IDENT_AMOCRM_SUBSCRIPTION).",
}
TOO_FEW_FOR_DATABASES: Final = (
    "Изменилось минимальное количество пользователей для оплаты: нужно {required}, оплачено {paid} "
    "(оно зависит от числа подключённых баз). Работа связки приостановлена."
)
MOSCOW: Final = ZoneInfo("Europe/Moscow")


def day(moment: datetime | None) -> str:
    """Return a date as it is written in Russia."""
    return "—" if moment is None else f"{moment.astimezone(MOSCOW):%d.%m.%Y}"


def money(amount: int) -> str:
    """Return an amount in roubles."""
    return f"{amount:,}".replace(",", "\u00a0") + "\u00a0₽"


def label(standing: Standing) -> str:
    """Return the state with its date."""
    dated = standing.state in {State.TRIAL, State.ACTIVE, State.EXPIRING} and standing.ends_at is not None
    return f"{NAMES[standing.state]}, до {day(standing.ends_at)}" if dated else NAMES[standing.state]


def explanation(standing: Standing) -> str:
    """Return what the state means."""
    if standing.state is State.TRIAL and standing.ends_at is None:
        return "Пробный период начнётся с первого подключения базы или amoCRM."
    if standing.state is State.ACTIVE and not standing.paid_users:
        return f"Подписка оплачена до {day(standing.ends_at)}; сейчас идёт пробный период."
    template = TOO_FEW_FOR_DATABASES if standing.cause is Cause.DATABASES else EXPLANATIONS[standing.state]
    return template.format(
        ends=day(standing.ends_at), paid=standing.paid_users, required=standing.required_users
    )


def action(standing: Standing) -> str:
    """Return what has to be done; empty when nothing has."""
    if standing.state is State.TRIAL:
        return "Чтобы передача не остановилась, активируйте подписку до этой даты: subscription-activate."
    if standing.state is State.EXPIRING:
        return "Продлите подписку: запустите subscription-extend."
    if standing.state is State.EXPIRED:
        return (
            "Активируйте подписку: запустите subscription-activate. После оплаты передача продолжится сама."
        )
    if standing.state is State.SUSPENDED:
        free = (
            "отключите лишние базы"
            if standing.cause is Cause.DATABASES
            else "отключите лишних пользователей в amoCRM"
        )
        return (
            f"Доплатите за {standing.missing_users} пользователей (subscription-extend, «Доплата за "
            f"пользователей») или {free}: передача продолжится сама."
        )
    return ""


def quote_markdown(
    standing: Standing, quotes: list[Quote], extra: Quote | None, active_users: int | None, databases: int
) -> str:
    """Return the operator's page with all prices."""
    counted = "неизвестно (amoCRM не ответила)" if active_users is None else str(active_users)
    lines = [
        "## Стоимость подписки",
        "",
        f"**{label(standing)}.** {explanation(standing)} {action(standing)}".strip(),
        "",
        f"- Активных пользователей amoCRM: {counted}",
        f"- Подключённых баз IDENT: {databases}; минимум для оплаты: {minimum_users(databases)}",
        f"- Один пользователь: {money(PRICE)} в месяц",
        "",
        "| Срок | Пользователей | Стоимость |",
        "|---|---:|---:|",
        *(f"| {one.months} месяцев | {one.users} | {money(one.amount)} |" for one in quotes),
    ]
    if extra is not None:
        lines += [
            "",
            f"Доплата за ещё {extra.users} польз., месяцев: {extra.months}: **{money(extra.amount)}**.",
        ]
    terms = " или ".join(map(str, MONTHS))
    return "\n".join([*lines, "", f"Срок — {terms} месяцев. Оплата: subscription-activate."])


def invoice_title(invoice: Invoice) -> str:
    """Return what an invoice is for."""
    if invoice.kind == "top_up":
        until = day_of(invoice.ends_at)
        return f"Доплата за пользователей: {invoice.users}, до {until}, месяцев: {invoice.months}"
    return (
        f"Подписка «Связка IDENT & amoCRM», {invoice.months} месяцев, пользователей: {invoice.users}, "
        f"с {day_of(invoice.starts_at)} по {day_of(invoice.ends_at)}"
    )


def day_of(epoch: float) -> str:
    """Return the date of an instant in epoch seconds."""
    return day(datetime.fromtimestamp(epoch, tz=MOSCOW))
