"""The base clinic, written once and copied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import clinic_database
from tests.support.small_clinic import SmallClinic, in_file, on_server, write_base
from tests.support.tds.database import Database
from tests.support.tds.server import TdsServer


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("clinic") / "base.sqlite")


@pytest.fixture
def clinic(base: Path, tmp_path: Path) -> Iterator[SmallClinic]:
    with in_file(base, tmp_path / "clinic.sqlite") as found:
        yield found


def driver(kind: str) -> str:
    """File of an ODBC driver."""
    pytest.importorskip("pyodbc", reason="no libodbc here: make odbc", exc_type=ImportError)
    found = {"freetds": clinic_database.free_tds, "microsoft": clinic_database.microsoft}[kind]()
    if found is None:
        pytest.skip(f"no {kind} driver here: make odbc")
    return found


@pytest.fixture(params=["freetds", "microsoft"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[SmallClinic, Database, TdsServer]]:
    """The base clinic on the T-SQL server, through each driver."""
    with on_server(driver(request.param), query_timeout=5) as found:
        yield found


@pytest.fixture
def sql_clinic(served: tuple[SmallClinic, Database, TdsServer]) -> SmallClinic:
    return served[0]
