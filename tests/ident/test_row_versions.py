"""Increments on SQL Server: receptions are found by their RowVersion."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tasks.ident.marks import Window
from tasks.ident.reader import PAGES
from tests.support.small_clinic import NOW, ClinicServer, SmallClinic
from tests.support.tds.database import Database
from tests.support.tds.errors import SqlError

pytestmark = pytest.mark.odbc


def test_a_version_tells_what_a_stamp_does_not(sql_clinic: SmallClinic) -> None:
    mark = sql_clinic.watermark()
    assert mark.row_version
    sql_clinic.now += timedelta(hours=3)
    sql_clinic.change("Receptions", 102, Comment="x", DateTimeChanged=datetime(2020, 1, 1))
    found = sql_clinic.changes(mark)
    assert found.appointments == {102}
    assert found.patients == {11}
    assert found.watermark.row_version > mark.row_version  # type: ignore[operator]
    # And it needs no overlap: what was read is not read again.
    assert sql_clinic.changes(found.watermark).appointments == set()


def test_a_version_that_is_not_committed_yet_is_found_later(
    sql_clinic: SmallClinic, clinic_server: ClinicServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic, database = sql_clinic, clinic_server.database
    values = type(database)._session_values
    lowest = database._rowversion + 1
    # Somebody's transaction is open: its row has a version already, but nobody may see it.
    with monkeypatch.context() as patch:
        patch.setattr(
            Database,
            "_session_values",
            lambda self, session: values(self, session) | {"s_rowversion": lowest.to_bytes(8, "big")},
        )
        database._rowversion += 1
        clinic.change("Receptions", 104, Comment="y")
        mark = clinic.watermark()
    # It commits, with a version below those that were read meanwhile.
    database._rowversion, highest = lowest - 1, database._rowversion
    clinic.change("Receptions", 102, Comment="x")
    database._rowversion = highest
    clinic.now += timedelta(hours=3)
    assert clinic.changes(mark).appointments >= {102}


def test_all_versions_at_once_return_everything_in_pages(
    sql_clinic: SmallClinic, clinic_server: ClinicServer
) -> None:
    clinic, database = sql_clinic, clinic_server.database
    mark = clinic.watermark()
    before = clinic.appointments()
    for row in database.rows("Receptions"):
        database.update("Receptions", {"ID": row["ID"]}, {"Comment": row["Comment"]})
    clinic.now += timedelta(hours=3)
    reader = clinic.reader(page_size=1)
    found = reader.changes(mark, Window())
    assert found.appointments == {101, 102, 103, 104, 105, 106}
    pages = list(reader.appointments(found.appointments))
    assert [len(page) for page in pages] == [PAGES, 1]
    assert [key for page in pages for key in page["appointment_id"]] == before["appointment_id"].tolist()
    # A window still holds.
    assert reader.changes(mark, Window(start=NOW)).appointments == {102, 103, 104, 106}


def test_a_restored_copy_has_everything_read(sql_clinic: SmallClinic) -> None:
    mark = sql_clinic.watermark()
    ahead = replace(mark, row_version="0000000000ffffff")
    found = sql_clinic.changes(ahead)
    assert found.appointments == {101, 102, 103, 104, 105, 106}
    assert found.patients == {11, 12, 13, 14}
    assert found.watermark.row_version == mark.row_version


def test_a_refused_version_falls_back_to_stamps(
    sql_clinic: SmallClinic,
    clinic_server: ClinicServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clinic, database = sql_clinic, clinic_server.database
    run, denied = database.run, SqlError.denied("EXECUTE", "PZ")

    def refusing(sql: str, parameters: Any, session: Any) -> Any:
        if "MIN_ACTIVE_ROWVERSION" in sql:
            raise denied
        return run(sql, parameters, session)

    monkeypatch.setattr(database, "run", refusing)
    mark = clinic.watermark()
    assert mark.row_version is None
    assert "MIN_ACTIVE_ROWVERSION" in caplog.text
    clinic.now += timedelta(hours=3)
    clinic.change("Receptions", 102, Comment="x")
    assert clinic.changes(mark).appointments == {102}
