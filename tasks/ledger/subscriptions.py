"""What the ledger keeps of the subscription: the trial, what was paid, and the invoices."""

from __future__ import annotations

import time
from dataclasses import asdict

import sqlalchemy as sa

from tasks.errors import ConfigurationError
from tasks.ledger.database import Database
from tasks.ledger.tables import invoice, subscription
from tasks.records import Invoice, Period

__all__ = ["Subscriptions"]


class Subscriptions:
    """Periods in which the transfer may run, and the invoices that buy them."""

    database: Database

    def periods(self) -> list[Period]:
        """Return the trial and every paid period, in the order of their recording."""
        with self.database.read() as link:
            return _periods(link)

    def begin_trial(self, starts_at: float, ends_at: float) -> bool:
        """Record the free trial, once in the life of an installation.

        Returns:
            Whether it began now.
        """
        with self.database.write() as link:
            if _periods(link):
                return False
            _record(link, Period("trial", 0, starts_at, ends_at))
        return True

    def add_invoice(self, wanted: Invoice) -> Invoice:
        """Record an invoice and give it its number; one that the same request made is returned instead."""
        query = sa.select(invoice).where(invoice.c.request_id == wanted.request_id)
        with self.database.write() as link:
            row = link.execute(query).mappings().first()
            if row is not None:
                return Invoice(**row)
            count = link.execute(sa.select(sa.func.count()).select_from(invoice)).scalar_one()
            values = {**asdict(wanted), "number": f"{time.gmtime(wanted.created_at).tm_year}-{count + 1:04d}"}
            link.execute(sa.insert(invoice).values(values))
        return Invoice(**values)

    def invoices(self, *, unpaid: bool = False) -> list[Invoice]:
        """Return the invoices, oldest first."""
        query = sa.select(invoice).order_by(invoice.c.created_at, invoice.c.number)
        if unpaid:
            query = query.where(invoice.c.paid_at.is_(None))
        with self.database.read() as link:
            return [Invoice(**row) for row in link.execute(query).mappings()]

    def invoice(self, number: str) -> Invoice:
        """Return an invoice.

        Raises:
            ConfigurationError: When there is none of this number.
        """
        known = {one.number: one for one in self.invoices()}
        if number not in known:
            raise ConfigurationError(
                problem=f"There is no invoice {number!r}.",
                remedy=f"Invoices: {', '.join(known) or 'none'}.",
                code="invoice_unknown",
            )
        return known[number]

    def pay_invoice(self, number: str, period: Period, paid_at: float) -> bool:
        """Record that an invoice was paid and what it bought, both or nothing.

        Args:
            number: The invoice.
            period: What it bought.
            paid_at: When.

        Returns:
            Whether it was paid now; ``False`` when it was before: nothing is bought twice.
        """
        change = sa.update(invoice).where(invoice.c.number == number, invoice.c.paid_at.is_(None))
        with self.database.write() as link:
            if link.execute(change.values(paid_at=paid_at)).rowcount != 1:
                return False
            _record(link, period)
        return True


def _periods(link: sa.Connection) -> list[Period]:
    rows = link.execute(sa.select(subscription).order_by(subscription.c.id)).mappings()
    return [Period(row["state"], row["paid_users"], row["starts_at"], row["ends_at"]) for row in rows]


def _record(link: sa.Connection, period: Period) -> None:
    values = {
        "state": period.kind,
        "paid_users": period.users,
        "starts_at": period.starts_at,
        "ends_at": period.ends_at,
        "recorded_at": time.time(),
    }
    link.execute(sa.insert(subscription).values(values))
