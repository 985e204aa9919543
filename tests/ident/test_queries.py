"""The texts that are sent: what they ask for, and what they never contain."""

from __future__ import annotations

from datetime import datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mssql

from deployments.sandbox.clinic.schema import TSQL_TYPES
from tasks.ident.access import LIST, Access, chunks
from tasks.ident.introspect import Catalogue
from tasks.ident.queries import ALL_QUERIES, columns, in_list, touched
from tasks.ident.schema import TABLES
from tests.support.small_clinic import SmallClinic

SINCE, VERSION = datetime(2026, 3, 12), bytes(7) + b"\7"
WHOLE = Catalogue({table.lower(): frozenset(map(str.lower, found)) for table, found in TSQL_TYPES.items()})
#: A database in which every table has a RowVersion.
VERSIONED = Catalogue({table: found | {"rowversion"} for table, found in WHOLE.columns.items()})


def text(query: sa.Select[tuple[object, ...]] | None) -> str:
    assert query is not None
    return str(query.compile(dialect=mssql.dialect()))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", ALL_QUERIES)
def test_no_query_reads_what_others_have_not_committed(name: str) -> None:
    sql = text(ALL_QUERIES[name](WHOLE)).upper()
    assert sql.startswith("SELECT")
    assert "NOLOCK" not in sql
    assert "UNCOMMITTED" not in sql


@pytest.mark.parametrize(
    "table", ["Receptions", "Orders", "OrderServiceRelation", "PaymentsIn", "Patients", "Persons"]
)
def test_only_receptions_are_found_by_their_version(table: str) -> None:
    for catalogue in (WHOLE, VERSIONED):
        sql = text(touched(catalogue, table, ("DateTimeChanged",), SINCE, VERSION))
        assert ("RowVersion" in sql) == (table == "Receptions")
        assert ("[DateTimeChanged] >=" in sql) == (table != "Receptions")
        assert "RowVersion" not in text(touched(catalogue, table, ("DateTimeChanged",), SINCE, None))


def test_a_table_without_stamps_cannot_tell() -> None:
    bare = Catalogue({"persons": frozenset({"id"}), "receptions": frozenset({"id", "rowversion"})})
    assert touched(bare, "Persons", ("ID",), SINCE, VERSION) is None
    assert touched(bare, "Receptions", ("ID",), SINCE, None) is None
    assert touched(bare, "Orders", ("ID",), SINCE, None) is None
    assert touched(bare, "Receptions", ("ID",), None, VERSION) is not None


def test_a_missing_column_is_null_under_its_name() -> None:
    poor = Catalogue({"persons": frozenset({"id", "surname"})})
    found = columns(poor, "Persons")
    assert [column.name for column in found] == list(TABLES["Persons"].c.keys())
    sql = text(sa.select(*found))
    assert "NULL AS [Birthday]" in sql
    assert "dbo.[Persons].[Surname]" in sql


def test_ids_are_cut_into_lists_that_fit() -> None:
    assert list(chunks([3, 1, 2, 3, 1], 2)) == [[1, 2], [3]]
    assert list(chunks([])) == []
    assert [len(part) for part in chunks(range(2 * LIST + 1))] == [LIST, LIST, 1]
    assert LIST < 2100


def test_long_lists_are_read_whole(clinic: SmallClinic) -> None:
    access = Access(clinic.engine)
    column = TABLES["Receptions"].c.ID
    found = access.fetch_in(sa.select(column), column, range(0, 5 * LIST, 3))
    assert [row[0] for row in found] == [102, 105]
    assert access.fetch(in_list(sa.select(column), column), []) == []


def test_near_ids_are_read_as_a_range_and_far_ones_as_a_list(clinic: SmallClinic) -> None:
    texts: list[str] = []
    sa.event.listen(clinic.engine, "before_cursor_execute", lambda *given: texts.append(given[2]))
    access = Access(clinic.engine, 2)
    column = TABLES["Receptions"].c.ID
    for ids, found, word in (
        ([101, 103], [101, 102, 103], "BETWEEN"),
        ([101, 106], [101, 106], " IN "),
        ([], [], ""),
    ):
        texts.clear()
        assert [row[0] for row in access.fetch_near(sa.select(column), column, ids)] == found
        assert all(word in text for text in texts)
    assert len(list(access.fetch_near(sa.select(column), column, range(101, 107)))) == 6
    assert len(texts) == 3  # no read is longer than a page


def test_columns_keep_their_names_without_rows(clinic: SmallClinic) -> None:
    access = Access(clinic.engine)
    query = sa.select(*columns(WHOLE, "Staffs"))
    assert Access.columns(query, []) == {"ID_Persons": []}
    assert Access.columns(query, access.fetch(query.order_by(sa.column("ID_Persons")))) == {
        "ID_Persons": [1, 2]
    }
