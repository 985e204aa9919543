"""What each rival reads of the clinic, and as which cards: by ``pandas.read_sql``, two queries.

Only the leaf of a chain of reschedules becomes a deal, so that all sides have the same number of cards; a
stage is one of amoCRM's two final ones or the first. A column may be missing in a row: dlt leaves out what
is empty. This runs in the rivals' interpreter and in ours.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import pandas as pd

__all__ = ["CONTACT_MARK", "LEAD_MARK", "MARKS", "contact", "lead", "patients", "visits"]

CONTACT_MARK, LEAD_MARK = "IDENT_PATIENT_ID", "IDENT_APPOINTMENT_ID"
#: Where the clinic's id stands in amoCRM, by kind of card.
MARKS: Final = {"contacts": CONTACT_MARK, "leads": LEAD_MARK}
PATIENTS = """
    SELECT p.ID AS id, p.Surname AS last_name, p.Name AS first_name, p.MobilePhone AS phone, p.Email AS email,
           MAX(COALESCE(p.DateTimeChanged, ''), COALESCE(c.DateTimeChanged, '')) AS changed_at
    FROM Patients c JOIN Persons p ON p.ID = c.ID_Persons ORDER BY p.ID
"""
VISITS = """
    SELECT r.ID AS id, r.ID_Patients AS patient_id, r.PlanStart AS start_at,
           r.ReceptionCanceled AS cancelled_at, r.ReceptionEnded AS ended_at,
           d.Surname AS doctor, r.DateTimeChanged AS changed_at
    FROM Receptions r LEFT JOIN Persons d ON d.ID = r.ID_Staffs
    WHERE r.ID_Patients IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM Receptions n WHERE n.ID_ReceptionsTransferFrom = r.ID)
    ORDER BY r.ID
"""
WON, LOST = 142, 143  # the same in every account
ZONE = ZoneInfo("Europe/Moscow")


def patients(database: Path) -> list[dict[str, Any]]:
    """Return a row for each patient."""
    return _rows(database, PATIENTS)


def visits(database: Path) -> list[dict[str, Any]]:
    """Return a row for each appointment that is a patient's and was not rescheduled."""
    return _rows(database, VISITS)


def _rows(database: Path, query: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as link:
        frame = pd.read_sql(query, link)
    cells = frame.astype(object).where(frame.notna(), None)
    return [dict(zip(cells.columns, row, strict=True)) for row in cells.itertuples(index=False, name=None)]


def contact(row: dict[str, Any]) -> dict[str, Any]:
    """Return a patient's card as amoCRM takes it."""
    fields = [_field(CONTACT_MARK, str(row["id"]))]
    fields += [
        {"field_code": code, "values": [{"value": row[name], "enum_code": "WORK"}]}
        for code, name in (("PHONE", "phone"), ("EMAIL", "email"))
        if row.get(name)
    ]
    names = {name: row.get(name) or "" for name in ("first_name", "last_name")}
    return {**names, "custom_fields_values": fields}


def lead(row: dict[str, Any], contact_id: int | None) -> dict[str, Any]:
    """Return an appointment's card as amoCRM takes it."""
    start = datetime.fromisoformat(row["start_at"]).replace(tzinfo=ZONE)
    fields = [_field(LEAD_MARK, str(row["id"])), _field("START_AT", int(start.timestamp()))]
    if row.get("doctor"):
        fields.append(_field("DOCTOR", row["doctor"]))
    card: dict[str, Any] = {"name": f"Приём {start:%d.%m.%Y %H:%M}", "custom_fields_values": fields}
    if row.get("cancelled_at") or row.get("ended_at"):
        card["status_id"] = LOST if row.get("cancelled_at") else WON
    if contact_id is not None:
        card["_embedded"] = {"contacts": [{"id": contact_id}]}
    return card


def _field(code: str, value: Any) -> dict[str, Any]:
    return {"field_code": code, "values": [{"value": value}]}
