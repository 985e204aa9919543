"""What identifies a database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from tasks.ident.fingerprint import Fingerprint, may_write, read_fingerprint
from tests.support.small_clinic import ClinicServer, SmallClinic
from tests.support.tds.errors import SqlError

Answer = Callable[[str, SqlError], None]
HIGHEST = {"Persons": 14, "Receptions": 106}


def test_a_file(clinic: SmallClinic) -> None:
    assert read_fingerprint(clinic.engine) == Fingerprint(database="sqlite", highest=HIGHEST)
    assert not may_write(clinic.engine)


@pytest.mark.odbc
def test_a_server(sql_clinic: SmallClinic, clinic_server: ClinicServer) -> None:
    assert read_fingerprint(sql_clinic.engine) == Fingerprint(
        "CLINIC\\PZSQLEXPRESS", "PZ", "2019-03-04 09:30:00", HIGHEST
    )
    assert not may_write(sql_clinic.engine)
    clinic_server.database.may_write = True
    try:
        assert may_write(sql_clinic.engine)
    finally:
        clinic_server.database.may_write = False


@pytest.fixture
def answer(clinic_server: ClinicServer, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Makes the server answer texts that hold a word with an error."""
    run = clinic_server.database.run

    def set_answer(word: str, problem: SqlError) -> None:
        def refusing(sql: str, parameters: Any, session: Any) -> Any:
            if word in sql:
                raise problem
            return run(sql, parameters, session)

        monkeypatch.setattr(clinic_server.database, "run", refusing)

    return set_answer


@pytest.mark.odbc
@pytest.mark.parametrize(("word", "part"), [("sys.databases", "created"), ("'ServerName'", "server")])
def test_what_the_login_may_not_see_is_empty(
    sql_clinic: SmallClinic, answer: Answer, word: str, part: str
) -> None:
    whole = read_fingerprint(sql_clinic.engine)
    answer(word, SqlError(300, "VIEW SERVER STATE permission was denied.", 14))
    found = read_fingerprint(sql_clinic.engine)
    assert getattr(found, part) == ""
    assert found.highest == whole.highest


@pytest.mark.odbc
@pytest.mark.parametrize("number", [1222, 1205])
def test_a_lock_is_no_other_database(sql_clinic: SmallClinic, answer: Answer, number: int) -> None:
    answer("sys.databases", SqlError(number, "Locked."))
    with pytest.raises(DBAPIError):
        read_fingerprint(sql_clinic.engine)


@pytest.mark.odbc
def test_a_lock_is_no_refusal_of_row_versions(sql_clinic: SmallClinic, answer: Answer) -> None:
    answer("MIN_ACTIVE_ROWVERSION", SqlError(1222, "Locked."))
    with pytest.raises(DBAPIError):
        sql_clinic.watermark()
