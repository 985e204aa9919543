"""Which appointments a simulation may touch, and where a new one fits."""

import random
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from deployments.sandbox.clinic.rows import Row
from deployments.sandbox.clinic.schedule import GRID, OPENS, SUNDAY
from deployments.sandbox.clinic.store import ClinicStore

EVENTS_OF_AN_HOUR = 6
"""Arrival, completion, cancel, two reschedules and a corrected phone: a patient each."""

_CLOSES = time(20)
_COURSE = (
    "ReceptionCanceled",
    "ID_ReceptionCancelReasons",
    "PatientAppeared",
    "ReceptionStarted",
    "ReceptionEnded",
    "CheckIssued",
)
_RUSSIAN_MOBILE = re.compile(r"(?:\+7|7|8)?9\d{9}")
_PUNCTUATION = re.compile(r"[\s()-]")
_RUSSIAN_NUMBER = re.compile(r"(?:\+7|7|8)?[3489]\d{9}")


class NotEnoughAppointmentsError(LookupError):
    """The clinic has too few suitable appointments for one more hour."""


@dataclass(frozen=True)
class Candidate:
    """A planned appointment of a patient with a good phone.

    Attributes:
        reception: Its row.
        patient: Patients.ID_Persons.
        root: The first appointment of its reschedule chain.
    """

    reception: Row
    patient: int
    root: int


class Candidates:
    """Planned appointments from today on; each patient and each reschedule chain is given out once."""

    def __init__(self, store: ClinicStore, today: datetime, rng: random.Random) -> None:
        self._store = store
        coming = store.rows("Receptions", at_least={"PlanStart": today})
        self._doctors = {
            row["ID_Armchairs"]: row["ID_Staffs"] for row in coming if row["ID_Staffs"] is not None
        }
        open_rows = Counter(row["ID_Patients"] for row in coming)
        planned = [row for row in coming if self._planned(row)]
        rng.shuffle(planned)
        # A patient with one appointment only makes the cleanest expectation; others come after them.
        planned.sort(key=lambda row: open_rows[row["ID_Patients"]] > 1)
        self._left: list[Candidate] = []
        self._patients: set[int] = set()
        self._examine(planned)

    @staticmethod
    def _planned(row: Row) -> bool:
        chair_known = row["ID_Armchairs"] is not None and row["PlanEnd"] is not None
        return (
            chair_known and row["ID_Patients"] is not None and all(row[column] is None for column in _COURSE)
        )

    def _examine(self, planned: Iterable[Row]) -> None:
        """Keep the suitable ones; a large clinic has more than any play needs."""
        for row in planned:
            if len(self._left) >= EVENTS_OF_AN_HOUR * 20:
                break
            patient = row["ID_Patients"]
            if patient not in self._patients and self._suitable(patient):
                self._patients.add(patient)
                self._left.append(Candidate(row, patient, self._root(row)))

    def _suitable(self, key: int) -> bool:
        cards, persons = self._store.rows("Patients", ID_Persons=key), self._store.rows("Persons", ID=key)
        if not cards or not persons or cards[0]["ID_ArchivingReasons"] is not None:
            return False
        person = persons[0]
        mobile, other = (_PUNCTUATION.sub("", str(person[name] or "")) for name in ("MobilePhone", "Phone"))
        return (
            bool(_RUSSIAN_MOBILE.fullmatch(mobile))
            and (not other or bool(_RUSSIAN_NUMBER.fullmatch(other)))
            and bool(person["Surname"] and person["Name"])
        )

    def _root(self, row: Row) -> int:
        seen: set[int] = set()
        while row["ID_ReceptionsTransferFrom"] is not None and row["ID"] not in seen:
            seen.add(row["ID"])
            earlier = self._store.rows("Receptions", ID=row["ID_ReceptionsTransferFrom"])
            if not earlier:
                break
            row = earlier[0]
        return int(row["ID"])

    def enough(self) -> bool:
        """Whether one more hour can be played."""
        return len(self._left) >= EVENTS_OF_AN_HOUR

    def require(self) -> None:
        """Raise unless one more hour can be played.

        Raises:
            NotEnoughAppointmentsError: Too few are left.
        """
        if not self.enough():
            message = (
                f"an hour needs {EVENTS_OF_AN_HOUR} patients with a good phone and an appointment from "
                f"today on, {len(self._left)} are left; generate a larger clinic or one for a later --today"
            )
            raise NotEnoughAppointmentsError(message)

    def any(self) -> Candidate:
        """One of the suitable appointments; it is not given out again."""
        return self._left.pop(0)

    def earliest(self) -> Candidate:
        """The suitable appointment that comes first; it is not given out again."""
        chosen = min(
            self._left, key=lambda candidate: (candidate.reception["PlanStart"], candidate.reception["ID"])
        )
        self._left.remove(chosen)
        return chosen

    def doctor_of(self, chair: int) -> int | None:
        """Who is booked at the chair in the coming days."""
        return self._doctors.get(chair)


def free_slot(store: ClinicStore, chair: int, now: datetime, length: timedelta) -> datetime:
    """The first free start on the chair from tomorrow on.

    Args:
        store: Where its appointments are read.
        chair: Armchairs.ID.
        now: The present moment.
        length: How long the appointment takes.
    """
    start = _opening(datetime.combine(now.date() + timedelta(days=1), OPENS), length)
    booked = store.rows("Receptions", at_least={"PlanEnd": start}, ID_Armchairs=chair)
    busy = sorted((row["PlanStart"], row["PlanEnd"]) for row in booked if row["PlanStart"] is not None)
    for begins, ends in busy:
        if start + length <= begins:
            break
        start = _opening(max(start, ends), length)
    return start


def _opening(moment: datetime, length: timedelta) -> datetime:
    """The next quarter of an hour at which an appointment of that length fits into a working day."""
    midnight = datetime.combine(moment.date(), time())
    start = midnight + GRID * -(-(moment - midnight) // GRID)
    if start + length > datetime.combine(moment.date(), _CLOSES):
        start = datetime.combine(moment.date() + timedelta(days=1), OPENS)
    if start.weekday() == SUNDAY:
        start = datetime.combine(start.date() + timedelta(days=1), OPENS)
    return start
