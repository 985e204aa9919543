"""Nothing but reading is sent to a clinic's database: the guard refuses the rest before it leaves."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import mssql, sqlite

from deployments.sandbox.clinic.schema import TSQL_TYPES
from tasks.errors import GuardError
from tasks.ident.access import Access
from tasks.ident.chains import Chains
from tasks.ident.fingerprint import may_write, read_fingerprint
from tasks.ident.guard import FORBIDDEN, refuse_writes
from tasks.ident.introspect import Catalogue, introspect
from tasks.ident.marks import Window
from tasks.ident.queries import ALL_QUERIES, IDS, in_list, touched
from tasks.ident.schema import TABLES
from tests.ident.test_queries import SINCE, VERSION, WHOLE
from tests.support.small_clinic import SmallClinic

ROOT = Path(__file__).parents[2]
POOR = Catalogue(
    {
        table.lower(): frozenset(name.lower() for name in columns if name.startswith("ID"))
        for table, columns in TSQL_TYPES.items()
    }
)
DIALECTS: dict[str, tuple[sa.Dialect, dict[str, str | None]]] = {
    "tsql": (mssql.dialect(), {"dbo": "dbo"}),  # type: ignore[no-untyped-call]
    "sqlite": (sqlite.dialect(), {"dbo": "main"}),
}


def built() -> Iterator[tuple[str, sa.Select[tuple[object, ...]]]]:
    """Every query, as a rich and a poor database is read, whole and by ids, and every increment."""
    for kind, catalogue in (("whole", WHOLE), ("poor", POOR)):
        for name, make in ALL_QUERIES.items():
            query = make(catalogue)
            yield f"{name}-{kind}", query
            yield f"{name}-{kind}-by-ids", in_list(query, next(iter(query.selected_columns)))
        for table in TABLES:
            for version in (None, VERSION):
                found = touched(catalogue, table, (), SINCE, version)
                if found is not None:
                    yield f"{table}-{kind}-touched", found


def texts() -> Iterator[tuple[str, str, str]]:
    """The text of every query in both languages, then those that are written by hand."""
    for name, query in built():
        for language, (dialect, schema) in DIALECTS.items():
            compiled = query.params({IDS: [1, 2, 3]}).compile(
                dialect=dialect,
                schema_translate_map=schema,
                render_schema_translate=True,
                compile_kwargs={"render_postcompile": True},
            )
            yield name, language, str(compiled)
    for path in sorted((ROOT / "tasks/ident").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "sa.text":
                yield f"{path.name}:{node.lineno}", "written", ast.literal_eval(node.args[0])


TEXTS = list(texts())


def test_every_query_that_can_be_built_may_pass() -> None:
    assert len(TEXTS) > 150
    assert {language for _name, language, _text in TEXTS} == {"tsql", "sqlite", "written"}
    for _name, _language, text in TEXTS:
        refuse_writes(text)


@pytest.mark.parametrize("language", ["tsql", "sqlite"])
def test_an_independent_parser_agrees_that_they_only_read(language: str) -> None:
    for text in {text for _name, of, text in TEXTS if of == language}:
        statements = sqlglot.parse(text, read=language)
        assert [type(statement).__name__ for statement in statements] == ["Select"], text


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM dbo.Persons",
        "delete from dbo.Persons",
        "UPDATE dbo.Persons SET Surname = N'x'",
        "INSERT INTO dbo.Persons (ID) VALUES (1)",
        "TRUNCATE TABLE dbo.Persons",
        "EXEC sp_who",
        "sp_who",
        "{call sp_who}",
        "SET IDENTITY_INSERT dbo.Persons ON",
        "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
        "SET LOCK_TIMEOUT 5000 DELETE FROM dbo.Persons",
        "WITH p AS (SELECT ID FROM dbo.Persons) DELETE FROM p",
        "BEGIN TRANSACTION",
        "",
        "SELECT 1; DELETE FROM dbo.Persons",
        "SELECT 1 DELETE FROM dbo.Persons",
        "SELECT 1\nDELETE\tFROM dbo.Persons",
        "SELECT [a]]] DELETE FROM dbo.Persons --]",
        "SELECT N'it''s' DELETE FROM dbo.Persons",
        "SELECT 'open DELETE FROM dbo.Persons",
        "SELECT 1 -- DELETE",
        "SELECT 1 /* DELETE */",
        "SELECT 1 SELECT 2",
        "SELECT ID INTO dbo.Copy FROM dbo.Persons",
        "SELECT * FROM OPENROWSET('SQLNCLI', 'x', 'DELETE FROM y')",
        "SELECT NEXT VALUE FOR dbo.Numbers",
        "SELECT ID FROM dbo.Persons WITH (TABLOCKX)",
        "SELECT ID FROM dbo.Persons (NOLOCK)",
        "SELECT load_extension('x')",
        "PRAGMA journal_mode = DELETE",
        "ATTACH DATABASE 'x' AS y",
    ],
)
def test_everything_else_is_refused(statement: str) -> None:
    with pytest.raises(GuardError, match="It was not sent") as caught:
        refuse_writes(statement)
    assert caught.value.code == "not_a_select"


@given(
    text=st.sampled_from([text for _name, _language, text in TEXTS]),
    word=st.sampled_from(sorted(FORBIDDEN)),
    gap=st.sampled_from([" ", "\n", ";", "; ", "\t", "/**/", "--\n", ")", ",", "'' "]),
    data=st.data(),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_no_place_in_a_query_hides_a_second_statement(
    text: str, word: str, gap: str, data: st.DataObject
) -> None:
    places = [0, *(place for place, sign in enumerate(text) if sign in " \n"), len(text)]
    place = data.draw(st.sampled_from(places))
    if _in_quotes(text[:place]):
        return
    spelt = data.draw(st.sampled_from([word, word.lower(), word.title()]))
    with pytest.raises(GuardError):
        refuse_writes(f"{text[:place]}{gap}{spelt} {text[place:]}")


def _in_quotes(begin: str) -> bool:
    return begin.count("'") % 2 == 1


def test_what_stands_in_quotes_does_nothing() -> None:
    refuse_writes("SELECT N'DELETE; -- it''s' AS [DROP; TABLE] FROM dbo.[INSERT] AS \"SET\"")


def test_a_text_never_says_what_was_in_it() -> None:
    with pytest.raises(GuardError) as caught:
        refuse_writes("UPDATE dbo.Persons SET Surname = N'Берёзкина'")
    assert "Берёзкина" not in str(caught.value)
    assert "UPDATE" in str(caught.value)


WRITES: tuple[sa.Executable, ...] = (
    sa.text("DELETE FROM Receptions"),
    sa.delete(TABLES["Receptions"]),
    sa.update(TABLES["Persons"]).values(Surname="x"),
    sa.insert(TABLES["Persons"]).values(ID=1),
)


@pytest.mark.parametrize("statement", WRITES, ids=str)
def test_no_engine_sends_a_write(any_clinic: SmallClinic, statement: sa.Executable) -> None:
    before = any_clinic.reader().count()
    translated = any_clinic.engine.execution_options(schema_translate_map={"dbo": None})
    for engine in (any_clinic.engine, translated, Access(any_clinic.engine)._engine):
        with engine.connect() as link, pytest.raises(GuardError):
            link.execute(statement)
    with any_clinic.engine.connect() as link, pytest.raises(GuardError):
        link.exec_driver_sql("DELETE FROM Receptions")
    assert any_clinic.reader().count() == before


def test_whatever_the_reader_does_passes_the_guard(
    any_clinic: SmallClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def watched(statement: str) -> None:
        seen.append(statement)
        refuse_writes(statement)

    monkeypatch.setattr("tasks.ident.guard.refuse_writes", watched)
    reader = any_clinic.reader(catalogue=introspect(any_clinic.engine))
    mark = reader.everything(Window()).watermark
    changes = reader.changes(mark, Window())
    assert sum(map(len, reader.patients())) == reader.count()["patients"]
    assert changes.watermark.taken_at == any_clinic.now
    list(reader.appointments([102, 105]))
    reader.appointments_of([1], Window())
    reader.highest()
    read_fingerprint(any_clinic.engine)
    may_write(any_clinic.engine)
    Chains(Access(any_clinic.engine), reader.catalogue).of_window(Window())
    assert len(set(seen)) > 20


def test_nothing_goes_past_the_guard() -> None:
    """The only engine of a clinic is made where its guard is set; the only cursor says what the guard let."""
    calls = [
        (path.relative_to(ROOT).as_posix(), called)
        for path in sorted((ROOT / "tasks").rglob("*.py"))
        if "ledger" not in path.parts
        for called in re.findall(
            r"\.(create_engine|cursor|exec_driver_sql|raw_connection)\(", path.read_text(encoding="utf-8")
        )
    ]
    made, cursor = ("tasks/ident/connection.py", "create_engine"), ("tasks/ident/connection.py", "cursor")
    assert calls == [made, cursor, made]
