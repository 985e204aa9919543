"""Reading a clinic: what changed, and canonical frames of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa

from tasks.frames import Entity
from tasks.ident import queries
from tasks.ident.access import LIST, Access, chunks
from tasks.ident.appointments import AppointmentFrames
from tasks.ident.connection import IdentConnection
from tasks.ident.dictionaries import Dictionaries, changed_entries
from tasks.ident.introspect import Catalogue, introspect
from tasks.ident.patients import PatientFrames
from tasks.ident.schema import TABLES

__all__ = ["Changes", "IdentReader", "Watermark", "Window"]

#: How often all patients are read where IDENT does not say which person changed.
PATIENTS_EVERY = timedelta(minutes=15)
#: On the night of a clock change the wall clock repeats an hour.
CLOCK_CHANGE = timedelta(minutes=60)
RECEPTIONS = TABLES["Receptions"]


@dataclass(frozen=True, slots=True)
class Window:
    """Which appointments are transferred, by planned start, clinic-local; ``None`` is unbounded."""

    start: datetime | None = None
    end: datetime | None = None

    @property
    def condition(self) -> sa.ColumnElement[bool]:
        """The window as a condition on receptions."""
        parts = []
        if self.start is not None:
            parts.append(RECEPTIONS.c.PlanStart >= self.start)
        if self.end is not None:
            parts.append(RECEPTIONS.c.PlanStart <= self.end)
        return sa.and_(*parts) if parts else RECEPTIONS.c.ID.is_not(None)


@dataclass(frozen=True, slots=True)
class Watermark:
    """Up to where a read saw everything.

    Attributes:
        taken_at: The server's own clock before the read, clinic-local; never ours, never a row's.
        row_version: Lowest RowVersion that was still active then.
        dictionaries: Content digests of the dictionaries.
        patients_read_at: When all patients were read last.
    """

    taken_at: datetime | None = None
    row_version: str | None = None
    dictionaries: Mapping[str, str] = field(default_factory=dict)
    patients_read_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the watermark as JSON data."""
        return {
            "taken_at": self.taken_at.isoformat() if self.taken_at else None,
            "row_version": self.row_version,
            "dictionaries": dict(self.dictionaries),
            "patients_read_at": self.patients_read_at.isoformat() if self.patients_read_at else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Watermark:
        """Read what ``to_json`` wrote."""

        def moment(name: str) -> datetime | None:
            return datetime.fromisoformat(data[name]) if data.get(name) else None

        return cls(
            moment("taken_at"),
            data.get("row_version"),
            dict(data.get("dictionaries") or {}),
            moment("patients_read_at"),
        )


@dataclass(frozen=True, slots=True)
class Changes:
    """What has to be read.

    Attributes:
        patients: Ids of patients.
        appointments: Ids of appointments, their whole reschedule chains included.
        watermark: Where the next increment begins.
        dictionaries_changed: Names of dictionaries with changed entries.
    """

    patients: frozenset[int]
    appointments: frozenset[int]
    watermark: Watermark
    dictionaries_changed: tuple[str, ...] = ()


class IdentReader:
    """Reads one clinic's database.

    Args:
        engine: Engine of the database.
        connection: How it is reached; its zone is applied to every time.
        catalogue: What the database has; read when left out.
        page_size: Rows in one page.
        no_show_reasons: Ids of cancel reasons that mean "did not come".
    """

    def __init__(
        self,
        engine: sa.Engine,
        connection: IdentConnection,
        *,
        catalogue: Catalogue | None = None,
        page_size: int = 2000,
        no_show_reasons: frozenset[int] = frozenset(),
    ) -> None:
        self.catalogue = catalogue or introspect(engine)
        self._engine = engine
        self._access = Access(engine)
        self._zone = connection.zone
        self._page_size = page_size
        self._known: Dictionaries | None = None
        self._no_show_reasons = no_show_reasons

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def now(self) -> datetime:
        """Return the server's wall clock."""
        return self._access.now()

    def count(self) -> dict[str, int]:
        """Count patients and appointments."""
        found = {}
        for name, table in (("patients", "Patients"), ("appointments", "Receptions")):
            query = sa.select(sa.func.count()).select_from(TABLES[table])
            found[name] = int(self._access.fetch(query)[0][0])
        return found

    # ---- what has to be read ---------------------------------------------------------------------------

    def everything(self, window: Window) -> Changes:
        """Return all patients and all appointments of a window with their chains."""
        watermark = self._mark(patients_read_at=None)
        patients = self._ids(sa.select(TABLES["Patients"].c.ID_Persons))
        inside = self._ids(sa.select(RECEPTIONS.c.ID).where(window.condition))
        return Changes(patients, self._with_chains(inside), self._mark_at(watermark, watermark.taken_at))

    def changes(self, since: Watermark, window: Window, *, overlap_minutes: int = 15) -> Changes:
        """Return what changed since a watermark; rows may be named although they did not, never the reverse.

        Args:
            since: Where the last read began.
            window: Which appointments are transferred.
            overlap_minutes: How far to read back: IDENT's stamps may be older than their commit.
        """
        if since.taken_at is None:
            return self.everything(window)
        mark = self._mark(since.patients_read_at)
        begin = since.taken_at - timedelta(minutes=overlap_minutes)
        if self._clock_changes(begin, mark.taken_at or since.taken_at):
            begin -= CLOCK_CHANGE
        version = bytes.fromhex(since.row_version) if since.row_version else None
        receptions, patients = self._touched(begin, version)
        entries = changed_entries(since.dictionaries, mark.dictionaries)
        more_receptions, more_patients = self._referring(entries, window)
        receptions |= more_receptions
        patients |= more_patients
        if self._patients_are_due(since, mark):
            patients |= self._ids(sa.select(TABLES["Patients"].c.ID_Persons))
            mark = self._mark_at(mark, mark.taken_at)
        return Changes(
            frozenset(patients), self._inside(self.chain(receptions), window), mark, tuple(sorted(entries))
        )

    def _mark(self, patients_read_at: datetime | None) -> Watermark:
        now = self._access.now()
        version = self._access.lowest_active_version()
        self._known = None
        digests = self._dictionaries().digests()
        return Watermark(now, version.hex() if version else None, digests, patients_read_at)

    @staticmethod
    def _mark_at(mark: Watermark, patients_read_at: datetime | None) -> Watermark:
        return Watermark(mark.taken_at, mark.row_version, mark.dictionaries, patients_read_at)

    def _clock_changes(self, begin: datetime, end: datetime) -> bool:
        first, last = (
            moment.replace(tzinfo=self._zone).utcoffset()
            for moment in (begin - CLOCK_CHANGE, end + CLOCK_CHANGE)
        )
        return first != last

    def _touched(self, begin: datetime, version: bytes | None) -> tuple[set[int], set[int]]:
        """Return receptions and patients whose own rows, orders or payments changed."""
        receptions: set[int] = set()
        patients: set[int] = set()

        def rows(table: str, *names: str) -> list[Any]:
            query = queries.touched(self.catalogue, table, names, begin, version)
            known = query is not None and self.catalogue.has(table)
            return list(self._access.fetch(query)) if known and query is not None else []

        for row in rows("Receptions", "ID", "ID_Patients"):
            receptions.add(row.ID)
            patients.add(row.ID_Patients)
        orders = {row.ID_Orders for row in rows("OrderServiceRelation", "ID_Orders")} - {None}
        touched_orders = [*rows("Orders", "ID_Receptions", "ID_Patients"), *self._orders("ID", orders)]
        # A payment belongs to a patient; the debt of any of their orders may have moved with it.
        payers = {row.ID_Patients for row in rows("PaymentsIn", "ID_Patients")} - {None}
        touched_orders += self._orders("ID_Patients", payers)
        patients |= payers
        for row in touched_orders:
            receptions.add(row.ID_Receptions)
            patients.add(row.ID_Patients)
        patients |= {row.ID_Persons for row in rows("Patients", "ID_Persons")}
        if self.catalogue.has("Persons", "DateTimeChanged"):
            persons = {row.ID for row in rows("Persons", "ID")}
            patients |= self.existing(Entity.PATIENT, persons)
        return receptions - {None}, patients - {None}

    def _orders(self, column: str, ids: Collection[int]) -> list[Any]:
        if not ids or not self.catalogue.has("Orders", column):
            return []
        table = TABLES["Orders"]
        query = sa.select(*queries.columns(self.catalogue, "Orders", "ID_Receptions", "ID_Patients"))
        return list(self._access.fetch_in(query, table.c[column], ids))

    def _patients_are_due(self, since: Watermark, mark: Watermark) -> bool:
        tells = self.catalogue.has("Patients", "DateTimeChanged") and self.catalogue.has(
            "Persons", "DateTimeChanged"
        )
        if tells or mark.taken_at is None:
            return False
        last = since.patients_read_at
        return last is None or not timedelta(0) <= mark.taken_at - last < PATIENTS_EVERY

    def _referring(self, entries: Mapping[str, frozenset[int]], window: Window) -> tuple[set[int], set[int]]:
        """Return appointments of the window and patients that refer to changed dictionary entries."""
        receptions: set[int] = set()
        patients: set[int] = set()
        patient = TABLES["Patients"].c
        chairs = set(entries.get("armchairs", ()))
        companies = entries.get("companies", frozenset())
        if companies:
            chairs |= {
                chair
                for chair, company in self._dictionaries().chair_companies.items()
                if company in companies
            }
            found = {row.ID_Receptions for row in self._orders("ID_OwnCompanies", companies)}
            receptions |= found - {None}
        for table, column, ids in (
            ("Receptions", "ID_Staffs", entries.get("staff", ())),
            ("Receptions", "ID_Armchairs", chairs),
            ("Receptions", "ID_ReceptionCancelReasons", entries.get("cancel_reasons", ())),
            ("Receptions", "ID_AppointmentSources", entries.get("appointment_sources", ())),
            ("Patients", "ID_Staffs", entries.get("staff", ())),
            ("Patients", "ID_InfoSources", entries.get("info_sources", ())),
            ("Patients", "ID_ArchivingReasons", entries.get("archiving_reasons", ())),
        ):
            if not ids or not self.catalogue.has(table, column):
                continue
            if table == "Patients":
                query = sa.select(patient.ID_Persons)
                patients |= {row[0] for row in self._access.fetch_in(query, patient[column], ids)}
            else:
                query = sa.select(RECEPTIONS.c.ID).where(window.condition)
                receptions |= {row[0] for row in self._access.fetch_in(query, RECEPTIONS.c[column], ids)}
        return receptions, patients

    # ---- chains ----------------------------------------------------------------------------------------

    def chain(self, ids: Collection[int]) -> frozenset[int]:
        """Close ids over reschedule chains, towards what they replaced and what replaced them."""
        known = set(ids)
        if not self.catalogue.has("Receptions", "ID_ReceptionsTransferFrom"):
            return frozenset(known)
        source = RECEPTIONS.c.ID_ReceptionsTransferFrom
        frontier = set(known)
        while frontier:
            backwards = self._access.fetch_in(sa.select(source), RECEPTIONS.c.ID, frontier)
            forwards = self._access.fetch_in(sa.select(RECEPTIONS.c.ID), source, frontier)
            reached = {row[0] for row in (*backwards, *forwards)} - {None}
            frontier = reached - known
            known |= frontier
        return self.existing(Entity.APPOINTMENT, known)

    def replaced(self, ids: Collection[int]) -> frozenset[int]:
        """Return which receptions have a successor that is there, whether they are themselves or not."""
        if not ids or not self.catalogue.has("Receptions", "ID_ReceptionsTransferFrom"):
            return frozenset()
        source = RECEPTIONS.c.ID_ReceptionsTransferFrom
        return frozenset(row[0] for row in self._access.fetch_in(sa.select(source), source, ids))

    def appointments_of(self, patients: Collection[int], window: Window) -> frozenset[int]:
        """Return the appointments of patients whose chains have a row in the window."""
        query = sa.select(RECEPTIONS.c.ID).where(window.condition)
        found = {row[0] for row in self._access.fetch_in(query, RECEPTIONS.c.ID_Patients, patients)}
        return self.chain(found) if found else frozenset()

    def _pairs(self) -> Iterator[tuple[int, int]]:
        if self.catalogue.has("Receptions", "ID_ReceptionsTransferFrom"):
            source = RECEPTIONS.c.ID_ReceptionsTransferFrom
            query = sa.select(RECEPTIONS.c.ID, source).where(source.is_not(None))
            yield from ((row[0], row[1]) for row in self._access.fetch(query))

    def _with_chains(self, inside: frozenset[int]) -> frozenset[int]:
        """Close a large set over chains: all pairs are few, and read at once."""
        neighbours: dict[int, set[int]] = defaultdict(set)
        for child, parent in self._pairs():
            neighbours[child].add(parent)
            neighbours[parent].add(child)
        known = set(inside)
        frontier = [key for key in neighbours if key in known]
        while frontier:
            for other in neighbours[frontier.pop()]:
                if other not in known:
                    known.add(other)
                    frontier.append(other)
        # A chain may name a reception that was deleted since.
        return inside | self.existing(Entity.APPOINTMENT, known - inside)

    def _inside(self, ids: frozenset[int], window: Window) -> frozenset[int]:
        """Keep chains that have a row in the window; a chain is kept or left as a whole."""
        if window.start is None and window.end is None:
            return ids
        query = sa.select(RECEPTIONS.c.ID).where(window.condition)
        seeds = {row[0] for row in self._access.fetch_in(query, RECEPTIONS.c.ID, ids)}
        return self.chain(seeds) if seeds else frozenset()

    # ---- frames ----------------------------------------------------------------------------------------

    def _dictionaries(self) -> Dictionaries:
        if self._known is None:
            self._known = Dictionaries.read(self.catalogue, self._access.fetch)
        return self._known

    def _ids(self, query: sa.Select[Any]) -> frozenset[int]:
        return frozenset(row[0] for row in self._access.fetch(query)) - {None}

    def existing(self, entity: Entity, ids: Collection[int]) -> frozenset[int]:
        """Return which ids are still there, without any window or filter."""
        column = TABLES["Patients"].c.ID_Persons if entity is Entity.PATIENT else RECEPTIONS.c.ID
        return frozenset(row[0] for row in self._access.fetch_in(sa.select(column), column, ids))

    def patients(self, ids: Collection[int] | None = None) -> Iterator[pd.DataFrame]:
        """Return canonical patients in pages, by id; all when no ids are given."""
        frames = PatientFrames(self._access, self.catalogue, self._dictionaries(), self._zone)
        if ids is None:
            yield from frames.all_pages(self._page_size)
            return
        for part in chunks(ids, min(LIST, self._page_size)):
            yield frames.of(part)

    def appointments(self, ids: Collection[int]) -> Iterator[pd.DataFrame]:
        """Return canonical appointments in pages, by id."""
        frames = AppointmentFrames(
            self._access, self.catalogue, self._dictionaries(), self._zone, self._no_show_reasons
        )
        for part in chunks(ids, min(LIST, self._page_size)):
            yield frames.of(part)
