"""``subscription status|quote|activate|extend``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import uuid4

import typer

from deployments.cli.output import Output, OutputOption, say, show, table
from deployments.cli.session import open_session

if TYPE_CHECKING:
    from tasks.records import Invoice
    from tasks.subscription.states import Standing

__all__ = ["activate", "extend", "quote", "status"]

MonthsOption = Annotated[int, typer.Option(help="Term: 6 or 10 months.")]
AcceptOption = Annotated[
    bool, typer.Option("--accept-offer", help="Accept the terms of the offer; no invoice without it.")
]
PaidOption = Annotated[str | None, typer.Option(help="Number of the invoice whose money has arrived.")]


def _data(found: Standing) -> dict[str, Any]:
    return {
        "state": found.state.value,
        "cause": found.cause.value,
        "ends_at": found.ends_at.isoformat(timespec="seconds") if found.ends_at else None,
        "paid_users": found.paid_users,
        "required_users": found.required_users,
        "lets_transfer": found.lets_transfer,
    }


def status(output: OutputOption = Output.TEXT) -> None:
    """Show the state of the subscription, what it means and what to do."""
    ledger = open_session(prefect=False)
    from tasks.settings import load_settings
    from tasks.subscribe import standing
    from tasks.subscription.texts import action, explanation, label

    found = standing(ledger, load_settings())
    texts = (label(found), explanation(found), action(found))
    show(_data(found) | {"text": " ".join(filter(None, texts))}, output, "\n".join(filter(None, texts)))


def quote(output: OutputOption = Output.TEXT) -> None:
    """Show what the subscription costs: users are counted in amoCRM now."""
    ledger = open_session()
    from tasks.settings import load_settings
    from tasks.subscribe import offer
    from tasks.subscription.texts import label, money
    from tasks.subscription_pages import count_now

    count_now()
    found = offer(ledger, load_settings())
    result = table(label(found.standing), "Срок", "Пользователей", "Стоимость")
    for one in found.quotes:
        result.add_row(f"{one.months} мес.", str(one.users), money(one.amount))
    if found.extra is not None:
        result.add_row(
            f"доплата, {found.extra.months} мес.", str(found.extra.users), money(found.extra.amount)
        )
    data = {
        "standing": _data(found.standing),
        "active_users": found.active_users,
        "databases": found.databases,
        "quotes": [{"months": one.months, "users": one.users, "amount": one.amount} for one in found.quotes],
        "extra": found.extra
        and {"months": found.extra.months, "users": found.extra.users, "amount": found.extra.amount},
    }
    show(data, output, result)


def activate(
    months: MonthsOption = 6,
    accept_offer: AcceptOption = False,
    paid: PaidOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make an invoice for a term, or mark an invoice paid."""
    _sell("activate", months, 0, paid, output, accepted=accept_offer)


def extend(
    months: MonthsOption = 6,
    users: Annotated[
        int, typer.Option(min=0, help="Instead of a term: users to add until the end of what is paid.")
    ] = 0,
    accept_offer: AcceptOption = False,
    paid: PaidOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make an invoice for another term or for extra users, or mark an invoice paid."""
    _sell("extend", 0 if users else months, users, paid, output, accepted=accept_offer)


def _sell(
    kind: Literal["activate", "extend"],
    months: int,
    users: int,
    paid: str | None,
    output: Output,
    *,
    accepted: bool,
) -> None:
    ledger = open_session(prefect=paid is None)
    from tasks.settings import load_settings
    from tasks.subscribe import mark_paid, request_invoice, write_invoice
    from tasks.subscription.texts import label, money
    from tasks.subscription_pages import count_now

    settings = load_settings()
    if paid is not None:
        found = mark_paid(ledger, settings, paid)
        show(_data(found) | {"paid": paid}, output, label(found))
        return
    count_now()
    invoice: Invoice = request_invoice(
        ledger,
        settings,
        request_id=f"command-{uuid4()}",
        months=months,
        extra_users=users,
        accepted=accepted,
        kind=kind,
    )
    path = write_invoice(invoice, settings)
    say(f"Sales: {settings.sales_contact}")
    show(
        {"number": invoice.number, "amount": invoice.amount, "users": invoice.users, "file": str(path)},
        output,
        f"Invoice {invoice.number}: {money(invoice.amount)}, {path}. "
        f"Once paid: ident-amocrm subscription {kind} --paid {invoice.number}",
    )
