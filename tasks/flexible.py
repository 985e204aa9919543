"""Flexible configuration of the connected account: what the operator chose, checked against it and saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.amocrm.account import read_account, read_users
from tasks.amocrm.client import AmoClient
from tasks.amocrm.custom_fields import read_custom_fields
from tasks.amocrm.pipelines import read_pipelines
from tasks.connections import amocrm_account, open_destination
from tasks.drift import live_drifts
from tasks.errors import MappingError
from tasks.ledger.store import Ledger
from tasks.mapping.model import Mapping as CardMapping
from tasks.mapping.rules import problems
from tasks.mappings import Saved, load_mapping, save_mapping
from tasks.records import CustomField, Pipeline, User
from tasks.settings import Settings

__all__ = ["LiveAccount", "check_mapping", "import_mapping", "read_live"]


@dataclass(frozen=True, slots=True)
class LiveAccount:
    """What the forms offer: the account's own elements."""

    pipelines: Sequence[Pipeline]
    contact_fields: Sequence[CustomField]
    lead_fields: Sequence[CustomField]
    users: Sequence[User]

    def fields(self, card: str) -> Sequence[CustomField]:
        """Return the fields of a card."""
        return self.contact_fields if card == "contact" else self.lead_fields


def read_live(client: AmoClient) -> LiveAccount:
    """Read what the account has now."""
    return LiveAccount(
        read_pipelines(client),
        read_custom_fields(client, "contacts"),
        read_custom_fields(client, "leads"),
        [user for user in read_users(client) if user.is_active],
    )


def _account_id(ledger: Ledger) -> int:
    return int(str(amocrm_account(ledger)["account_id"]))


def import_mapping(ledger: Ledger, settings: Settings, mapping: CardMapping, by: str) -> Saved:
    """Put a mapping in force that was written elsewhere.

    Raises:
        MappingError: When it belongs to another account, is not sound, or names what the account lacks.
    """
    account_id = _account_id(ledger)
    if mapping.account_id != account_id:
        raise MappingError(
            problem=f"The mapping is of account {mapping.account_id}; account {account_id} is connected.",
            remedy="Ids of fields and stages differ between accounts: run autoconfigure in this one.",
            code="another_account",
        )
    client = open_destination(ledger, settings)
    try:
        read_account(client)
        drifts = live_drifts(client, mapping)
        if drifts:
            raise MappingError(
                problem=f"The mapping names what amoCRM does not have: {'; '.join(map(str, drifts))}.",
                remedy="Correct the file; the mapping in force was not changed.",
                code="mapping_drift",
            )
        return save_mapping(ledger, mapping, by, read_pipelines(client))
    finally:
        client.close()


def check_mapping(ledger: Ledger, settings: Settings) -> list[str]:
    """Return what is wrong with the mapping in force, in Russian."""
    mapping = load_mapping(ledger, _account_id(ledger))
    client = open_destination(ledger, settings)
    try:
        return [*problems(mapping), *map(str, live_drifts(client, mapping))]
    finally:
        client.close()
