"""A run that is told to end finishes the requests under way, and the next one goes on where it stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.store import write_sqlite
from tasks.ledger.store import Ledger
from tasks.records import Kind
from tasks.settings import Settings
from tests.e2e.conftest import CLINIC, TOKEN, Installation, environment, installation

#: So slow that a request is under way when the signal comes, and so small batches that many are left.
LATENCY_MS, BATCH = 700, 5


@pytest.fixture
def connected(tmp_path: Path) -> Iterator[tuple[Installation, StandIn]]:
    database, token = tmp_path / "clinic.db", tmp_path / "token"
    today = datetime.now(tz=ZoneInfo("Europe/Moscow")).date()
    write_sqlite(generate(ClinicSpec(today=today, patients=120, appointments=200)), database)
    token.write_text(TOKEN, encoding="utf-8")
    found = installation(tmp_path)
    found.extra["IDENT_AMOCRM_BATCH_SIZE"] = str(BATCH)
    with StandIn(token=TOKEN, limit=None, index_lag=0) as crm, found.server():
        found.prepare(
            ("connect-database", CLINIC, "--driver", "sqlite", "--database", str(database)),
            ("connect-amocrm", "--base-url", crm.url, "--token-file", str(token)),
            ("autoconfigure", "--yes", "--special", "all"),
        )
        yield found, crm


def contacts_in(crm: StandIn) -> int:
    return sum(not record.is_deleted for record in crm.sandbox.state.records["contacts"].values())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM: stop goes through the ledger")
def test_sigterm_finishes_what_is_under_way(connected: tuple[Installation, StandIn]) -> None:
    found, crm = connected
    crm.admin("settings", {"latency_ms": LATENCY_MS})
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.cli.main", "sync", CLINIC],
        env=environment(found.home) | found.extra,
        cwd=found.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    deadline = time.monotonic() + 120
    while not contacts_in(crm) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _output, said = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "Traceback" not in said

    ledger = Ledger(Settings(home=found.home).ledger_url).open()
    uid = ledger.connection(CLINIC).clinic_uid
    written = contacts_in(crm)
    assert 0 < written < 118
    assert ledger.open_attempts(uid) == []
    assert ledger.applied_count(uid, Kind.CONTACT) == written
    ledger.close()

    crm.admin("settings", {"latency_ms": 0})
    done = found.run("sync", CLINIC, "--output", "json")  # at once: the lease was given back
    assert done.returncode in {0, 2}, done.stderr
    assert json.loads(done.stdout)["ambiguous"] == 0
    marks = [
        value["value"]
        for record in crm.sandbox.state.records["contacts"].values()
        for values in record.values.values()
        for value in values
        if str(value.get("value", "")).startswith("IDENT-")
    ]
    assert len(marks) == len(set(marks))
