"""Orders, their services, the payment journal and payments, as IDENT writes them at a visit's end."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import count

from deployments.sandbox.clinic import names
from deployments.sandbox.clinic.rows import SENTINEL, Row, RowFactory, sql_datetime
from deployments.sandbox.clinic.schema import SCALE
from deployments.sandbox.clinic.staff import price_list

Emit = Callable[[str, Row], None]
"""Takes a finished row of the named table."""

_KOPECK = Decimal("0.01")
_DISCOUNTS = (Decimal("0.05"), Decimal("0.10"), Decimal("0.20"))
_NOTHING = Decimal(0).quantize(SCALE)


class Bills:
    """Writes the money side of visits."""

    def __init__(self, rng: random.Random, rows: RowFactory, emit: Emit, cases: dict[str, list[int]]) -> None:
        self._rng, self._rows, self._emit, self._cases = rng, rows, emit, cases
        self._orders, self._lines, self._payments = count(1), count(1), count(1)
        self._prices = price_list()

    def bill(self, reception: Row, branch: int, administrator: int, *, formed: bool) -> None:
        """The order of a finished visit, with its services, journal row and payment.

        Args:
            reception: The row of Receptions.
            branch: The company of its chair.
            administrator: Who issued the bill.
            formed: Whether the bill was issued; otherwise everything is still owed.
        """
        rng, order = self._rng, next(self._orders)
        at = reception["CheckIssued"] if formed else reception["ReceptionEnded"]
        stamp = sql_datetime(at + timedelta(seconds=rng.uniform(0, 20)))
        group = rng.randint(1, 3) if rng.random() < 0.15 else None
        audit = {
            "ID_StaffsAdded": administrator,
            "DateTimeAdded": reception["ReceptionEnded"],
            "ID_StaffsChanged": administrator,
            "DateTimeChanged": stamp,
        }
        self._emit(
            "Orders",
            self._rows.make(
                "Orders",
                ID=order,
                DateTimeOrder=reception["ReceptionEnded"],
                ID_OwnCompanies=branch,
                ID_Receptions=reception["ID"],
                ID_Patients=reception["ID_Patients"],
                ID_Staffs=reception["ID_Staffs"],
                DateTimeBillFormed=at if formed else None,
                ID_DiscountGroupMembers=group,
                DiscountGroupMemberNumber=f"{order:06d}" if group else None,
                DateTimeBill=at if formed else None,
                IsBillFormed=formed,
                RoundLength=2,
                ID_ReceptionsForUnique=reception["ID"],
                **audit,
            ),
        )
        amount, discount = self._services(order, group, audit)
        total = amount - discount
        debt = self._debt(total) if formed else total
        self._journal(order, reception, at, (amount, total, debt), formed=formed)
        if formed and debt:
            self._cases.setdefault("with_debt", []).append(reception["ID"])
        if total > debt:
            self._pay(reception["ID_Patients"], branch, administrator, stamp, total - debt)

    def _services(self, order: int, group: int | None, audit: Row) -> tuple[Decimal, Decimal]:
        """Rows of OrderServiceRelation; their sum and its discount."""
        rng, amount, discounts = self._rng, _NOTHING, _NOTHING
        for service in rng.sample(range(len(names.SERVICES)), rng.choice((1, 1, 2, 2, 3, 4))):
            number = 2 if rng.random() < 0.15 else 1
            price = self._prices[service] * number
            discount = (price * _DISCOUNTS[group - 1]).quantize(SCALE) if group else _NOTHING
            if not group and rng.random() < 0.03:
                # A third off leaves all ten decimals in use: sums must be rounded by the reader.
                discount = (price / 3).quantize(SCALE)
            amount, discounts = amount + price, discounts + discount
            self._emit(
                "OrderServiceRelation",
                self._rows.make(
                    "OrderServiceRelation",
                    ID=next(self._lines),
                    ID_Orders=order,
                    ID_ServicePrices=service + 1,
                    CountService=number,
                    TeethLong=1 << rng.randrange(32) if rng.random() < 0.5 else 0,
                    DiscountSum=discount if discount or rng.random() < 0.8 else None,
                    DeferredDiscountSum=_NOTHING,
                    IsWarranty=False,
                    **audit,
                ),
            )
        return amount, discounts

    def _debt(self, total: Decimal) -> Decimal:
        chance = self._rng.random()
        if chance < 0.03:
            return total
        if chance < 0.12:
            part = Decimal(self._rng.randrange(10, 90)) / 100
            return (total * part).quantize(_KOPECK, ROUND_HALF_UP).quantize(SCALE)
        return _NOTHING

    def _journal(
        self,
        order: int,
        reception: Row,
        at: datetime,
        sums: tuple[Decimal, Decimal, Decimal],
        *,
        formed: bool,
    ) -> None:
        amount, total, debt = sums
        self._emit(
            "OrderPaymentsJournal",
            self._rows.make(
                "OrderPaymentsJournal",
                ID_Orders=order,
                DateTimeBill=at if formed else None,
                ID_Patients=reception["ID_Patients"],
                ID_Staffs=reception["ID_Staffs"],
                IsBillFormed=formed,
                IsShop=False,
                Amount=amount,
                AmountWithDiscount=total,
                Debt=debt,
            ),
        )

    def _pay(self, patient: int, branch: int, administrator: int, at: datetime, payment: Decimal) -> None:
        self._emit(
            "PaymentsIn",
            self._rows.make(
                "PaymentsIn",
                ID=next(self._payments),
                DateTimePayment=at,
                ID_OwnCompanies=branch,
                ID_Patients=patient,
                ID_CashDescs=branch,
                ID_Staffs=administrator,
                Payment=payment.quantize(SCALE),
                ID_StaffsAdded=administrator,
                DateTimeAdded=at,
                ID_StaffsChanged=administrator,
                DateTimeChanged=at,
                DatePayment=at.date(),
            ),
        )

    def imported(self, patient: int, branch: int) -> None:
        """An order an import from an older program left: no reception, dates of 1900, absurd counts."""
        order, number = next(self._orders), self._rng.randrange(100, 15401)
        at = SENTINEL.replace(microsecond=self._rng.choice((0, 3000)))
        amount = self._prices[-1] * number
        self._cases.setdefault("imported_order", []).append(order)
        audit = {"DateTimeAdded": at, "DateTimeChanged": at}
        values = {"DateTimeBill": at, "ID_Patients": patient, "IsBillFormed": True}
        self._emit(
            "Orders",
            self._rows.make(
                "Orders",
                ID=order,
                DateTimeOrder=at,
                ID_OwnCompanies=branch,
                DateTimeBillFormed=at,
                RoundLength=2,
                ID_ReceptionsForUnique=-order,
                **audit,
                **values,
            ),
        )
        self._emit(
            "OrderServiceRelation",
            self._rows.make(
                "OrderServiceRelation",
                ID=next(self._lines),
                ID_Orders=order,
                ID_ServicePrices=len(self._prices),
                CountService=number,
                DiscountSum=_NOTHING,
                **audit,
            ),
        )
        sums = {"Amount": amount, "AmountWithDiscount": amount, "Debt": _NOTHING}
        self._emit(
            "OrderPaymentsJournal",
            self._rows.make("OrderPaymentsJournal", ID_Orders=order, IsShop=False, **sums, **values),
        )
