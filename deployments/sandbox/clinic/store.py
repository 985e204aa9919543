"""The clinic in a database: what the simulator needs of any store, and the SQLite one."""

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    Table,
    create_engine,
    event,
    func,
    insert,
    select,
    update,
)

from deployments.sandbox.clinic.generator import ClinicData
from deployments.sandbox.clinic.rows import FIRST_ROW_VERSION, Row, row_version
from deployments.sandbox.clinic.schema import METADATA, ROW_VERSIONED

_CHUNK = 5000


class ClinicStore(Protocol):
    """What the simulator asks of a database in IDENT's schema."""

    def rows(self, table: str, *, at_least: Mapping[str, Any] | None = None, **equals: Any) -> list[Row]:
        """Rows whose columns equal the given values (None: NULL) and reach `at_least`, by key."""
        ...

    def insert(self, table: str, row: Mapping[str, Any]) -> int:
        """Add a row, give it the next ID where the table has one and none is given; returns its key."""
        ...

    def update(self, table: str, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Change exactly one row, named by its key columns."""
        ...

    def next_id(self, table: str) -> int:
        """The ID the next inserted row gets."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def _tune(connection: Any, record: object) -> None:
        del record
        # A demo clinic can be made anew: no need to wait for the disk.
        connection.execute("PRAGMA synchronous=OFF")

    return engine


def write_sqlite(data: ClinicData | Iterable[tuple[str, list[Row]]], path: Path) -> None:
    """Write a clinic into a new SQLite file.

    Args:
        data: The generated clinic, or the chunks of `generator.stream` for one too large for memory.
        path: The file; it must not exist yet.

    Raises:
        FileExistsError: The file is already there.
    """
    if path.exists():
        message = f"{path.name} exists; remove it or name another file"
        raise FileExistsError(message)
    chunks = data.tables.items() if isinstance(data, ClinicData) else data
    engine = _engine(path)
    metadata = _keyless() if isinstance(data, ClinicData) and data.defects else METADATA
    try:
        metadata.create_all(engine)
        with engine.begin() as connection:
            for table, rows in chunks:
                _insert_all(connection, metadata.tables[table], rows)
    finally:
        engine.dispose()


def _keyless() -> MetaData:
    """Return the tables without keys and references: a dirty clinic has rows that are there twice."""
    built = MetaData()
    for name, table in METADATA.tables.items():
        Table(name, built, *(Column(column.name, column.type) for column in table.columns))
    return built


def _insert_all(connection: Connection, table: Table, rows: Iterable[Row]) -> None:
    remaining = iter(rows)
    while chunk := list(islice(remaining, _CHUNK)):
        connection.execute(insert(table), chunk)


class SqliteStore:
    """A clinic's SQLite file, changed row by row as IDENT would change it."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            message = f"{path.name} does not exist; generate the clinic first"
            raise FileNotFoundError(message)
        self._engine = _engine(path)

    def rows(self, table: str, *, at_least: Mapping[str, Any] | None = None, **equals: Any) -> list[Row]:
        """Rows whose columns equal the given values (None: NULL) and reach `at_least`, by key."""
        found = METADATA.tables[table]
        query = select(found).order_by(*found.primary_key.columns)
        query = query.where(*(found.c[name] == value for name, value in equals.items()))
        query = query.where(*(found.c[name] >= value for name, value in (at_least or {}).items()))
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def insert(self, table: str, row: Mapping[str, Any]) -> int:
        """Add a row, give it the next ID where the table has one and none is given; returns its key."""
        found = METADATA.tables[table]
        key = next(iter(found.primary_key.columns)).name
        values = dict(row)
        if values.get(key) is None:
            values[key] = self.next_id(table)
        with self._engine.begin() as connection:
            connection.execute(insert(found).values(values | _stamp(connection, table)))
        return int(values[key])

    def update(self, table: str, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Change exactly one row, named by its key columns.

        Raises:
            LookupError: The key names no row, or several.
        """
        found = METADATA.tables[table]
        with self._engine.begin() as connection:
            changed = connection.execute(
                update(found)
                .where(*(found.c[name] == value for name, value in key.items()))
                .values(dict(values) | _stamp(connection, table))
            )
            if changed.rowcount != 1:
                message = f"{table}: the key {dict(key)} names {changed.rowcount} rows"
                raise LookupError(message)

    def next_id(self, table: str) -> int:
        """The ID the next inserted row gets."""
        key = next(iter(METADATA.tables[table].primary_key.columns))
        with self._engine.connect() as connection:
            return int(connection.execute(select(func.coalesce(func.max(key), 0))).scalar_one()) + 1

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()


def _stamp(connection: Connection, table: str) -> Row:
    """The next row version of the database, for a table that has the column."""
    if table not in ROW_VERSIONED:
        return {}
    highest = FIRST_ROW_VERSION - 1
    for name in ROW_VERSIONED:
        value = connection.execute(select(func.max(METADATA.tables[name].c.RowVersion))).scalar_one()
        highest = max(highest, int.from_bytes(value or b"", "big"))
    return {"RowVersion": row_version(highest + 1)}
