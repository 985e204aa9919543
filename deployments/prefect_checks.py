"""What the doctor asks Prefect's server: version, deployments, schedules, worker, runs that hang."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import prefect
from packaging.version import Version
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType, WorkerStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

from deployments.apply import prefect_file, read_specs
from deployments.clinic_deployments import clinic_specs
from deployments.registry import POOL, DeploymentSpec
from tasks.doctor.findings import Finding, State, attempt
from tasks.ledger.store import Ledger

__all__ = ["examine_server"]

AREA: Final = "Prefect"
AGAIN: Final = "Start ident-amocrm up again: it makes them. If it runs, see logs/setup.log."
#: A page of Prefect's lists.
PAGE: Final = 200
SHOWN: Final = 5
#: How long a run may stay so. A first load of a big clinic takes hours; starting and cancelling, seconds.
LONGEST: Final = {
    StateType.SCHEDULED: timedelta(minutes=10),
    StateType.PENDING: timedelta(minutes=10),
    StateType.CANCELLING: timedelta(minutes=10),
    StateType.RUNNING: timedelta(hours=6),
}


def examine_server(client: SyncPrefectClient, ledger: Ledger | None) -> list[Finding]:
    """Ask a server that answers.

    Args:
        client: The server.
        ledger: The ledger, where it opens: it says which clinics there are, and which are started.
    """
    return [
        *attempt(AREA, "version", lambda: _version(client)),
        *attempt(AREA, "deployments", lambda: _deployments(client, ledger)),
        *attempt(AREA, "worker", lambda: _worker(client)),
        *attempt(AREA, "runs", lambda: _runs(client)),
    ]


def _version(client: SyncPrefectClient) -> Finding:
    theirs, ours = str(client.api_version()), prefect.__version__
    if Version(theirs) == Version(ours):
        return Finding(AREA, "version", State.OK, f"{theirs}, the same here")
    found = f"The server runs Prefect {theirs}; this command has {ours}."
    remedy = "Stop and start ident-amocrm up after an update, from the same installation as the commands."
    return Finding(AREA, "version", State.WARNING, found, remedy, "prefect_version")


def _deployments(client: SyncPrefectClient, ledger: Ledger | None) -> Iterator[Finding]:
    wanted = list(read_specs(prefect_file()))
    if ledger is not None:
        wanted += [spec for record in ledger.connections() for spec in clinic_specs(ledger, record)]
    # A clinic's two deployments have one name: what they run tells them apart.
    present = {(one.name, one.entrypoint): one for one in _all_deployments(client)}
    missing = [spec.name for spec in wanted if (spec.name, spec.entrypoint) not in present]
    if missing:
        found = f"{len(missing)} of {len(wanted)} are missing: {', '.join(missing[:SHOWN])}."
        yield Finding(AREA, "deployments", State.FAULT, found, AGAIN, "deployments_missing")
    else:
        yield Finding(AREA, "deployments", State.OK, f"all {len(wanted)} are there")
    pairs = [(spec, present[key]) for spec in wanted if (key := (spec.name, spec.entrypoint)) in present]
    yield _schedules(pairs)


def _all_deployments(client: SyncPrefectClient) -> list[DeploymentResponse]:
    found: list[DeploymentResponse] = []
    while page := client.read_deployments(limit=PAGE, offset=len(found)):
        found += page
    return found


def _schedules(pairs: list[tuple[DeploymentSpec, DeploymentResponse]]) -> Finding:
    wrong, off, count = [], [], 0
    for spec, present in pairs:
        active = {schedule.slug: schedule.active for schedule in present.schedules}
        for schedule in spec.schedules:
            count += 1
            name = f"{spec.name} ({schedule.slug})"
            if schedule.active is not None and active.get(schedule.slug) != schedule.active:
                wrong.append(name)
            elif not active.get(schedule.slug):
                off += [] if schedule.active is False else [name]
    if wrong:
        found = f"Not as the ledger says: {', '.join(wrong[:SHOWN])}."
        remedy = (
            "Start and stop by ident-amocrm start and stop, not in the UI; up brings the schedules in line."
        )
        return Finding(AREA, "schedules", State.FAULT, found, remedy, "schedules_differ")
    if off:
        found = f"Switched off: {', '.join(off[:SHOWN])}."
        remedy = "Switch it on in the UI (Deployments), unless that is wanted."
        return Finding(AREA, "schedules", State.WARNING, found, remedy, "schedules_off")
    return Finding(AREA, "schedules", State.OK, f"all {count} stand as they should")


def _worker(client: SyncPrefectClient) -> Finding:
    try:
        workers = client.read_workers_for_work_pool(POOL)
    except ObjectNotFound:
        found = f"There is no work pool {POOL}."
        return Finding(AREA, "worker", State.FAULT, found, AGAIN, "pool_missing")
    online = [one for one in workers if one.status == WorkerStatus.ONLINE]
    if online:
        return Finding(AREA, "worker", State.OK, f"{len(online)} online")
    beats = [one.last_heartbeat_time for one in workers if one.last_heartbeat_time]
    last = f"; the last one was heard of at {max(beats):%Y-%m-%dT%H:%M:%SZ}" if beats else ""
    remedy = "ident-amocrm up starts it, and again when it dies: see logs/worker.log."
    return Finding(AREA, "worker", State.FAULT, f"None is online{last}.", remedy, "worker_offline")


def _runs(client: SyncPrefectClient) -> Finding:
    now, found = datetime.now(tz=UTC), list[FlowRun]()
    states = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(LONGEST)))
    while page := client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=states),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
        limit=PAGE,
        offset=len(found),
    ):
        found += page
    stuck = [run for run in found if _since(run, now) > LONGEST[run.state_type or StateType.RUNNING]]
    going = sum(run.state_type is not StateType.SCHEDULED for run in found)
    if not stuck:
        return Finding(AREA, "runs", State.OK, f"{going} under way, none hangs")
    kinds = sorted({(run.state_name or "?") for run in stuck})
    text = f"{len(stuck)} runs hang ({', '.join(kinds)})."
    remedy = (
        "See whether a worker is online; then cancel them in the UI, or start up again: it ends dead ones."
    )
    return Finding(AREA, "runs", State.WARNING, text, remedy, "runs_stuck")


def _since(run: FlowRun, now: datetime) -> timedelta:
    """Return for how long a run is late, or in its state."""
    if run.state_type is StateType.SCHEDULED:
        return now - run.expected_start_time if run.expected_start_time else timedelta()
    return now - run.state.timestamp if run.state else timedelta()
