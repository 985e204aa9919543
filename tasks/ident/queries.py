"""Every query that is ever sent to a clinic's database.

SELECTs only, in SQL Server 2012's T-SQL and SQLite's SQL alike: plain joins, keyset paging, no NOLOCK, no
temporary tables, no aggregates of text or money (those are done in pandas). A column that this database does
not have is read as NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from tasks.ident.introspect import Catalogue
from tasks.ident.normalise import LAST_BELIEVABLE, SENTINEL
from tasks.ident.schema import TABLES

__all__ = ["ALL_QUERIES", "columns", "has_versions", "in_list", "touched"]

#: What is not between them is no time (``tasks.ident.normalise.local_times``).
FIRST, LAST = SENTINEL.to_pydatetime(), LAST_BELIEVABLE.to_pydatetime()
STAMPS: Final = ("DateTimeChanged", "DateTimeAdded", "ReceptionAdded")
IDS: Final = "ids"

Query = sa.Select[Any]


def columns(catalogue: Catalogue, table: str, *names: str) -> list[sa.ColumnElement[Any]]:
    """Return columns of a table, NULL under the same name for those that are not there."""
    source = TABLES[table].c
    return [
        source[name] if catalogue.has(table, name) else sa.null().label(name)
        for name in names or source.keys()
    ]


def in_list(query: Query, column: sa.ColumnElement[Any]) -> Query:
    """Restrict a query to ids, bound as ``ids`` when it is executed."""
    return query.where(column.in_(sa.bindparam(IDS, expanding=True)))


# ---- patients ------------------------------------------------------------------------------------------


def patients(catalogue: Catalogue) -> Query:
    """Patients with their persons; the caller adds the keys."""
    patient, person = TABLES["Patients"], TABLES["Persons"]
    return (
        sa.select(
            *columns(catalogue, "Patients"),
            *(
                column.label(f"Person_{column.name}") if hasattr(column, "name") else column
                for column in columns(catalogue, "Persons")
            ),
        )
        .select_from(patient.join(person, patient.c.ID_Persons == person.c.ID))
        .order_by(patient.c.ID_Persons)
    )


def visits(catalogue: Catalogue) -> Query:
    """What a patient's visits come to."""
    reception = TABLES["Receptions"].c
    kept, done = _kept(catalogue), _done(catalogue)
    started = sa.case((sa.and_(done, _is_time(reception.PlanStart)), reception.PlanStart))
    return sa.select(
        reception.ID_Patients,
        sa.func.min(started).label("first"),
        sa.func.max(started).label("last"),
        sa.func.count(sa.case((done, 1))).label("completed"),
        sa.func.count(sa.case((kept, 1))).label("total"),
    ).group_by(reception.ID_Patients)


def first_visits(catalogue: Catalogue) -> Query:
    """Start of the first completed visit of patients who have one."""
    reception = TABLES["Receptions"].c
    return (
        sa.select(reception.ID_Patients, sa.func.min(reception.PlanStart).label("first"))
        .where(_done(catalogue), _is_time(reception.PlanStart))
        .group_by(reception.ID_Patients)
    )


def _is_time(column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    return sa.and_(column > FIRST, column < LAST)


def _kept(catalogue: Catalogue) -> sa.ColumnElement[bool]:
    """A reception that was not cancelled."""
    reception = TABLES["Receptions"].c
    cancelled = reception.ReceptionCanceled
    conditions = [sa.or_(cancelled.is_(None), cancelled <= FIRST, cancelled >= LAST)]
    if catalogue.has("Receptions", "ID_ReceptionCancelReasons"):
        conditions.append(reception.ID_ReceptionCancelReasons.is_(None))
    return sa.and_(*conditions)


def _done(catalogue: Catalogue) -> sa.ColumnElement[bool]:
    """A reception that was completed; none where this database cannot tell."""
    ended = [
        _is_time(TABLES["Receptions"].c[name])
        for name in ("ReceptionEnded", "CheckIssued")
        if catalogue.has("Receptions", name)
    ]
    return sa.and_(_kept(catalogue), sa.or_(*ended) if ended else TABLES["Receptions"].c.ID.is_(None))


def debts(catalogue: Catalogue) -> Query:
    """Debts by patient."""
    return sa.select(*columns(catalogue, "OrderPaymentsJournal", "ID_Patients", "Debt"))


# ---- appointments --------------------------------------------------------------------------------------


def receptions(catalogue: Catalogue) -> Query:
    """Receptions, one row each; everything that could multiply them is read apart."""
    reception = TABLES["Receptions"]
    names = [name for name in reception.c.keys() if name != "RowVersion"]  # noqa: SIM118 - a column list
    return sa.select(*columns(catalogue, "Receptions", *names)).order_by(reception.c.ID)


def orders(catalogue: Catalogue) -> Query:
    """Orders of receptions; those without one came from an older program and are left out."""
    names = ("ID", "ID_Receptions", "ID_OwnCompanies")
    return sa.select(*columns(catalogue, "Orders", *names)).order_by(TABLES["Orders"].c.ID)


def order_rows(catalogue: Catalogue) -> Query:
    """Services of orders."""
    names = ("ID", "ID_Orders", "ID_ServicePrices", "CountService", "DiscountSum")
    query = sa.select(*columns(catalogue, "OrderServiceRelation", *names))
    known = catalogue.has("OrderServiceRelation", "ID")
    return query.order_by(TABLES["OrderServiceRelation"].c.ID) if known else query


def journal(catalogue: Catalogue) -> Query:
    """Sum and debt of orders."""
    return sa.select(*columns(catalogue, "OrderPaymentsJournal", "ID_Orders", "AmountWithDiscount", "Debt"))


def services(catalogue: Catalogue) -> Query:
    """Name and price of every service price; where the names are out of reach, the prices remain."""
    price, item = TABLES["ServiceItemPrices"], TABLES["ServiceItems"]
    named = catalogue.has("ServiceItemPrices", "ID_ServiceItems") and catalogue.complete(
        "ServiceItems", "ID", "Name"
    )
    return sa.select(
        *columns(catalogue, "ServiceItemPrices", "ID", "Price"),
        item.c.Name if named else sa.null().label("Name"),
    ).select_from(price.outerjoin(item, price.c.ID_ServiceItems == item.c.ID) if named else price)


# ---- dictionaries --------------------------------------------------------------------------------------


def staff(_catalogue: Catalogue) -> Query:
    """Names of doctors and other staff."""
    member, person = TABLES["Staffs"], TABLES["Persons"]
    return sa.select(person.c.ID, person.c.Surname, person.c.Name, person.c.Patronymic).select_from(
        member.join(person, member.c.ID_Persons == person.c.ID)
    )


def professions(_catalogue: Catalogue) -> Query:
    """Professions by member of staff; a doctor may have several."""
    item, name = TABLES["Items"], TABLES["ProfessionNames"]
    return sa.select(item.c.ID_Staffs, name.c.NameProfession).select_from(
        item.join(name, item.c.ID_ProfessionNames == name.c.ID)
    )


def dictionary(table: str) -> Callable[[Catalogue], Query]:
    """Return the query of a whole small table."""

    def query(catalogue: Catalogue) -> Query:
        return sa.select(*columns(catalogue, table))

    return query


# ---- increments ----------------------------------------------------------------------------------------


def has_versions(catalogue: Catalogue, table: str, version: bytes | None) -> bool:
    """Tell whether a table's changes are found by RowVersion; others than ours may have one, too."""
    return version is not None and "RowVersion" in TABLES[table].c and catalogue.has(table, "RowVersion")


def touched(
    catalogue: Catalogue, table: str, names: Sequence[str], since: datetime | None, version: bytes | None
) -> Query | None:
    """Return rows of a table that changed, ``None`` when the table cannot tell.

    Args:
        catalogue: What the database has.
        table: Table to look at.
        names: Columns to return.
        since: Clinic-local time from which on rows count as changed.
        version: Lowest RowVersion that counts as changed, where the table has one.
    """
    source = TABLES[table].c
    if has_versions(catalogue, table, version):
        condition: sa.ColumnElement[bool] = source["RowVersion"] >= version
    else:
        stamps = [source[name] for name in STAMPS if name in source and catalogue.has(table, name)]
        if not stamps or since is None:
            return None
        # A row that has no stamp at all is read each time: better twice than never.
        unstamped = sa.and_(*(stamp.is_(None) for stamp in stamps))
        condition = sa.or_(*(stamp >= since for stamp in stamps), unstamped)
    return sa.select(*columns(catalogue, table, *names)).where(condition)


def _touched(table: str, *names: str) -> Callable[[Catalogue], Query]:
    def query(catalogue: Catalogue) -> Query:
        found = touched(catalogue, table, names, FIRST, None)
        return found if found is not None else sa.select(*columns(catalogue, table, *names))

    return query


#: Every query by name, so that tests can judge each text before a clinic's server does.
ALL_QUERIES: Mapping[str, Callable[[Catalogue], Query]] = {
    "patients": patients,
    "visits": visits,
    "first_visits": first_visits,
    "debts": debts,
    "receptions": receptions,
    "orders": orders,
    "order_rows": order_rows,
    "journal": journal,
    "services": services,
    "staff": staff,
    "professions": professions,
    "armchairs": dictionary("Armchairs"),
    "companies": dictionary("OwnCompanies"),
    "info_sources": dictionary("InfoSources"),
    "archiving_reasons": dictionary("ArchivingReasons"),
    "cancel_reasons": dictionary("ReceptionCancelReasons"),
    "appointment_sources": dictionary("AppointmentSources"),
    "touched_receptions": _touched("Receptions", "ID", "ID_Patients"),
    "touched_orders": _touched("Orders", "ID_Receptions", "ID_Patients"),
    "touched_order_rows": _touched("OrderServiceRelation", "ID_Orders"),
    "touched_payments": _touched("PaymentsIn", "ID_Patients"),
    "touched_patients": _touched("Patients", "ID_Persons"),
    "touched_persons": _touched("Persons", "ID"),
}
