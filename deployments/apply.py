"""Brings a Prefect server in line with this project: pool, blocks, deployments, automations.

``up`` runs it as a process of its own (``python -m deployments.apply``), because importing the flows costs
memory that a supervisor would hold for weeks.
"""

from __future__ import annotations

import logging
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient, get_client

from deployments.automations import ensure_automations
from deployments.clinic_deployments import ensure_clinic_deployments
from deployments.dead_runs import end_dead_runs
from deployments.registry import POOL, DeploymentSpec, Schedule, ensure_pool, project_root, register
from tasks.errors import ConfigurationError
from tasks.ledger.store import Ledger
from tasks.settings import load_settings

__all__ = ["apply", "main", "prefect_file", "read_specs"]

logger = logging.getLogger("deployments.apply")


def prefect_file() -> Path:
    """Return ``prefect.yaml`` of the checkout, or the copy that was installed with the package.

    Raises:
        ConfigurationError: When there is neither.
    """
    places = (
        project_root() / "prefect.yaml",
        Path(sysconfig.get_path("data")) / "share" / "ident-amocrm" / "prefect.yaml",
    )
    for place in places:
        if place.is_file():
            return place
    raise ConfigurationError(
        problem="prefect.yaml is missing: the health check and the forms cannot be deployed.",
        remedy="Install ident-amocrm again, or run it from its checkout.",
        code="prefect_yaml_missing",
    )


def read_specs(path: Path) -> Iterator[DeploymentSpec]:
    """Read the deployments of ``prefect.yaml``."""
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")).get("deployments") or []:
        limit: dict[str, Any] = entry.get("concurrency_limit") or {}
        yield DeploymentSpec(
            name=entry["name"],
            entrypoint=entry["entrypoint"],
            description=entry.get("description", ""),
            parameters=entry.get("parameters") or {},
            tags=tuple(entry.get("tags") or ()),
            pool=(entry.get("work_pool") or {}).get("name", POOL),
            limit=limit.get("limit"),
            collision=limit.get("collision_strategy", "ENQUEUE"),
            schedules=tuple(
                Schedule(
                    slug=schedule["slug"],
                    interval=schedule.get("interval"),
                    cron=schedule.get("cron"),
                    timezone=schedule.get("timezone", "UTC"),
                )
                for schedule in entry.get("schedules") or ()
            ),
        )


def apply(ledger: Ledger, client: SyncPrefectClient) -> list[str]:
    """Bring the server in line; one part that fails does not keep the others.

    Returns:
        The names of the parts that failed.
    """
    parts: list[tuple[str, Callable[[], object]]] = [
        ("work pool", partial(ensure_pool, client)),
        ("blocks", _register_blocks),
        ("clinics", partial(ensure_clinic_deployments, ledger, client)),
        ("automations", partial(ensure_automations, ledger, load_settings(), client)),
    ]
    parts += [(spec.name, partial(register, client, spec)) for spec in read_specs(prefect_file())]
    failed = []
    for name, part in parts:
        try:
            part()
        # Whatever it is, it is logged, told to the caller and tried again, and the rest is applied.
        except Exception:
            logger.exception("Not applied: %s", name)
            failed.append(name)
    return failed


def _register_blocks() -> None:
    """Register our block types, so that the UI offers their forms before the first is saved."""
    # Here, so that a defect in the blocks leaves the deployments alone.
    from tasks import blocks  # noqa: PLC0415

    for kind in vars(blocks).values():
        if isinstance(kind, type) and issubclass(kind, Block) and kind.__module__.startswith("tasks."):
            kind.register_type_and_schema()


def main(arguments: list[str]) -> int:
    """Apply everything to the server of this process, or end dead runs; the log goes to standard error."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    if "--end-dead-runs" in arguments:
        with get_client(sync_client=True) as client:
            home = load_settings().home
            ended = end_dead_runs(client, home, of_this_machine="--of-this-machine" in arguments)
        logger.info("Dead runs ended: %d", ended)
        return 0
    ledger = Ledger(load_settings().ledger_url).open()
    with get_client(sync_client=True) as client:
        failed = apply(ledger, client)
    ledger.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
