"""One deployment of the main job per clinic, so that no clinic waits for another.

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
from tasks.transfer import is_started

__all__ = ["TAG", "TICK", "apply_started", "deployment_name", "ensure_clinic_deployments"]

TAG = "ident-amocrm"
TICK = "tick"
TICK_SECONDS = 30
FLOW = "sync"
ENTRYPOINT = "flows/sync.py:sync"

#: Prefect refuses these in a deployment's name.
_REFUSED = str.maketrans(dict.fromkeys("/%&<>", "_"))


def deployment_name(clinic: str) -> str:
    """Return the full name of a clinic's deployment."""
    return f"{FLOW}/{clinic.translate(_REFUSED)}"


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
        names = [register(link, _spec(ledger, record)) for record in ledger.connections()]
        _forget_others(link, names)
    return names


def apply_started(ledger: Ledger, name: str) -> bool:
    """Switch the schedule of a clinic to what the ledger says.

    Args:
        ledger: The installation's ledger.
        name: The clinic.

    Returns:
        Whether a running server switched it; a temporary one schedules nothing, ``up`` applies it then.
    """
    record = ledger.connection(name)
    if not PREFECT_API_URL.value():
        return False
    try:
        with get_client(sync_client=True) as client:
            deployment = find(client, deployment_name(name))
            if deployment is None:
                return False
            for schedule in client.read_deployment_schedules(deployment.id):
                if schedule.slug == TICK:
                    client.update_deployment_schedule(
                        deployment.id, schedule.id, active=is_started(ledger, record)
                    )
                    return True
    except (httpx.HTTPError, PrefectException, RuntimeError):
        # The server went away: the gate reads the ledger, and up applies it on its return.
        return False
    return False


def _spec(ledger: Ledger, record: ConnectionRecord) -> DeploymentSpec:
    return DeploymentSpec(
        name=record.name.translate(_REFUSED),
        entrypoint=ENTRYPOINT,
        description=(
            f"Передача клиники «{record.name}» из IDENT в amoCRM: раз в {TICK_SECONDS} секунд, пока передача "
            "запущена. Включать и выключать — запусками «start-transfer» и «stop-transfer», а не здесь."
        ),
        parameters={"clinic": record.name},
        tags=(TAG, record.clinic_uid),
        schedules=(Schedule(TICK, interval=TICK_SECONDS, active=is_started(ledger, record)),),
    )


def _forget_others(client: SyncPrefectClient, names: list[str]) -> None:
    """Delete the deployments of clinics that were disconnected or renamed."""
    ours = client.read_deployments(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])),
        deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG])),
    )
    for deployment in ours:
        if f"{FLOW}/{deployment.name}" not in names:
            _delete(client, deployment.id)


def _delete(client: SyncPrefectClient, deployment_id: UUID) -> None:
    try:
        client.delete_deployment(deployment_id)
    except ObjectNotFound:
        return
