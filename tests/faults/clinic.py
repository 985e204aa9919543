"""What the people of a clinic do in IDENT: one edit at a time, on the SQLite file of the demo clinic."""

from __future__ import annotations

import copy
import random
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from deployments.sandbox.clinic.names import BROKEN_PHONES, NO_SHOW_REASON, TRANSFER_REASON
from deployments.sandbox.clinic.rows import Row, sql_datetime
from deployments.sandbox.clinic.store import SqliteStore
from tests.faults.child import TIMEZONE
from tests.faults.clock import Clock

__all__ = ["EDITS", "Clinic"]

STEPS = ("PatientAppeared", "ReceptionStarted", "ReceptionEnded", "CheckIssued")
FINISHED = ("ReceptionCanceled", "ID_ReceptionCancelReasons", "CheckIssued")
WORDS = ("Абрикосова", "Берёзкина", "Ветрова", "Грушина", "Дубравина", "Ежевикина", "Жасминова")


class Clinic:
    """A clinic's database with the edits that the tests make.

    Attributes:
        gone: Roots of reschedule chains that were deleted as a whole, patients that were deleted.
        stale: Patients whose totals no increment re-reads: a reception of theirs was deleted or handed over.
    """

    def __init__(self, path: Path, clock: Clock, rng: random.Random) -> None:
        self.path, self.clock, self.rng = path, clock, rng
        self.store = SqliteStore(path)
        self.gone: set[int] = set()
        self.gone_patients: set[int] = set()
        self.stale: set[int] = set()

    def branched(self, path: Path, clock: Clock) -> Clinic:
        """Return the same clinic on a copy of its file."""
        branch = Clinic(path, clock, copy.deepcopy(self.rng))
        branch.gone, branch.gone_patients, branch.stale = (
            set(self.gone),
            set(self.gone_patients),
            set(self.stale),
        )
        return branch

    @property
    def now(self) -> datetime:
        return sql_datetime(self.clock.local(TIMEZONE))

    # ---- patients --------------------------------------------------------------------------------------

    def new_patient(self, phone: str | None = None) -> str:
        person: Row = {
            "Surname": self.rng.choice(WORDS),
            "Name": self.rng.choice(("Анна", "Мария", "Ольга")),
            "Birthday": datetime(1980, 1, 1).date() + timedelta(days=self.rng.randrange(9000)),
            "Sex": 2,
            "MobilePhone": phone or self._phone(),
            "Email": f"mail{self.rng.randrange(10**6)}@example.org",
            "DateTimeChanged": self.now,
        }
        key = self.store.insert("Persons", person)
        card = {"ID_Persons": key, "CardNumber": str(key), "SMSRejection": False, "ID_InfoSources": 1}
        self.store.insert("Patients", card | {"DateTimeChanged": self.now})
        self._book(key)
        return f"new patient {key}"

    def broken_patient(self) -> str:
        return f"{self.new_patient(BROKEN_PHONES[0])} with a broken phone"

    def mended_phone(self) -> str:
        broken = self.store.rows("Persons", MobilePhone=BROKEN_PHONES[0])
        return self._person(self.rng.choice(broken), MobilePhone=self._phone()) if broken else ""

    def other_phone(self) -> str:
        return self._person(self._any_person(), MobilePhone=self._phone())

    def other_name(self) -> str:
        return self._person(self._any_person(), Surname=f"{self.rng.choice(WORDS)}{self.rng.choice('абв')}")

    def other_city(self) -> str:
        return self._person(self._any_person(), City=self.rng.choice(("Тверь", "Псков", "Орёл", None)))

    def comment(self) -> str:
        key = self._any_person()["ID"]
        values = {"Comment": f"Заметка {self.rng.randrange(100)}", "DateTimeChanged": self.now}
        self.store.update("Patients", {"ID_Persons": key}, values)
        return f"patient {key}: comment"

    # ---- appointments ----------------------------------------------------------------------------------

    def booking(self) -> str:
        return f"booking {self._book(self._any_person()['ID'])}"

    def slot_without_patient(self) -> str:
        return f"slot {self._book(None)}"

    def filled_in(self) -> str:
        slots = [row for row in self.store.rows("Receptions") if row["ID_Patients"] is None]
        if not slots:
            return ""
        return self._reception(self.rng.choice(slots), ID_Patients=self._any_person()["ID"])

    def step(self) -> str:
        row = self._open()
        name = next((name for name in STEPS if row and row[name] is None), None)
        return self._reception(row, **{name: self.now}) if row and name else ""

    def cancel(self) -> str:
        reason = self.rng.choice((1, 2, NO_SHOW_REASON))
        row = self._open()
        values = {"ReceptionCanceled": self.now, "ID_ReceptionCancelReasons": reason}
        return self._reception(row, **values) if row else ""

    def reschedule_in_place(self) -> str:
        row = self._planned()
        return self._reception(row, **self._later(row)) if row else ""

    def reschedule_new_row(self) -> str:
        row = self._planned()
        if row is None:
            return ""
        values = {"ReceptionCanceled": self.now, "ID_ReceptionCancelReasons": TRANSFER_REASON}
        done = self._reception(row, **values)
        new = self._book(row["ID_Patients"], ID_ReceptionsTransferFrom=row["ID"], **self._later(row))
        return f"{done}, moved to {new}"

    def handed_over(self) -> str:
        row = self._planned()
        if row is None:
            return ""
        self.stale.add(row["ID_Patients"])
        return self._reception(row, ID_Patients=self._any_person(sound=True)["ID"])

    def deletion(self) -> str:
        """Delete a reception nobody was rescheduled from or to: a chain is deleted with its last row."""
        rows = self.store.rows("Receptions")[:-1]  # SQLite would give the highest id out again, IDENT never
        parents = {row["ID_ReceptionsTransferFrom"] for row in self.store.rows("Receptions")}
        free = [row for row in rows if row["ID"] not in parents and row["ID_ReceptionsTransferFrom"] is None]
        row = self.rng.choice(free)
        self._delete("Receptions", "ID", row["ID"])
        self.gone.add(row["ID"])
        self.stale.add(row["ID_Patients"])
        return f"reception {row['ID']} deleted"

    # ---- turns that tests ask for by name ----------------------------------------------------------------

    def latest_moved_to_new_row(self) -> str:
        row = self._latest("Receptions")
        self._reception(row, ReceptionCanceled=self.now, ID_ReceptionCancelReasons=TRANSFER_REASON)
        new = self._book(row["ID_Patients"], ID_ReceptionsTransferFrom=row["ID"], **self._later(row))
        return f"reception {row['ID']} moved to {new}"

    def latest_chain_loses_its_first_row(self) -> str:
        row = self._latest("Receptions")
        self._delete("Receptions", "ID", row["ID_ReceptionsTransferFrom"])
        return f"reception {row['ID_ReceptionsTransferFrom']} deleted"

    def first_booking_handed_to_latest_patient(self) -> str:
        row = self._planned()
        return self._reception(row, ID_Patients=self._latest("Persons")["ID"]) if row else ""

    def latest_patient_corrected(self) -> str:
        return self._person(self._latest("Persons"), Surname="Исправлена", MobilePhone=self._phone())

    def reschedule_latest(self) -> str:
        row = self._latest("Receptions")
        return self._reception(row, **self._later(row))

    def first_booking_handed_to_another(self) -> str:
        row = self.store.rows("Receptions")[-2]
        return self._reception(row, ID_Patients=self._any_person(sound=True)["ID"])

    def city(self, person: Row, city: str | None) -> None:
        """Change a patient's city."""
        self._person(person, City=city)

    def nothing_but_a_stamp(self) -> str:
        return self._person(self._any_person())

    # ---- helpers ---------------------------------------------------------------------------------------

    def rows(self, table: str) -> list[dict[str, Any]]:
        return self.store.rows(table)

    def _phone(self) -> str:
        return f"+7916{self.rng.randrange(10**7):07}"

    def _latest(self, table: str) -> Row:
        return self.store.rows(table)[-1]

    def _any_person(self, *, sound: bool = False) -> Row:
        keys = {row["ID_Persons"] for row in self.store.rows("Patients")}
        persons = [row for row in self.store.rows("Persons") if row["ID"] in keys]
        return self.rng.choice(
            [row for row in persons if not sound or row["MobilePhone"] != BROKEN_PHONES[0]]
        )

    def _person(self, row: Row, **values: Any) -> str:
        self.store.update("Persons", {"ID": row["ID"]}, values | {"DateTimeChanged": self.now})
        return f"patient {row['ID']}: {', '.join(values)}"

    def _reception(self, row: Row, **values: Any) -> str:
        self.store.update("Receptions", {"ID": row["ID"]}, values | {"DateTimeChanged": self.now})
        return f"reception {row['ID']}: {', '.join(values)}"

    def _book(self, patient: int | None, **values: Any) -> int:
        row: Row = {
            "ID_Patients": patient,
            "ReceptionAdded": self.now,
            "ID_Armchairs": self.rng.choice(self.store.rows("Armchairs"))["ID"],
            "ID_AppointmentSources": 1,
            "DateTimeAdded": self.now,
            "DateTimeChanged": self.now,
        }
        return self.store.insert("Receptions", row | self._later(None) | values)

    def _later(self, row: Row | None) -> Row:
        midnight = self.now.replace(hour=0, minute=0, second=0, microsecond=0)
        start = midnight + timedelta(days=self.rng.randrange(1, 60), minutes=15 * self.rng.randrange(36, 80))
        length = row["PlanEnd"] - row["PlanStart"] if row and row["PlanEnd"] else timedelta(minutes=30)
        return {"PlanStart": start, "PlanEnd": start + length}

    def _open(self) -> Row | None:
        rows = self.store.rows("Receptions", **dict.fromkeys(FINISHED))
        followed = {row["ID_ReceptionsTransferFrom"] for row in self.store.rows("Receptions")}
        chosen = [row for row in rows if row["ID"] not in followed and row["ID_Patients"] is not None]
        return self.rng.choice(chosen) if chosen else None

    def _planned(self) -> Row | None:
        rows = self.store.rows("Receptions", **dict.fromkeys((*FINISHED, *STEPS)))
        followed = {row["ID_ReceptionsTransferFrom"] for row in self.store.rows("Receptions")}
        chosen = [row for row in rows if row["ID"] not in followed and row["ID_Patients"] is not None]
        return self.rng.choice(chosen) if chosen else None

    def _delete(self, table: str, column: str, key: int) -> None:
        with closing(sqlite3.connect(self.path)) as link, link:
            link.execute(f"DELETE FROM {table} WHERE {column} = ?", [key])


#: What may happen, each as likely as it stands here.
EDITS = (
    "new_patient",
    "new_patient",
    "broken_patient",
    "mended_phone",
    "other_phone",
    "other_name",
    "other_city",
    "comment",
    "booking",
    "booking",
    "slot_without_patient",
    "filled_in",
    "step",
    "step",
    "step",
    "cancel",
    "reschedule_in_place",
    "reschedule_in_place",
    "reschedule_new_row",
    "handed_over",
    "deletion",
)
