"""A ledger of each earlier version, with rows in every table, is brought to this version and loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from tasks.errors import ConfigurationError
from tasks.ledger.backup import read_manifest
from tasks.ledger.database import HEAD, MIGRATIONS, Database
from tasks.ledger.store import Ledger
from tasks.ledger.tables import metadata
from tasks.records import Action, AppliedRow, Batch, Kind, Outcome, OutcomeState
from tests.support.previous_version import stand_in_source

REVISIONS = [script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()][::-1]
#: What the columns of a table hold.
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    server = sa.create_engine(request.getfixturevalue("postgresql"), isolation_level="AUTOCOMMIT")
    with closing(server.connect()) as link:
        link.execute(sa.text("CREATE DATABASE upgraded"))
        yield server.url.set(database="upgraded").render_as_string(hide_password=False)
        link.execute(sa.text("DROP DATABASE upgraded"))
    server.dispose()


def value(column: sa.Column[Any], number: int) -> Any:
    """Something that fits a column: another one in each row, one that JSON columns may hold."""
    kind = column.type.python_type
    if kind is bool:
        return bool(number)
    if kind is bytes:
        return bytes([number])
    if kind in {int, float}:
        return kind(number)
    if kind is str:
        return json.dumps({"n": number})[: getattr(column.type, "length", None)]
    return {"n": number}


def left_by(url: str, revision: str) -> Rows:
    """Make the ledger of an earlier version, two rows in each table, and return them."""
    with closing(Database(url)) as old:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with old.write() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        tables = sa.MetaData()
        with old.write() as connection:
            tables.reflect(connection)
            for table in tables.sorted_tables:
                if table.name != "alembic_version":
                    # Counted keys come from the server: those of later rows must go on after them.
                    own = [column for column in table.columns if column is not table.autoincrement_column]
                    connection.execute(table.insert(), [{c.name: value(c, n) for c in own} for n in (1, 2)])
        return held(old, tables)


def held(database: Database, tables: sa.MetaData) -> Rows:
    """Read what stands in the columns of some tables."""
    with database.read() as link:
        return {
            table.name: sorted((dict(row) for row in link.execute(sa.select(table)).mappings()), key=repr)
            for table in tables.sorted_tables
            if table.name != "alembic_version"
        }


@pytest.mark.parametrize("revision", REVISIONS)
def test_nothing_is_lost_and_the_work_goes_on(url: str, revision: str) -> None:
    before = left_by(url, revision)
    assert len(before) > 10
    with closing(Ledger(url).open()) as ledger:
        database = ledger.database
        with database.read() as link:
            assert compare_metadata(MigrationContext.configure(link), metadata) == []
            now = sa.MetaData()
            now.reflect(link)
        after = held(database, now)
        for table, rows in before.items():
            kept = [{name: row[name] for name in rows[0]} for row in after[table]]
            assert sorted(kept, key=repr) == rows, table

        attempt = ledger.begin_attempt("new", "u", 1, Batch(Kind.CONTACT, Action.CREATE, (7,), 5, 100))
        receipt = AppliedRow(Kind.CONTACT, 7, 70, 3, {})
        ledger.acknowledge(attempt.id, [receipt], [Outcome("new", Kind.CONTACT, 7, OutcomeState.APPLIED)])
        assert ledger.applied_rows("u", Kind.CONTACT, [7])[7].amo_id == 70


def test_the_stand_in_for_the_previous_version_leaves_an_older_ledger(tmp_path: Path) -> None:
    """tests/deployments/test_lifecycle.py upgrades from it where there is no history to build from."""
    previous = stand_in_source(tmp_path / "source")
    ledger, backup = tmp_path / "ledger.db", tmp_path / "backup.zip"
    program = (
        "import sys; from pathlib import Path; from tasks.ledger.store import Ledger; "
        "from tasks.ledger.backup import write_backup; ledger = Ledger(sys.argv[1]).open(); "
        "write_backup(ledger.database, Path(sys.argv[2]), scheme=1, key_check='')"
    )
    around = {**os.environ, "PYTHONPATH": str(previous.source)}
    command = [sys.executable, "-c", program, f"sqlite:///{ledger}", str(backup)]
    subprocess.run(command, env=around, cwd=previous.source, check=True)
    with closing(Database(f"sqlite:///{ledger}")) as left:
        assert left.revision() == previous.revision
        assert read_manifest(backup).revision == previous.revision
        left.migrate()
        assert left.revision() == HEAD


def test_an_older_program_leaves_a_newer_ledger_alone(url: str) -> None:
    with closing(Ledger(url).open()) as ledger, ledger.database.write() as link:
        link.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        before = sa.inspect(link).get_table_names()
    with closing(Database(url)) as later:
        with pytest.raises(ConfigurationError, match="newer version") as refused:
            later.migrate()
        assert refused.value.code == "ledger_newer"
        assert later.revision() == "9999"
        with later.read() as link:
            assert sorted(sa.inspect(link).get_table_names()) == sorted(before)
