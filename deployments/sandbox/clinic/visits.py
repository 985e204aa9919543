"""Appointments of the demo clinic: how each one was booked, moved, kept, missed or billed."""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import count
from typing import NamedTuple

from deployments.sandbox.clinic import names
from deployments.sandbox.clinic.bills import Bills, Emit
from deployments.sandbox.clinic.people import Cases, Patient, spell_phone
from deployments.sandbox.clinic.rows import SENTINEL, Row, RowFactory, sql_datetime
from deployments.sandbox.clinic.schedule import GRID, Slot
from deployments.sandbox.clinic.staff import Staff

# Outcomes of a hundred appointments, dealt from a shuffled deck so that even a small clinic has each.
PAST = {
    "issued": 56, "moved_issued": 4, "ended": 5, "cancelled": 10, "no_show": 6, "transferred": 9,
    "planned": 3, "blocked": 3, "imported": 2, "arrived": 1, "in_progress": 1,
}  # fmt: skip
FUTURE = {"planned": 74, "moved": 6, "cancelled": 8, "transferred": 8, "blocked": 4}

MANUAL_CANCEL_REASONS = (1, 2, 3, 4, 6, 7)
_ONLINE = 2
_BACKFILL_AGE = timedelta(days=30)


class Deck:
    """Deals outcomes in fixed proportions and random order."""

    def __init__(self, outcomes: dict[str, int], rng: random.Random) -> None:
        self._cards = [name for name, number in outcomes.items() for _ in range(number)]
        self._rng = rng
        self._left: list[str] = []

    def deal(self) -> str:
        """The next outcome."""
        if not self._left:
            self._left = self._rng.sample(self._cards, len(self._cards))
        return self._left.pop()


@dataclass(frozen=True, slots=True)
class Transfer:
    """A cancelled appointment that waits for its successor's slot."""

    source: int
    patient: Patient
    at: datetime
    day: int
    length: int


class Booking(NamedTuple):
    """A slot given to somebody."""

    slot: Slot
    patient: Patient | None
    transfer: Transfer | None


class Visits:
    """Writes the rows of Receptions and what hangs on them."""

    def __init__(
        self, rng: random.Random, rows: RowFactory, emit: Emit, staff: Staff, moment: datetime, cases: Cases
    ) -> None:
        self._rng, self._rows, self._emit = rng, rows, emit
        self._staff, self._moment, self._cases = staff, moment, cases
        self._bills = Bills(rng, rows, emit, cases)
        self._ids, self._tickets, self._waiting = count(1), count(1), count(1)
        self._past, self._future = Deck(PAST, rng), Deck(FUTURE, rng)
        self._backfilled = sql_datetime(moment - timedelta(days=20)).replace(
            hour=20, minute=12, microsecond=433000
        )
        self.transfers: deque[Transfer] = deque()
        self.cells: dict[tuple[int, datetime], int] = {}
        self._outcomes: dict[str, Callable[[Row, Booking], None]] = {
            "planned": self._planned,
            "moved": self._moved,
            "arrived": self._arrived,
            "in_progress": self._in_progress,
            "ended": self._ended,
            "issued": self._issued,
            "moved_issued": self._moved_issued,
            "cancelled": self._cancelled,
            "no_show": self._no_show,
            "transferred": self._transferred,
            "blocked": self._blocked,
            "imported": self._imported,
        }

    def outcome(self, slot: Slot, *, last_days: bool) -> str:
        """Deal what becomes of the slot."""
        done = slot.end + timedelta(minutes=20) <= self._moment
        dealt = (self._past if done else self._future).deal()
        # Near the horizon there is no later slot left for a successor.
        return "cancelled" if dealt == "transferred" and last_days else dealt

    def imported_orders(self, patients: Sequence[Patient], number: int) -> None:
        """Orders without a reception, left by an import."""
        for _ in range(number):
            self._bills.imported(self._rng.choice(patients).key, 1)

    def write(self, booking: Booking, outcome: str) -> None:
        """Emit the appointment and its consequences."""
        row = self._book(booking)
        self._outcomes[outcome](row, booking)
        self._emit("Receptions", row)
        self._cases.setdefault(outcome, []).append(row["ID"])
        if row["ReceptionCanceled"] is None:
            self._occupy(row, booking.slot)

    def _occupy(self, row: Row, slot: Slot) -> None:
        today = datetime.combine(self._moment.date(), time())
        if today <= slot.start < today + timedelta(days=7):
            cell = slot.start
            while cell < slot.end:
                self.cells[slot.chair, cell] = row["ID"]
                cell += GRID

    def _book(self, booking: Booking) -> Row:
        rng, slot, transfer = self._rng, booking.slot, booking.transfer
        latest = min(slot.start, self._moment)
        lead = timedelta(minutes=rng.uniform(60, 43200))
        added = transfer.at if transfer else sql_datetime(latest - lead)
        reminder = datetime.combine(slot.start.date() - timedelta(days=1), time(12))
        notified = booking.patient is not None and added < reminder <= self._moment
        administrator = rng.choice(self._staff.administrators)
        row = self._rows.make(
            "Receptions",
            ID=next(self._ids),
            ID_Patients=booking.patient.key if booking.patient else None,
            ID_StaffsReceptionAdded=administrator,
            ReceptionAdded=added,
            Comment=rng.choice(names.APPOINTMENT_COMMENTS) if rng.random() < 0.3 else None,
            DateTimeNotified=reminder if notified else None,
            IsNotified=notified,
            PlanStart=slot.start,
            PlanEnd=slot.end,
            ID_Staffs=self._staff.doctor(slot.chair, slot.start.date()) if rng.random() > 0.01 else None,
            ID_Armchairs=slot.chair,
            NeedHandReminder=rng.random() < 0.1,
            ID_ReceptionsTransferFrom=transfer.source if transfer else None,
            ID_AppointmentSources=rng.choice((1, 1, 1, 2, 3, 4, 5, None)),
            ID_StaffsAdded=administrator,
            DateTimeAdded=added,
            ID_StaffsChanged=administrator,
            DateTimeChanged=max(added, reminder) if notified else added,
        )
        if transfer:
            self._cases.setdefault("successor", []).append(row["ID"])
        elif row["ID_AppointmentSources"] == _ONLINE and booking.patient:
            self._ticket(row, booking.patient)
        return row

    def _ticket(self, row: Row, patient: Patient) -> None:
        if patient.phone is None or patient.archived:
            return
        self._emit(
            "OnlineTickets",
            self._rows.make(
                "OnlineTickets",
                ID=next(self._tickets),
                ID_OwnCompanies=self._staff.branch_of_chair[row["ID_Armchairs"]],
                DateTimeCreated=row["DateTimeAdded"],
                PhoneSource=spell_phone(patient.phone, self._rng),
                PhoneOutInt=7 * 10**10 + patient.phone,
                PatientFullName=patient.full_name,
                PlanStart=row["PlanStart"],
                PlanEnd=row["PlanEnd"],
                FormName="Запись на сайте",
                IsTrash=False,
            ),
        )

    def _touch(self, row: Row, at: datetime, *, by: int | None) -> None:
        row["ID_StaffsChanged"], row["DateTimeChanged"] = by, max(at, row["DateTimeAdded"])

    def _soon(self, at: datetime) -> datetime:
        """When the row was saved: seen between half a second before its last stamp and 11 s after it."""
        return sql_datetime(at + timedelta(seconds=self._rng.uniform(-0.6, 11.3)))

    def _stamps(self, row: Row, *columns: str) -> None:
        """Fill the first `columns` of a visit's course, in order, never after the present moment."""
        rng, start, end = self._rng, row["PlanStart"], row["PlanEnd"]
        at = start - timedelta(minutes=rng.uniform(1, 20))
        steps = (0.0, rng.uniform(2, 25), (end - start).seconds / 60 + rng.uniform(-6, 2), rng.uniform(1, 7))
        for column, minutes in zip(columns, steps, strict=False):
            at += timedelta(minutes=minutes)
            row[column] = sql_datetime(min(at, self._moment))
        by = rng.choice(self._staff.administrators)
        self._touch(row, self._soon(row[columns[-1]]), by=by)

    def _between(self, row: Row, latest: datetime) -> datetime:
        """An instant after the booking and before `latest`."""
        added: datetime = row["DateTimeAdded"]
        return sql_datetime(added + (max(latest, added) - added) * self._rng.uniform(0.1, 0.9))

    def _planned(self, row: Row, booking: Booking) -> None:
        if booking.slot.end < self._moment:
            self._cases.setdefault("past_still_planned", []).append(row["ID"])

    def _moved(self, row: Row, booking: Booking) -> None:
        """Rescheduled in place: only the row's change stamp tells."""
        at = self._between(row, min(booking.slot.start, self._moment))
        self._touch(row, max(at, row["DateTimeChanged"]), by=self._rng.choice(self._staff.administrators))
        self._cases.setdefault("moved_in_place", []).append(row["ID"])

    def _moved_issued(self, row: Row, booking: Booking) -> None:
        self._moved(row, booking)
        self._issued(row, booking)

    def _arrived(self, row: Row, booking: Booking) -> None:
        del booking
        self._stamps(row, "PatientAppeared")

    def _in_progress(self, row: Row, booking: Booking) -> None:
        del booking
        self._stamps(row, "PatientAppeared", "ReceptionStarted")

    def _ended(self, row: Row, booking: Booking) -> None:
        self._stamps(row, "PatientAppeared", "ReceptionStarted", "ReceptionEnded")
        self._treated(row, booking)
        if self._rng.random() < 0.5:
            self._bill(row, formed=False)

    def _issued(self, row: Row, booking: Booking) -> None:
        self._stamps(row, "PatientAppeared", "ReceptionStarted", "ReceptionEnded", "CheckIssued")
        self._treated(row, booking)
        self._bill(row, formed=True)

    def _bill(self, row: Row, *, formed: bool) -> None:
        branch = self._staff.branch_of_chair[row["ID_Armchairs"]]
        self._bills.bill(row, branch, self._rng.choice(self._staff.administrators), formed=formed)

    def _treated(self, row: Row, booking: Booking) -> None:
        if booking.patient and booking.patient.first_visit is None:
            booking.patient.first_visit = row["ReceptionEnded"]

    def _cancel(self, row: Row, reason: int, at: datetime) -> None:
        administrator = self._rng.choice(self._staff.administrators)
        row["ID_ReceptionCancelReasons"], row["ReceptionCanceled"] = reason, at
        row["ID_StaffsReceptionCanceled"] = administrator
        self._touch(row, self._soon(at), by=administrator)

    def _cancelled(self, row: Row, booking: Booking) -> None:
        rng = self._rng
        at = self._between(row, min(booking.slot.start, self._moment))
        self._cancel(row, rng.choice(MANUAL_CANCEL_REASONS), at)
        row["CancelReasonComment"] = rng.choice(names.CANCEL_COMMENTS) if rng.random() < 0.5 else None
        if rng.random() < 0.3:
            self._waiting_list(row, at)

    def _waiting_list(self, row: Row, at: datetime) -> None:
        self._emit(
            "ScheduledReceptions",
            self._rows.make(
                "ScheduledReceptions",
                ID=next(self._waiting),
                ID_Patients=row["ID_Patients"],
                ID_Receptions=row["ID"],
                ID_CRMJobTypes=2,
                ID_OwnCompanies=self._staff.branch_of_chair[row["ID_Armchairs"]],
                ID_Staffs=row["ID_Staffs"],
                Comment="Отменённый приём: предложить другое время",
                Length=30,
                ID_ReceptionCancelReasons=row["ID_ReceptionCancelReasons"],
                DateTimeAdded=at,
                DateTimeChanged=at,
            ),
        )

    def _no_show(self, row: Row, booking: Booking) -> None:
        """Closed by IDENT itself: no canceller, cancelled exactly at the planned end."""
        row["ID_ReceptionCancelReasons"] = names.NO_SHOW_REASON
        row["ReceptionCanceled"] = booking.slot.end
        # Old ones were closed all at once, months later and back-dated, as seen in a real database.
        old = booking.slot.end < self._moment - _BACKFILL_AGE
        at = self._backfilled if old else min(self._moment, booking.slot.end + timedelta(minutes=15))
        self._touch(row, at, by=None)

    def _transferred(self, row: Row, booking: Booking) -> None:
        """Rescheduled through a new row: this one is cancelled, a later slot continues it."""
        slot = booking.slot
        at = self._between(row, min(slot.start, self._moment))
        self._cancel(row, names.TRANSFER_REASON, at)
        if booking.patient:
            length = booking.transfer.length + 1 if booking.transfer else 1
            self.transfers.append(Transfer(row["ID"], booking.patient, at, slot.start.toordinal(), length))

    def _blocked(self, row: Row, booking: Booking) -> None:
        del booking
        row["Comment"] = self._rng.choice(names.BLOCKED_COMMENTS)
        row["ID_AppointmentSources"] = None

    def _imported(self, row: Row, booking: Booking) -> None:
        """Came from an older program: its booking and arrival have no dates, only the end has."""
        row["ReceptionAdded"] = row["PatientAppeared"] = SENTINEL
        row["DateTimeNotified"], row["IsNotified"] = None, False
        row["ReceptionEnded"] = booking.slot.end
        row["ExternalUID"] = f"OLD-{row['ID']}"
        row["ID_StaffsReceptionAdded"] = row["ID_StaffsAdded"] = None
        self._touch(row, row["DateTimeAdded"], by=None)
        self._treated(row, booking)
