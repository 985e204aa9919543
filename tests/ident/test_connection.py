"""How a database is reached and what its errors mean."""

from __future__ import annotations

import socket
import sqlite3
import struct
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
import sqlalchemy as sa
from pydantic import SecretStr, ValidationError
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from tasks.errors import (
    AuthenticationError,
    ConfigurationError,
    DatabaseUnavailableError,
    IdentAmocrmError,
    SchemaError,
)
from tasks.ident.connection import IdentConnection, build_engine, check_server, database_errors
from tests.ident.conftest import driver
from tests.support.small_clinic import NOW, ClinicServer, SmallClinic
from tests.support.tds import protocol, types
from tests.support.tds.errors import SqlError

SECRET = "Секретова"


# ---- settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "zone", ["Europe/Moskva", "MSK+3", "", " ", "/etc/localtime", "../Moscow", "Europe", "Europe/Moscow\0"]
)
def test_a_wrong_zone_is_refused(zone: str) -> None:
    with pytest.raises(ValidationError, match="not a known time zone"):
        IdentConnection(timezone=zone)


def test_a_zone_is_applied() -> None:
    assert IdentConnection(timezone="Asia/Vladivostok").zone == ZoneInfo("Asia/Vladivostok")


@pytest.mark.parametrize(
    "wrong",
    [{"port": 0}, {"port": 70000}, {"database": ""}, {"lock_timeout": -1}, {"query_timeout": 0}, {"prot": 1}],
)
def test_a_wrong_setting_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        IdentConnection(**wrong)


def test_the_password_is_not_shown() -> None:
    connection = IdentConnection(password=SecretStr(SECRET))
    assert SECRET not in repr(connection) + str(connection) + connection.model_dump_json()


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({}, "127.0.0.1:15000"),
        ({"host": "clinic", "port": None}, "clinic:1433"),
        ({"host": "clinic", "instance": "PZSQLSERVER"}, "clinic\\PZSQLSERVER"),
        ({"driver": "sqlite", "database": "demo.sqlite"}, "demo.sqlite"),
    ],
)
def test_its_place_is_named(settings: dict[str, Any], place: str) -> None:
    assert IdentConnection(**settings).place == place


# ---- reaching it ---------------------------------------------------------------------------------------


def test_a_closed_port_an_unknown_host_a_missing_file(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DatabaseUnavailableError, match=f"127.0.0.1:{port} refuses connections"):
        check_server(IdentConnection(port=port))
    for host in ("no-such-host.invalid", "a" * 64 + ".ru"):
        with pytest.raises(DatabaseUnavailableError, match="is unknown") as caught:
            check_server(IdentConnection(host=host))
        assert caught.value.code == "host_unknown"
    with pytest.raises(ConfigurationError, match="no database file"):
        check_server(IdentConnection(driver="sqlite", database=str(tmp_path / "none.sqlite")))


def test_a_server_that_keeps_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(address: object, timeout: float) -> socket.socket:
        assert timeout <= 5
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", silent)
    with pytest.raises(DatabaseUnavailableError, match="does not answer"):
        check_server(IdentConnection())
    # A named instance has no port that could be tried: the driver asks SQL Browser.
    check_server(IdentConnection(instance="PZSQLSERVER"))


def test_an_open_port_is_enough() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_server(IdentConnection(port=server.getsockname()[1]))


def test_the_file_cannot_be_written(clinic: SmallClinic) -> None:
    """Not even past the guard of ``tasks.ident.guard``."""
    link = clinic.engine.raw_connection()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        link.cursor().execute("DELETE FROM Receptions")
    link.close()


def test_the_files_clock_is_the_clinics(clinic: SmallClinic) -> None:
    connection = clinic.connection.model_copy(update={"timezone": "Asia/Vladivostok"})
    with build_engine(connection).connect() as link:
        shown = datetime.fromisoformat(link.execute(sa.text("SELECT getdate()")).scalar_one())
    now = datetime.now(tz=ZoneInfo("Asia/Vladivostok")).replace(tzinfo=None)
    assert abs(now - shown) < timedelta(hours=1)  # Moscow's is seven hours behind


# ---- on the server -------------------------------------------------------------------------------------


@pytest.mark.odbc
def test_it_holds_no_transaction_and_reads_committed_rows(
    sql_clinic: SmallClinic, clinic_server: ClinicServer
) -> None:
    sql_clinic.engine.dispose()
    log = clinic_server.database.log
    begun = len(log)
    asked = "SELECT transaction_isolation_level FROM sys.dm_exec_sessions WHERE session_id = @@SPID"
    with sql_clinic.engine.connect() as link:
        link.execute(sa.text("SELECT COUNT(*) FROM dbo.Receptions")).scalar_one()
        assert link.execute(sa.text("SELECT @@TRANCOUNT")).scalar_one() == 0
        assert link.execute(sa.text(asked)).scalar_one() == 2
    sent = " ; ".join(log[begun:]).upper()
    assert "SET LOCK_TIMEOUT 5000" in sent
    assert "SET TRANSACTION ISOLATION LEVEL READ COMMITTED" in sent
    assert "IMPLICIT_TRANSACTIONS ON" not in sent
    assert "LEVEL READ UNCOMMITTED" not in sent


@pytest.mark.odbc
def test_it_says_that_it_only_reads(sql_clinic: SmallClinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bit fReadOnlyIntent of LOGIN7's TypeFlags: a server may send such a login to a secondary."""
    logins: list[bytes] = []
    parse = protocol.parse_login

    def listening(data: bytes) -> Any:
        logins.append(data)
        return parse(data)

    monkeypatch.setattr(protocol, "parse_login", listening)
    sql_clinic.engine.dispose()
    with sql_clinic.engine.connect():
        pass
    (login,) = logins
    assert struct.unpack_from("<B", login, 26)[0] & 0x20
    assert "ident-amocrm".encode("utf-16-le") in login


@pytest.fixture
def raising(
    sql_clinic: SmallClinic, clinic_server: ClinicServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[SmallClinic, list[SqlError]]]:
    """A clinic whose server answers queries of receptions with the errors of the list, in turn."""
    errors: list[SqlError] = []
    run = clinic_server.database.run

    def answer(sql: str, parameters: Any, session: Any) -> Any:
        if errors and "Receptions" in sql:
            raise errors.pop(0)
        return run(sql, parameters, session)

    monkeypatch.setattr(clinic_server.database, "run", answer)
    yield sql_clinic, errors
    sql_clinic.engine.dispose()


@pytest.mark.odbc
@pytest.mark.parametrize(
    ("number", "message", "kind", "code", "says"),
    [
        (
            1222,
            "Превышено время ожидания запроса на блокировку.",
            DatabaseUnavailableError,
            "locked",
            "locked",
        ),
        (
            1205,
            f"Транзакция ({SECRET}) стала жертвой взаимоблокировки.",
            DatabaseUnavailableError,
            "locked",
            "deadlock",
        ),
        (
            229,
            f"Запрещено разрешение SELECT на объект {SECRET}",
            AuthenticationError,
            "no_select_right",
            "read a table",
        ),
        (
            230,
            f"Запрещено разрешение SELECT на столбец {SECRET}",
            AuthenticationError,
            "no_select_right",
            "read a table",
        ),
        (208, f"Недопустимое имя объекта {SECRET}.", SchemaError, "schema", "lacks a table"),
        (207, f"Недопустимое имя столбца {SECRET}.", SchemaError, "schema", "lacks a column"),
        (
            245,
            f"Ошибка преобразования значения {SECRET} (1222) в int.",
            DatabaseUnavailableError,
            "database_unavailable",
            "failed",
        ),
    ],
)
def test_the_servers_errors_are_told_apart_by_number(
    raising: tuple[SmallClinic, list[SqlError]],
    number: int,
    message: str,
    kind: type[IdentAmocrmError],
    code: str,
    says: str,
) -> None:
    clinic, errors = raising
    errors.append(SqlError(number, message))
    with pytest.raises(IdentAmocrmError) as caught, database_errors(clinic.connection):
        clinic.reader().count()
    error = caught.value
    assert (type(error), error.code) == (kind, code)
    assert says in error.problem
    assert SECRET not in f"{error!r} {error} {error.problem} {error.remedy}"
    # The connection is as good as before.
    assert clinic.reader().count() == {"patients": 4, "appointments": 6}


@pytest.mark.odbc
def test_a_slow_query_is_given_up(clinic_server: ClinicServer) -> None:
    clinic = SmallClinic(
        clinic_server.database,
        clinic_server.clinic(driver("freetds")).connection.model_copy(update={"query_timeout": 2}),
    )
    assert clinic.reader().count()["patients"] == 4
    with clinic.engine.connect() as link:
        clinic_server.server.hang(30)
        with pytest.raises(DatabaseUnavailableError, match="in time"), database_errors(clinic.connection):
            link.execute(sa.text("SELECT COUNT(*) FROM dbo.Receptions"))
    clinic_server.server.hang(0)
    assert clinic.reader().count()["patients"] == 4
    clinic.engine.dispose()


@pytest.mark.odbc
@pytest.mark.parametrize(
    ("wrong", "kind", "code"),
    [
        ({"password": "wrong"}, AuthenticationError, "authentication"),
        ({"user": "sa"}, AuthenticationError, "authentication"),
        ({"database": "Nowhere"}, ConfigurationError, "database_missing"),
    ],
)
def test_a_refused_login(
    sql_clinic: SmallClinic, wrong: dict[str, str], kind: type[IdentAmocrmError], code: str
) -> None:
    given = sql_clinic.connection.model_dump() | wrong
    connection = IdentConnection(**given)
    with pytest.raises(kind) as caught, database_errors(connection), build_engine(connection).connect():
        pass
    assert caught.value.code == code
    assert "wrong" not in str(caught.value)


@pytest.mark.odbc
def test_every_type_of_the_server_becomes_the_same_frame(
    sql_clinic: SmallClinic, clinic: SmallClinic
) -> None:
    for entity in ("patients", "appointments"):
        served, filed = getattr(sql_clinic, entity)(), getattr(clinic, entity)()
        pd.testing.assert_frame_equal(served, filed)


# ---- translation of what drivers say -------------------------------------------------------------------


def translated(kind: type[DBAPIError], *arguments: str) -> IdentAmocrmError:
    error = kind("SELECT 1", None, Exception(*arguments))
    with pytest.raises(IdentAmocrmError) as caught, database_errors(IdentConnection()):
        raise error
    assert caught.value.__suppress_context__
    return caught.value


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (
            (
                "28000",
                "[28000] [Microsoft][ODBC Driver 18 for SQL Server][SQL Server]x (18456) (SQLDriverConnect); [28000] x (4060)",
            ),
            "database_missing",
        ),
        (("28000", "[28000] [FreeTDS][SQL Server]x (18456) (SQLDriverConnect)"), "authentication"),
        (("28000", "Login failed"), "authentication"),
        (("42S02", "[42S02] [FreeTDS][SQL Server]x"), "schema"),
        (("42S22", "no number"), "schema"),
        (("42000", "[42000] [Microsoft]x (1222) (SQLExecDirectW)"), "locked"),
        (("HYT00", "[HYT00] Query timeout expired (0) (SQLExecDirectW)"), "database_unavailable"),
        (("08S01", "[08S01] Read from the server failed (20004) (SQLExecDirectW)"), "database_unavailable"),
        ((), "database_unavailable"),
        (("no such table: main.Receptions",), "schema"),
    ],
)
def test_what_a_driver_says(arguments: tuple[str, ...], code: str) -> None:
    assert translated(OperationalError, *arguments).code == code


def test_a_time_out_is_told_from_a_failure() -> None:
    assert "in time" in translated(OperationalError, "HYT00", "x").problem
    assert "in time" in translated(OperationalError, "HYT01", "x").problem
    assert "SQLSTATE 08S01" in translated(ProgrammingError, "08S01", "x").problem
    # What stands where a state should may be anything: it is not passed on.
    assert SECRET not in translated(OperationalError, SECRET, SECRET).problem


def test_errors_of_others_pass() -> None:
    with pytest.raises(KeyError), database_errors(IdentConnection()):
        raise KeyError
    with (
        pytest.raises(DatabaseUnavailableError, match="NoSuchColumnError"),
        database_errors(IdentConnection()),
    ):
        raise sa.exc.NoSuchColumnError(SECRET)
    assert NOW.tzinfo is None


#: Stands for half an emoji in the test server's tables, which cannot hold one.
HALF = "\ufdd0"


def test_half_a_character_stops_nobody(sql_clinic: SmallClinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column of n characters cuts an emoji in the middle, and SQL Server hands that out."""

    def halved(value: object) -> bytes:
        return str(value).encode("utf-16le").replace(HALF.encode("utf-16le"), b"\x3d\xd8")

    monkeypatch.setattr(types, "utf16", halved)
    sql_clinic.change("Persons", 11, City=f"Мос{HALF}ква 🦷")
    sql_clinic.change("Patients", 11, Comment=HALF)
    found = sql_clinic.patient(11)
    assert found["city"] == "Мос\ufffdква 🦷"
    assert found["comment"] == "\ufffd"
