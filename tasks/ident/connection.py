"""How a clinic's database is reached, and what its errors mean.

SQL Server's messages come in the server's language (Russian in clinics), and may quote values: errors are
told apart by number and SQLSTATE, and their text is never passed on.
"""

from __future__ import annotations

import re
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from tasks.errors import (
    AuthenticationError,
    ConfigurationError,
    DatabaseUnavailableError,
    IdentAmocrmError,
    SchemaError,
)
from tasks.ident.drivers import DEFAULT_PORT, connection_string, find_driver, load_pyodbc
from tasks.ident.guard import guard_reads, refuse_writes
from tasks.ident.texts import read_half_characters

__all__ = ["IdentConnection", "build_engine", "check_server", "database_errors", "find_driver", "may_pass"]

PROBE_SECONDS = 5.0


class IdentConnection(BaseModel):
    """How to reach one clinic's database."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int | None = Field(default=15000, ge=1, le=65535)
    instance: str | None = None
    database: str = Field(default="PZ", min_length=1)
    user: str = "readonly_user"
    password: SecretStr = SecretStr("")
    driver: str = "auto"
    encryption: Literal["auto", "mandatory", "optional", "off"] = "auto"
    trust_certificate: bool = True
    timezone: str = "Europe/Moscow"
    branches: str = ""
    login_timeout: int = Field(default=10, ge=1)
    query_timeout: int = Field(default=60, ge=1)
    lock_timeout: int = Field(default=5000, ge=0)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            message = "not a known time zone"
            raise ValueError(message) from None
        return value

    @property
    def zone(self) -> ZoneInfo:
        """Zone of the clinic: IDENT stores its wall time."""
        return ZoneInfo(self.timezone)

    @property
    def branch_names(self) -> tuple[str, ...]:
        """Branches whose appointments become deals, by their name in IDENT; empty means all."""
        return tuple(name for part in self.branches.split(",") if (name := part.strip()))

    @property
    def is_file(self) -> bool:
        """Whether the database is a SQLite file, as in the sandbox."""
        return self.driver == "sqlite"

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        if self.is_file:
            return self.database
        return (
            f"{self.host}\\{self.instance}" if self.instance else f"{self.host}:{self.port or DEFAULT_PORT}"
        )


def check_server(connection: IdentConnection) -> None:
    """Tell a closed port or an unknown host from a login problem, before ODBC hides the difference.

    Raises:
        DatabaseUnavailableError: When nothing answers there.
        ConfigurationError: When the file does not exist.
    """
    if connection.is_file:
        if not Path(connection.database).is_file():
            raise ConfigurationError(
                problem=f"There is no database file {connection.database}.",
                remedy="Name an existing file with --database.",
                code="database_missing",
            )
        return
    if connection.instance:
        return
    try:
        timeout = min(PROBE_SECONDS, connection.login_timeout)
        address = (connection.host, connection.port or DEFAULT_PORT)
        socket.create_connection(address, timeout=timeout).close()
    except (socket.gaierror, UnicodeError):
        raise DatabaseUnavailableError(
            problem=f"The database server {connection.host} is unknown.",
            remedy="Check the name or give its IP address with --host.",
            code="host_unknown",
        ) from None
    except OSError as error:
        answer = "does not answer" if isinstance(error, TimeoutError) else "refuses connections"
        raise DatabaseUnavailableError(
            problem=f"The database server {connection.place} {answer}.",
            remedy=(
                "Check that the server runs, its port (IDENT's default is 15000, SQL Server Configuration "
                "Manager shows it) and the firewall."
            ),
        ) from None


def build_engine(connection: IdentConnection, *, clock: Callable[[], datetime] | None = None) -> sa.Engine:
    """Return an engine that only reads, in autocommit: no transaction is held open in the clinic's database.

    Args:
        connection: How to reach the database.
        clock: Wall clock of the clinic, for the SQLite sandbox only.

    Raises:
        ConfigurationError: When no ODBC driver is installed.
    """
    if connection.is_file:
        return _sqlite_engine(connection, clock)
    load_pyodbc()
    parts = connection_string(connection, find_driver(connection.driver))
    engine = sa.create_engine(
        sa.URL.create("mssql+pyodbc", query={"odbc_connect": parts}),
        connect_args={"timeout": connection.login_timeout},
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        pool_pre_ping=True,
    )

    @sa.event.listens_for(engine, "connect")
    def _prepare(raw: Any, _record: Any) -> None:
        raw.timeout = connection.query_timeout
        read_half_characters(raw)
        cursor = raw.cursor()
        # IDENT's own work goes first: rather give way and try at the next tick than wait in its way.
        for statement in (
            f"SET LOCK_TIMEOUT {connection.lock_timeout}",
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        ):
            refuse_writes(statement)
            cursor.execute(statement)
        cursor.close()

    guard_reads(engine)
    return engine


def _sqlite_engine(connection: IdentConnection, clock: Callable[[], datetime] | None) -> sa.Engine:
    now = clock or (lambda: datetime.now(tz=connection.zone).replace(tzinfo=None))

    def connect() -> sqlite3.Connection:
        path = quote(str(Path(connection.database).resolve()))
        link = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
        link.create_function("getdate", 0, lambda: now().isoformat(" ", "milliseconds"))
        return link

    engine = sa.create_engine(
        "sqlite+pysqlite://", creator=connect, poolclass=sa.pool.NullPool, hide_parameters=True
    )
    guard_reads(engine)
    return engine


@contextmanager
def database_errors(connection: IdentConnection) -> Iterator[None]:
    """Translate the database's errors into ours.

    Raises:
        AuthenticationError: When the login is refused or may not read.
        ConfigurationError: When the server has no such database.
        SchemaError: When a table or column is missing.
        DatabaseUnavailableError: For everything that may pass: network, time-outs, locks, deadlocks.
    """
    try:
        yield
    except DBAPIError as error:
        raise _translated(connection, error) from None
    except SQLAlchemyError as error:
        raise DatabaseUnavailableError(
            problem=f"Reading {connection.place} failed ({type(error).__name__}).",
            remedy="Try again; if it lasts, run the command with --verbose and report it.",
        ) from None


#: SQL Server's error number -> our error, its code, what happened and what to do. The first number that an
#: error has decides: for an unknown database the server says 18456 as well as 4060.
SERVER_ERRORS: dict[int, tuple[type[IdentAmocrmError], str, str, str]] = {
    4060: (
        ConfigurationError,
        "database_missing",
        "has no database of this name, or the login may not open it",
        "IDENT's database is usually called PZ: --database PZ.",
    ),
    18456: (
        AuthenticationError,
        "authentication",
        "refuses the login",
        "Check user and password; IDENT's support issues them (support@ident-it.ru).",
    ),
    208: (
        SchemaError,
        "schema",
        "lacks a table",
        "Check that this is IDENT's database; a newer IDENT may need a newer ident-amocrm.",
    ),
    207: (
        SchemaError,
        "schema",
        "lacks a column",
        "Check that this is IDENT's database; a newer IDENT may need a newer ident-amocrm.",
    ),
    229: (
        AuthenticationError,
        "no_select_right",
        "does not let this login read a table",
        "Ask IDENT's support to give the login the right to read all tables.",
    ),
    1222: (
        DatabaseUnavailableError,
        "locked",
        "kept a row locked for too long",
        "Nothing to do: the next run tries again.",
    ),
    1205: (
        DatabaseUnavailableError,
        "locked",
        "chose this read as the victim of a deadlock",
        "Nothing to do: the next run tries again.",
    ),
}
#: Numbers that mean the same: database not granted; login untrusted, disabled, locked, password expired;
#: right to a column.
SAME_ERRORS = {916: 4060, 18452: 18456, 18470: 18456, 18486: 18456, 18487: 18456, 18488: 18456, 230: 229}
#: What tells where a driver leaves the number out.
STATES = {"28000": 18456, "42S02": 208, "42S22": 207}
SLOW = {"HYT00", "HYT01"}
#: Locks that cannot be had, deadlocks, locks waited for.
PASSING = {1204, 1205, 1222}
SQLITE_ERRORS = {"no such table": 208, "no such column": 207}


def may_pass(error: DBAPIError) -> bool:
    """Tell whether an error is of this moment, a lock, a time-out, the network, and no answer for good."""
    numbers, state = _numbers(error)
    return error.connection_invalidated or bool(numbers & PASSING) or state in SLOW or state.startswith("08")


def _numbers(error: DBAPIError) -> tuple[set[int], str]:
    """Return SQL Server's numbers for what happened, and the driver's SQLSTATE."""
    arguments = [str(argument) for argument in getattr(error.orig, "args", ())]
    text = " ".join(arguments)
    state = arguments[0] if arguments and re.fullmatch(r"[0-9A-Z]{5}", arguments[0]) else "?"
    # "… text (18456) (SQLDriverConnect); [28000] … text (4060)": one number ends each record.
    numbers = {int(number) for number in re.findall(r"\((\d{1,6})\)(?=\s*(?:\(SQL|; ?\[|$))", text)}
    numbers |= {SAME_ERRORS[number] for number in numbers & SAME_ERRORS.keys()}
    numbers |= {number for phrase, number in SQLITE_ERRORS.items() if phrase in text}
    if not numbers & SERVER_ERRORS.keys() and state in STATES:
        numbers.add(STATES[state])
    return numbers, state


def _translated(connection: IdentConnection, error: DBAPIError) -> IdentAmocrmError:
    numbers, state = _numbers(error)
    for number, (kind, code, what, remedy) in SERVER_ERRORS.items():
        if number in numbers:
            problem = f"The database {connection.database} at {connection.place} {what} ({number})."
            return kind(problem=problem, remedy=remedy, code=code)
    return DatabaseUnavailableError(
        problem=(
            f"The database {connection.place} did not answer in time."
            if state in SLOW
            else f"The connection to the database {connection.place} failed (SQLSTATE {state})."
        ),
        remedy="Check the server and the network; the next run tries again.",
    )
