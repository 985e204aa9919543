"""Reading a clinic: what changed, and canonical frames of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa

from tasks.frames import Entity
from tasks.ident import queries
from tasks.ident.access import LIST, Access, chunks
from tasks.ident.appointments import AppointmentFrames
from tasks.ident.chains import Chains
from tasks.ident.connection import IdentConnection
from tasks.ident.dictionaries import Dictionaries, changed_entries
from tasks.ident.fingerprint import read_fingerprint
from tasks.ident.introspect import Catalogue, introspect
from tasks.ident.marks import Changes, Watermark, Window
from tasks.ident.patients import PatientFrames
from tasks.ident.schema import TABLES

__all__ = ["Changes", "IdentReader", "Watermark", "Window"]

#: Pages of appointments in one frame: pandas takes its time by the frame, not by the row.
PAGES = 5
#: How often all patients are read where IDENT does not say which person changed; other tables likewise.
SILENT_EVERY = timedelta(minutes=15)
#: On the night of a clock change the wall clock repeats an hour.
CLOCK_CHANGE = timedelta(minutes=60)
#: A wall clock that fell back by more than such a night explains was set by somebody.
CLOCK_SET = CLOCK_CHANGE + timedelta(minutes=15)
#: Tables whose changes are watched: what patients are made of, what appointments are made of.
PATIENT_TABLES, APPOINTMENT_TABLES = (
    ("Patients", "Persons"),
    ("Receptions", "Orders", "OrderServiceRelation", "PaymentsIn"),
)
RECEPTIONS = TABLES["Receptions"]


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
        self._access = Access(engine, page_size)
        self._chains = Chains(self._access, self.catalogue)
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

    def highest(self) -> dict[str, int]:
        """Return the highest id of each table that is watched, see ``tasks.ident.fingerprint``."""
        return dict(read_fingerprint(self._engine).highest)

    def row_version(self) -> str | None:
        """Return how far the database's row versions have come, as hexadecimal digits."""
        version = self._access.lowest_active_version()
        return version.hex() if version else None

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
        mark = self._mark()
        return Changes(self._all_patients(), self._chains.of_window(window), mark)

    def changes(self, since: Watermark, window: Window, *, overlap_minutes: int = 15) -> Changes:
        """Return what changed since a watermark; rows may be named although they did not, never the reverse.

        Args:
            since: Where the last read began.
            window: Which appointments are transferred.
            overlap_minutes: How far to read back: IDENT's stamps may be older than their commit.
        """
        mark = self._mark()
        if since.taken_at is None or _went_back(since, mark):
            return Changes(self._all_patients(), self._chains.of_window(window), mark)
        version = bytes.fromhex(since.row_version) if since.row_version else None
        receptions, patients = self._touched(self._begin(since.taken_at, mark, overlap_minutes), version)
        entries = changed_entries(since.dictionaries, mark.dictionaries)
        more_receptions, more_patients = self._referring(entries, window)
        found = self._chains.within(receptions | more_receptions, window)
        patients |= more_patients
        silent = self._silent(version)
        if silent and not _is_recent(since.patients_read_at, mark.taken_at):
            patients |= self._all_patients()
            if silent - set(PATIENT_TABLES):
                found |= self._chains.of_window(window)
        else:
            mark = replace(mark, patients_read_at=since.patients_read_at)
        return Changes(frozenset(patients), found, mark, tuple(sorted(entries)))

    def _mark(self) -> Watermark:
        """Return where the read that begins now will have seen everything."""
        now = self._access.now()
        version = self._access.lowest_active_version()
        self._known = None
        return Watermark(now, version.hex() if version else None, self._dictionaries().digests(), now)

    def _all_patients(self) -> frozenset[int]:
        return frozenset(self._access.fetch_keys(sa.select(TABLES["Patients"].c.ID_Persons)))

    def _begin(self, taken_at: datetime, mark: Watermark, overlap_minutes: int) -> datetime:
        """Return from which wall time on rows count as changed."""
        begin = taken_at - timedelta(minutes=overlap_minutes)
        moments = (begin - CLOCK_CHANGE, taken_at + CLOCK_CHANGE, (mark.taken_at or taken_at) + CLOCK_CHANGE)
        offsets = {moment.replace(tzinfo=self._zone).utcoffset() for moment in moments}
        return begin - CLOCK_CHANGE if len(offsets) > 1 else begin

    def _silent(self, version: bytes | None) -> set[str]:
        """Return the tables in which a change leaves no trace."""
        return {
            table
            for table in (*PATIENT_TABLES, *APPOINTMENT_TABLES)
            if self.catalogue.has(table)
            and not queries.has_versions(self.catalogue, table, version)
            and not self.catalogue.has(table, "DateTimeChanged")
        }

    def _touched(self, begin: datetime, version: bytes | None) -> tuple[set[int], set[int]]:
        """Return receptions and patients whose own rows, orders or payments changed."""

        def rows(table: str, *names: str) -> list[Any]:
            query = queries.touched(self.catalogue, table, names, begin, version)
            return [] if query is None else list(self._access.fetch(query))

        touched = rows("Receptions", "ID", "ID_Patients")
        receptions = {row.ID for row in touched}
        orders = {row.ID_Orders for row in rows("OrderServiceRelation", "ID_Orders")} - {None}
        # A payment belongs to a patient; the debt of any of their orders may have moved with it.
        payers = {row.ID_Patients for row in rows("PaymentsIn", "ID_Patients")} - {None}
        visits = {row.ID for row in self._receptions("ID_Patients", payers)}
        touched_orders = [
            *rows("Orders", "ID_Receptions", "ID_Patients"),
            *self._orders("ID", orders),
            *self._orders("ID_Patients", payers),
            *self._orders("ID_Receptions", visits),
        ]
        billed = {row.ID_Receptions for row in touched_orders} - {None}
        patients = {row.ID_Patients for row in (*touched, *touched_orders)} | payers
        # An order may leave out whose it is: its reception knows.
        patients |= {row.ID_Patients for row in self._receptions("ID", billed - receptions)}
        patients |= {row.ID_Persons for row in rows("Patients", "ID_Persons")}
        if self.catalogue.has("Persons", "DateTimeChanged"):
            persons = {row.ID for row in rows("Persons", "ID")}
            patients |= self.existing(Entity.PATIENT, persons)
        return receptions | billed, patients - {None}

    def _orders(self, column: str, ids: Collection[int]) -> list[Any]:
        if not ids or not self.catalogue.has("Orders", column):
            return []
        table = TABLES["Orders"]
        query = sa.select(*queries.columns(self.catalogue, "Orders", "ID_Receptions", "ID_Patients"))
        return list(self._access.fetch_in(query, table.c[column], ids))

    def _receptions(self, column: str, ids: Collection[int]) -> list[Any]:
        query = sa.select(RECEPTIONS.c.ID, RECEPTIONS.c.ID_Patients)
        return list(self._access.fetch_in(query, RECEPTIONS.c[column], ids))

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
                query = sa.select(RECEPTIONS.c.ID).where(self._chains.reachable(window))
                receptions |= {row[0] for row in self._access.fetch_in(query, RECEPTIONS.c[column], ids)}
        return receptions, patients

    # ---- chains ----------------------------------------------------------------------------------------

    def chain(self, ids: Collection[int]) -> frozenset[int]:
        """Close ids over reschedule chains, towards what they replaced and what replaced them."""
        return self._chains.closed(ids)

    def replaced(self, ids: Collection[int]) -> frozenset[int]:
        """Return which receptions have a successor that is there, whether they are themselves or not."""
        if not ids or not self.catalogue.has("Receptions", "ID_ReceptionsTransferFrom"):
            return frozenset()
        source = RECEPTIONS.c.ID_ReceptionsTransferFrom
        return frozenset(row[0] for row in self._access.fetch_in(sa.select(source), source, ids))

    def appointments_of(self, patients: Collection[int], window: Window) -> frozenset[int]:
        """Return the appointments of patients whose chains have a row in the window."""
        query = sa.select(RECEPTIONS.c.ID).where(self._chains.reachable(window))
        found = {row[0] for row in self._access.fetch_in(query, RECEPTIONS.c.ID_Patients, patients)}
        return self._chains.within(found, window)

    # ---- frames ----------------------------------------------------------------------------------------

    def _dictionaries(self) -> Dictionaries:
        known = self._known  # another thread may begin a read, and forget them
        if known is None:
            known = self._known = Dictionaries.read(self.catalogue, self._access.fetch)
        return known

    def names(self) -> dict[str, list[str]]:
        """Return what appointments can name: branches and members of staff."""
        known = self._dictionaries().names
        return {
            "branches": sorted(set(known["companies"].values())),
            "doctors": sorted(set(known["staff"].values())),
        }

    def existing(self, entity: Entity, ids: Collection[int]) -> frozenset[int]:
        """Return which ids are still there, without any window or filter."""
        column = TABLES["Patients"].c.ID_Persons if entity is Entity.PATIENT else RECEPTIONS.c.ID
        near = self._access.fetch_near(sa.select(column), column, ids)
        return frozenset(row[0] for row in near).intersection(ids)

    def patients(self, ids: Collection[int] | None = None) -> Iterator[pd.DataFrame]:
        """Return canonical patients in pages, by id; all when no ids are given."""
        frames = PatientFrames(self._access, self.catalogue, self._dictionaries(), self._zone)
        if ids is None:
            yield from frames.all_pages(self._page_size)
            return
        for part in chunks(ids, min(LIST, self._page_size)):
            yield frames.of(part)

    def appointments(self, ids: Collection[int]) -> Iterator[pd.DataFrame]:
        """Return canonical appointments, several pages to a frame, by id."""
        frames = AppointmentFrames(
            self._access, self.catalogue, self._dictionaries(), self._zone, self._no_show_reasons
        )
        for part in chunks(ids, PAGES * self._page_size):
            yield frames.of(part)


def _went_back(since: Watermark, mark: Watermark) -> bool:
    """Tell whether clock or RowVersion went back: an older copy was restored, or the clock was set."""
    if (
        since.taken_at is not None
        and mark.taken_at is not None
        and mark.taken_at < since.taken_at - CLOCK_SET
    ):
        return True
    return bool(since.row_version and mark.row_version and mark.row_version < since.row_version)


def _is_recent(last: datetime | None, now: datetime | None) -> bool:
    return last is not None and now is not None and timedelta(0) <= now - last < SILENT_EVERY
