"""Canonical patients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tasks.frames import Entity, canonical
from tasks.ident import normalise, queries
from tasks.ident.access import Access, Columns
from tasks.ident.bills import summed
from tasks.ident.dictionaries import Dictionaries
from tasks.ident.introspect import Catalogue
from tasks.ident.schema import TABLES

__all__ = ["PatientFrames"]

KEY = TABLES["Patients"].c.ID_Persons


class PatientFrames:
    """Builds pages of the patients frame."""

    def __init__(
        self, access: Access, catalogue: Catalogue, dictionaries: Dictionaries, zone: ZoneInfo
    ) -> None:
        self._access, self._catalogue = access, catalogue
        self._dictionaries, self._zone = dictionaries, zone

    def of(self, ids: Sequence[int]) -> pd.DataFrame:
        """Return the patients of a list of ids that fits a statement."""
        query = queries.patients(self._catalogue)
        rows = self._access.fetch(queries.in_list(query, KEY), ids)
        return self._frame(self._access.columns(query, rows))

    def all_pages(self, size: int) -> Iterator[pd.DataFrame]:
        """Return all patients; paging by key neither skips nor repeats while rows are added."""
        last = None
        while True:
            query = queries.patients(self._catalogue).limit(size)
            rows = self._access.fetch(query if last is None else query.where(last < KEY))
            if not rows:
                return
            columns = self._access.columns(query, rows)
            last = columns["ID_Persons"][-1]
            yield self._frame(columns)

    def _frame(self, columns: Columns) -> pd.DataFrame:
        keys = pd.Series(columns["ID_Persons"], dtype="int64")
        names = self._dictionaries.names
        staff, reasons = names["staff"], names["archiving_reasons"]
        changed = pd.concat(
            [
                normalise.local_times(columns["DateTimeChanged"]),
                normalise.local_times(columns["Person_DateTimeChanged"]),
            ],
            axis=1,
        ).max(axis=1)
        frame = pd.DataFrame(
            {
                "patient_id": keys,
                "last_name": normalise.texts(columns["Person_Surname"]),
                "first_name": normalise.texts(columns["Person_Name"]),
                "middle_name": normalise.texts(columns["Person_Patronymic"]),
                "birth_date": normalise.days(columns["Person_Birthday"]),
                "sex": normalise.sex(columns["Person_Sex"]),
                "phone_mobile": _phones(columns["Person_MobilePhone"]),
                "phone_other": _phones(columns["Person_Phone"]),
                "email": normalise.texts(columns["Person_Email"]),
                "city": normalise.texts(columns["Person_City"]),
                "card_number": normalise.texts(columns["CardNumber"]),
                "guardian_name": normalise.texts(columns["ParentSNP"]),
                "comment": normalise.texts(columns["Comment"]),
                "ad_source": normalise.texts(
                    [names["info_sources"].get(key) for key in columns["ID_InfoSources"]]
                ),
                "attending_doctor": normalise.texts([staff.get(key) for key in columns["ID_Staffs"]]),
                "archived": pd.Series(
                    [key is not None for key in columns["ID_ArchivingReasons"]], dtype=bool
                ),
                "archive_reason": normalise.texts(
                    [reasons.get(key) for key in columns["ID_ArchivingReasons"]]
                ),
                "sms_opt_out": normalise.flags(columns["SMSRejection"]),
                "changed_at": normalise.instants(changed.astype("datetime64[us]"), self._zone),
                **self._visits(keys),
                "debt": self._debts(keys),
            }
        )
        return canonical(frame, Entity.PATIENT)

    def _between(
        self, query: sa.Select[Any], column: sa.ColumnElement[Any], keys: pd.Series
    ) -> Iterator[sa.Row[Any]]:
        """Return rows of these patients: by range where they are dense, by list otherwise."""
        if keys.empty:
            return
        first, last = int(keys.min()), int(keys.max())
        if last - first < 4 * len(keys):
            yield from self._access.fetch(query.where(column.between(first, last)))
        else:
            yield from self._access.fetch_in(query, column, keys.tolist())

    def _visits(self, keys: pd.Series) -> dict[str, pd.Series]:
        query = queries.visits(self._catalogue)
        found = self._access.columns(query, self._between(query, TABLES["Receptions"].c.ID_Patients, keys))
        patients = pd.Index(found["ID_Patients"], dtype="int64")

        def aligned(values: pd.Series, missing: int | None = None) -> pd.Series:
            return values.set_axis(patients).reindex(keys, fill_value=missing).reset_index(drop=True)

        times = {name: aligned(normalise.local_times(found[name])) for name in ("first", "last")}
        counts = {name: pd.Series(found[name], dtype="int64") for name in ("completed", "total")}
        return {
            **{f"{name}_visit_at": normalise.instants(time, self._zone) for name, time in times.items()},
            **{f"visits_{name}": aligned(count, 0) for name, count in counts.items()},
        }

    def _debts(self, keys: pd.Series) -> pd.Series:
        """Sum each patient's debts; nothing where this database has no journal of payments."""
        if not self._catalogue.complete("OrderPaymentsJournal", "ID_Patients", "Debt"):
            return normalise.money([None] * len(keys))
        query, column = queries.debts(self._catalogue), TABLES["OrderPaymentsJournal"].c.ID_Patients
        found = self._access.columns(query, self._between(query, column, keys))
        known = pd.Index(keys).unique()
        places = known.get_indexer(pd.Index(found["ID_Patients"], dtype="int64"))
        owed = summed(places, normalise.amounts(found["Debt"]), len(known))
        return normalise.money(pc.coalesce(owed, normalise.NO_MONEY).take(pa.array(known.get_indexer(keys))))


def _phones(values: Sequence[Any]) -> pd.Series:
    return normalise.shown([normalise.phone(value) for value in values])
