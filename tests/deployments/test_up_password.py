"""``up`` behind the password that ``service install`` makes, on a real Prefect server, and its end by a file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from deployments.doors import make_password
from deployments.environment import answers
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.settings import Settings
from tests.support.running_up import Running, eventually, processes_of, running_up

pytestmark = [
    pytest.mark.server,
    pytest.mark.soak,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="looks for left processes in /proc"),
]

ROOT = Path(__file__).parents[2]
UID = "aaaaaaaa"
#: What a command does before and while it speaks to Prefect.
COMMAND = """
from deployments.cli.session import open_session
open_session()
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    print("deployments:", len(client.read_deployments()))
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    make_password(home)
    (home / "up.stop").touch()  # came too late for an earlier up
    ledger = Ledger(Settings(home=home).ledger_url).open()
    ledger.save_connection(
        ConnectionRecord(name="Север", clinic_uid=UID, block_name="b", timezone="Europe/Moscow")
    )
    ledger.put_setting(f"clinic:{UID}", "transfer", {"started": True}, by="test")
    with running_up(home, ledger) as found:
        yield found


def status_of(url: str, password: tuple[str, str] | None = None) -> int:
    """The status of the answer; 0 where nobody answers."""
    with requests.Session() as session:
        session.trust_env = False
        session.auth = password
        try:
            return session.get(url, timeout=30).status_code
        except requests.ConnectionError:
            return 0


def command(home: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    around = {**clean, "IDENT_AMOCRM_HOME": str(home), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", COMMAND], env=around, cwd="/", capture_output=True, text=True, check=False
    )


def test_who_does_not_know_it_stays_out(running: Running) -> None:
    api, pages = running.place["api"], running.place["pages"]
    assert running.password is not None
    assert running.password[0] == "operator"
    for address in (f"{api}/admin/version", f"{api}/block_types/slug/secret"):
        assert status_of(address) == 401
        assert status_of(address, ("operator", "guessed")) == 401
        assert status_of(address, running.password) == 200
    eventually(lambda: status_of(pages) == 401, 60, running)
    assert status_of(pages, running.password) == 200


def test_that_it_answers_is_no_secret(running: Running) -> None:
    assert answers(running.place["api"])


def test_up_brings_prefect_in_line_and_runs_are_executed(running: Running) -> None:
    eventually(lambda: {"Север", "health-check"} <= running.scheduled(), 180, running)
    token = running.ledger.acquire_lease(UID, "test", 600)
    try:
        # A tick that meets another run ends before it needs a clinic.
        skipped = {"flow_runs": {"state": {"name": {"any_": ["Skipped"]}}}}
        eventually(lambda: running.ask("flow_runs/filter", skipped), 180, running)
    finally:
        running.ledger.release_lease(UID, token)
    [run, *_] = running.ask("flow_runs/filter", skipped)
    assert (run["state_type"], run["auto_scheduled"]) == ("COMPLETED", True)


def test_events_of_runs_arrive(running: Running) -> None:
    """They travel by a websocket, which has a door of its own."""
    seen = {"filter": {"event": {"prefix": ["prefect.flow-run."]}}}
    eventually(lambda: running.ask("events/filter", seen)["events"], 60, running)


def test_a_command_finds_it(running: Running) -> None:
    done = command(running.home)
    assert done.returncode == 0, done.stderr
    assert "temporary" not in done.stderr
    assert int(done.stdout.removeprefix("deployments:")) > 5


def test_it_is_on_no_command_line_and_in_no_log(running: Running) -> None:
    assert running.password is not None
    secret = running.password[1]
    lines = processes_of(running.home)
    assert len(lines) > 3
    assert not [line for line in lines if secret in line]
    files = [*running.home.rglob("*.log"), running.home / "up.json"]
    assert not [path for path in files if secret in path.read_text(encoding="utf-8", errors="replace")]


def test_it_ends_in_order_when_the_file_appears(running: Running) -> None:
    (running.home / "up.stop").touch()
    assert running.process.wait(90) == 0, running.logs()
    left = {path.name for path in running.home.iterdir()}
    assert not left & {"up.stop", "up.json"}
    assert processes_of(running.home) == []


def test_a_command_without_up_has_a_temporary_server_behind_it(running: Running) -> None:
    assert running.process.poll() is not None
    done = command(running.home)
    assert done.returncode == 0, done.stderr
    assert "temporary" in done.stderr
    assert int(done.stdout.removeprefix("deployments:")) > 5
