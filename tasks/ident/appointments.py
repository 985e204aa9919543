"""Canonical appointments: one row per reception, whatever it is joined with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from tasks.frames import Entity, canonical, text_column
from tasks.ident import normalise, queries
from tasks.ident.access import Access, Columns
from tasks.ident.bills import BillFrames, Bills
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
        self._bills = BillFrames(access, catalogue)
        self._first_visits: dict[int, Any] = {}

    def of(self, ids: Sequence[int]) -> pd.DataFrame:
        """Return appointments by id, as one frame of many short reads."""
        query, wanted = queries.receptions(self._catalogue), set(ids)
        near = self._access.fetch_near(query, TABLES["Receptions"].c.ID, ids)
        rows = (row for row in near if row[0] in wanted)  # the ID comes first
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
        bills = self._bills.of(columns["ID"])
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
                "services": text_column(bills.services),
                "amount": normalise.money(bills.amount),
                "paid": normalise.money(bills.paid),
                "debt": normalise.money(bills.debt),
                "comment": normalise.texts(columns["Comment"]),
                "source": normalise.texts(
                    [names["appointment_sources"].get(key) for key in columns["ID_AppointmentSources"]]
                ),
                "is_primary": self._primary(columns["ID_Patients"], local["PlanStart"]),
                "created_at": instants["ReceptionAdded"].fillna(instants["DateTimeAdded"]),
            }
        )
        return canonical(frame, Entity.APPOINTMENT)

    def _primary(self, patients: Sequence[Any], starts: pd.Series) -> pd.Series:
        """Tell which appointments no completed one of the same patient came before."""
        known = self._first_visits
        unknown = set(patients) - known.keys() - {None}
        query = queries.first_visits(self._catalogue)
        near = self._access.fetch_near(query, TABLES["Receptions"].c.ID_Patients, unknown)
        known.update(dict.fromkeys(unknown))
        known.update((patient, first) for patient, first in near)
        firsts = normalise.local_times([known.get(patient) for patient in patients])
        return ~(firsts < starts)

    def _who_and_where(self, columns: Columns, bills: Bills) -> dict[str, pd.Series]:
        """Return doctor, speciality, cabinet and branch by their names."""
        names, professions = self._dictionaries.names, self._dictionaries.professions
        return {
            "doctor": normalise.texts([names["staff"].get(key) for key in columns["ID_Staffs"]]),
            "speciality": normalise.texts([professions.get(key) for key in columns["ID_Staffs"]]),
            "cabinet": normalise.texts([names["armchairs"].get(key) for key in columns["ID_Armchairs"]]),
            "branch": self._branches(columns["ID_Armchairs"], bills.companies),
        }

    def _branches(self, chairs: Sequence[Any], of_order: Sequence[int | None]) -> pd.Series:
        """Return the company of the order, else of the chair."""
        companies, of_chair = self._dictionaries.names["companies"], self._dictionaries.chair_companies
        keys = [company or of_chair.get(chair) for chair, company in zip(chairs, of_order, strict=True)]
        return normalise.texts([None if key is None else companies.get(key) for key in keys])
