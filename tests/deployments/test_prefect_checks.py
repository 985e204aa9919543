"""What the doctor says of a Prefect server that is not well; a real one is asked in test_up_server.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import prefect
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType, WorkerStatus
from prefect.exceptions import ObjectNotFound

from deployments.apply import prefect_file, read_specs
from deployments.prefect_checks import examine_server

SPECS = list(read_specs(prefect_file()))


@dataclass
class Server:
    """A server that answers what it is told to."""

    version: str = prefect.__version__
    deployments: Sequence[Any] = ()
    workers: Sequence[Any] | None = ()
    runs: list[Any] = field(default_factory=list)

    def api_version(self) -> str:
        return self.version

    def read_deployments(self, *, limit: int, offset: int) -> Sequence[Any]:
        return self.deployments[offset : offset + limit]

    def read_workers_for_work_pool(self, _pool: str) -> Sequence[Any]:
        if self.workers is None:
            raise ObjectNotFound(ValueError())
        return self.workers

    def read_flow_runs(self, *, offset: int, limit: int, **_filters: object) -> list[Any]:
        return self.runs[offset : offset + limit]


def codes(server: Server) -> dict[str, str]:
    return {one.name: one.code for one in examine_server(cast("SyncPrefectClient", server), None)}


def deployed(*, active: bool = True) -> list[Any]:
    return [
        SimpleNamespace(
            name=spec.name,
            entrypoint=spec.entrypoint,
            schedules=[SimpleNamespace(slug=one.slug, active=active) for one in spec.schedules],
        )
        for spec in SPECS
    ]


def worker(status: WorkerStatus) -> Any:
    return SimpleNamespace(status=status, last_heartbeat_time=datetime.now(tz=UTC))


def run(kind: StateType, minutes: float) -> Any:
    then = datetime.now(tz=UTC) - timedelta(minutes=minutes)
    state = SimpleNamespace(timestamp=then)
    return SimpleNamespace(state_type=kind, state_name=kind.value, state=state, expected_start_time=then)


def test_a_server_that_is_well() -> None:
    well = Server(
        deployments=deployed(), workers=[worker(WorkerStatus.ONLINE)], runs=[run(StateType.RUNNING, 90)]
    )
    assert set(codes(well).values()) == {""}


def test_another_version_missing_deployments_and_no_worker() -> None:
    found = codes(Server(version="3.0.0", deployments=deployed()[1:], workers=[worker(WorkerStatus.OFFLINE)]))
    assert (found["version"], found["deployments"], found["worker"]) == (
        "prefect_version",
        "deployments_missing",
        "worker_offline",
    )
    assert codes(Server(workers=None))["worker"] == "pool_missing"


def test_a_schedule_that_somebody_switched_off() -> None:
    assert codes(Server(deployments=deployed(active=False)))["schedules"] == "schedules_off"


@pytest.mark.parametrize(
    ("kind", "minutes", "code"),
    [
        (StateType.SCHEDULED, 5, ""),
        (StateType.SCHEDULED, 20, "runs_stuck"),
        (StateType.SCHEDULED, -60, ""),
        (StateType.PENDING, 20, "runs_stuck"),
        (StateType.CANCELLING, 20, "runs_stuck"),
        (StateType.RUNNING, 300, ""),
        (StateType.RUNNING, 420, "runs_stuck"),
    ],
)
def test_runs_that_hang(kind: StateType, minutes: float, code: str) -> None:
    assert codes(Server(runs=[run(kind, minutes)]))["runs"] == code


def test_one_question_that_fails_keeps_none_of_the_others() -> None:
    class Broken(Server):
        def api_version(self) -> str:
            raise ConnectionError

    found = codes(Broken(deployments=deployed()))
    assert (found["version"], found["deployments"], found["schedules"]) == ("check_broke", "", "")
