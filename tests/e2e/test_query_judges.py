"""Two judges of every text that is sent to SQL Server: an engine that knows T-SQL only, and a list of words.

The test server translates with sqlglot, which understands more than SQL Server does; these two understand
less.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

import pytest
import sqlalchemy as sa
import sqlglot
from pysqlbridge.catalog import Bit, Catalog, Column, DateTime, Float, Integer, NVarChar, QueryError, Table
from sqlalchemy.dialects import mssql

from deployments.sandbox.clinic.schema import TSQL_TYPES
from tasks.ident.introspect import Catalogue
from tasks.ident.queries import ALL_QUERIES, IDS, in_list, touched
from tasks.ident.schema import TABLES
from tests.e2e.conftest import Journey

KINDS = {"bit": Bit, "decimal": Float, "nvarchar": NVarChar, "rowversion": NVarChar} | dict.fromkeys(
    ("date", "datetime", "time"), DateTime
)
#: Words and signs that SQL Server does not know, or that we may never send.
FORBIDDEN = frozenset(
    [
        "LIMIT",
        "ILIKE",
        "||",
        "::",
        "`",
        "INSERT",
        "UPDATE",
        "DELETE",
        "MERGE",
        "TRUNCATE",
        "INTO",
        "CREATE",
        "ALTER",
        "DROP",
        "GRANT",
        "EXEC",
        "EXECUTE",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "NOLOCK",
        "READUNCOMMITTED",
        "OFFSET",
        "FETCH",
        "IIF",
        "CONCAT",
        "FORMAT",
        "TRY_CONVERT",
        "STRING_AGG",
    ]
)
QUOTED = {sqlglot.TokenType.STRING, sqlglot.TokenType.NATIONAL_STRING, sqlglot.TokenType.IDENTIFIER}
SEEN = datetime(2026, 3, 12, 13, 40, 5)
VERSION = "0x00000000000007D0"


def bridge() -> Catalog:
    """An empty clinic in the engine that knows T-SQL only."""
    catalog = Catalog()
    for table, columns in TSQL_TYPES.items():
        listed = [
            Column(name, KINDS.get(re.split(r"\W", declared)[0], Integer)())
            for name, declared in columns.items()
        ]
        catalog.add(Table(table, listed, []))
    return catalog


def whole() -> Catalogue:
    """What a clinic's database has."""
    return Catalogue(
        {table.lower(): frozenset(map(str.lower, columns)) for table, columns in TSQL_TYPES.items()}
    )


def poor() -> Catalogue:
    """What the oldest database has: each table's keys, and what the transfer cannot do without."""
    kept = {"PlanStart", "PlanEnd", "ReceptionCanceled", "Surname", "Name", "Patronymic", "Price"}
    return Catalogue(
        {
            table.lower(): frozenset(
                name.lower() for name in columns if name == "ID" or name.startswith("ID_") or name in kept
            )
            for table, columns in TSQL_TYPES.items()
        }
    )


def compiled(query: sa.Select[tuple[object, ...]]) -> str:
    """Return a query's text for SQL Server, with its values in it."""
    return str(query.compile(dialect=mssql.dialect(), compile_kwargs={"literal_binds": True}))  # type: ignore[no-untyped-call]


def forbidden(sql: str) -> list[str]:
    """Return what a text may not contain; texts in quotes and names in brackets are not looked at."""
    tokens = [token for token in sqlglot.tokenize(sql, read="tsql") if token.token_type not in QUOTED]
    return [token.text.upper() for token in tokens if token.text.upper() in FORBIDDEN]


def queries() -> Iterator[tuple[str, str]]:
    """Every text with its name: as a rich and a poor database is read, whole and by ids."""
    for name, make in ALL_QUERIES.items():
        for kind, catalogue in (("whole", whole()), ("poor", poor())):
            query = make(catalogue)
            yield f"{name}-{kind}", compiled(query)
        listed = in_list(make(whole()), next(iter(query.selected_columns)))
        yield f"{name}-by-ids", compiled(listed.params({IDS: [1, 2, 3]}))
    for table in TABLES:
        stamp = touched(whole(), table, (), SEEN, None)
        if stamp is not None:
            yield f"{table}-stamp", compiled(stamp)
        version = touched(whole(), table, (), None, b"\0\0\0\0\0\0\7\xd0")
        if version is not None:
            text = str(version.compile(dialect=mssql.dialect(paramstyle="named")))  # type: ignore[no-untyped-call]
            yield f"{table}-version", text.replace(":RowVersion_1", VERSION)


TEXTS = dict(queries())


@pytest.mark.parametrize("sql", TEXTS.values(), ids=TEXTS)
def test_every_query_is_plain_t_sql(sql: str) -> None:
    assert forbidden(sql) == []
    bridge().answer(sql)


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT ID FROM dbo.Persons LIMIT 5", ["LIMIT"]),
        ("SELECT Surname || Name FROM dbo.Persons", ["||"]),
        ("SELECT ID::text FROM dbo.Persons", ["::"]),
        ("SELECT ID FROM dbo.Persons WHERE Name ILIKE N'a'", ["ILIKE"]),
        ("SELECT `ID` FROM dbo.Persons", ["`", "`"]),
        ("SELECT ID FROM dbo.Persons WITH (NOLOCK)", ["NOLOCK"]),
        ("SELECT 1; DELETE FROM dbo.Persons", ["DELETE"]),
        ("SELECT ID INTO dbo.Copy FROM dbo.Persons", ["INTO"]),
        ("EXEC sp_who", ["EXEC"]),
        ("SELECT N'insert' AS [delete] FROM dbo.Persons", []),
    ],
)
def test_the_list_of_words_can_fail(sql: str, found: list[str]) -> None:
    assert forbidden(sql) == found


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT Nothing FROM dbo.Persons",
        "SELECT ID FROM dbo.Nowhere",
        "SELECT ID FROM dbo.Persons ORDER BY ID LIMIT 5",
        "SELECT now() FROM dbo.Persons",
        "SELECT ID FROM dbo.Persons WHERE Archive IS TRUE",
        "SELECT ID_Patients, COUNT(*) FROM dbo.Receptions",
    ],
)
def test_the_engine_can_refuse(sql: str) -> None:
    with pytest.raises(QueryError):
        bridge().answer(sql)


def _with_values(sql: str) -> str:
    """Put values of the right kind in place of the parameters of a text as it was sent."""
    sql = re.sub(r"(\[RowVersion\] >= )@P\d+", rf"\g<1>{VERSION}", sql)
    sql = re.sub(r">= @P\d+", f">= '{SEEN:%Y-%m-%dT%H:%M:%S}'", sql)
    return re.sub(r"@P\d+", "1", sql)


@pytest.mark.odbc
def test_what_was_really_sent_is_plain_t_sql(journey: Journey) -> None:
    if journey.kind == "server":
        pytest.skip("a real server keeps no log for us")
    sent = {_with_values(sql) for sql in journey.clinic.log}
    assert {sql: found for sql in sent if (found := forbidden(sql))} == {}
    # What SQLAlchemy asks of a new connection is about views that the engine does not have.
    of_tables = {sql for sql in sent if "dbo.[" in sql}
    assert len(of_tables) > 20
    catalog = bridge()
    for sql in of_tables:
        catalog.answer(sql)
