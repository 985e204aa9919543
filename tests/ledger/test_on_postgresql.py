"""The main job on a PostgreSQL server: its steps, and a worker of another home with Prefect on that server, too."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from deployments.child import Child
from deployments.environment import up_file
from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.bench import CLINIC, TIMEZONE, admin, command, running, stand_in, surroundings
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.store import write_sqlite
from tasks import connections
from tasks.amocrm.pacing import Pacer
from tasks.ledger.store import Ledger
from tasks.ledger.tables import pace, run
from tasks.settings import Settings
from tests.support.ports import free_port
from tests.support.sandbox_installation import TOKEN, sandbox_installation


@pytest.fixture
def databases(postgresql: str) -> Iterator[dict[str, str]]:
    """The ledger's database and Prefect's: each has Alembic's table, so they cannot be one."""
    server = sa.create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with closing(server.connect()) as link:
        for name in ("shared_ledger", "prefect"):
            link.execute(sa.text(f"CREATE DATABASE {name}"))
        place = {name: server.url.set(database=name) for name in ("shared_ledger", "prefect")}
        yield {name: url.render_as_string(hide_password=False) for name, url in place.items()}
        for name in place:
            link.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


def test_a_clinic_is_transferred_once(
    databases: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENT_AMOCRM_STATE_URL", databases["shared_ledger"])
    with (
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        sandbox_installation(tmp_path, crm, monkeypatch) as clinic,
    ):
        monkeypatch.setattr(connections, "Pacer", lambda _rate, place: Pacer(1000.0, place))
        clinic.connect()
        first = clinic.sync().as_dict()
        assert first["applied"]["contacts"]["create"] == 30
        assert first["applied"]["leads"]["create"] > 30
        assert clinic.differences() == []

        written = clinic.writes()
        clinic.sync("full")
        assert clinic.sync().as_dict()["planned"] == first["planned"] | {
            "contacts": {"create": 0, "update": 0},
            "leads": {"create": 0, "update": 0, "move": 0},
            "links": 0,
        }
        assert clinic.writes() == written

        clinic.hour(1)
        clinic.sync()
        assert clinic.differences() == []
        with clinic.ledger.database.read() as link:
            assert link.execute(sa.select(sa.func.count()).select_from(pace)).scalar_one() == 1
        assert not [*clinic.home.glob("ledger.db*"), *clinic.home.glob("pace-*")]


@pytest.mark.soak
@pytest.mark.server
def test_a_worker_of_another_home_transfers_with_prefect_on_the_same_server(
    databases: dict[str, str], tmp_path: Path
) -> None:
    database, home, other = tmp_path / "clinic.db", tmp_path / "home", tmp_path / "other"
    today = datetime.now(tz=ZoneInfo(TIMEZONE)).date()
    write_sqlite(generate(ClinicSpec(today=today, patients=50, appointments=100)), database)
    around = surroundings(home, rate=7) | {
        "IDENT_AMOCRM_STATE_URL": databases["shared_ledger"],
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": databases["prefect"].replace("+psycopg", "+asyncpg"),
    }
    served = ("up", "--no-worker", "--port", str(free_port()))
    up = Child("up", "deployments.cli.main", served, tmp_path, tmp_path / "up.log", around)
    with stand_in(tmp_path, around, 0) as crm, running(up, lambda: "Running." in up.log.read_text("utf-8")):
        assert not (home / "prefect" / "prefect.db").exists()
        around["PREFECT_API_URL"] = json.loads(up_file(Settings(home=home)).read_text("utf-8"))["api"]
        for words in (
            ("connect-database", CLINIC, "--driver", "sqlite", "--database", str(database)),
            ("connect-amocrm", "--base-url", crm, "--token-file", str(tmp_path / "token")),
            ("autoconfigure", "--yes", "--special", "all"),
            ("start", CLINIC, "--all-history"),
        ):
            command(tmp_path, around, *words)
        other.mkdir(mode=0o700)
        shutil.copy(home / "installation.key", other)
        there = {**around, "IDENT_AMOCRM_HOME": str(other)}
        worker = Child(
            "worker", "deployments.cli.main", ("worker",), tmp_path, tmp_path / "worker.log", there
        )
        with running(worker, lambda: len(completed(databases["shared_ledger"])) > 0):
            first = completed(databases["shared_ledger"])[0]
            written = admin(crm, "stats")["writes"]
            until = time.monotonic() + 120
            while len(done := completed(databases["shared_ledger"])) < 2:
                assert time.monotonic() < until, worker.log.read_text("utf-8")
                time.sleep(1)
        assert first["contacts"]["create"] == 50
        assert all(not any(later["contacts"].values()) for later in done[1:])
        assert admin(crm, "stats")["writes"] == written
        assert [*(other / "logs").glob("runs.log")]
        assert not (home / "logs" / "runs.log").exists()


def completed(ledger_url: str) -> list[dict[str, dict[str, int]]]:
    """What each run that ended well has sent, in their order."""
    with closing(Ledger(ledger_url)) as ledger, ledger.database.read() as link:
        query = sa.select(run.c.counts).where(run.c.state == "completed").order_by(run.c.started_at)
        return [dict(counts["applied"]) for counts in link.execute(query).scalars()]
