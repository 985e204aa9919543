"""Autoconfiguration: the default pipelines, stages and fields in the connected account."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tasks.amocrm import custom_fields, pipelines
from tasks.amocrm.account import read_account
from tasks.amocrm.client import AmoClient
from tasks.connections import open_destination
from tasks.errors import TransferRefusedError
from tasks.events import emit
from tasks.gate import MAPPING
from tasks.ledger.store import Ledger
from tasks.mapping.autoconfigure import Proposal, apply, propose
from tasks.mapping.model import Mapping as CardMapping
from tasks.records import CustomField, Pipeline, Stage
from tasks.settings import Settings
from tasks.transfer import is_started

__all__ = ["autoconfigure"]


class _Account:
    """The account in the shape that autoconfiguration asks for."""

    def __init__(self, client: AmoClient) -> None:
        self._client = client

    def read_pipelines(self) -> list[Pipeline]:
        return pipelines.read_pipelines(self._client)

    def create_pipeline(
        self, name: str, stages: Sequence[tuple[str, int, str]], won_name: str, lost_name: str
    ) -> Pipeline:
        return pipelines.create_pipeline(self._client, name, stages, won_name, lost_name)

    def create_stage(self, pipeline_id: int, name: str, sort: int, color: str) -> Stage:
        return pipelines.create_stage(self._client, pipeline_id, name, sort, color)

    def read_custom_fields(self, entity: str) -> list[CustomField]:
        return custom_fields.read_custom_fields(self._client, entity)

    def create_custom_fields(self, entity: str, definitions: Sequence[dict[str, Any]]) -> list[CustomField]:
        return custom_fields.create_custom_fields(self._client, entity, definitions)


def autoconfigure(
    ledger: Ledger, settings: Settings, confirm: Callable[[Proposal], bool]
) -> tuple[Proposal, CardMapping | None]:
    """Propose the configuration, and create it when it is confirmed.

    Args:
        ledger: The installation's ledger.
        settings: The installation's settings.
        confirm: Shows the proposal to a person and returns their answer.

    Returns:
        The proposal, and the saved mapping unless the person declined.

    Raises:
        TransferRefusedError: While a transfer runs: its deals would be moved by two mappings.
    """
    running = [record.name for record in ledger.connections() if is_started(ledger, record)]
    if running:
        raise TransferRefusedError(
            problem=f"The transfer is running for: {', '.join(running)}.",
            remedy=f"Stop it first: ident-amocrm stop {running[0]}",
            code="transfer_running",
        )
    client = open_destination(ledger, settings)
    try:
        account = read_account(client)
        destination = _Account(client)
        proposal = propose(
            account,
            destination.read_pipelines(),
            destination.read_custom_fields("contacts"),
            destination.read_custom_fields("leads"),
        )
        if not confirm(proposal):
            return proposal, None
        mapping = apply(proposal, destination)
    finally:
        client.close()
    ledger.put_setting(f"account:{account.id}", MAPPING, mapping.model_dump(mode="json"), by="autoconfigure")
    created = sum(element.action == "create" for element in proposal.elements)
    counts = {"created": created, "reused": len(proposal.elements) - created}
    emit("settings.autoconfigured", "all", "amocrm", "info", counts, ledger)
    return proposal, mapping
