"""The database behind the test server: declared T-SQL tables, kept in DuckDB's memory."""

import contextlib
import datetime as dt
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import duckdb
import pyarrow as pa

from tests.support.tds.catalogue import SYSTEM_COLUMNS, create_system_views, describe_tables
from tests.support.tds.errors import SqlError
from tests.support.tds.protocol import Column
from tests.support.tds.storage import arrow_column, stored
from tests.support.tds.translator import Query, Settings, Translator
from tests.support.tds.types import duck_type, inferred_type, parse_type, wire_type

Row = dict[str, Any]
CHUNK = 50_000
VERSION = "Microsoft SQL Server 2014 (SP3) - 12.0.6024.0 (X64) Express Edition (64-bit) [test server]"
_NOT_FOUND = re.compile(r'Referenced column "([^"]+)"|does not have a column named "([^"]+)"')
_NO_TABLE = re.compile(r'Referenced table "([^"]+)" not found')


@dataclass
class Session:
    """What the server knows of one connection."""

    user: str
    host: str
    application: str
    number: int
    cursor: duckdb.DuckDBPyConnection
    transactions: int = 0
    implicit: bool = False
    isolation: int = 2
    cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Stops what this session is running; called from another thread."""
        self.cancelled.set()
        with contextlib.suppress(duckdb.ConnectionException):  # closed meanwhile: nothing runs on it
            self.cursor.interrupt()


@dataclass(frozen=True)
class Result:
    """The answer to one statement; without columns it only counts as done."""

    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    began: bool = False


class Database:
    """Tables in the schema dbo, read by sessions in T-SQL and written by tests through the methods below.

    The first column of a table is its key. A ``rowversion`` column is stamped at every insert and update.

    Attributes:
        log: Every SQL text that came from a client, in order.
        may_write: What HAS_PERMS_BY_NAME answers for anything but SELECT.
        created: ``create_date`` of the database, read once.
    """

    def __init__(
        self,
        name: str = "PZ",
        users: Mapping[str, str] | None = None,
        clock: Callable[[], dt.datetime] = dt.datetime.now,
        *,
        server_name: str = "CLINIC\\PZSQLEXPRESS",
        created: dt.datetime = dt.datetime(2019, 3, 4, 9, 30),
    ) -> None:
        """Makes an empty database.

        Args:
            name: The name a client must ask for.
            users: Login -> password.
            clock: GETDATE(); with a time zone, GETUTCDATE() follows it.
            server_name: SERVERPROPERTY('ServerName').
            created: create_date in sys.databases.
        """
        self.name = name
        self.users = dict(users or {"readonly_user": "secret"})
        self.clock = clock
        self.server_name = server_name
        self.log: list[str] = []
        self.may_write = False
        self._tables: dict[str, dict[str, str]] = {}
        self._rowversion = 2000
        self._lock = threading.RLock()
        self._connection = duckdb.connect()
        self._connection.execute("SET default_collation = 'NOCASE'")
        create_system_views(self._connection, name, created)
        self._translator = self._describe()

    # --- what a test does ---

    def create(self, tables: Mapping[str, Mapping[str, str]]) -> None:
        """Creates tables: name -> column -> declared T-SQL type."""
        with self._lock:
            for table, columns in tables.items():
                listed = ", ".join(
                    f'"{column}" {duck_type(declared)}' for column, declared in columns.items()
                )
                self._connection.execute(f'CREATE TABLE dbo."{table}" ({listed})')
                self._tables[table] = dict(columns)
            self._translator = self._describe()

    def drop_table(self, table: str) -> None:
        """Drops a table."""
        with self._lock:
            found = self._name(table)
            self._connection.execute(f'DROP TABLE dbo."{found}"')
            del self._tables[found]
            self._translator = self._describe()

    def drop_column(self, table: str, column: str) -> None:
        """Drops a column."""
        with self._lock:
            columns = self._tables[self._name(table)]
            self._connection.execute(f'ALTER TABLE dbo."{table}" DROP COLUMN "{column}"')
            del columns[next(name for name in columns if name.lower() == column.lower())]
            self._translator = self._describe()

    def load(self, table: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Adds many rows, in chunks; columns a row does not name are NULL. Returns how many came."""
        count = 0
        source = iter(rows)
        while chunk := list(islice(source, CHUNK)):
            self._append(self._name(table), chunk)
            count += len(chunk)
        return count

    def rows(self, table: str, *, at_least: Mapping[str, Any] | None = None, **equals: Any) -> list[Row]:
        """Rows whose columns equal the given values (None: IS NULL) and are not below ``at_least``, by key."""
        name = self._name(table)
        known = {column: value for column, value in equals.items() if value is not None}
        conditions = [f'"{column}" IS NULL' for column, value in equals.items() if value is None]
        conditions += [f'"{column}" = ?' for column in known] + [
            f'"{column}" >= ?' for column in at_least or {}
        ]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        with self._lock:
            self._connection.execute(
                f'SELECT * FROM dbo."{name}"{where} ORDER BY 1', [*known.values(), *(at_least or {}).values()]
            )
            return [dict(zip(self._tables[name], row, strict=True)) for row in self._connection.fetchall()]

    def insert(self, table: str, row: Mapping[str, Any]) -> int:
        """Adds a row, gives it the next ID where none is given; returns its key."""
        with self._lock:
            name = self._name(table)
            key = next(iter(self._tables[name]))
            values = dict(row)
            if values.get(key) is None:
                values[key] = self.next_id(name)
            self._append(name, [values])
            return int(values[key])

    def update(self, table: str, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Changes exactly one row, named by its key columns.

        Raises:
            LookupError: The key names no row, or several.
        """
        with self._lock:
            name = self._name(table)
            columns = self._tables[name]
            changed = {column: value for column, value in values.items() if column in columns}
            if len(changed) != len(values):
                message = f"{name} has no column {sorted(set(values) - set(columns))}"
                raise LookupError(message)
            stamp = self._rowversion + 1
            changed |= {
                column: stamp.to_bytes(8, "big") for column in columns if _is_rowversion(columns[column])
            }
            where = " AND ".join(f'"{column}" = ?' for column in key)
            count = self._number(f'SELECT count(*) FROM dbo."{name}" WHERE {where}', [*key.values()])
            if count != 1:
                message = f"{name}: the key {dict(key)} names {count} rows"
                raise LookupError(message)
            sets = ", ".join(f'"{column}" = {stored("?", columns[column])}' for column in changed)
            self._connection.execute(
                f'UPDATE dbo."{name}" SET {sets} WHERE {where}', [*changed.values(), *key.values()]
            )
            self._rowversion = stamp

    def next_id(self, table: str) -> int:
        """The ID the next inserted row gets."""
        with self._lock:
            name = self._name(table)
            key = next(iter(self._tables[name]))
            return self._number(f'SELECT coalesce(max("{key}"), 0) + 1 FROM dbo."{name}"', [])

    def close(self) -> None:
        """Lets go of the memory."""
        with self._lock:
            self._connection.close()

    # --- what the server does ---

    def session(self, user: str, host: str, application: str, number: int) -> Session:
        """Opens a session; it reads beside all others."""
        with self._lock:
            return Session(user, host, application, number, self._connection.cursor())

    def run(self, sql: str, parameters: Mapping[str, Any], session: Session) -> list[Result]:
        """Runs a batch for a session.

        Raises:
            SqlError: What SQL Server would answer instead.
        """
        self.log.append(sql)
        results = []
        for step in self._translator.translate(sql):
            if isinstance(step, Settings):
                _apply(step, session)
                results.append(Result())
            else:
                results.append(self._read(step, parameters, session))
        return results

    def _read(self, query: Query, parameters: Mapping[str, Any], session: Session) -> Result:
        known = self._session_values(session) | dict(parameters)
        missing = next((name for name in query.parameters if name not in known), None)
        if missing:
            raise SqlError(137, f'Must declare the scalar variable "@{missing}".', 15)
        used = {name: known[name] for name in query.parameters}
        try:
            session.cursor.execute(query.sql, used or None)
            description = session.cursor.description or []
            rows = tuple(session.cursor.fetchall())
        except duckdb.Error as problem:
            raise _as_sql_error(problem) from None
        outputs = query.outputs if len(query.outputs) == len(description) else None
        columns = []
        for index, (name, duck, *_) in enumerate(description):
            label, declared = outputs[index] if outputs else (name, None)
            chosen = declared or inferred_type(
                str(duck), [row[index] for row in rows] if str(duck) == "VARCHAR" else []
            )
            columns.append(Column(label, wire_type(chosen)))
        began = session.implicit and not session.transactions and query.reads_tables
        session.transactions = 1 if began else session.transactions
        return Result(tuple(columns), rows, began)

    def _session_values(self, session: Session) -> dict[str, Any]:
        now = self.clock()
        utc = now.astimezone(dt.UTC).replace(tzinfo=None) if now.tzinfo else now
        return {
            "s_now": now.replace(tzinfo=None),
            "s_utc": utc,
            "s_spid": session.number,
            "s_user": session.user,
            "s_host": session.host,
            "s_app": session.application,
            "s_trancount": session.transactions,
            "s_isolation": session.isolation,
            "s_may_write": int(self.may_write),
            "s_servername": self.server_name,
            "s_version": VERSION,
            "s_rowversion": (self._rowversion + 1).to_bytes(8, "big"),
            "s_dbts": self._rowversion.to_bytes(8, "big"),
        }

    # --- inside ---

    def _describe(self) -> Translator:
        describe_tables(self._connection, self.name, self._tables)
        return Translator(self.name, self._tables, SYSTEM_COLUMNS)

    def _number(self, sql: str, parameters: list[Any]) -> int:
        # DuckDB keeps a connection busy until its last row is read.
        return int(self._connection.execute(sql, parameters).fetchall()[0][0])

    def _name(self, table: str) -> str:
        found = next((name for name in self._tables if name.lower() == table.lower()), None)
        if found is None:
            message = f"no table {table}"
            raise LookupError(message)
        return found

    def _append(self, table: str, rows: list[Mapping[str, Any]]) -> None:
        columns = self._tables[table]
        unknown = {name for row in rows for name in row} - set(columns)
        if unknown:
            message = f"{table} has no column {sorted(unknown)}"
            raise LookupError(message)
        with self._lock:
            last = self._rowversion
            arrays = {}
            for column, declared in columns.items():
                if _is_rowversion(declared):
                    values: list[Any] = [
                        (last + number).to_bytes(8, "big") for number in range(1, len(rows) + 1)
                    ]
                else:
                    values = [row.get(column) for row in rows]
                arrays[column] = arrow_column(values, declared)
            stamped = any(map(_is_rowversion, columns.values()))
            self._connection.register("incoming", pa.table(arrays))
            listed = ", ".join(stored(f'"{column}"', declared) for column, declared in columns.items())
            try:
                self._connection.execute(f'INSERT INTO dbo."{table}" SELECT {listed} FROM incoming')
            finally:
                self._connection.unregister("incoming")
            # Only now may MIN_ACTIVE_ROWVERSION() pass these rows: a reader must not step over them unseen.
            self._rowversion = last + len(rows) if stamped else last


def _is_rowversion(declared: str) -> bool:
    return parse_type(declared)[0] in {"rowversion", "timestamp"}


def _apply(settings: Settings, session: Session) -> None:
    if settings.isolation is not None:
        session.isolation = settings.isolation
    if settings.implicit is not None:
        session.implicit = settings.implicit
    if settings.transactions is not None:
        session.transactions = settings.transactions


def _as_sql_error(problem: duckdb.Error) -> SqlError:
    text = str(problem)
    first = text.splitlines()[0]
    if isinstance(problem, duckdb.InterruptException):
        return SqlError(3617, "Query was canceled by user.", 11)
    if found := _NOT_FOUND.search(text):
        return SqlError.no_column(found[1] or found[2])
    if found := _NO_TABLE.search(text):
        return SqlError(4104, f'The multi-part identifier "{found[1]}" could not be bound.')
    if isinstance(problem, duckdb.CatalogException):
        return SqlError(195, first, 15)
    return SqlError(8114, first)
