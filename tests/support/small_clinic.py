"""A clinic of a few rows that a reader can hold in mind, in SQLite or on the T-SQL test server."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from deployments.sandbox.clinic.generator import ClinicData
from deployments.sandbox.clinic.schema import METADATA, TSQL_TYPES
from deployments.sandbox.clinic.store import ClinicStore, SqliteStore, write_sqlite
from tasks.frames import Entity, empty_frame
from tasks.ident.connection import IdentConnection, build_engine
from tasks.ident.reader import Changes, IdentReader, Watermark, Window
from tests.support.tds.database import Database
from tests.support.tds.server import TdsServer

__all__ = [
    "BEGINNING",
    "NOW",
    "ClinicFile",
    "ClinicServer",
    "SmallClinic",
    "base_rows",
    "joined",
    "without",
    "write_base",
]

#: When everything in the base clinic was last touched, and the clinic's present.
BEGINNING, NOW = datetime(2026, 3, 1, 9), datetime(2026, 3, 12, 13, 40, 5)
PASSWORD = "secret"
NOWHERE = Watermark()

#: The tables a test looks at, in an order that satisfies the foreign keys.
_BASE: dict[str, list[dict[str, Any]]] = {
    "Persons": [
        {"ID": 1, "Surname": "Орлова", "Name": "Анна", "Patronymic": "Петровна"},
        {"ID": 2, "Surname": "Белов", "Name": "Игорь", "Patronymic": None},
        {
            "ID": 11,
            "Surname": "Ким",
            "Name": "Вера",
            "Patronymic": "Львовна",
            "Birthday": date(1990, 2, 1),
            "Sex": 2,
            "MobilePhone": "8 916 123-45-67",
            "Phone": "+7 (495) 765-43-21",
            "Email": "vera@example.org",
            "City": "Тверь",
        },
        {"ID": 12, "Surname": "Лис", "Name": "Олег", "MobilePhone": "89031112233"},
        {"ID": 13, "Surname": "Май", "Name": "Ян", "MobilePhone": "89031112244"},
        {"ID": 14, "Surname": "Новый", "Name": "Пётр", "MobilePhone": "89031112255"},
    ],
    "InfoSources": [{"ID": 1, "Name": "Вывеска"}, {"ID": 2, "Name": "Сайт"}],
    "ArchivingReasons": [{"ID": 1, "Name": "Переехал"}],
    "ReceptionCancelReasons": [{"ID": 1, "Name": "Заболел"}, {"ID": 8, "Name": "Пациент не явился"}],
    "AppointmentSources": [{"ID": 1, "Name": "Телефон"}],
    "Staffs": [{"ID_Persons": 1}, {"ID_Persons": 2}],
    "ProfessionNames": [{"ID": 1, "NameProfession": "Терапевт"}, {"ID": 2, "NameProfession": "Ортопед"}],
    "Items": [
        {"ID": 1, "ID_Staffs": 1, "ID_ProfessionNames": 1},
        {"ID": 2, "ID_Staffs": 1, "ID_ProfessionNames": 2},
        {"ID": 3, "ID_Staffs": 2, "ID_ProfessionNames": 2},
    ],
    "OwnCompanies": [{"ID": 1, "Name": "ООО Центр", "BranchName": "Центр"}, {"ID": 2, "Name": "ООО Север"}],
    "Armchairs": [
        {"ID": 1, "NameArmchair": "Кабинет 1", "ID_OwnCompanies": 1},
        {"ID": 2, "NameArmchair": "Кабинет 2", "ID_OwnCompanies": 2},
    ],
    "Patients": [
        {
            "ID_Persons": 11,
            "CardNumber": "А-11",
            "ParentSNP": "Ким Лев",
            "Comment": "аллергия",
            "ID_InfoSources": 1,
            "ID_Staffs": 1,
            "SMSRejection": True,
        },
        {"ID_Persons": 12, "ID_ArchivingReasons": 1, "ID_Staffs": 2},
        {"ID_Persons": 13, "ID_InfoSources": 2},
        {"ID_Persons": 14},
    ],
    "Receptions": [
        {  # done and billed
            "ID": 101,
            "ID_Patients": 11,
            "PlanStart": datetime(2026, 2, 10, 10),
            "PlanEnd": datetime(2026, 2, 10, 10, 30),
            "PatientAppeared": datetime(2026, 2, 10, 9, 55),
            "ReceptionStarted": datetime(2026, 2, 10, 10, 1),
            "ReceptionEnded": datetime(2026, 2, 10, 10, 29),
            "CheckIssued": datetime(2026, 2, 10, 10, 35),
            "ID_Staffs": 1,
            "ID_Armchairs": 1,
            "ID_AppointmentSources": 1,
            "Comment": "снимок",
            "ReceptionAdded": datetime(2026, 2, 1, 9),
        },
        {
            "ID": 102,
            "ID_Patients": 11,
            "PlanStart": datetime(2026, 3, 20, 12),
            "PlanEnd": datetime(2026, 3, 20, 13),
            "ID_Staffs": 2,
            "ID_Armchairs": 2,
        },
        {  # moved to 104
            "ID": 103,
            "ID_Patients": 12,
            "PlanStart": datetime(2026, 3, 5, 12),
            "PlanEnd": datetime(2026, 3, 5, 13),
            "ID_Staffs": 1,
            "ID_Armchairs": 1,
            "ReceptionCanceled": datetime(2026, 3, 1, 8),
            "ID_StaffsReceptionCanceled": 2,
            "ID_ReceptionCancelReasons": 1,
            "CancelReasonComment": "кашель",
        },
        {
            "ID": 104,
            "ID_Patients": 12,
            "PlanStart": datetime(2026, 3, 25, 12),
            "PlanEnd": datetime(2026, 3, 25, 13),
            "ID_Staffs": 1,
            "ID_Armchairs": 1,
            "ID_ReceptionsTransferFrom": 103,
        },
        {  # done, not paid
            "ID": 105,
            "ID_Patients": 13,
            "PlanStart": datetime(2026, 1, 15, 9),
            "PlanEnd": datetime(2026, 1, 15, 10),
            "ReceptionEnded": datetime(2026, 1, 15, 10),
            "ID_Staffs": 2,
            "ID_Armchairs": 1,
        },
        {"ID": 106, "PlanStart": datetime(2026, 3, 21, 9), "PlanEnd": datetime(2026, 3, 21, 10)},
    ],
    "Orders": [
        {"ID": 201, "ID_Receptions": 101, "ID_Patients": 11, "ID_OwnCompanies": 1},
        {"ID": 202, "ID_Receptions": 105, "ID_Patients": 13, "ID_OwnCompanies": 2},
    ],
    "ServiceItems": [{"ID": 1, "Name": "Осмотр"}, {"ID": 2, "Name": "Пломба"}],
    "ServiceItemPrices": [
        {"ID": 1, "ID_ServiceItems": 1, "Price": Decimal(500)},
        {"ID": 2, "ID_ServiceItems": 2, "Price": Decimal("3000.5")},
    ],
    "OrderServiceRelation": [
        {"ID": 301, "ID_Orders": 201, "ID_ServicePrices": 1, "CountService": 1},
        {"ID": 302, "ID_Orders": 201, "ID_ServicePrices": 2, "CountService": 2, "DiscountSum": Decimal(100)},
        {"ID": 303, "ID_Orders": 202, "ID_ServicePrices": 1, "CountService": 1},
    ],
    "PaymentsIn": [{"ID": 401, "ID_Patients": 11, "Payment": Decimal(6401)}],
    "OrderPaymentsJournal": [
        {"ID_Orders": 201, "ID_Patients": 11, "AmountWithDiscount": Decimal(6401), "Debt": Decimal()},
        {"ID_Orders": 202, "ID_Patients": 13, "AmountWithDiscount": Decimal(500), "Debt": Decimal(500)},
    ],
}


def base_rows() -> dict[str, list[dict[str, Any]]]:
    """The base clinic's rows, complete, stamped with its beginning."""
    return {
        table: [
            dict.fromkeys(TSQL_TYPES[table]) | _stamps(table, BEGINNING, new=True) | row
            for row in _BASE.get(table, [])
        ]
        for table in (found.name for found in METADATA.sorted_tables)
    }


def write_base(path: Path) -> Path:
    """Write the base clinic into a new SQLite file."""
    rows = base_rows()
    for number, row in enumerate(rows["Receptions"], 2000):
        row["RowVersion"] = number.to_bytes(8, "big")
    write_sqlite(ClinicData(rows), path)
    return path


def _stamps(table: str, now: datetime, *, new: bool = False) -> dict[str, datetime]:
    names = ("DateTimeAdded", "DateTimeChanged") if new else ("DateTimeChanged",)
    return {name: now for name in names if name in TSQL_TYPES[table]}


class SmallClinic:
    """A clinic's database, changed as IDENT changes it and read as we read it.

    Attributes:
        store: Writes rows.
        connection: How the reader reaches it.
        now: The server's wall clock.
    """

    def __init__(self, store: ClinicStore, connection: IdentConnection) -> None:
        self.store, self.connection = store, connection
        self.now = NOW
        self._engine: sa.Engine | None = None

    @property
    def engine(self) -> sa.Engine:
        """Engine of the database, one for all readers."""
        if self._engine is None:
            self._engine = build_engine(self.connection, clock=lambda: self.now)
        return self._engine

    def close(self) -> None:
        """Let go of all connections."""
        self.store.close()
        if self._engine is not None:
            self._engine.dispose()

    def add(self, table: str, **values: Any) -> int:
        """Add a row, stamped as IDENT stamps it; returns its key."""
        return self.store.insert(table, _stamps(table, self.now, new=True) | values)

    def change(self, table: str, key: int, **values: Any) -> None:
        """Change a row and its stamp."""
        name = next(iter(TSQL_TYPES[table]))
        self.store.update(table, {name: key}, _stamps(table, self.now) | values)

    def reader(self, **options: Any) -> IdentReader:
        """A reader that knows nothing yet."""
        return IdentReader(self.engine, self.connection, **options)

    def changes(self, since: Watermark, window: Window | None = None, **options: Any) -> Changes:
        """What changed since a watermark."""
        return self.reader().changes(since, window or Window(), **options)

    def watermark(self) -> Watermark:
        """The watermark of a full read at this moment."""
        return self.reader().everything(Window()).watermark

    def patients(self, ids: Collection[int] | None = None, **options: Any) -> pd.DataFrame:
        """Canonical patients by id."""
        return joined(Entity.PATIENT, self.reader(**options).patients(ids))

    def appointments(self, ids: Collection[int] | None = None, **options: Any) -> pd.DataFrame:
        """Canonical appointments by id; all of them when no ids are given."""
        reader = self.reader(**options)
        chosen = reader.everything(Window()).appointments if ids is None else ids
        return joined(Entity.APPOINTMENT, reader.appointments(chosen))

    def patient(self, key: int, **options: Any) -> Any:
        """The only row of a patient."""
        return _only(self.patients([key], **options))

    def appointment(self, key: int, **options: Any) -> Any:
        """The only row of an appointment."""
        return _only(self.appointments([key], **options))


def joined(entity: Entity, pages: Iterator[pd.DataFrame]) -> pd.DataFrame:
    """One frame of all pages, by id."""
    frames = list(pages)
    found = pd.concat(frames, ignore_index=True) if frames else empty_frame(entity)
    return found.set_index(f"{entity.value}_id", drop=False)


def _only(frame: pd.DataFrame) -> Any:
    assert len(frame) == 1
    return frame.iloc[0]


class ClinicFile:
    """One SQLite file that is written anew for each test.

    Its engines stay: SQLAlchemy keeps what it compiled with them, which takes longer than to run it.
    """

    def __init__(self, path: Path, template: Path, **connection: Any) -> None:
        shutil.copy(template, path)
        self._path = path
        self._clinic = SmallClinic(
            SqliteStore(path), IdentConnection(driver="sqlite", database=str(path), **connection)
        )

    @contextmanager
    def filled(self, template: Path) -> Iterator[SmallClinic]:
        """The clinic with the rows of another file."""
        shutil.copy(template, self._path)
        self._clinic.now = NOW
        try:
            yield self._clinic
        finally:
            self._clinic.close()


class _Watched(Database):
    """A database that knows which of its tables were written to."""

    written: set[str]

    def _append(self, table: str, rows: list[Mapping[str, Any]]) -> None:
        self.written.add(table)
        super()._append(table, rows)

    def update(self, table: str, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        self.written.add(table)
        super().update(table, key, values)


class ClinicServer:
    """The base clinic on the T-SQL test server; its engines stay, its rows are written anew for each test.

    Attributes:
        database: What the server serves.
        server: The server.
    """

    def __init__(self) -> None:
        self._clinics: dict[str, SmallClinic] = {}
        self._current: SmallClinic | None = None
        self.database = _Watched(name="PZ", users={"readonly_user": PASSWORD}, clock=self._clock)
        self.database._connection.execute("SET threads = 1")  # a few rows: threads only wait for one another
        self.database.create(TSQL_TYPES)
        self.database.written = set(_BASE)
        self.server = TdsServer(self.database)
        self.server.start()

    def clinic(self, driver: str, **connection: Any) -> SmallClinic:
        """A clinic that has its base rows, reached through a driver."""
        known = self._clinics.get(driver)
        if known is None or connection:
            given = {"port": self.server.port, "password": PASSWORD, "driver": driver} | connection
            known = SmallClinic(self.database, IdentConnection(**given))
            self._clinics[driver] = known
        known.now = NOW
        self._current = known
        rows = base_rows()
        for table in sorted(self.database.written):
            self.database._connection.execute(f'DELETE FROM dbo."{table}"')
            self.database.load(
                table, [{name: row[name] for name in row if name != "RowVersion"} for row in rows[table]]
            )
        self.database.written = set()
        return known

    def _clock(self) -> datetime:
        return NOW if self._current is None else self._current.now

    def close(self) -> None:
        """Let go of everything."""
        for clinic in self._clinics.values():
            clinic.engine.dispose()
        self.server.stop()
        self.database.close()


def without(path: Path, table: str, column: str | None = None) -> None:
    """Take a table, or one of its columns, out of a SQLite file."""
    with closing(sqlite3.connect(path)) as link, link:
        link.execute("PRAGMA synchronous = OFF")
        link.execute("DROP VIEW IF EXISTS StaffsView")
        if column is None:
            link.execute(f'DROP TABLE "{table}"')
            return
        kept = [row[1] for row in link.execute(f'PRAGMA table_info("{table}")') if row[1] != column]
        listed = ", ".join(f'"{name}"' for name in kept)
        link.execute(f'CREATE TABLE rest AS SELECT {listed} FROM "{table}"')
        link.execute(f'DROP TABLE "{table}"')
        link.execute(f'ALTER TABLE rest RENAME TO "{table}"')
