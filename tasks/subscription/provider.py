"""How an invoice is paid: the interface of a payment provider, and the one that asks an operator."""

from __future__ import annotations

from html import escape
from typing import Protocol

from tasks.records import Invoice
from tasks.subscription.texts import day_of, invoice_title, money

__all__ = ["OperatorPayment", "PaymentProvider", "invoice_html", "invoice_markdown"]


class PaymentProvider(Protocol):
    """Takes the money for an invoice.

    An online provider registers the invoice, returns the address of its payment page, and learns from its
    own records whether it was paid; nothing else in this project has to change for it.
    """

    name: str

    def request(self, invoice: Invoice) -> str:
        """Ask for the payment of an invoice; return what the payer is told, as Markdown."""

    def is_paid(self, invoice: Invoice) -> bool:
        """Tell whether an invoice was paid."""


class OperatorPayment:
    """An invoice by hand: sales sends it, a person who saw the money marks it paid."""

    name = "operator"

    def __init__(self, sales_contact: str) -> None:
        self._sales_contact = sales_contact

    def request(self, invoice: Invoice) -> str:
        """Return how to pay and to whom to turn."""
        return (
            f"Оплатите счёт № {invoice.number} переводом. Контакты отдела продаж: {self._sales_contact}. "
            "Когда деньги поступили, отметьте счёт оплаченным: в этом запуске кнопкой Resume или командой "
            f"`ident-amocrm subscription activate --paid {invoice.number}`."
        )

    def is_paid(self, invoice: Invoice) -> bool:
        """Tell whether a person marked it."""
        return invoice.paid_at is not None


def invoice_markdown(invoice: Invoice, how_to_pay: str) -> str:
    """Return the invoice as the operator sees it in Prefect."""
    state = "оплачен ✅" if invoice.paid_at is not None else "ожидает оплаты"
    return "\n".join(
        [
            f"## Счёт № {invoice.number} от {day_of(invoice.created_at)}: {state}",
            "",
            "| За что | Сумма |",
            "|---|---:|",
            f"| {invoice_title(invoice)} | {money(invoice.amount)} |",
            "",
            f"**Итого: {money(invoice.amount)}**",
            "",
            how_to_pay,
        ]
    )


PAGE = """<!doctype html>
<html lang="ru">
<head>
<meta charset="utf-8">
<title>Счёт № {number}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; }}
table {{ width: 100%; border-collapse: collapse; }}
th, td {{ border: 1px solid #888; padding: .5rem; text-align: left; }}
td:last-child, th:last-child {{ text-align: right; white-space: nowrap; }}
</style>
</head>
<body>
<h1>Счёт № {number} от {created}</h1>
<table>
<tr><th>Наименование</th><th>Сумма</th></tr>
<tr><td>{title}</td><td>{amount}</td></tr>
<tr><th>Итого</th><th>{amount}</th></tr>
</table>
<p>Условия оферты приняты {created}.</p>
<p>Отдел продаж: {sales}</p>
</body>
</html>
"""


def invoice_html(invoice: Invoice, sales_contact: str) -> str:
    """Return the invoice as a page to print or send."""
    return PAGE.format(
        number=escape(invoice.number),
        created=day_of(invoice.created_at),
        title=escape(invoice_title(invoice)),
        amount=money(invoice.amount),
        sales=escape(sales_contact),
    )
