"""The deployments of each clinic: the main job and the nightly check, so that no clinic waits for another.

The ledger says which clinics there are and which are started; Prefect follows it. A deployment changed or
lost in Prefect is brought back by the next call.
"""

from __future__ import annotations

from contextlib import nullcontext
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags, FlowFilter, FlowFilterName
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.settings import PREFECT_API_URL

from deployments.registry import DeploymentSpec, Schedule, ensure_pool, find, register
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.settings import load_settings
from tasks.transfer import is_started

__all__ = [
    "NIGHTLY",
    "TAG",
    "TICK",
    "apply_started",
    "clinic_specs",
    "deployment_name",
    "ensure_clinic_deployments",
]

TAG = "ident-amocrm"
TICK = "tick"
#: After the nightly full read, before reception comes; clinic-local.
NIGHTLY, NIGHTLY_CRON = "nightly", "30 4 * * *"
FLOW, RECONCILE = "sync", "reconcile"
#: The schedule by which each flow is switched on and off, by flow.
SCHEDULES = {FLOW: TICK, RECONCILE: NIGHTLY}

#: Prefect refuses these in a deployment's name.
_REFUSED = str.maketrans(dict.fromkeys("/%&<>", "_"))


def deployment_name(clinic: str, flow: str = FLOW) -> str:
    """Return the full name of a clinic's deployment of a flow."""
    return f"{flow}/{clinic.translate(_REFUSED)}"


def ensure_clinic_deployments(ledger: Ledger, client: SyncPrefectClient | None = None) -> list[str]:
    """Bring the clinics' deployments in line with the ledger.

    Args:
        ledger: The installation's ledger.
        client: The Prefect server; by default the one this process uses.

    Returns:
        The names of all clinics' deployments.
    """
    with nullcontext(client) if client else get_client(sync_client=True) as link:
        ensure_pool(link)
        specs = [spec for record in ledger.connections() for spec in clinic_specs(ledger, record)]
        names = [register(link, spec) for spec in specs]
        _forget_others(link, names)
    return names


def apply_started(ledger: Ledger, name: str) -> bool:
    """Switch the schedules of a clinic to what the ledger says.

    Args:
        ledger: The installation's ledger.
        name: The clinic.

    Returns:
        Whether a running server switched the transfer; a temporary one schedules nothing, ``up`` applies it
        then.
    """
    started = is_started(ledger, ledger.connection(name))
    if not PREFECT_API_URL.value():
        return False
    try:
        with get_client(sync_client=True) as client:
            switched = {
                flow: _switch(client, deployment_name(name, flow), slug, started=started)
                for flow, slug in SCHEDULES.items()
            }
            return switched[FLOW]
    except (httpx.HTTPError, PrefectException, RuntimeError):
        # The server went away: the gate reads the ledger, and up applies it on its return.
        return False


def _switch(client: SyncPrefectClient, name: str, slug: str, *, started: bool) -> bool:
    deployment = find(client, name)
    if deployment is None:
        return False
    for schedule in client.read_deployment_schedules(deployment.id):
        if schedule.slug == slug:
            client.update_deployment_schedule(deployment.id, schedule.id, active=started)
            return True
    return False


def clinic_specs(ledger: Ledger, record: ConnectionRecord) -> list[DeploymentSpec]:
    """Return what the deployments of a clinic must be."""
    started = is_started(ledger, record)
    name = record.name.translate(_REFUSED)
    seconds = load_settings().tick_seconds
    return [
        DeploymentSpec(
            name=name,
            entrypoint="flows/sync.py:sync",
            description=(
                f"Передача клиники «{record.name}» из IDENT в amoCRM: раз в {seconds} секунд, пока "
                "передача запущена. Включать и выключать — запусками «start-transfer» и «stop-transfer», "
                "а не здесь."
            ),
            parameters={"clinic": record.name},
            tags=(TAG, record.clinic_uid),
            schedules=(Schedule(TICK, interval=seconds, active=started),),
        ),
        DeploymentSpec(
            name=name,
            entrypoint="flows/reconcile.py:reconcile",
            description=(
                f"Сверка клиники «{record.name}»: IDENT, журнал передачи и amoCRM, каждую ночь в 04:30, пока "
                "передача запущена. На время сверки передача этой клиники ждёт."
            ),
            parameters={"clinic": record.name},
            tags=(TAG, record.clinic_uid),
            schedules=(Schedule(NIGHTLY, cron=NIGHTLY_CRON, timezone=record.timezone, active=started),),
        ),
    ]


def _forget_others(client: SyncPrefectClient, names: list[str]) -> None:
    """Delete the deployments of clinics that were disconnected or renamed."""
    for flow in SCHEDULES:
        ours = client.read_deployments(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG])),
        )
        for deployment in ours:
            if f"{flow}/{deployment.name}" not in names:
                _delete(client, deployment.id)


def _delete(client: SyncPrefectClient, deployment_id: UUID) -> None:
    try:
        client.delete_deployment(deployment_id)
    except ObjectNotFound:
        return
