"""The subscription in the Prefect UI: prices, invoices and payments as artifacts."""

from __future__ import annotations

import logging
from typing import Any, Literal

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks.connections import open_destination, open_ledger
from tasks.errors import IdentAmocrmError
from tasks.hints import hint
from tasks.settings import load_settings
from tasks.subscribe import (
    follow_subscription,
    mark_paid,
    offer,
    payment_provider,
    request_invoice,
    write_invoice,
)
from tasks.subscription.provider import invoice_markdown
from tasks.subscription.texts import label, quote_markdown

__all__ = ["confirm_payment", "count_now", "publish_invoice", "publish_quote"]


logger = logging.getLogger(__name__)


def count_now() -> None:
    """Count amoCRM's users now, where it answers; otherwise the last count stands."""
    settings = load_settings()
    ledger = open_ledger(settings)
    try:
        client = open_destination(ledger, settings)
    except IdentAmocrmError:
        follow_subscription(ledger, settings, None)
        return
    try:
        follow_subscription(ledger, settings, client)
    except IdentAmocrmError as error:
        logger.warning("The users were not counted: %s", error)
    finally:
        client.close()


@task(name="quote", cache_policy=NO_CACHE, persist_result=False)
def publish_quote() -> str:
    """Publish all prices, and return how the subscription stands."""
    count_now()
    found = offer(open_ledger(), load_settings())
    create_markdown_artifact(
        quote_markdown(found.standing, found.quotes, found.extra, found.active_users, found.databases),
        key="subscription-quote",
        description="Стоимость подписки",
    )
    return label(found.standing)


@task(name="invoice", cache_policy=NO_CACHE, persist_result=False)
def publish_invoice(
    request_id: str, kind: Literal["activate", "extend"], months: int, extra: int | None, *, accepted: bool
) -> dict[str, Any]:
    """Make the invoice, as a file and an artifact; asked again by the same run, it is the same one.

    Args:
        request_id: The flow run.
        kind: What the operator asked for.
        months: The term; 0 for extra users.
        extra: Extra users; 0 as many as are missing, ``None`` for a term.
        accepted: Whether the offer was accepted.
    """
    count_now()
    settings = load_settings()
    ledger = open_ledger(settings)
    extra_users = 0
    if extra is not None:
        extra_users = extra or offer(ledger, settings).standing.missing_users or -1
    try:
        invoice = request_invoice(
            ledger,
            settings,
            request_id=request_id,
            months=months,
            extra_users=extra_users,
            accepted=accepted,
            kind=kind,
        )
    except IdentAmocrmError as error:
        get_run_logger().warning("No invoice: %s", error)
        return {"refused": hint(error.code)}
    markdown = invoice_markdown(invoice, payment_provider(settings).request(invoice))
    path = write_invoice(invoice, settings)
    create_markdown_artifact(
        f"{markdown}\n\nФайл: `{path}`", key="subscription-invoice", description=f"Счёт {invoice.number}"
    )
    return {
        "refused": "",
        "number": invoice.number,
        "paid": invoice.paid_at is not None,
        "markdown": markdown,
        "later": f"ident-amocrm subscription activate --paid {invoice.number}",
    }


@task(name="paid", cache_policy=NO_CACHE, persist_result=False)
def confirm_payment(number: str) -> str:
    """Book the payment of an invoice, and return how the subscription stands now."""
    settings = load_settings()
    return label(mark_paid(open_ledger(settings), settings, number))
