"""Creating and updating deployments without touching what the operator switched.

``prefect deploy`` replaces all schedules of a deployment: it would start what was stopped, or stop what was
started. Here a schedule is found by its slug, and only what differs is changed.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.utilities.callables import parameter_schema
from prefect.utilities.processutils import command_to_string
from prefect.workers.process import ProcessWorker

from deployments.doors import is_loopback
from deployments.place import project_root
from deployments.supervisor import POOL, PYTHON

__all__ = ["POOL", "DeploymentSpec", "Schedule", "ensure_pool", "find", "project_root", "register"]

#: The module that is a run, and the step that takes it to the project's folder, on whichever machine.
RUN, ENTER = "deployments.run_flow", "deployments.place.enter_project"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule of a deployment.

    Attributes:
        slug: By which it is found again; the order of a deployment's schedules is not stable.
        interval: Seconds between two runs; ``None`` where ``cron`` is given.
        active: Whether it must run; ``None`` leaves it as the operator switched it (on when new).
    """

    slug: str
    interval: float | None = None
    cron: str | None = None
    timezone: str = "UTC"
    active: bool | None = None

    def plan(self) -> IntervalSchedule | CronSchedule:
        """Return Prefect's schedule."""
        if self.cron is not None:
            return CronSchedule(cron=self.cron, timezone=self.timezone)
        return IntervalSchedule(interval=timedelta(seconds=self.interval or 60), timezone=self.timezone)


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """What a deployment must be."""

    name: str
    entrypoint: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    pool: str = POOL
    limit: int | None = 1
    collision: str = "CANCEL_NEW"
    schedules: tuple[Schedule, ...] = ()


def ensure_pool(client: SyncPrefectClient, name: str = POOL) -> None:
    """Create the work pool, if there is none."""
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        pool = WorkPoolCreate(
            name=name,
            type=ProcessWorker.type,
            description="Процессы на машинах, где работает ident-amocrm up или ident-amocrm worker.",
            base_job_template=ProcessWorker.get_default_base_job_template(),
        )
        try:
            client.create_work_pool(pool)
        except ObjectAlreadyExists:
            return


def find(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    """Return a deployment by ``flow/name``."""
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def register(client: SyncPrefectClient, spec: DeploymentSpec) -> str:
    """Create or update a deployment.

    Returns:
        Its name, ``flow/deployment``.
    """
    flow = _load(spec.entrypoint)
    known = find(client, f"{flow.name}/{spec.name}")
    values: dict[str, Any] = {
        "description": spec.description,
        "parameters": dict(spec.parameters),
        "tags": list(spec.tags),
        "work_pool_name": spec.pool,
        "entrypoint": spec.entrypoint,
        "path": ".",
        "pull_steps": [{ENTER: {}}],
        "parameter_openapi_schema": parameter_schema(flow).model_dump(),
        "enforce_parameter_schema": True,
        "job_variables": (known.job_variables if known else {}) | _job_variables(client),
        "concurrency_limit": spec.limit,
        "concurrency_options": _options(spec),
    }
    if known is None:
        flow_id = client.create_flow_from_name(flow.name)
        client.create_deployment(
            flow_id=flow_id,
            name=spec.name,
            schedules=[_created(schedule) for schedule in spec.schedules],
            **values,
        )
    else:
        client.update_deployment(known.id, DeploymentUpdate(**values))
        _align(client, known.id, spec)
    return f"{flow.name}/{spec.name}"


def _job_variables(client: SyncPrefectClient) -> dict[str, Any]:
    """Return what the worker is told about starting a run.

    Each worker finds our command by the Python of its own machine, which ``up`` and ``worker`` name to it;
    one that somebody started by hand, by the first ``python3`` of its PATH. Windows has no such shell: where
    the server is on this machine its worker is too, and has this Python; others start runs as Prefect does.
    """
    if os.name != "nt":
        return {"command": command_to_string(["sh", "-c", f'exec "${{{PYTHON}:-python3}}" -m {RUN}'])}
    return {"command": command_to_string([sys.executable, "-m", RUN])} if _is_here(client) else {}


def _is_here(client: SyncPrefectClient) -> bool:
    return is_loopback(str(client.api_url.host))


def _load(entrypoint: str) -> Flow[..., Any]:
    path, _, name = entrypoint.partition(":")
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    flow: Flow[..., Any] = getattr(module, name)
    return flow


def _options(spec: DeploymentSpec) -> ConcurrencyOptions | None:
    if spec.limit is None:
        return None
    return ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy(spec.collision))


def _created(schedule: Schedule) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(
        schedule=schedule.plan(), slug=schedule.slug, active=schedule.active is not False
    )


def _align(client: SyncPrefectClient, deployment_id: UUID, spec: DeploymentSpec) -> None:
    """Bring our schedules in line; those an operator added by hand stay."""
    known = {schedule.slug: schedule for schedule in client.read_deployment_schedules(deployment_id)}
    for wanted in spec.schedules:
        present = known.get(wanted.slug)
        if present is None:
            client.create_deployment_schedules(deployment_id, [_created(wanted)])
            continue
        # Every change throws away the runs that were scheduled ahead.
        plan = None if _same(present.schedule, wanted) else wanted.plan()
        active = None if wanted.active in {None, present.active} else wanted.active
        if plan is not None or active is not None:
            client.update_deployment_schedule(deployment_id, present.id, active=active, schedule=plan)


def _same(present: object, wanted: Schedule) -> bool:
    plan = wanted.plan()
    if isinstance(present, CronSchedule) and isinstance(plan, CronSchedule):
        return (present.cron, present.timezone) == (plan.cron, plan.timezone)
    if isinstance(present, IntervalSchedule) and isinstance(plan, IntervalSchedule):
        return (present.interval, present.timezone) == (plan.interval, plan.timezone)
    return False
