"""The system views a client asks about the schema: INFORMATION_SCHEMA and the few of sys that drivers read."""

import datetime as dt
from collections.abc import Mapping

import duckdb

from tests.support.tds.types import TEXT_TYPES, duck_type, parse_type

_SCHEMA = """
CREATE SCHEMA dbo; CREATE SCHEMA info; CREATE SCHEMA tsql;
CREATE TABLE info.schemata (CATALOG_NAME VARCHAR, SCHEMA_NAME VARCHAR);
CREATE TABLE info.tables (TABLE_CATALOG VARCHAR, TABLE_SCHEMA VARCHAR, TABLE_NAME VARCHAR, TABLE_TYPE VARCHAR);
CREATE TABLE info.columns (TABLE_CATALOG VARCHAR, TABLE_SCHEMA VARCHAR, TABLE_NAME VARCHAR, COLUMN_NAME VARCHAR,
  ORDINAL_POSITION INTEGER, COLUMN_DEFAULT VARCHAR, IS_NULLABLE VARCHAR, DATA_TYPE VARCHAR,
  CHARACTER_MAXIMUM_LENGTH INTEGER, NUMERIC_PRECISION UTINYINT, NUMERIC_SCALE INTEGER,
  DATETIME_PRECISION SMALLINT, COLLATION_NAME VARCHAR);
CREATE TABLE tsql.databases (name VARCHAR, database_id INTEGER, create_date TIMESTAMP, compatibility_level UTINYINT,
  collation_name VARCHAR, state_desc VARCHAR, is_read_only BOOLEAN, snapshot_isolation_state_desc VARCHAR,
  is_read_committed_snapshot_on BOOLEAN);
CREATE TABLE tsql.schemas (name VARCHAR, schema_id INTEGER);
CREATE TABLE tsql.objects (name VARCHAR, object_id INTEGER, schema_id INTEGER, type VARCHAR, type_desc VARCHAR);
CREATE VIEW tsql.tables AS SELECT * FROM tsql.objects WHERE type = 'U';
CREATE TABLE tsql.columns (object_id INTEGER, name VARCHAR, column_id INTEGER, is_nullable BOOLEAN);
CREATE TABLE tsql.system_views (name VARCHAR);
INSERT INTO tsql.schemas VALUES ('dbo', 1), ('sys', 4);
INSERT INTO tsql.system_views VALUES ('dm_exec_sessions');
"""
# The views whose types a client must see as SQL Server declares them.
SYSTEM_COLUMNS = {
    "databases": {"name": "sysname", "database_id": "int", "create_date": "datetime"},
}
_PRECISIONS = {"tinyint": 3, "smallint": 5, "int": 10, "bigint": 19, "float": 53, "real": 24, "money": 19}


def create_system_views(connection: duckdb.DuckDBPyConnection, database: str, created: dt.datetime) -> None:
    """Makes the views of an empty database."""
    connection.execute(_SCHEMA)
    connection.execute("INSERT INTO info.schemata VALUES (?, 'dbo')", [database])
    connection.execute(
        "INSERT INTO tsql.databases VALUES (?, 5, ?, 120, 'Cyrillic_General_CI_AS', 'ONLINE', FALSE, 'OFF', FALSE)",
        [database, created],
    )


def describe_tables(
    connection: duckdb.DuckDBPyConnection, database: str, tables: Mapping[str, Mapping[str, str]]
) -> None:
    """Writes the views anew for a changed schema."""
    for view in ("info.tables", "info.columns", "tsql.objects", "tsql.columns"):
        connection.execute(f"DELETE FROM {view}")
    for number, (table, columns) in enumerate(tables.items(), 1000):
        connection.execute("INSERT INTO tsql.objects VALUES (?, ?, 1, 'U', 'USER_TABLE')", [table, number])
        connection.execute("INSERT INTO info.tables VALUES (?, 'dbo', ?, 'BASE TABLE')", [database, table])
        described = [
            [
                database,
                "dbo",
                table,
                column,
                position,
                None,
                "NO" if position == 1 else "YES",
                *_facts(declared),
            ]
            for position, (column, declared) in enumerate(columns.items(), 1)
        ]
        connection.executemany(f"INSERT INTO info.columns VALUES ({','.join('?' * 13)})", described)
        connection.executemany(
            "INSERT INTO tsql.columns VALUES (?, ?, ?, ?)",
            [[number, column, position, position > 1] for position, column in enumerate(columns, 1)],
        )


def _facts(declared: str) -> list[object]:
    """DATA_TYPE, length, precision, scale, precision of a time, collation."""
    name, numbers = parse_type(declared)
    if name in TEXT_TYPES or name in {"binary", "varbinary"}:
        collation = "Cyrillic_General_CI_AS" if name in TEXT_TYPES else None
        return [name, numbers[0] if numbers else 1, None, None, None, collation]
    if name in {"decimal", "numeric"}:
        precision, scale = duck_type(declared).removeprefix("DECIMAL(").removesuffix(")").split(",")
        return [name, None, int(precision), int(scale), None, None]
    if name in {"datetime", "datetime2", "time", "date", "smalldatetime"}:
        return [name, None, None, None, {"datetime": 3, "date": 0}.get(name, 7), None]
    # SQL Server calls a rowversion by its old name here.
    return [
        "timestamp" if name == "rowversion" else name,
        None,
        _PRECISIONS.get(name),
        0 if name in _PRECISIONS else None,
        None,
        None,
    ]
