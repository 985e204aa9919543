"""Ends the runs whose processes died with their worker.

Prefect believes them running for ever, and the limit of one run per clinic cancels every later one until the
lease runs out. The automation on heartbeats cannot see a run that died before its first one.
"""

from __future__ import annotations

from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

from deployments.registry import POOL
from deployments.run_flow import UNDER_WAY

__all__ = ["end_dead_runs"]

UNENDED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
PAGE = 200


def end_dead_runs(client: SyncPrefectClient, home: Path, *, of_this_machine: bool) -> int:
    """Mark every run under way as crashed; to be called while no worker of this home runs.

    Args:
        client: The Prefect server.
        home: Folder of the state; in it stand the runs that were begun here and not ended.
        of_this_machine: Leave runs of other machines alone; a server that listens beyond this machine may
            have workers there.

    Returns:
        How many were ended.
    """
    found: list[FlowRun] = []
    # Read all before ending any: ending them moves the pages.
    while page := client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNENDED))),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
        limit=PAGE,
        offset=len(found),
    ):
        found += page
    ours = {path.name: path for path in (home / UNDER_WAY).glob("*")}
    dead = [run for run in found if not of_this_machine or str(run.id) in ours]
    for run in dead:
        state = Crashed(message="The process of this run died with its worker.")  # type: ignore[var-annotated]
        client.set_flow_run_state(run.id, state, force=True)
    for path in ours.values():
        path.unlink(missing_ok=True)
    return len(dead)
