"""A whole clinic from a seed: the same specification gives the same rows, to the byte."""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

from deployments.sandbox.clinic.dirty import Defect, soil
from deployments.sandbox.clinic.people import Cases, Patient, People
from deployments.sandbox.clinic.rows import Row, RowFactory
from deployments.sandbox.clinic.schedule import (
    CELLS,
    GRID,
    OPENS,
    Slot,
    appointments_per_day,
    chairs_per_branch,
    slots_of_day,
)
from deployments.sandbox.clinic.schema import METADATA
from deployments.sandbox.clinic.staff import Staff, branch_rows, dictionary_rows, plan_staff, staff_rows
from deployments.sandbox.clinic.visits import Booking, Visits

Chunk = tuple[str, list[Row]]
"""Rows of one table."""

_CHUNK = 5000
_NOON = time(12)
_DIRTY_APPOINTMENTS, _DIRTY_PATIENTS = 360, 120
_LONGEST_CHAIN = 3
_DAYS_FOR_SUCCESSORS = 4
_FIRST_CELL = OPENS.hour * 4 + 1


@dataclass(frozen=True)
class ClinicSpec:
    """What clinic to make.

    Attributes:
        today: The clinic's present day; its present moment is noon.
        appointments: Rows of Receptions.
        patients: Rows of Patients; a third of the appointments when not given.
        seed: The source of chance.
        branches: Companies with chairs of their own.
        days_back: How far the past reaches.
        days_ahead: How far bookings reach.
        dirty: Whether defects are planted, as real clinics have them; see ``dirty``.
    """

    today: date
    appointments: int = 300
    patients: int | None = None
    seed: int = 7
    branches: int = 2
    days_back: int = 180
    days_ahead: int = 30
    dirty: bool = False

    def __post_init__(self) -> None:
        smallest = min(self.appointments, self.branches, self.days_back, self.days_ahead, self.patient_count)
        if smallest < 1:
            message = "appointments, patients, branches, days_back and days_ahead must be at least 1"
            raise ValueError(message)
        if self.dirty and (self.appointments < _DIRTY_APPOINTMENTS or self.patient_count < _DIRTY_PATIENTS):
            message = (
                f"a dirty clinic needs {_DIRTY_APPOINTMENTS} appointments and {_DIRTY_PATIENTS} patients"
            )
            raise ValueError(message)

    @property
    def patient_count(self) -> int:
        """How many patients there are."""
        return max(1, self.appointments // 3) if self.patients is None else self.patients


@dataclass(frozen=True)
class ClinicData:
    """A generated clinic.

    Attributes:
        tables: Rows of every table, in an order that satisfies the foreign keys.
        cases: Name of a special case -> ids of its rows (of Receptions, Persons or Orders).
        defects: What was planted into a dirty clinic.
    """

    tables: dict[str, list[Row]]
    cases: Cases = field(default_factory=dict)
    defects: tuple[Defect, ...] = ()


def generate(spec: ClinicSpec) -> ClinicData:
    """Make a clinic in memory.

    Args:
        spec: What clinic to make.
    """
    tables: dict[str, list[Row]] = {table.name: [] for table in METADATA.sorted_tables}
    cases: Cases = {}
    for table, rows in stream(spec, cases):
        tables[table].extend(rows)
    defects = soil(tables, cases, datetime.combine(spec.today, _NOON), spec.seed) if spec.dirty else []
    return ClinicData(tables, cases, tuple(defects))


def stream(spec: ClinicSpec, cases: Cases | None = None) -> Iterator[Chunk]:
    """Make a clinic piece by piece, for one that does not fit in memory; without planted defects.

    Rows of a table come in order of their keys; the tables are interleaved.

    Args:
        spec: What clinic to make.
        cases: Filled with the ids of special cases while the chunks are read.
    """
    return _Generator(spec, {} if cases is None else cases).chunks()


class _Generator:
    def __init__(self, spec: ClinicSpec, cases: Cases) -> None:
        self._spec = spec
        self._rng = random.Random(spec.seed)
        self._moment = datetime.combine(spec.today, _NOON)
        self._rows = RowFactory()
        self._cases = cases
        self._buffers: defaultdict[str, list[Row]] = defaultdict(list)
        self._days = appointments_per_day(
            spec.appointments, spec.today, spec.days_back, spec.days_ahead, self._rng
        )
        each = chairs_per_branch(max(size for _, size in self._days), spec.branches)
        self._staff: Staff = plan_staff(spec.branches, each)
        self._people = People(self._rng, self._rows, self._moment, cases)
        self._visits = Visits(self._rng, self._rows, self._emit, self._staff, self._moment, cases)

    def _emit(self, table: str, row: Row) -> None:
        self._buffers[table].append(row)

    def _full(self, size: int = _CHUNK) -> Iterator[Chunk]:
        for table, rows in list(self._buffers.items()):
            if len(rows) >= size:
                yield table, self._buffers.pop(table)

    def chunks(self) -> Iterator[Chunk]:
        """Every row of the clinic, grouped."""
        for source in (
            dictionary_rows(self._rows),
            branch_rows(self._staff, self._rows),
            staff_rows(self._staff, self._rng, self._rows, self._moment),
        ):
            for table, row in source:
                self._emit(table, row)
        yield from self._full(1)
        for row in self._people.persons(self._spec.patient_count, self._staff.last_key + 1):
            self._emit("Persons", row)
            yield from self._full()
        for day, size in self._days:
            self._day(day, size)
            yield from self._full()
        self._visits.imported_orders(self._people.patients, max(2, self._spec.appointments // 200))
        for row in self._people.patient_rows(self._staff.doctors):
            self._emit("Patients", row)
            yield from self._full()
        for row in self._time_table():
            self._emit("CurrentTimeTable", row)
            yield from self._full()
        yield from self._full(1)

    def _day(self, day: date, size: int) -> None:
        taken: set[int] = set()
        slots = slots_of_day(day, size, self._staff.chairs, self._rng)
        present = self._present(slots) if day == self._spec.today else {}
        last_days = day > self._days[-1][0] - timedelta(days=_DAYS_FOR_SUCCESSORS)
        for index, slot in enumerate(slots):
            outcome = present.get(index) or self._visits.outcome(slot, last_days=last_days)
            booking = self._booking(slot, outcome, taken)
            chained = booking.transfer is not None and booking.transfer.length >= _LONGEST_CHAIN - 1
            self._visits.write(booking, "cancelled" if outcome == "transferred" and chained else outcome)

    def _present(self, slots: list[Slot]) -> dict[int, str]:
        """Which of today's slots are being worked on at noon: the ones nearest to it, two at least."""
        nearest = sorted(range(len(slots)), key=lambda index: abs(slots[index].start - self._moment))
        running = nearest[: max(2, len(slots) // 8)]
        # The earlier of two neighbours is already in the chair.
        running.sort(key=lambda index: slots[index].start)
        return {index: ("in_progress", "arrived")[turn % 2] for turn, index in enumerate(running)}

    def _booking(self, slot: Slot, outcome: str, taken: set[int]) -> Booking:
        if outcome == "blocked":
            return Booking(slot, None, None)
        waiting = self._visits.transfers
        if outcome != "imported" and waiting and waiting[0].day < slot.start.toordinal():
            transfer = waiting.popleft()
            taken.add(transfer.patient.key)
            return Booking(slot, transfer.patient, transfer)
        return Booking(slot, self._pick(slot, taken), None)

    def _pick(self, slot: Slot, taken: set[int]) -> Patient:
        """Somebody without another appointment that day; archived patients book nothing any more."""
        patients = self._people.patients
        patient = self._rng.choice(patients)
        coming = slot.start.date() >= self._spec.today
        for _ in range(20):
            if patient.key not in taken and not (patient.archived and coming):
                break
            patient = self._rng.choice(patients)
        taken.add(patient.key)
        return patient

    def _time_table(self) -> Iterator[Row]:
        """The grid of the coming week; busy quarters name their appointment."""
        key = 0
        for offset in range(7):
            day = self._spec.today + timedelta(days=offset)
            opens = datetime.combine(day, OPENS)
            for chair in self._staff.chairs:
                for cell in range(-1, CELLS):
                    key += 1
                    yield self._rows.make(
                        "CurrentTimeTable",
                        ID=key,
                        DateOfWork=day,
                        ID_Times=_FIRST_CELL + cell,
                        ID_Armchairs=chair,
                        ID_Staffs=self._staff.doctor(chair, day),
                        ID_Receptions=self._visits.cells.get((chair, opens + GRID * cell)),
                        IsWorkingTime=cell >= 0,
                        IsHeaderCell=cell < 0,
                    )
