"""Autoconfiguration of the connected account: proposing, carrying out what was confirmed, saving it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks.amocrm import custom_fields, pipelines
from tasks.amocrm.account import read_account
from tasks.amocrm.client import AmoClient
from tasks.backfill import mark_rows
from tasks.connections import amocrm_account, open_destination, open_ledger
from tasks.drift import live_drifts
from tasks.errors import TransferRefusedError
from tasks.events import emit
from tasks.lease import is_dead
from tasks.ledger.store import Ledger
from tasks.mapping.autoconfigure import apply
from tasks.mapping.drift import Drift
from tasks.mapping.model import Mapping as CardMapping
from tasks.mapping.model import Policy
from tasks.mapping.proposal import BLOCKS, Block, Proposal, decide, propose
from tasks.mapping.proposal_forms import block_form, decisions, result_table
from tasks.mapping.questions import Form
from tasks.mappings import Saved, save_mapping, stored_mapping
from tasks.markdown import plain
from tasks.records import CustomField, Pipeline, Stage
from tasks.settings import Settings, load_settings
from tasks.transfer import is_started

__all__ = [
    "Configured",
    "accept_block",
    "autoconfigure",
    "carry_out",
    "configured_markdown",
    "create_confirmed",
    "draft_proposal",
    "drafted",
    "drafted_form",
    "propose_configuration",
    "refuse_while_running",
]

#: Name under which a run keeps its proposal.
PROPOSAL: Final = "proposal"


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

    def add_options(self, entity: str, field_id: int, labels: Sequence[str]) -> CustomField:
        return custom_fields.add_options(self._client, entity, field_id, labels)


@dataclass(frozen=True, slots=True)
class Configured:
    """What an autoconfiguration did.

    Attributes:
        proposal: What was confirmed: its elements were reused, created or left out.
        saved: The mapping, and how it differs from the one before.
        resent: How many cards get back the values of repaired fields, by card.
    """

    proposal: Proposal
    saved: Saved
    resent: dict[str, int] = field(default_factory=dict)


def refuse_while_running(ledger: Ledger) -> None:
    """Refuse while a transfer runs: its deals would be moved by two mappings.

    Raises:
        TransferRefusedError: With the clinics and what to do.
    """
    started = [record.name for record in ledger.connections() if is_started(ledger, record)]
    if started:
        raise TransferRefusedError(
            problem=f"The transfer is running for: {', '.join(started)}.",
            remedy=f"Stop it first: ident-amocrm stop {started[0]}",
            code="transfer_running",
        )
    busy = [one.name for one in ledger.connections() if ledger.lease_is_held(one.clinic_uid, is_dead)]
    if busy:
        raise TransferRefusedError(
            problem=f"A run is still transferring: {', '.join(busy)}.",
            remedy="Wait for its end, then start the configuration again.",
            code="transfer_running",
        )


def propose_configuration(
    ledger: Ledger, settings: Settings, blocks: Sequence[Block] = BLOCKS, special: Collection[str] = ()
) -> Proposal:
    """Compare the live account with what the transfer needs.

    Raises:
        TransferRefusedError: While a transfer runs.
    """
    refuse_while_running(ledger)
    client = open_destination(ledger, settings)
    try:
        account = read_account(client)
        destination = _Account(client)
        return propose(
            account,
            destination.read_pipelines(),
            destination.read_custom_fields("contacts"),
            destination.read_custom_fields("leads"),
            current=stored_mapping(ledger, account.id),
            blocks=blocks,
            special=special,
        )
    finally:
        client.close()


def carry_out(ledger: Ledger, settings: Settings, proposal: Proposal, by: str) -> Configured:
    """Create what was confirmed and save the mapping; again after a crash, nothing is created twice.

    Values that a repaired field lost, or did not get while it was gone, are made due.

    Raises:
        TransferRefusedError: While a transfer runs.
        MappingError: When it cannot be carried out; the mapping in force stays then.
    """
    refuse_while_running(ledger)
    account_id = int(str(amocrm_account(ledger)["account_id"]))
    before = stored_mapping(ledger, account_id)
    client = open_destination(ledger, settings)
    try:
        drifts = live_drifts(client, before) if before is not None else []
        destination = _Account(client)
        mapping = apply(proposal, destination, before)
        saved = save_mapping(ledger, mapping, by, destination.read_pipelines())
    finally:
        client.close()
    repaired = _repaired(drifts, proposal, saved.mapping)
    resent = mark_rows(ledger, settings, account_id, repaired, by) if repaired else {}
    counts = {
        "created": sum(element.action == "create" for element in proposal.elements),
        "reused": sum(element.action == "reuse" for element in proposal.elements),
        "skipped": sum(element.action == "skip" for element in proposal.elements),
    }
    emit("settings.autoconfigured", "all", "amocrm", "info", counts, ledger)
    return Configured(proposal, saved, resent)


def _repaired(drifts: Sequence[Drift], proposal: Proposal, mapping: CardMapping) -> dict[str, frozenset[str]]:
    """Return the data, by card, that had lost their field, or options of it, and have a place again."""
    found: dict[str, set[str]] = {}
    for drift in drifts:
        card, _dot, datum = drift.datum.partition(".")
        if not datum or drift.is_vital or card not in proposal.blocks:
            continue
        rules = {rule.datum: rule for rule in getattr(mapping, card)}
        if datum in rules and rules[datum].policy is not Policy.NEVER:
            found.setdefault(card, set()).add(datum)
    return {card: frozenset(data) for card, data in found.items()}


def autoconfigure(
    ledger: Ledger,
    settings: Settings,
    confirm: Callable[[Proposal], bool],
    *,
    blocks: Sequence[Block] = BLOCKS,
    special: Collection[str] = (),
    by: str = "autoconfigure",
) -> tuple[Proposal, Configured | None]:
    """Propose the configuration, and create it when it is confirmed.

    Args:
        ledger: The installation's ledger.
        settings: The installation's settings.
        confirm: Shows the proposal to a person and returns their answer.
        blocks: Which blocks to configure.
        special: Data of special categories that a person chose.
        by: Who does it, for the history.

    Returns:
        The proposal, and what was done unless the person declined.

    Raises:
        TransferRefusedError: While a transfer runs: its deals would be moved by two mappings.
    """
    proposal = propose_configuration(ledger, settings, blocks, special)
    if not confirm(proposal):
        return proposal, None
    return proposal, carry_out(ledger, settings, proposal, by)


# ---- as steps of a flow ------------------------------------------------------------------------------------


@task(name="propose", cache_policy=NO_CACHE, persist_result=False)
def draft_proposal(scope: str, blocks: Sequence[Block]) -> dict[str, int]:
    """Draw up the proposal once: a run that starts again after a form shows the same one."""
    ledger = open_ledger()
    refuse_while_running(ledger)
    if ledger.setting(scope, PROPOSAL) is None:
        proposal = propose_configuration(ledger, load_settings(), blocks)
        ledger.put_setting(scope, PROPOSAL, proposal.model_dump(mode="json"), by="autoconfigure")
    actions = [element.action for element in drafted(scope).elements]
    return {action: actions.count(action) for action in ("create", "reuse", "skip")}


def drafted(scope: str) -> Proposal:
    """Return the proposal of a run."""
    return Proposal.model_validate(open_ledger().setting(scope, PROPOSAL))


@task(name="create", cache_policy=NO_CACHE, persist_result=False)
def create_confirmed(scope: str, answers: Mapping[Block, Mapping[str, Any]], by: str) -> str:
    """Carry out what was confirmed and publish the table of what was reused and created."""
    proposal = drafted(scope)
    for block, answer in answers.items():
        proposal = decide(proposal, decisions(proposal, block, answer))
    done = carry_out(open_ledger(), load_settings(), proposal, by)
    create_markdown_artifact(
        configured_markdown(done), key="mapping-configured", description="Связка настроена"
    )
    get_run_logger().info("Configured: %d changes of the mapping", len(done.saved.changes))
    return "Связка настроена"


def configured_markdown(done: Configured) -> str:
    """Return the operator's page about an autoconfiguration."""
    lines = ["## ✅ Связка настроена", "", result_table(done.proposal)]
    if done.saved.changes:
        changes = (f"- {plain(line)}" for line in done.saved.changes)
        lines += ["", "**Что изменилось в настройке**", "", *changes]
    if total := sum(done.resent.values()):
        lines += ["", f"Значения исправленных полей вернутся со следующей передачей: карточек — {total}."]
    return "\n".join(lines)


def drafted_form(scope: str, block: Block) -> Form:
    """Return the form of a block of a run's proposal."""
    return block_form(drafted(scope), block)


def accept_block(scope: str, block: Block, answer: Mapping[str, Any]) -> None:
    """Check what was decided about a block.

    Raises:
        MappingError: When it cannot be.
    """
    proposal = drafted(scope)
    decide(proposal, decisions(proposal, block, answer))
