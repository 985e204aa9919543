"""The bill of a simulated visit: an order, one to three services, the journal row and a part payment."""

import random
from decimal import ROUND_HALF_UP, Decimal

from deployments.sandbox.clinic.recorder import Recorder
from deployments.sandbox.clinic.rows import Row
from deployments.sandbox.clinic.schema import SCALE
from deployments.sandbox.clinic.store import ClinicStore

_KOPECK = Decimal("0.01")


def settle(
    record: Recorder, store: ClinicStore, reception: Row, administrator: int | None, rng: random.Random
) -> None:
    """Write the bill of a finished visit; a part of it stays owed.

    Args:
        record: Where the writes go.
        store: Where the price list and an earlier order of the visit are read.
        reception: The row of Receptions with CheckIssued filled.
        administrator: Who issues the bill.
        rng: The source of chance.
    """
    now = reception["CheckIssued"]
    chairs = store.rows("Armchairs", ID=reception["ID_Armchairs"])
    branch = chairs[0]["ID_OwnCompanies"] if chairs else None
    audit = {
        "ID_StaffsAdded": administrator,
        "DateTimeAdded": now,
        "ID_StaffsChanged": administrator,
        "DateTimeChanged": now,
    }
    whose = {"ID_Patients": reception["ID_Patients"], "ID_Staffs": reception["ID_Staffs"]}
    billed = {"DateTimeBill": now, "IsBillFormed": True}
    order = record.insert(
        "Orders",
        "ID",
        {
            "DateTimeOrder": now,
            "ID_OwnCompanies": branch,
            "ID_Receptions": reception["ID"],
            "DateTimeBillFormed": now,
            "RoundLength": 2,
            "ID_ReceptionsForUnique": reception["ID"],
        }
        | whose
        | billed
        | audit,
    )
    total = _services(record, store, order, audit, rng)
    debt = (total * Decimal(rng.randrange(10, 60)) / 100).quantize(_KOPECK, ROUND_HALF_UP).quantize(SCALE)
    sums = {"Amount": total, "AmountWithDiscount": total, "Debt": debt}
    journal = {"ID_Orders": order, "IsShop": False} | whose | billed | sums
    record.insert("OrderPaymentsJournal", "ID_Orders", journal)
    payment = {
        "DateTimePayment": now,
        "ID_OwnCompanies": branch,
        "ID_Patients": reception["ID_Patients"],
        "ID_CashDescs": branch,
        "ID_Staffs": administrator,
        "Payment": (total - debt).quantize(SCALE),
        "DatePayment": now.date(),
    }
    record.insert("PaymentsIn", "ID", payment | audit)


def _services(record: Recorder, store: ClinicStore, order: int, audit: Row, rng: random.Random) -> Decimal:
    """One to three rows of OrderServiceRelation; returns their sum."""
    real = {row["ID"] for row in store.rows("ServiceItems") if not row["NotAService"]}
    prices = [row for row in store.rows("ServiceItemPrices") if row["ID_ServiceItems"] in real]
    total = Decimal(0).quantize(SCALE)
    for price in rng.sample(prices, min(len(prices), rng.randint(1, 3))):
        total += price["Price"]
        line = {
            "ID_Orders": order,
            "ID_ServicePrices": price["ID"],
            "CountService": 1,
            "TeethLong": 0,
            "DiscountSum": Decimal(0).quantize(SCALE),
            "IsWarranty": False,
        }
        record.insert("OrderServiceRelation", "ID", line | audit)
    return total
