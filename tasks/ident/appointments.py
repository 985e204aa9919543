"""Canonical appointments: one row per reception, whatever it is joined with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from tasks.frames import Entity, canonical
from tasks.ident import normalise, queries
from tasks.ident.access import Access, Columns
from tasks.ident.dictionaries import Dictionaries
from tasks.ident.introspect import Catalogue
from tasks.ident.schema import TABLES

__all__ = ["AppointmentFrames"]

#: Canonical instant -> IDENT's column.
INSTANTS = {
    "start_at": "PlanStart",
    "end_at": "PlanEnd",
    "arrived_at": "PatientAppeared",
    "started_at": "ReceptionStarted",
    "ended_at": "ReceptionEnded",
    "bill_issued_at": "CheckIssued",
    "cancelled_at": "ReceptionCanceled",
    "changed_at": "DateTimeChanged",
}
TIMES = (*INSTANTS.values(), "ReceptionAdded", "DateTimeAdded")


@dataclass(slots=True)
class Bill:
    """What a reception's order says."""

    company: int | None = None
    services: str | None = None
    amount: Decimal | None = None
    paid: Decimal | None = None
    debt: Decimal | None = None

    def add(self, amount: Decimal | None, debt: Decimal | None) -> None:
        """Add the sums of one order; what it paid is known only where the journal names its debt."""
        paid = None if amount is None or debt is None else amount - debt
        self.amount, self.paid = _added(self.amount, amount), _added(self.paid, paid)
        self.debt = _added(self.debt, debt)


#: The bill of a reception without an order.
NOTHING = Bill()


class AppointmentFrames:
    """Builds pages of the appointments frame."""

    def __init__(
        self,
        access: Access,
        catalogue: Catalogue,
        dictionaries: Dictionaries,
        zone: ZoneInfo,
        no_show_reasons: Collection[int],
    ) -> None:
        self._access, self._catalogue = access, catalogue
        self._dictionaries, self._zone = dictionaries, zone
        self._no_show_reasons = no_show_reasons
        self._services: Mapping[int, tuple[str | None, Decimal | None]] | None = None

    def of(self, ids: Sequence[int]) -> pd.DataFrame:
        """Return appointments by id, as one frame of many short reads."""
        query, wanted = queries.receptions(self._catalogue), set(ids)
        near = self._access.fetch_near(query, TABLES["Receptions"].c.ID, ids)
        rows = [row for row in near if row[0] in wanted]  # the ID comes first
        return self._frame(self._access.columns(query, rows))

    def _frame(self, columns: Columns) -> pd.DataFrame:
        names = self._dictionaries.names
        local = {name: normalise.local_times(columns[name]) for name in TIMES}
        instants = {name: normalise.instants(column, self._zone) for name, column in local.items()}
        reason_ids = pd.Series(columns["ID_ReceptionCancelReasons"], dtype="Int64")
        status = normalise.statuses(local.__getitem__, reason_ids)
        reasons = normalise.texts(
            [names["cancel_reasons"].get(key) for key in columns["ID_ReceptionCancelReasons"]]
        )
        found = self._bills(columns["ID"])
        bills = [found.get(key, NOTHING) for key in columns["ID"]]
        frame = pd.DataFrame(
            {
                "appointment_id": columns["ID"],
                "patient_id": pd.Series(columns["ID_Patients"], dtype="Int64"),
                **{name: instants[column] for name, column in INSTANTS.items()},
                "status": status,
                "cancel_reason": reasons,
                "cancel_comment": normalise.texts(columns["CancelReasonComment"]),
                "is_no_show": normalise.no_shows(
                    status,
                    local["ReceptionCanceled"],
                    local["PlanEnd"],
                    pd.Series(columns["ID_StaffsReceptionCanceled"], dtype="Int64"),
                    reasons,
                    reason_ids,
                    self._no_show_reasons,
                ),
                "rescheduled_from_id": pd.Series(columns["ID_ReceptionsTransferFrom"], dtype="Int64"),
                **self._who_and_where(columns, bills),
                **_sums(bills),
                "comment": normalise.texts(columns["Comment"]),
                "source": normalise.texts(
                    [names["appointment_sources"].get(key) for key in columns["ID_AppointmentSources"]]
                ),
                "is_primary": normalise.flags(columns["is_primary"]),
                "created_at": instants["ReceptionAdded"].fillna(instants["DateTimeAdded"]),
            }
        )
        return canonical(frame, Entity.APPOINTMENT)

    def _who_and_where(self, columns: Columns, bills: Sequence[Bill]) -> dict[str, pd.Series]:
        """Return doctor, speciality, cabinet and branch by their names."""
        names, professions = self._dictionaries.names, self._dictionaries.professions
        return {
            "doctor": normalise.texts([names["staff"].get(key) for key in columns["ID_Staffs"]]),
            "speciality": normalise.texts([professions.get(key) for key in columns["ID_Staffs"]]),
            "cabinet": normalise.texts([names["armchairs"].get(key) for key in columns["ID_Armchairs"]]),
            "branch": self._branches(columns["ID_Armchairs"], bills),
        }

    def _branches(self, chairs: Sequence[Any], bills: Sequence[Bill]) -> pd.Series:
        """Return the company of the order, else of the chair."""
        companies, of_chair = self._dictionaries.names["companies"], self._dictionaries.chair_companies
        keys = [bill.company or of_chair.get(chair) for chair, bill in zip(chairs, bills, strict=True)]
        return normalise.texts([None if key is None else companies.get(key) for key in keys])

    # ---- money -----------------------------------------------------------------------------------------

    def _bills(self, receptions: Sequence[int]) -> dict[int, Bill]:
        """Return services and sums by reception; several orders of one reception are added up."""
        if not receptions or not self._catalogue.complete("Orders", "ID", "ID_Receptions"):
            return {}
        column = TABLES["Orders"].c.ID_Receptions
        wanted = set(receptions)
        near = self._access.fetch_near(queries.orders(self._catalogue), column, receptions)
        orders = [(key, reception, company) for key, reception, company in near if reception in wanted]
        ids = [key for key, _reception, _company in orders]
        journal, lines = self._journal(ids), self._lines(ids)
        bills: dict[int, Bill] = {}
        for key, reception, company in orders:
            bill = bills.setdefault(reception, Bill())
            bill.company = bill.company or company
            services, total = lines.get(key, (None, None))
            bill.services = "; ".join(part for part in (bill.services, services) if part) or None
            amount, debt = journal.get(key, (None, None))
            bill.add(total if amount is None else amount, debt)
        return bills

    def _journal(self, orders: Sequence[int]) -> dict[int, tuple[Decimal | None, Decimal | None]]:
        if not orders or not self._catalogue.has("OrderPaymentsJournal", "ID_Orders"):
            return {}
        column = TABLES["OrderPaymentsJournal"].c.ID_Orders
        near = self._access.fetch_near(queries.journal(self._catalogue), column, orders)
        return {order: (amount, debt) for order, amount, debt in near}

    def _lines(self, orders: Sequence[int]) -> dict[int, tuple[str | None, Decimal | None]]:
        """Return services and their sum by order, in the order of the rows.

        A row whose price or count is unknown adds nothing to the sum, not even its discount.
        """
        if not orders or not self._catalogue.has("OrderServiceRelation", "ID_Orders"):
            return {}
        prices = self._prices()
        named: dict[int, list[str]] = defaultdict(list)
        totals: dict[int, Decimal] = {}
        column = TABLES["OrderServiceRelation"].c.ID_Orders
        near = self._access.fetch_near(queries.order_rows(self._catalogue), column, orders)
        for _id, order, price_id, count, discount in near:
            name, price = prices.get(price_id, (None, None))
            if name:
                named[order].append(name if count in {None, 1} else f"{name} ×{count}")
            if price is not None and count is not None:
                amount = count * price - (discount or Decimal())
                totals[order] = totals.get(order, Decimal()) + amount
        return {key: ("; ".join(named.get(key, ())) or None, totals.get(key)) for key in {**named, **totals}}

    def _prices(self) -> Mapping[int, tuple[str | None, Decimal | None]]:
        if self._services is None:
            known = self._catalogue.has("ServiceItemPrices", "ID")
            rows = self._access.fetch(queries.services(self._catalogue)) if known else []
            self._services = {row.ID: (normalise.text(row.Name), row.Price) for row in rows}
        return self._services


def _sums(bills: Sequence[Bill]) -> dict[str, pd.Series]:
    """Return what was done and what it cost."""
    return {
        "services": normalise.texts([bill.services for bill in bills]),
        "amount": normalise.money([bill.amount for bill in bills]),
        "paid": normalise.money([bill.paid for bill in bills]),
        "debt": normalise.money([bill.debt for bill in bills]),
    }


def _added(left: Decimal | None, right: Decimal | None) -> Decimal | None:
    return right if left is None else left if right is None else left + right
