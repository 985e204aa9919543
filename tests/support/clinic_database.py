"""A generated clinic in a T-SQL database: the test server, or a real SQL Server where one is named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from deployments.sandbox.clinic.generator import ClinicData, ClinicSpec, generate
from deployments.sandbox.clinic.rows import Row
from deployments.sandbox.clinic.schema import METADATA, STAFFS_VIEW, TSQL_TYPES
from deployments.sandbox.clinic.store import ClinicStore
from tests.support.tds.database import Database
from tests.support.tds.server import TdsServer

__all__ = ["SERVER_URL", "TIMEZONE", "ClinicDatabase", "clinic_now", "free_tds", "microsoft", "opened"]

TIMEZONE = "Europe/Moscow"
USER, PASSWORD, NAME = "readonly_user", "tds; {secret}", "PZ"
#: An SQLAlchemy URL (mssql+pyodbc://…) of an empty database of a real SQL Server whose login may create tables.
SERVER_URL = os.environ.get("IDENT_TEST_MSSQL_URL", "")
#: Order of creation follows the foreign keys; a real server gets none of them, so any order would do.
TABLES = tuple(table.name for table in METADATA.sorted_tables)


def clinic_now() -> datetime:
    """The clinic's wall clock, as its server keeps it: without a zone."""
    return datetime.now(tz=ZoneInfo(TIMEZONE)).replace(tzinfo=None)


def free_tds() -> str | None:
    """File of FreeTDS' ODBC driver, where it is installed."""
    # Debian has it in lib/*/odbc, Fedora in lib64; to look deeper takes seconds.
    found = sorted(
        path
        for folder in ("lib*", "lib*/*", "lib*/*/*")
        for path in Path("/usr").glob(f"{folder}/libtdsodbc.so*")
    )
    return str(found[0]) if found else None


def microsoft() -> str | None:
    """File of Microsoft's driver from the wheel mssql-python-odbc, where it is installed."""
    try:
        import mssql_python_odbc
    except ImportError:
        return None
    libraries = Path(next(iter(mssql_python_odbc.__path__)), "libs", "linux", "debian_ubuntu")
    found = sorted(libraries.glob("*/lib/libmsodbcsql-*"))
    return str(found[0]) if found else None


@dataclass
class ClinicDatabase:
    """One clinic's database and how the command line reaches it.

    Attributes:
        data: What was generated; the database moves on from there.
        store: Changes the database as IDENT's own programs do.
        host: Where it listens.
        port: On which port.
        name: Name of the database.
        user: Login.
        password: Its password.
        driver: ODBC driver, as the option --driver takes it.
        log: SQL texts that came from clients; a real server tells none.
    """

    data: ClinicData
    store: ClinicStore
    host: str
    port: int
    driver: str
    name: str = NAME
    user: str = USER
    password: str = field(default=PASSWORD, repr=False)
    log: list[str] = field(default_factory=list)

    def rows(self, table: str) -> list[Row]:
        """Return all rows of a table."""
        return self.store.rows(table)

    def options(self, secret: Path, **changed: str) -> list[str]:
        """Return the options of connect-database; the password is written to its file.

        Args:
            secret: File that the password is written to.
            **changed: Options that differ from the truth.
        """
        secret.write_text(changed.pop("password", self.password) + "\n", encoding="utf-8")
        given = {
            "host": self.host,
            "port": str(self.port),
            "database": self.name,
            "user": self.user,
            "password_file": str(secret),
            "timezone": TIMEZONE,
            "driver": self.driver,
        } | changed
        return [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", value)]


@contextmanager
def opened(spec: ClinicSpec, driver: str) -> Iterator[ClinicDatabase]:
    """A clinic on the test server, reached through the given driver."""
    data = generate(spec)
    database = Database(name=NAME, users={USER: PASSWORD}, clock=lambda: datetime.now(tz=ZoneInfo(TIMEZONE)))
    try:
        database.create(TSQL_TYPES)
        for table, rows in data.tables.items():
            database.load(table, _without_versions(rows))
        with TdsServer(database) as server:
            yield ClinicDatabase(data, database, "127.0.0.1", server.port, driver, log=database.log)
    finally:
        database.close()


@contextmanager
def opened_on_a_real_server(spec: ClinicSpec) -> Iterator[ClinicDatabase]:
    """A clinic in the empty database that IDENT_TEST_MSSQL_URL names; its tables are dropped again."""
    url = sa.make_url(SERVER_URL)
    data = generate(spec)
    store = ServerStore(url)
    try:
        store.create()
        for table in TABLES:
            store.load(table, data.tables[table])
        yield ClinicDatabase(
            data,
            store,
            url.host or "127.0.0.1",
            url.port or 1433,
            str(url.query.get("driver") or "auto"),
            url.database or NAME,
            url.username or "",
            str(url.password or ""),
        )
    finally:
        store.drop()
        store.close()


def _without_versions(rows: Iterable[Row]) -> Iterator[Row]:
    return ({name: value for name, value in row.items() if name != "RowVersion"} for row in rows)


class ServerStore:
    """The clinic's tables on a real SQL Server, written with a login that may."""

    def __init__(self, url: sa.URL) -> None:
        self._engine = sa.create_engine(url, fast_executemany=True)
        self._made: list[Callable[[], None]] = []

    def create(self) -> None:
        """Make the tables and the view; fails where one exists already, so that nothing of anybody is lost."""
        for table in TABLES:
            key = next(iter(TSQL_TYPES[table]))
            columns = [
                f"[{name}] {declared}{' NOT NULL PRIMARY KEY' if name == key else ''}"
                for name, declared in TSQL_TYPES[table].items()
            ]
            self._execute(f"CREATE TABLE dbo.[{table}] ({', '.join(columns)})")
            self._made.append(lambda table=table: self._execute(f"DROP TABLE dbo.[{table}]"))  # type: ignore[misc]
        self._execute(f"CREATE VIEW dbo.StaffsView AS {STAFFS_VIEW}")
        self._made.append(lambda: self._execute("DROP VIEW dbo.StaffsView"))

    def drop(self) -> None:
        """Drop what ``create`` made, and nothing else."""
        while self._made:
            self._made.pop()()

    def load(self, table: str, rows: Iterable[Row]) -> None:
        """Add many rows; the server stamps RowVersion itself."""
        listed = list(_without_versions(rows))
        if listed:
            self._execute(self._insertion(table, listed[0]), listed)

    def rows(self, table: str, *, at_least: Mapping[str, Any] | None = None, **equals: Any) -> list[Row]:
        """Rows whose columns equal the given values (None: NULL) and reach `at_least`, by key."""
        known = {name: value for name, value in equals.items() if value is not None}
        bounds = {f"least_{name}": value for name, value in (at_least or {}).items()}
        conditions = [f"[{name}] IS NULL" for name, value in equals.items() if value is None]
        conditions += [f"[{name}] = :{name}" for name in known]
        conditions += [f"[{name}] >= :least_{name}" for name in at_least or {}]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        key = next(iter(TSQL_TYPES[table]))
        with self._engine.connect() as link:
            found = link.execute(
                sa.text(f"SELECT * FROM dbo.[{table}]{where} ORDER BY [{key}]"), known | bounds
            )
            return [dict(row) for row in found.mappings()]

    def insert(self, table: str, row: Mapping[str, Any]) -> int:
        """Add a row, give it the next ID where none is given; returns its key."""
        key = next(iter(TSQL_TYPES[table]))
        values = dict(row)
        if values.get(key) is None:
            values[key] = self.next_id(table)
        self._execute(self._insertion(table, values), values)
        return int(values[key])

    def update(self, table: str, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Change exactly one row, named by its key columns.

        Raises:
            LookupError: The key names no row, or several.
        """
        sets = ", ".join(f"[{name}] = :{name}" for name in values)
        where = " AND ".join(f"[{name}] = :key_{name}" for name in key)
        with self._engine.begin() as link:
            changed = link.execute(
                sa.text(f"UPDATE dbo.[{table}] SET {sets} WHERE {where}"),
                dict(values) | {f"key_{name}": value for name, value in key.items()},
            )
            if changed.rowcount != 1:
                message = f"{table}: the key {dict(key)} names {changed.rowcount} rows"
                raise LookupError(message)

    def next_id(self, table: str) -> int:
        """The ID the next inserted row gets."""
        key = next(iter(TSQL_TYPES[table]))
        with self._engine.connect() as link:
            query = sa.text(f"SELECT COALESCE(MAX([{key}]), 0) + 1 FROM dbo.[{table}]")
            return int(link.execute(query).scalar_one())

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    @staticmethod
    def _insertion(table: str, row: Mapping[str, Any]) -> str:
        listed = ", ".join(f"[{name}]" for name in row)
        return f"INSERT INTO dbo.[{table}] ({listed}) VALUES ({', '.join(f':{name}' for name in row)})"

    def _execute(self, sql: str, parameters: Any = None) -> None:
        with self._engine.begin() as link:
            link.execute(sa.text(sql), parameters)
