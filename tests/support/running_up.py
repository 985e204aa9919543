"""``up`` as a process of its own, and its Prefect server as an operator's browser reaches it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from deployments.doors import read_password
from tasks.ledger.store import Ledger
from tests.support.ports import free_port

__all__ = ["Running", "eventually", "pids_of", "processes_of", "running_up"]

ROOT = Path(__file__).parents[2]
UP = (
    "import sys; from deployments.up import run_up; from tasks.settings import load_settings; "
    "sys.exit(run_up(load_settings(), port={port}))"
)


@dataclass
class Running:
    home: Path
    process: subprocess.Popen[bytes]
    ledger: Ledger
    automation: str = ""

    @property
    def place(self) -> dict[str, Any]:
        place: dict[str, Any] = json.loads((self.home / "up.json").read_text(encoding="utf-8"))
        return place

    @property
    def password(self) -> tuple[str, str] | None:
        """User and password, where the installation has them."""
        text = read_password(self.home)
        if text is None:
            return None
        user, _, password = text.partition(":")
        return user, password

    def call(self, method: str, path: str, body: Any = None) -> Any:
        with requests.Session() as session:
            session.trust_env = False
            session.auth = self.password
            # Prefect answers 503 while its SQLite file is locked, and its own client asks again too.
            for _ in range(20):
                answer = session.request(method, f"{self.place['api']}/{path}", json=body, timeout=150)
                if answer.status_code != 503:
                    break
                time.sleep(0.5)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        return self.call("POST", path, body)

    def scheduled(self) -> set[str]:
        """Names of the deployments for which scheduled runs exist."""
        names = {deployment["id"]: deployment["name"] for deployment in self.ask("deployments/filter", {})}
        runs = self.ask("flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}})
        return {names.get(run["deployment_id"], "?") for run in runs}

    def deployment(self, name: str, flow: str = "sync") -> dict[str, Any]:
        """The deployment of a clinic; its sync and its reconcile have the same name."""
        row: dict[str, Any]
        (row,) = (
            row
            for row in self.ask("deployments/filter", {})
            if row["name"] == name and row["entrypoint"] == f"flows/{flow}.py:{flow}"
        )
        return row

    def active(self, name: str) -> bool:
        switched = set()
        for flow in ("sync", "reconcile"):
            (schedule,) = self.deployment(name, flow)["schedules"]
            switched.add(bool(schedule["active"]))
        assert len(switched) == 1, "the nightly check follows the transfer"
        return switched.pop()

    # ---- what an operator does in the browser --------------------------------------------------------

    def fill_in(self, kind: str, name: str, data: Mapping[str, Any]) -> None:
        """Save a block."""
        block_type = self.call("GET", f"block_types/slug/{kind}")
        [schema, *_] = self.ask(
            "block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [block_type["id"]]}}}
        )
        body = {
            "name": name,
            "data": data,
            "block_type_id": block_type["id"],
            "block_schema_id": schema["id"],
        }
        self.ask("block_documents/", body)

    def start(self, flow: str, parameters: Mapping[str, Any] | None = None) -> str:
        """Start a flow by its form, and return the run's id."""
        found = self.call("GET", f"deployments/name/{flow}/{flow}")
        run = self.ask(f"deployments/{found['id']}/create_flow_run", {"parameters": parameters or {}})
        return str(run["id"])

    def run(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"flow_runs/{run_id}")
        return found

    def ended(self, run_id: str, seconds: float = 180) -> tuple[str, str]:
        """Wait for the end of a run, or for its form; return its state's name and message."""
        names = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED", "PAUSED")
        eventually(lambda: self.run(run_id)["state_type"] in names, seconds, self)
        state = self.run(run_id)["state"]
        return str(state["name"]), str(state["message"])

    def do(self, flow: str, parameters: Mapping[str, Any] | None = None) -> tuple[str, str]:
        """Start a flow and wait for its end."""
        return self.ended(self.start(flow, parameters))

    def resume(self, run_id: str, answer: Mapping[str, Any]) -> None:
        """Send the form that a run waits for."""
        self.ask(f"flow_runs/{run_id}/resume", {"run_input": answer})

    def artifact(self, key: str) -> str:
        """The latest artifact of a key."""
        return str(self.call("GET", f"artifacts/{key}/latest")["data"])

    def runs_of(self, name: str, *states: str) -> list[dict[str, Any]]:
        """Runs of a clinic's sync, newest first."""
        found: list[dict[str, Any]] = self.ask(
            "flow_runs/filter",
            {
                "deployments": {"id": {"any_": [self.deployment(name)["id"]]}},
                "flow_runs": {"state": {"type": {"any_": list(states)}}},
                "sort": "EXPECTED_START_TIME_DESC",
            },
        )
        return found

    def logs(self) -> str:
        texts = [path.read_text(encoding="utf-8")[-3000:] for path in self.home.rglob("*.log")]
        with suppress(requests.RequestException):
            latest = {"sort": "EXPECTED_START_TIME_DESC", "limit": 20}
            for run in self.ask("flow_runs/filter", latest):
                texts.append(f"{run['name']}: {run['state']['name']} since {run['state']['timestamp']}")
        return "\n---\n".join(texts)


def eventually(found: Callable[[], Any], seconds: float, running: Running) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert running.process.poll() is None, running.logs()
        assert time.monotonic() < deadline, running.logs()
        time.sleep(0.5)


def pids_of(home: Path) -> dict[int, str]:
    """Command lines of all processes that were started for this home, by id."""
    mark = f"IDENT_AMOCRM_HOME={home}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if line:
                    found[int(folder.name)] = line
        except OSError:
            continue
    return found


def processes_of(home: Path) -> list[str]:
    """Command lines of all processes that were started for this home."""
    return list(pids_of(home).values())


@contextmanager
def running_up(home: Path, ledger: Ledger, extra: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Run ``up`` for a home; its wanted port is taken, so that the next free one is used."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"IDENT_AMOCRM_HOME": str(home), "PYTHONPATH": str(ROOT), **(extra or {})}
    with socket.socket() as taken, (home / "up.log").open("wb") as output:
        port = free_port()
        taken.bind(("127.0.0.1", port))
        taken.listen()
        process = subprocess.Popen(
            [sys.executable, "-c", UP.format(port=port)], env=environment, stdout=output, stderr=output
        )
        result = Running(home, process, ledger)
        try:
            eventually((home / "up.json").exists, 180, result)
            assert not result.place["url"].endswith(f":{port}"), "the port was taken"
            yield result
        finally:
            process.kill()
            process.wait()
            ledger.close()
