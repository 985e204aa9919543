"""The subscription of this installation: how it stands, its invoices, and what the gate makes of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from tasks.amocrm.account import read_users
from tasks.amocrm.client import AmoClient
from tasks.errors import BlockedError, ConfigurationError, IdentAmocrmError, TransferRefusedError
from tasks.events import Level, emit
from tasks.ledger.store import Ledger
from tasks.records import Invoice, Period
from tasks.settings import Settings
from tasks.subscription.provider import OperatorPayment, PaymentProvider, invoice_html
from tasks.subscription.states import Cause, Standing, State, next_start, stand
from tasks.subscription.terms import MONTHS, Quote, add_months, quote, top_up

__all__ = [
    "Offer",
    "active_users",
    "begin_trial",
    "check_subscription",
    "count_users",
    "follow_subscription",
    "mark_paid",
    "offer",
    "payment_provider",
    "request_invoice",
    "settle_payments",
    "standing",
    "write_invoice",
]

INSTALLATION: Final = "installation"
USERS: Final = "active_users"
STATE: Final = "subscription_state"
#: A count of users that the gate still believes; the health check counts every five minutes.
FRESH: Final = timedelta(minutes=10)
EVENTS: Final[dict[State, tuple[str, Level]]] = {
    State.TRIAL: ("subscription.trial", "info"),
    State.ACTIVE: ("subscription.activated", "info"),
    State.EXPIRING: ("subscription.expiring", "warning"),
    State.EXPIRED: ("subscription.expired", "error"),
    State.SUSPENDED: ("subscription.suspended", "error"),
    State.OFF: ("subscription.off", "info"),
}


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), tz=UTC)


def payment_provider(settings: Settings) -> PaymentProvider:
    """Return who takes the money."""
    return OperatorPayment(settings.sales_contact)


def begin_trial(ledger: Ledger, settings: Settings) -> None:
    """Begin the free trial with the first connection; later ones find it begun."""
    now = _now()
    ends_at = now + timedelta(days=settings.trial_days)
    if settings.trial_days and ledger.begin_trial(now.timestamp(), ends_at.timestamp()):
        follow_subscription(ledger, settings, None)


def standing(ledger: Ledger, settings: Settings) -> Standing:
    """Return how the subscription stands, by what the ledger knows."""
    return stand(
        ledger.periods(),
        active_users(ledger),
        len(ledger.connections()),
        _now(),
        enabled=settings.subscription,
    )


def active_users(ledger: Ledger) -> int | None:
    """Return the last count of amoCRM's active users, ``None`` before the first."""
    known: dict[str, int | None] | None = ledger.setting(INSTALLATION, USERS)
    return None if known is None else known["count"]


def count_users(ledger: Ledger, client: AmoClient) -> int | None:
    """Count amoCRM's active users and remember their number.

    Returns:
        The number; ``None`` when the token may not read the users, which needs an administrator's.
    """
    count: int | None
    try:
        count = sum(user.is_active for user in read_users(client))
    except BlockedError:
        count = active_users(ledger)  # noted like a count: it is not asked again at every tick
    news = count != active_users(ledger)
    ledger.put_setting(INSTALLATION, USERS, {"count": count}, by="amocrm", history=news)
    return count


def follow_subscription(ledger: Ledger, settings: Settings, client: AmoClient | None) -> Standing:
    """Count the users, book what was paid, and record an event when the state changed.

    Args:
        ledger: The installation's ledger.
        settings: The installation's settings.
        client: amoCRM; ``None`` when it is not connected, or the users need not be counted.
    """
    if client is not None:
        count_users(ledger, client)
    settle_payments(ledger, settings)
    found = standing(ledger, settings)
    before = ledger.setting(INSTALLATION, STATE) or {}
    if before.get("state") != found.state.value:
        ledger.put_setting(INSTALLATION, STATE, {"state": found.state.value}, by="subscription")
        event, level = EVENTS[found.state]
        payload: dict[str, int | str] = {
            "paid_users": found.paid_users,
            "required_users": found.required_users,
        }
        if found.cause is not Cause.NONE:
            payload["cause"] = found.cause.value
        emit(event, "all", "subscription", level, payload, ledger)
    return found


def check_subscription(ledger: Ledger, settings: Settings, client: AmoClient | None) -> Standing:
    """Let a run pass that the subscription covers.

    Args:
        ledger: The installation's ledger.
        settings: The installation's settings.
        client: amoCRM, where it answers. It is asked only where the number of users decides and the last
            count is no longer fresh, or forbids the transfer: it may have fallen.

    Raises:
        TransferRefusedError: When it expired or is suspended.
    """
    if settings.subscription and not ledger.periods():
        begin_trial(ledger, settings)  # a ledger from before there were subscriptions
    found = standing(ledger, settings)
    count = found.state is State.SUSPENDED or (bool(found.paid_users) and not _is_fresh(ledger))
    found = follow_subscription(ledger, settings, client if count else None)
    if not found.lets_transfer:
        raise refusal(found)
    return found


def _is_fresh(ledger: Ledger) -> bool:
    counted_at = ledger.setting_changed_at(INSTALLATION, USERS)
    return counted_at is not None and time.time() - counted_at < FRESH.total_seconds()


def refusal(found: Standing) -> IdentAmocrmError:
    """Return the error by which the gate refuses an expired or suspended subscription."""
    if found.state is State.EXPIRED:
        ended = f" on {found.ends_at:%Y-%m-%d}" if found.ends_at else ""
        return TransferRefusedError(
            problem=f"The subscription expired{ended}.",
            remedy="Run: ident-amocrm subscription activate --help; the transfer goes on once it is paid.",
            code="subscription_expired",
        )
    why = "databases were added" if found.cause is Cause.DATABASES else "amoCRM has more active users"
    return TransferRefusedError(
        problem=(
            f"The subscription is suspended: {found.paid_users} users are paid, {found.required_users} are "
            f"needed, because {why}."
        ),
        remedy=(
            f"Pay for them: ident-amocrm subscription extend --users {found.missing_users}; or reduce them. "
            "The transfer goes on by itself."
        ),
        code="subscription_suspended",
    )


# ---- prices and invoices ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Offer:
    """Everything that may be bought now."""

    standing: Standing
    quotes: list[Quote]
    extra: Quote | None
    active_users: int | None
    databases: int


def offer(ledger: Ledger, settings: Settings) -> Offer:
    """Return the prices of all terms, and of the users that are missing."""
    found, count, databases = standing(ledger, settings), active_users(ledger), len(ledger.connections())
    extra = None
    if found.missing_users and found.ends_at is not None:
        extra = top_up(found.missing_users, _now(), found.ends_at)
    quotes = [quote(months, count or 0, databases) for months in MONTHS]
    return Offer(found, quotes, extra, count, databases)


def request_invoice(
    ledger: Ledger,
    settings: Settings,
    *,
    request_id: str,
    months: int = 0,
    extra_users: int = 0,
    accepted: bool,
    kind: Literal["activate", "extend"] = "activate",
) -> Invoice:
    """Make an invoice for a term, or for extra users; asking again by the same request makes no second one.

    Args:
        ledger: The installation's ledger.
        settings: The installation's settings.
        request_id: The flow run or command that asks.
        months: The term; 0 for extra users.
        extra_users: Users to add to what is paid; 0 for a term.
        accepted: Whether the offer was accepted.
        kind: What the operator asked for; an extension needs something that runs.

    Raises:
        ConfigurationError: When the offer was not accepted, or there is nothing of the kind to buy.
    """
    if not accepted:
        raise ConfigurationError(
            problem="The terms of the offer were not accepted; no invoice was made.",
            remedy="Read the offer and accept it: --accept-offer, or the tick in the form.",
            code="offer_not_accepted",
        )
    now, periods = _now(), ledger.periods()
    if kind == "extend" and not any(period.ends_at > now.timestamp() for period in periods):
        raise ConfigurationError(
            problem="There is no running subscription to extend.",
            remedy="Activate one: ident-amocrm subscription activate --help",
            code="subscription_not_running",
        )
    if extra_users:
        found = standing(ledger, settings)
        until = found.ends_at if found.paid_users and found.ends_at else now
        wanted = top_up(extra_users, now, until)
        starts_at, ends_at = now, until
    else:
        wanted = quote(months, active_users(ledger) or 0, len(ledger.connections()))
        starts_at = next_start(periods, now)
        ends_at = add_months(starts_at, months)
    made = ledger.add_invoice(
        Invoice(
            number="",
            kind="top_up" if extra_users else "paid",
            months=wanted.months,
            users=wanted.users,
            amount=wanted.amount,
            starts_at=starts_at.timestamp(),
            ends_at=ends_at.timestamp(),
            created_at=now.timestamp(),
            request_id=request_id[:64],
            provider=payment_provider(settings).name,
        )
    )
    if made.created_at == now.timestamp():
        payload = {"users": made.users, "months": made.months, "amount": made.amount, "kind": made.kind}
        emit("subscription.invoiced", "all", "subscription", "info", payload, ledger)
    return made


def write_invoice(invoice: Invoice, settings: Settings) -> Path:
    """Write the invoice as a page to print or send, and return its file."""
    folder = settings.prepare_home() / "invoices"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"invoice-{invoice.number}.html"
    path.write_text(invoice_html(invoice, settings.sales_contact), encoding="utf-8")
    return path


def mark_paid(ledger: Ledger, settings: Settings, number: str) -> Standing:
    """Record that an invoice was paid; what it buys begins after what runs already.

    Raises:
        ConfigurationError: When there is no such invoice.
    """
    _book(ledger, ledger.invoice(number))
    return follow_subscription(ledger, settings, None)


def settle_payments(ledger: Ledger, settings: Settings) -> None:
    """Book the invoices of which the payment provider says that they were paid."""
    provider = payment_provider(settings)
    for invoice in ledger.invoices(unpaid=True):
        if provider.is_paid(invoice):
            _book(ledger, invoice)


def _book(ledger: Ledger, invoice: Invoice) -> None:
    now, periods = _now(), ledger.periods()
    if invoice.kind == "top_up":
        paid = stand(periods, None, 0, now, enabled=True).paid_users
        period = Period("top_up", paid + invoice.users, now.timestamp(), invoice.ends_at)
    else:
        starts_at = next_start(periods, now)
        ends_at = add_months(starts_at, invoice.months)
        period = Period("paid", invoice.users, starts_at.timestamp(), ends_at.timestamp())
    if ledger.pay_invoice(invoice.number, period, now.timestamp()):
        payload = {"users": invoice.users, "months": invoice.months, "amount": invoice.amount}
        emit("subscription.paid", "all", "subscription", "info", payload, ledger)
