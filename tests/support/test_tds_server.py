"""The test server itself, judged by real drivers: FreeTDS and, where its wheel is there, Microsoft's."""

import datetime as dt
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.clinic_database import free_tds, microsoft
from tests.support.tds.database import Database
from tests.support.tds.server import TdsServer

try:
    import pyodbc
except ImportError:
    pytest.skip("no libodbc here: make odbc", allow_module_level=True)

pytestmark = pytest.mark.odbc

NOW = dt.datetime(2024, 5, 6, 7, 8, 9)
TABLES = {
    "Persons": {
        "ID": "int",
        "Surname": "nvarchar(100)",
        "Comment": "nvarchar(max)",
        "Sex": "tinyint",
        "Chair": "smallint",
        "Phone": "bigint",
        "Archive": "bit",
        "Birthday": "date",
        "Changed": "datetime",
        "Opens": "time(0)",
        "Balance": "decimal(18,10)",
        "Scan": "varbinary(50)",
        "Mark": "binary(8)",
    },
    "Receptions": {"ID": "int", "ID_Patients": "int", "PlanStart": "datetime", "RowVersion": "rowversion"},
}
FULL: dict[str, Any] = {
    "ID": 1,
    "Surname": "Ёлкина-Щукина №7 «О’Коннор» 🦷",
    "Comment": "Длинно. " * 3000,
    "Sex": 255,
    "Chair": -32768,
    "Phone": 79161234567,
    "Archive": True,
    "Birthday": dt.date(1899, 12, 31),
    "Changed": dt.datetime(2024, 2, 29, 23, 59, 58, 997000),
    "Opens": dt.time(8, 30),
    "Balance": Decimal("-12345678.0123456789"),
    "Scan": b"\x00\xff",
    "Mark": b"\x00\x00\x00\x00\x00\x00\x01\x02",
}


def _free_tds() -> str | None:
    found = free_tds()
    return (
        f"DRIVER={{{found}}};SERVER=127.0.0.1;PORT={{port}};TDS_Version=7.4;ClientCharset=UTF-8"
        if found
        else None
    )


def _microsoft() -> str | None:
    found = microsoft()
    return f"DRIVER={{{found}}};SERVER=tcp:127.0.0.1,{{port}};Encrypt=no" if found else None


DRIVERS = {"freetds": _free_tds(), "microsoft": _microsoft()}


@pytest.fixture
def database() -> Iterator[Database]:
    database = Database(name="PZ", users={"readonly_user": "secret"}, clock=lambda: NOW)
    database.create(TABLES)
    database.load("Persons", [FULL, {"ID": 2}])
    yield database
    database.close()


@pytest.fixture
def server(database: Database) -> Iterator[TdsServer]:
    with TdsServer(database) as server:
        yield server


@pytest.fixture(params=DRIVERS)
def base(request: pytest.FixtureRequest, server: TdsServer) -> str:
    found = DRIVERS[request.param]
    if found is None:
        pytest.skip(f"no {request.param} driver here: make odbc")
    return found.replace("{port}", str(server.port))


@pytest.fixture
def text(base: str) -> str:
    return f"{base};DATABASE=PZ;UID=readonly_user;PWD=secret"


@pytest.fixture
def connection(text: str) -> Iterator[Any]:
    connection = pyodbc.connect(text, timeout=10)
    yield connection
    connection.close()


def _all(connection: Any, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(sql, *parameters).fetchall()]


def test_every_type_comes_back_as_declared(connection: Any) -> None:
    cursor = connection.execute("SELECT * FROM dbo.Persons ORDER BY ID")
    assert [column[0] for column in cursor.description] == list(TABLES["Persons"])
    full, empty = cursor.fetchall()
    assert dict(zip(TABLES["Persons"], full, strict=True)) == FULL
    assert list(empty) == [2] + [None] * (len(FULL) - 1)


def test_a_datetime_keeps_three_hundredths_of_a_second(connection: Any, database: Database) -> None:
    for number, given in enumerate((0, 1000, 2000, 5000, 998000, 999900), 10):
        database.insert("Persons", {"ID": number, "Changed": dt.datetime(2024, 1, 1, 0, 0, 0, given)})
    found = [row[0] for row in _all(connection, "SELECT Changed FROM Persons WHERE ID >= 10 ORDER BY ID")]
    assert [moment.microsecond // 1000 for moment in found] == [0, 0, 3, 7, 997, 0]
    assert found[-1] == dt.datetime(2024, 1, 1, 0, 0, 1)


def test_computed_columns_have_the_types_of_sql_server(connection: Any) -> None:
    cursor = connection.execute(
        "SELECT COUNT(*) AS n, COUNT_BIG(*) AS big, MAX(p.Changed) AS last, SUM(q.Balance) AS total,"
        " SUM(p.Chair) AS chairs, CASE WHEN MAX(p.ID) > 1 THEN 1 ELSE 0 END AS flag, GETDATE() AS now, MAX(p.ID) / 4"
        " FROM dbo.Persons p LEFT JOIN (SELECT ID, Balance FROM Persons) AS q ON q.ID = p.ID"
    )
    described = [(column[0], column[1], column[4], column[5]) for column in cursor.description]
    assert described == [
        ("n", int, 10, 0),
        ("big", int, 19, 0),
        ("last", dt.datetime, 23, 3),
        ("total", Decimal, 38, 10),
        ("chairs", int, 10, 0),
        ("flag", int, 10, 0),
        ("now", dt.datetime, 23, 3),
        ("", int, 10, 0),
    ]
    assert tuple(cursor.fetchone()) == (2, 2, FULL["Changed"], FULL["Balance"], -32768, 1, NOW, 0)


def test_columns_keep_their_names_and_types_through_a_common_table(connection: Any) -> None:
    cursor = connection.execute(
        "WITH x AS (SELECT ID, Changed, ROW_NUMBER() OVER (ORDER BY ID) AS rn FROM dbo.Persons)"
        " SELECT x.*, CONVERT(varchar(10), x.Changed, 120) AS day FROM x WHERE x.rn = 1"
    )
    assert [(column[0], column[4]) for column in cursor.description][:3] == [
        ("ID", 10),
        ("Changed", 23),
        ("rn", 19),
    ]
    assert tuple(cursor.fetchone()) == (1, FULL["Changed"], 1, "2024-02-29")


def test_parameters_of_every_kind(connection: Any) -> None:
    values = [
        7, 2**40, "Щ", "ж" * 5000, True, 1.5, Decimal("1.25"), dt.date(2024, 1, 2), dt.datetime(2024, 1, 2, 3, 4, 5, 678901),
        dt.time(3, 4, 5), None, b"\x00\x01",
    ]  # fmt: skip
    (found,) = _all(connection, f"SELECT {', '.join('?' * len(values))}", *values)
    assert list(found) == values
    for number in (1, 2):
        assert _all(connection, "SELECT ID FROM Persons WHERE ID = ?", number) == [(number,)]


def test_names_and_texts_ignore_case(connection: Any) -> None:
    wanted = [(1, FULL["Surname"])]
    assert (
        _all(connection, "select id, SURNAME from DBO.persons where surname = ?", FULL["Surname"].upper())
        == wanted
    )
    assert (
        _all(connection, "SELECT [ID], [Surname] FROM [PZ].[dbo].[Persons] WHERE Surname LIKE N'ёлкина%'")
        == wanted
    )
    assert _all(connection, "SELECT Surname + N'!' FROM Persons WHERE ID = 1") == [(FULL["Surname"] + "!",)]
    assert _all(
        connection, "SELECT ISNULL(Surname, N'-'), CAST(ID AS nvarchar(1)) FROM Persons WHERE ID = 2"
    ) == [("-", "2")]


def test_row_versions_grow_and_bound_a_window(connection: Any, database: Database) -> None:
    first = database.insert("Receptions", {"ID_Patients": 1})
    ((mark,),) = _all(connection, "SELECT MIN_ACTIVE_ROWVERSION()")
    second = database.insert("Receptions", {"ID_Patients": 2})
    window = "SELECT ID FROM dbo.Receptions WHERE [RowVersion] >= ? AND [RowVersion] < MIN_ACTIVE_ROWVERSION() ORDER BY ID"
    assert _all(connection, window, mark) == [(second,)]
    database.update("Receptions", {"ID": first}, {"PlanStart": NOW})
    assert _all(connection, window, mark) == [(first,), (second,)]
    ((stamp, number, shown),) = _all(
        connection,
        "SELECT RowVersion, CAST(RowVersion AS bigint), CONVERT(varchar(18), RowVersion, 1) FROM Receptions WHERE ID = ?",
        first,
    )
    assert len(stamp) == 8
    assert number == int.from_bytes(stamp, "big")
    assert shown == f"0x{stamp.hex().upper()}"


def test_lists_pages_and_subqueries(connection: Any, database: Database) -> None:
    database.load("Receptions", ({"ID": number, "ID_Patients": number % 3} for number in range(1, 5001)))
    wanted = list(range(1, 2001, 2))
    listed = f"SELECT ID FROM Receptions WHERE ID IN ({','.join('?' * len(wanted))}) ORDER BY ID"
    assert [row[0] for row in _all(connection, listed, *wanted)] == wanted
    last, pages = 0, []
    while page := _all(connection, "SELECT TOP 2000 ID FROM dbo.Receptions WHERE ID > ? ORDER BY ID", last):
        pages.append(len(page))
        last = page[-1][0]
    assert pages == [2000, 2000, 1000]
    assert len(_all(connection, "SELECT ID, ID_Patients, PlanStart, RowVersion FROM Receptions")) == 5000
    exists = (
        "SELECT p.ID, CASE WHEN EXISTS (SELECT 1 FROM Receptions r WHERE r.ID_Patients = p.ID AND r.ID > 4999)"
        " THEN 1 ELSE 0 END AS seen FROM Persons p ORDER BY p.ID"
    )
    assert _all(connection, exists) == [(1, 0), (2, 1)]


@pytest.mark.parametrize(
    ("login", "number"),
    [
        ("DATABASE=PZ;UID=readonly_user;PWD=wrong", 18456),
        ("DATABASE=Other;UID=readonly_user;PWD=secret", 4060),
    ],
)
def test_refused_logins(base: str, login: str, number: int) -> None:
    with pytest.raises(pyodbc.Error, match=rf"\({number}\)"):
        pyodbc.connect(f"{base};{login}", timeout=10)


@pytest.mark.parametrize(
    ("sql", "state", "number"),
    [
        ("SELECT ID FROM dbo.Nowhere", "42S02", 208),
        ("SELECT Nothing FROM dbo.Persons", "42S22", 207),
        ("SELECT p.Nothing FROM dbo.Persons p", "42S22", 207),
        ("SELEC ID FROM dbo.Persons", "42000", 102),
        ("SELECT ID FROM dbo.Persons WHERE (ID = 1", "42000", 102),
        ("SELECT ID FROM dbo.Persons LIMIT 5", "42000", 102),
        ("INSERT INTO dbo.Persons (ID) VALUES (3)", "42000", 229),
        ("SELECT 1; DELETE FROM dbo.Persons", "42000", 229),
        ("SELECT ID INTO dbo.Copy FROM dbo.Persons", "42000", 229),
    ],
)
def test_refused_statements(connection: Any, database: Database, sql: str, state: str, number: int) -> None:
    with pytest.raises(pyodbc.Error, match=rf"\({number}\)") as refused:
        connection.execute(sql).nextset()
    assert refused.value.args[0] == state
    assert len(database.rows("Persons")) == 2
    assert _all(connection, "SELECT 1") == [(1,)]


def test_what_is_dropped_is_gone(connection: Any, database: Database) -> None:
    listed = "SELECT COLUMN_NAME FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 'persons' AND DATA_TYPE = 'tinyint'"
    assert _all(connection, listed) == [("Sex",)]
    database.drop_column("persons", "sex")
    assert _all(connection, listed) == []
    with pytest.raises(pyodbc.Error, match=r"\(207\)"):
        connection.execute("SELECT Sex FROM Persons")
    database.drop_table("Persons")
    with pytest.raises(pyodbc.Error, match=r"\(208\)"):
        connection.execute("SELECT ID FROM Persons")


def test_what_a_client_asks_about_the_server(connection: Any, database: Database) -> None:
    probes = (
        "SELECT CAST(SERVERPROPERTY('ServerName') AS nvarchar(128)), DB_NAME(), HAS_PERMS_BY_NAME('dbo.Persons','OBJECT','INSERT'),"
        " HAS_PERMS_BY_NAME('dbo.Persons','OBJECT','SELECT'), IS_SRVROLEMEMBER('sysadmin'), OBJECT_ID('dbo.Nowhere')"
    )
    assert _all(connection, probes) == [("CLINIC\\PZSQLEXPRESS", "PZ", 0, 1, 0, None)]
    database.may_write = True
    assert _all(connection, "SELECT HAS_PERMS_BY_NAME('dbo.Persons', 'OBJECT', 'INSERT')") == [(1,)]
    created = _all(connection, "SELECT create_date FROM sys.databases WHERE database_id = DB_ID()")
    assert created == [(dt.datetime(2019, 3, 4, 9, 30),)]
    connection.execute("SET LOCK_TIMEOUT 5000")
    connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET NOCOUNT ON")
    assert database.log[-2:] == [
        "SET LOCK_TIMEOUT 5000",
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET NOCOUNT ON",
    ]


def test_two_connections_read_at_once(connection: Any, text: str, server: TdsServer) -> None:
    answers: list[Any] = []
    second = pyodbc.connect(text, timeout=10)
    reader = threading.Thread(
        target=lambda: answers.extend(_all(connection, "SELECT ID FROM Persons ORDER BY ID"))
    )
    server.hang(120)
    reader.start()
    while not server.waiting:
        time.sleep(0.01)
    assert _all(second, "SELECT COUNT(*) FROM Persons") == [(2,)]
    assert server.waiting == 1
    server.hang(0)
    reader.join()
    assert answers == [(1,), (2,)]
    second.close()


def test_a_timed_out_query_leaves_the_connection_usable(connection: Any, server: TdsServer) -> None:
    connection.timeout = 1
    server.hang(120)
    with pytest.raises(pyodbc.Error, match="HYT00"):
        connection.execute("SELECT ID FROM Persons")
    assert _all(connection, "SELECT ID FROM Persons WHERE ID = 1") == [(1,)]


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "READ COMMITTED"])
def test_sqlalchemy(text: str, database: Database, level: Any) -> None:
    url = sa.URL.create("mssql+pyodbc", query={"odbc_connect": text})
    engine = sa.create_engine(url, isolation_level=level)
    persons = sa.table("Persons", sa.column("ID"), sa.column("Balance"), schema="dbo")
    query = (
        sa.select(persons.c.ID, persons.c.Balance)
        .where(sa.bindparam("last") < persons.c.ID)
        .order_by(persons.c.ID)
        .limit(1)
    )
    for _ in range(2):
        with engine.connect() as connection:
            first = connection.execute(query, {"last": 0})
            assert [tuple(row) for row in first] == [(1, FULL["Balance"])]
            listed = connection.execute(query.where(persons.c.ID.in_([2, 3])), {"last": 1})
            assert [tuple(row) for row in listed] == [(2, None)]
            assert connection.get_isolation_level() == "READ COMMITTED"
            connection.rollback()
    assert sa.inspect(engine).has_table("Persons", schema="dbo")
    assert not sa.inspect(engine).has_table("Nowhere", schema="dbo")
    engine.dispose()
    assert any("SELECT TOP 1 dbo.[Persons]" in sql for sql in database.log)


def test_a_stopped_server_cuts_its_connections(text: str, server: TdsServer) -> None:
    connection = pyodbc.connect(text, timeout=10)
    server.stop()
    with pytest.raises(pyodbc.Error):
        connection.execute("SELECT 1")


def test_the_database_as_a_simulator_writes_it(database: Database) -> None:
    assert database.next_id("Persons") == 3
    assert database.insert("Persons", {"Surname": "Новая", "Changed": NOW}) == 3
    database.update("Persons", {"ID": 3}, {"Balance": Decimal("1.5"), "Surname": None})
    (row,) = database.rows("Persons", ID=3)
    assert [row["Surname"], row["Balance"], row["Changed"]] == [None, Decimal("1.5"), NOW]
    assert [found["ID"] for found in database.rows("Persons", Surname=None)] == [2, 3]
    assert [found["ID"] for found in database.rows("Persons", at_least={"Changed": NOW})] == [3]
    with pytest.raises(LookupError):
        database.update("Persons", {"ID": 99}, {"Sex": 1})
    with pytest.raises(LookupError):
        database.insert("Persons", {"Nonsense": 1})
