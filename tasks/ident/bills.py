"""What the orders of receptions say: company, services, sums.

Column by column: a million rows of services would be as many objects in Python, each looked at several times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.ident import normalise, queries
from tasks.ident.access import Access
from tasks.ident.introspect import Catalogue
from tasks.ident.schema import TABLES

__all__ = ["BillFrames", "Bills", "summed"]

Places = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Bills:
    """What the orders of some receptions say, one value for each reception in every column."""

    companies: list[int | None]
    services: pa.Array
    amount: pa.Array
    paid: pa.Array
    debt: pa.Array


class BillFrames:
    """Reads bills of receptions."""

    def __init__(self, access: Access, catalogue: Catalogue) -> None:
        self._access, self._catalogue = access, catalogue
        self._prices: Mapping[int, tuple[str | None, Decimal | None]] | None = None
        self._sold: dict[tuple[int, Any], tuple[str | None, Decimal | None]] = {}

    def of(self, receptions: Sequence[int]) -> Bills:
        """Return the bills of receptions; several orders of one reception are added up.

        What an order paid is known only where the journal names its debt.
        """
        asked = pd.Index(list(receptions), dtype="int64")
        known = asked.unique()
        orders, owners, companies = self._orders(known)
        amount, debt = self._journal(orders)
        services, total = self._lines(orders)
        amount = pc.coalesce(amount, total)
        texts = joined(owners, services, len(known))
        paid = pc.subtract(amount, debt)
        sums = [summed(owners, column, len(known)) for column in (amount, paid, debt)]
        of_each = pa.array(known.get_indexer(asked))
        return Bills(
            [companies.get(key) for key in receptions],
            texts.take(of_each),
            *(column.take(of_each) for column in sums),
        )

    def _orders(self, receptions: pd.Index) -> tuple[pd.Index, Places, dict[int, int]]:
        """Return orders, the place of each one's reception, and the company that a reception's name first."""
        if not len(receptions) or not self._catalogue.complete("Orders", "ID", "ID_Receptions"):
            return pd.Index([], dtype="int64"), np.array([], dtype=np.intp), {}
        column, query = TABLES["Orders"].c.ID_Receptions, queries.orders(self._catalogue)
        found = self._access.columns(query, self._access.fetch_near(query, column, receptions.tolist()))
        companies: dict[int, int] = {}
        for reception, company in zip(found["ID_Receptions"], found["ID_OwnCompanies"], strict=True):
            if company:
                companies.setdefault(reception, company)
        places = receptions.get_indexer(pd.Index(found["ID_Receptions"], dtype="int64"))
        asked = places >= 0  # others may lie between them
        return pd.Index(found["ID"], dtype="int64")[asked], places[asked], companies

    def _journal(self, orders: pd.Index) -> tuple[pa.Array, pa.Array]:
        """Return sum and debt of each order, nothing for those that the journal does not know."""
        if not len(orders) or not self._catalogue.has("OrderPaymentsJournal", "ID_Orders"):
            nothing = normalise.amounts([None] * len(orders))
            return nothing, nothing
        column, query = TABLES["OrderPaymentsJournal"].c.ID_Orders, queries.journal(self._catalogue)
        found = self._access.columns(query, self._access.fetch_near(query, column, orders.tolist()))
        keys = pd.Series(found["ID_Orders"], dtype="int64")
        latest = np.flatnonzero(~keys.duplicated(keep="last"))
        place = pd.Index(keys.iloc[latest]).get_indexer(orders)
        rows = pa.array(np.append(latest, -1)[place], mask=place < 0)
        amount, debt = (normalise.amounts(found[name]).take(rows) for name in ("AmountWithDiscount", "Debt"))
        return amount, debt

    def _lines(self, orders: pd.Index) -> tuple[pa.Array, pa.Array]:
        """Return the services of each order, in the order of the rows, and their sum.

        A row whose price or count is unknown adds nothing to the sum, not even its discount.
        """
        if not len(orders) or not self._catalogue.has("OrderServiceRelation", "ID_Orders"):
            return pa.nulls(len(orders), pa.string()), normalise.amounts([None] * len(orders))
        column, query = TABLES["OrderServiceRelation"].c.ID_Orders, queries.order_rows(self._catalogue)
        found = self._access.columns(query, self._access.fetch_near(query, column, orders.tolist()))
        pairs = list(zip(found["ID_ServicePrices"], found["CountService"], strict=True))
        for pair in set(pairs) - self._sold.keys():
            self._sold[pair] = self._service(*pair)
        named = pa.array([self._sold[pair][0] for pair in pairs], type=pa.string())
        price = normalise.amounts([self._sold[pair][1] for pair in pairs])
        discount = pc.coalesce(normalise.amounts(found["DiscountSum"]), normalise.NO_MONEY)
        known = orders.unique()
        places = known.get_indexer(pd.Index(found["ID_Orders"], dtype="int64"))
        of_each = pa.array(known.get_indexer(orders))
        services = joined(places, named, len(known))
        return services.take(of_each), summed(places, pc.subtract(price, discount), len(known)).take(of_each)

    def _service(self, price_id: int | None, count: Any) -> tuple[str | None, Decimal | None]:
        """Return how a service is shown that was sold so often, and its price before the discount."""
        if self._prices is None:
            known = self._catalogue.has("ServiceItemPrices", "ID")
            rows = self._access.fetch(queries.services(self._catalogue)) if known else []
            self._prices = {row.ID: (normalise.text(row.Name), normalise.amount(row.Price)) for row in rows}
        name, price = (None, None) if price_id is None else self._prices.get(price_id, (None, None))
        shown = name if not name or count in {None, 1} else f"{name} ×{count}"
        return shown, None if price is None or count is None else count * price


def joined(places: Places, texts: pa.Array, size: int) -> pa.Array:
    """Join the texts of each place in their order; nothing for a place without any.

    Args:
        places: Where each text belongs; -1 is nowhere.
        texts: Texts, some of them missing.
        size: How many places there are.
    """
    kept = np.flatnonzero((places >= 0) & texts.is_valid().to_numpy(zero_copy_only=False))
    kept = kept[np.argsort(places[kept], kind="stable")]
    ends = np.append(0, np.cumsum(np.bincount(places[kept], minlength=size)))
    lists = pa.ListArray.from_arrays(pa.array(ends, type=pa.int32()), texts.take(pa.array(kept)))
    found = pc.binary_join(lists, "; ")
    return pc.if_else(pc.equal(found, ""), pa.scalar(None, found.type), found)


def summed(places: Places, amounts: pa.Array, size: int) -> pa.Array:
    """Add up the amounts of each place; nothing for a place without any.

    Args:
        places: Where each amount belongs; -1 is nowhere.
        amounts: Amounts, some of them missing.
        size: How many places there are.
    """
    table = pa.table({"place": places, "amount": amounts})
    found = table.group_by("place", use_threads=False).aggregate([("amount", "sum")])
    row = np.full(size + 1, -1)
    row[found["place"].to_numpy()] = np.arange(len(found))  # what belongs nowhere goes to the last
    sums = found["amount_sum"].combine_chunks()
    return sums.take(pa.array(row[:size], mask=row[:size] < 0)).cast(normalise.AMOUNT)
