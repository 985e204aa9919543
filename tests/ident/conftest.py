"""The base clinic, written once and copied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support import clinic_database
from tests.support.small_clinic import ClinicFile, ClinicServer, SmallClinic, write_base


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("clinic") / "base.sqlite")


@pytest.fixture(scope="session")
def clinic_file(base: Path) -> ClinicFile:
    return ClinicFile(base.with_name("clinic.sqlite"), base)


@pytest.fixture
def clinic(base: Path, clinic_file: ClinicFile) -> Iterator[SmallClinic]:
    with clinic_file.filled(base) as found:
        yield found


@cache
def driver(kind: str) -> str:
    """File of an ODBC driver."""
    pytest.importorskip("pyodbc", reason="no libodbc here: make odbc", exc_type=ImportError)
    found = {"freetds": clinic_database.free_tds, "microsoft": clinic_database.microsoft}[kind]()
    if found is None:
        pytest.skip(f"no {kind} driver here: make odbc")
    return found


@pytest.fixture(scope="session")
def clinic_server() -> Iterator[ClinicServer]:
    pytest.importorskip("pyodbc", reason="no libodbc here: make odbc", exc_type=ImportError)
    found = ClinicServer()
    yield found
    found.close()


@pytest.fixture(params=["freetds", "microsoft"])
def sql_clinic(request: pytest.FixtureRequest, clinic_server: ClinicServer) -> SmallClinic:
    """The base clinic on the T-SQL server, through each driver."""
    return clinic_server.clinic(driver(request.param))


@pytest.fixture(params=["sqlite", pytest.param("freetds", marks=pytest.mark.odbc)])
def any_clinic(request: pytest.FixtureRequest) -> SmallClinic:
    """The base clinic in a file, where stamps tell of changes, and on the server, where row versions do."""
    if request.param == "sqlite":
        found: SmallClinic = request.getfixturevalue("clinic")
        return found
    server: ClinicServer = request.getfixturevalue("clinic_server")
    return server.clinic(driver("freetds"))
