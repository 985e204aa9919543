"""``up`` on a real Prefect server: what an import test misses, see the pins in pyproject.toml."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from deployments.apply import read_specs
from deployments.run_flow import SOCKET
from tasks.errors import ConfigurationError
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.settings import Settings
from tests.support.running_up import Running, eventually, pids_of, processes_of, running_up

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for left processes in /proc"),
]

ROOT = Path(__file__).parents[2]


def connect(ledger: Ledger, name: str, uid: str) -> None:
    ledger.save_connection(
        ConnectionRecord(name=name, clinic_uid=uid, block_name=f"b-{uid}", timezone="Europe/Moscow")
    )


def start_transfer(ledger: Ledger, uid: str, *, started: bool) -> None:
    ledger.put_setting(f"clinic:{uid}", "transfer", {"started": started}, by="test")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    ledger = Ledger(Settings(home=home).ledger_url).open()
    connect(ledger, "Север", "aaaaaaaa")
    connect(ledger, "Юг", "bbbbbbbb")
    start_transfer(ledger, "aaaaaaaa", started=True)
    with running_up(home, ledger) as found:
        yield found


def test_runs_really_appear(running: Running) -> None:
    eventually(lambda: {"Север", "health-check"} <= running.scheduled(), 180, running)
    assert "Юг" not in running.scheduled(), "its transfer was never started"


def test_a_second_up_is_refused(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments.up import run_up

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(ConfigurationError) as refusal:
        run_up(Settings(home=running.home))
    assert refusal.value.code == "already_up"


def test_commands_find_the_server(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments.environment import prefect_api

    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ.pop("PREFECT_API_URL", None)
    assert prefect_api(Settings(home=running.home)) is None
    assert os.environ["PREFECT_API_URL"] == running.place["api"]


def test_zombies_are_crashed_but_forms_may_wait(running: Running) -> None:
    (automation,) = running.ask("automations/filter", {})
    assert {"prefect.flow-run.Suspended", "prefect.flow-run.Paused"} <= set(automation["trigger"]["expect"])
    assert [action["type"] for action in automation["actions"]] == ["change-flow-run-state"]
    running.automation = automation["id"]


def test_start_and_stop_switch_the_schedule(running: Running) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from deployments.clinic_deployments import apply_started

    with temporary_settings({PREFECT_API_URL: running.place["api"]}):
        start_transfer(running.ledger, "bbbbbbbb", started=True)
        assert apply_started(running.ledger, "Юг")
        assert running.active("Юг") is True
        start_transfer(running.ledger, "bbbbbbbb", started=False)
        assert apply_started(running.ledger, "Юг")
        assert running.active("Юг") is False
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        assert not apply_started(running.ledger, "Юг"), "the server is away"
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert not apply_started(running.ledger, "Юг"), "a temporary server schedules nothing"


def test_applying_again_changes_nothing(running: Running) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from deployments.clinic_deployments import ensure_clinic_deployments

    def essence() -> list[Any]:
        rows = running.ask("deployments/filter", {"sort": "NAME_ASC"})
        rows.sort(key=lambda row: str(row["entrypoint"]))
        return [(row["id"], row["name"], row["tags"], row["parameters"], row["schedules"]) for row in rows]

    # ``up`` may still be at it, and is done when the last one stands there.
    everything = len([*read_specs(ROOT / "prefect.yaml")]) + 4
    eventually(lambda: len(essence()) == everything, 120, running)
    before = essence()
    with temporary_settings({PREFECT_API_URL: running.place["api"]}):
        names = [f"{flow}/{clinic}" for clinic in ("Север", "Юг") for flow in ("sync", "reconcile")]
        assert ensure_clinic_deployments(running.ledger) == names
    assert essence() == before
    north = running.deployment("Север")
    assert set(north["tags"]) == {"ident-amocrm", "aaaaaaaa"}
    assert north["global_concurrency_limit"]["limit"] == 1
    assert north["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    assert [(s["slug"], s["schedule"]["interval"]) for s in north["schedules"]] == [("tick", 30.0)]
    (nightly,) = running.deployment("Север", "reconcile")["schedules"]
    assert (nightly["schedule"]["cron"], nightly["schedule"]["timezone"]) == ("30 4 * * *", "Europe/Moscow")


def test_the_doctor_sees_a_server_that_is_well_and_what_somebody_switched(running: Running) -> None:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from deployments.doctor import check_ports
    from deployments.prefect_checks import examine_server

    def look() -> dict[str, tuple[str, str]]:
        with (
            temporary_settings({PREFECT_API_URL: running.place["api"]}),
            get_client(sync_client=True) as link,
        ):
            return {one.name: (one.state.value, one.code) for one in examine_server(link, running.ledger)}

    # The worker is the last that up starts.
    well = dict.fromkeys(("version", "deployments", "schedules", "worker", "runs"), ("ok", ""))
    eventually(lambda: look() == well, 120, running)
    ports = {one.name: one.found for one in check_ports(Settings(home=running.home))}
    assert ports == {"UI": f"ours: {running.place['url']}", "pages": f"ours: {running.place['pages']}"}
    # Somebody switches it in the UI instead of stopping it.
    north = running.deployment("Север")
    schedule = f"deployments/{north['id']}/schedules/{north['schedules'][0]['id']}"
    running.call("PATCH", schedule, {"active": False})
    assert look()["schedules"] == ("fault", "schedules_differ")
    running.call("PATCH", schedule, {"active": True})
    assert look()["schedules"] == ("ok", "")


def test_a_tick_that_meets_another_run_ends_quietly(running: Running) -> None:
    token = running.ledger.acquire_lease("aaaaaaaa", "reconcile", 300)
    try:
        eventually(
            lambda: running.ask(
                "flow_runs/filter", {"flow_runs": {"state": {"name": {"any_": ["Skipped"]}}}}
            ),
            120,
            running,
        )
    finally:
        running.ledger.release_lease("aaaaaaaa", token)
    (run, *_) = running.ask("flow_runs/filter", {"flow_runs": {"state": {"name": {"any_": ["Skipped"]}}}})
    assert run["state_type"] == "COMPLETED"
    assert run["deployment_id"] == running.deployment("Север")["id"]
    tasks = running.ask("task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    assert tasks == [], "it ended before the gate"
    assert run["id"] not in {one.run_id for one in running.ledger.runs("aaaaaaaa", 100)}


def test_the_schedule_follows_the_ledger(running: Running) -> None:
    start_transfer(running.ledger, "aaaaaaaa", started=False)
    start_transfer(running.ledger, "bbbbbbbb", started=True)
    eventually(lambda: {"Север", "Юг"} & running.scheduled() == {"Юг"}, 180, running)
    running.ledger.remove_connection("Север")
    left = {"Юг", *(spec.name for spec in read_specs(ROOT / "prefect.yaml"))}
    eventually(
        lambda: {row["name"] for row in running.ask("deployments/filter", {})} == left,
        180,
        running,
    )
    (automation,) = running.ask("automations/filter", {})
    assert automation["id"] == running.automation, "replaced, it would forget the runs it watches"


def test_the_pages_of_data_quality_are_served_and_come_back(running: Running) -> None:
    address = running.place["pages"]

    def answer() -> requests.Response | None:
        with requests.Session() as session:
            session.trust_env = False
            try:
                return session.get(address, timeout=10)
            except requests.ConnectionError:
                return None

    def child() -> int | None:
        lines = pids_of(running.home).items()
        return next((pid for pid, line in lines if "deployments.data_docs" in line), None)

    eventually(answer, 60, running)
    first, found = child(), answer()
    assert first is not None
    assert found is not None
    assert (found.status_code, urlsplit(address).hostname) == (200, "127.0.0.1")
    assert "default-src 'none'" in found.headers["Content-Security-Policy"]
    os.kill(first, signal.SIGKILL)
    eventually(lambda: child() not in {None, first} and answer() is not None, 60, running)


def test_what_died_is_started_again(running: Running) -> None:
    def worker() -> int | None:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                line = (folder / "cmdline").read_bytes().split(b"\0")
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
            if b"worker" in line and int(parent) == running.process.pid:
                return int(folder.name)
        return None

    eventually(worker, 120, running)
    clinic = running.deployment("Юг")
    run = running.ask(f"deployments/{clinic['id']}/create_flow_run", {"state": {"type": "RUNNING"}})
    first = worker()
    assert first is not None
    os.kill(first, signal.SIGKILL)
    eventually(lambda: worker() not in {None, first}, 120, running)
    (found,) = running.ask("flow_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    assert found["state_type"] == "CRASHED", "what the dead worker executed would block the clinic"


@pytest.mark.skipif(sys.platform != "linux", reason="runs are forked on Linux only")
def test_the_host_of_runs_is_started_again_and_used(running: Running) -> None:
    def of(parent: int) -> list[int]:
        """The host of runs, when the parent is ``up``; what it forked bears its command line, too."""
        found = []
        for pid, line in pids_of(running.home).items():
            if "deployments.run_host" in line:
                with suppress(OSError):
                    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2]
                    found += [pid] if int(stat.split()[1]) == parent else []
        return found

    def host() -> int | None:
        return next(iter(of(running.process.pid)), None)

    def answers() -> bool:
        with socket.socket(socket.AF_UNIX) as link:
            return link.connect_ex(str(running.home / SOCKET)) == 0

    first = host()
    assert first is not None
    os.kill(first, signal.SIGKILL)
    eventually(lambda: host() not in {None, first}, 60, running)
    # The dead one left its socket behind; the new one answers when it has loaded everything.
    eventually(answers, 180, running)
    check = running.ask("deployments/filter", {"deployments": {"name": {"any_": ["health-check"]}}})[0]
    # No path of this machine: its worker may be on another one.
    assert check["job_variables"]["command"] == (
        "sh -c 'exec \"${IDENT_AMOCRM_PYTHON:-python3}\" -m deployments.run_flow'"
    )
    assert check["pull_steps"] == [{"deployments.place.enter_project": {}}]
    run = running.ask(f"deployments/{check['id']}/create_flow_run", {})
    forked: set[int] = set()

    def ended() -> bool:
        forked.update(of(host() or 0))
        return running.run(run["id"])["state_type"] in {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}

    eventually(ended, 180, running)
    # It tells of clinics that cannot be reached, and fails for it.
    assert running.run(run["id"])["state_type"] == "FAILED", running.logs()
    assert forked, running.logs()


def test_it_stops_cleanly(running: Running) -> None:
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(60) == 0, running.logs()
    assert not (running.home / "up.json").exists()
    assert processes_of(running.home) == []
