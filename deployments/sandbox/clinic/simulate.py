"""Plays an hour or a day of the clinic's work on any store, and tells what it did.

Each play writes exactly the listed rows; the answer names them field by field, so that a checker that knows
nothing of the connector can say what must have reached amoCRM.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, Literal

from deployments.sandbox.clinic.candidates import Candidate, Candidates, free_slot
from deployments.sandbox.clinic.names import (
    BROKEN_PHONES,
    CANCEL_COMMENTS,
    CITIES,
    FEMALE_NAMES,
    MALE_NAMES,
    MOBILE_CODES,
    PATRONYMICS,
    SURNAMES,
    TRANSFER_REASON,
)
from deployments.sandbox.clinic.people import spell_phone
from deployments.sandbox.clinic.recorder import Recorder, RowChange
from deployments.sandbox.clinic.rows import Row, sql_datetime
from deployments.sandbox.clinic.settle import settle
from deployments.sandbox.clinic.store import ClinicStore
from deployments.sandbox.clinic.visits import MANUAL_CANCEL_REASONS

Span = Literal["hour", "day"]
KINDS = (
    "new_patient",
    "arrival",
    "completion",
    "cancel",
    "reschedule_in_place",
    "reschedule_new_row",
    "broken_phone",
    "phone_corrected",
)
"""What an hour consists of, in order."""

_HOURS: dict[str, int] = {"hour": 1, "day": 4}


@dataclass(frozen=True)
class Expectation:
    """What a correct transfer makes of a change.

    Attributes:
        outcome: "delivered" to amoCRM as it is, or "withheld": delivered without its broken value.
        status: The appointment's status afterwards; None for a patient.
        rows: The rows of IDENT that changed, field by field.
        derived_patients: Patients whose totals (visits, last visit, debt) follow from this change although
            their own rows did not change.
        root_id: The first appointment of the reschedule chain, None for a patient.
    """

    outcome: Literal["delivered", "withheld"]
    status: str | None
    rows: tuple[RowChange, ...]
    derived_patients: tuple[int, ...] = ()
    root_id: int | None = None


@dataclass(frozen=True)
class SimulatedChange:
    """One patient or appointment that was added or changed.

    Attributes:
        kind: The event it belongs to, one of `KINDS`; an event may change two entities.
        entity: What changed.
        source_id: Persons.ID or Receptions.ID.
        action: Whether IDENT had it before.
        expect: What must follow.
    """

    kind: str
    entity: Literal["patient", "appointment"]
    source_id: int
    action: Literal["create", "update"]
    expect: Expectation


def simulate(store: ClinicStore, span: Span, now: datetime, seed: int) -> list[SimulatedChange]:
    """Play a stretch of the clinic's work.

    Args:
        store: The clinic's database, changed in place.
        span: "hour" plays every kind of event once, "day" up to four times on different patients.
        now: The clinic's present moment, local and naive; every changed row gets it as DateTimeChanged.
        seed: The source of chance.

    Raises:
        NotEnoughAppointmentsError: Fewer suitable appointments from today on than one hour needs.
    """
    if now.tzinfo is not None:
        message = "now is the clinic's local time and carries no time zone"
        raise ValueError(message)
    play = _Play(store, sql_datetime(now), random.Random(seed))
    changes = list(play.hour())
    for _ in range(_HOURS[span] - 1):
        if not play.candidates.enough():
            break
        changes.extend(play.hour())
    return changes


class _Play:
    def __init__(self, store: ClinicStore, now: datetime, rng: random.Random) -> None:
        self._store, self._now, self._rng = store, now, rng
        self.candidates = Candidates(store, datetime.combine(now.date(), time()), rng)
        self._administrator = self._any_administrator()
        self._chairs = [row for row in store.rows("Armchairs") if not row["Archive"]]

    def hour(self) -> Iterator[SimulatedChange]:
        """Every kind once."""
        events: tuple[Callable[[str], Iterator[SimulatedChange]], ...] = (
            self._new_patient,
            self._arrival,
            self._completion,
            self._cancel,
            self._reschedule_in_place,
            self._reschedule_new_row,
            self._broken_phone,
            self._phone_corrected,
        )
        self.candidates.require()
        for kind, event in zip(KINDS, events, strict=True):
            yield from event(kind)

    def _any_administrator(self) -> int | None:
        professions = {row["ID"] for row in self._store.rows("ProfessionNames", ID_Roles=7)}
        found = [
            row["ID_Staffs"] for row in self._store.rows("Items") if row["ID_ProfessionNames"] in professions
        ]
        return min(found, default=None)

    def _audit(self) -> Row:
        return {"ID_StaffsChanged": self._administrator, "DateTimeChanged": self._now}

    def _update(self, record: Recorder, reception: Row, values: Row) -> None:
        record.update("Receptions", {"ID": reception["ID"]}, reception, values | self._audit())

    def _appointment(
        self, kind: str, candidate: Candidate, status: str, record: Recorder, *, totals: bool = True
    ) -> SimulatedChange:
        patients = (candidate.patient,) if totals else ()
        expect = Expectation("delivered", status, record.rows, patients, candidate.root)
        return SimulatedChange(kind, "appointment", candidate.reception["ID"], "update", expect)

    def _arrival(self, kind: str) -> Iterator[SimulatedChange]:
        candidate, record = self.candidates.earliest(), Recorder(self._store)
        self._update(record, candidate.reception, {"PatientAppeared": self._now})
        yield self._appointment(kind, candidate, "arrived", record, totals=False)

    def _completion(self, kind: str) -> Iterator[SimulatedChange]:
        candidate, record = self.candidates.earliest(), Recorder(self._store)
        minutes = {"PatientAppeared": 50, "ReceptionStarted": 45, "ReceptionEnded": 4, "CheckIssued": 0}
        course = {name: sql_datetime(self._now - timedelta(minutes=value)) for name, value in minutes.items()}
        self._update(record, candidate.reception, course)
        settle(record, self._store, candidate.reception | course, self._administrator, self._rng)
        yield self._appointment(kind, candidate, "bill_issued", record)

    def _cancel_row(self, record: Recorder, reception: Row, reason: int, comment: str | None) -> None:
        values = {
            "ID_ReceptionCancelReasons": reason,
            "CancelReasonComment": comment,
            "ID_StaffsReceptionCanceled": self._administrator,
            "ReceptionCanceled": self._now,
        }
        self._update(record, reception, values)
        self._release(record, reception)

    def _release(self, record: Recorder, reception: Row) -> None:
        """A cancelled or moved appointment loses its quarters of an hour in the grid."""
        for cell in self._store.rows("CurrentTimeTable", ID_Receptions=reception["ID"]):
            record.update("CurrentTimeTable", {"ID": cell["ID"]}, cell, {"ID_Receptions": None})

    def _cancel(self, kind: str) -> Iterator[SimulatedChange]:
        candidate, record = self.candidates.any(), Recorder(self._store)
        reason = self._rng.choice(MANUAL_CANCEL_REASONS)
        self._cancel_row(record, candidate.reception, reason, self._rng.choice(CANCEL_COMMENTS))
        yield self._appointment(kind, candidate, "cancelled", record)

    def _reschedule_in_place(self, kind: str) -> Iterator[SimulatedChange]:
        candidate, record = self.candidates.any(), Recorder(self._store)
        old = candidate.reception
        start = free_slot(self._store, old["ID_Armchairs"], self._now, old["PlanEnd"] - old["PlanStart"])
        moved = {"PlanStart": start, "PlanEnd": start + (old["PlanEnd"] - old["PlanStart"])}
        self._update(record, old, moved)
        self._release(record, old)
        yield self._appointment(kind, candidate, "planned", record, totals=False)

    def _reschedule_new_row(self, kind: str) -> Iterator[SimulatedChange]:
        candidate, cancelled, added = self.candidates.any(), Recorder(self._store), Recorder(self._store)
        old = candidate.reception
        start = free_slot(self._store, old["ID_Armchairs"], self._now, old["PlanEnd"] - old["PlanStart"])
        self._cancel_row(cancelled, old, TRANSFER_REASON, None)
        new = self._book(
            added,
            candidate.patient,
            (old["ID_Armchairs"], old["ID_Staffs"]),
            (start, start + (old["PlanEnd"] - old["PlanStart"])),
            {"ID_ReceptionsTransferFrom": old["ID"], "Comment": old["Comment"]},
        )
        # One appointment fewer and one more: the totals of the patient stay.
        yield self._appointment(kind, candidate, "cancelled", cancelled, totals=False)
        expect = Expectation("delivered", "planned", added.rows, (), candidate.root)
        yield SimulatedChange(kind, "appointment", new, "create", expect)

    def _book(
        self,
        record: Recorder,
        patient: int,
        place: tuple[int, int | None],
        times: tuple[datetime, datetime],
        extra: Row,
    ) -> int:
        values = {
            "ID_Patients": patient,
            "ID_StaffsReceptionAdded": self._administrator,
            "ReceptionAdded": self._now,
            "IsNotified": False,
            "PlanStart": times[0],
            "PlanEnd": times[1],
            "ID_Armchairs": place[0],
            "ID_Staffs": place[1],
            "NeedHandReminder": False,
            "ID_AppointmentSources": 1,
            "ID_StaffsAdded": self._administrator,
            "DateTimeAdded": self._now,
        }
        return record.insert("Receptions", "ID", values | self._audit() | extra)

    def _newcomer(
        self, kind: str, phone: str, outcome: Literal["delivered", "withheld"]
    ) -> Iterator[SimulatedChange]:
        rng, card, booking = self._rng, Recorder(self._store), Recorder(self._store)
        female = rng.random() < 0.5
        person: Row = {
            "Surname": rng.choice(SURNAMES)[female],
            "Name": rng.choice(FEMALE_NAMES if female else MALE_NAMES),
            "Patronymic": rng.choice(PATRONYMICS)[female],
            "Birthday": self._now.date() - timedelta(days=rng.randrange(7000, 25000)),
            "Sex": 2 if female else 1,
            "MobilePhone": phone,
            "City": rng.choice(CITIES),
            "DateTimeChanged": self._now,
        }
        key = card.insert("Persons", "ID", person)
        patient = {
            "ID_Persons": key,
            "CardNumber": str(key),
            "PatientNumber": str(key),
            "MinStatus": 1,
            "Status": 1,
        }
        flags = {
            "ConformToSending": True,
            "SMSRejection": False,
            "BillIsNecessary": False,
            "EGISZRejection": False,
        }
        card.insert("Patients", "ID_Persons", patient | flags | {"ID_InfoSources": 1} | self._audit())
        chair = rng.choice(self._chairs)["ID"]
        start = free_slot(self._store, chair, self._now, timedelta(minutes=45))
        times = (start, start + timedelta(minutes=45))
        doctor = self.candidates.doctor_of(chair)
        new = self._book(booking, key, (chair, doctor), times, {"Comment": "Первый визит, осмотр"})
        yield SimulatedChange(kind, "patient", key, "create", Expectation(outcome, None, card.rows))
        expect = Expectation("delivered", "planned", booking.rows, (key,), new)
        yield SimulatedChange(kind, "appointment", new, "create", expect)

    def _new_phone(self) -> str:
        return spell_phone(self._rng.choice(MOBILE_CODES) * 10**7 + self._rng.randrange(10**7), self._rng)

    def _new_patient(self, kind: str) -> Iterator[SimulatedChange]:
        yield from self._newcomer(kind, self._new_phone(), "delivered")

    def _broken_phone(self, kind: str) -> Iterator[SimulatedChange]:
        yield from self._newcomer(kind, BROKEN_PHONES[0], "withheld")

    def _phone_corrected(self, kind: str) -> Iterator[SimulatedChange]:
        candidate, record = self.candidates.any(), Recorder(self._store)
        person: dict[str, Any] = self._store.rows("Persons", ID=candidate.patient)[0]
        values = {"MobilePhone": self._new_phone(), "DateTimeChanged": self._now}
        record.update("Persons", {"ID": candidate.patient}, person, values)
        yield SimulatedChange(
            kind, "patient", candidate.patient, "update", Expectation("delivered", None, record.rows)
        )
