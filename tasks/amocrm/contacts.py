"""Contacts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from tasks.amocrm import entities
from tasks.amocrm.client import AmoClient
from tasks.records import RemoteContact

__all__ = [
    "create_contacts",
    "highest_contact_id",
    "iterate_contacts",
    "latest_contacts_down_to",
    "leads_by_contact",
    "read_contacts",
    "recently_updated_contacts",
    "search_contacts",
    "trashed_contacts_above",
    "update_contacts",
]

KEY = "contacts"


def _parse(row: dict[str, Any]) -> RemoteContact:
    return RemoteContact(
        id=entities.row_id(row),
        name=entities.text(row.get("name")),
        first_name=entities.text(row.get("first_name")),
        last_name=entities.text(row.get("last_name")),
        responsible_user_id=entities.whole(row.get("responsible_user_id")),
        updated_at=entities.whole(row.get("updated_at")),
        values=entities.field_values(row),
        tags=entities.tags(row),
        is_deleted=bool(row.get("is_deleted")),
    )


def read_contacts(client: AmoClient, ids: Collection[int]) -> dict[int, RemoteContact]:
    """Read contacts by id."""
    return entities.read_by_ids(client, KEY, ids, _parse, {})


def iterate_contacts(client: AmoClient, *, newest_first: bool = False) -> Iterator[RemoteContact]:
    """Read all contacts, each once."""
    return entities.read_all(client, KEY, _parse, {}, newest_first=newest_first)


def latest_contacts_down_to(client: AmoClient, amo_id: int) -> Iterator[RemoteContact]:
    """Read contacts by descending id until one is not above ``amo_id``."""
    return entities.newest_down_to(client, KEY, amo_id, _parse, {})


def recently_updated_contacts(client: AmoClient, since: int) -> Iterator[RemoteContact]:
    """Read contacts updated since an epoch second."""
    params = {"limit": client.page_size, "filter[updated_at][from]": since, "order[updated_at]": "desc"}
    for row in entities.rows(client, KEY, KEY, params):
        contact = entities.parsed(row, _parse, f"GET {KEY}")
        if contact.updated_at < since:
            return  # the filter was ignored; the order shows where to stop
        yield contact


def search_contacts(client: AmoClient, query: str) -> Iterator[RemoteContact]:
    """Read what amoCRM's search finds; it may be strangers, and what is seconds old may be missing."""
    params = {"limit": client.page_size, "query": query}
    return (entities.parsed(row, _parse, f"GET {KEY}") for row in entities.rows(client, KEY, KEY, params))


def trashed_contacts_above(client: AmoClient, amo_id: int) -> frozenset[int]:
    """Return ids of contacts in the trash above ``amo_id``."""
    return entities.trashed_above(client, KEY, amo_id)


def highest_contact_id(client: AmoClient) -> int:
    """Return the highest contact id."""
    return entities.highest_id(client, KEY)


def create_contacts(client: AmoClient, payloads: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Create contacts; answers ids by ``request_id``."""
    return entities.create(client, KEY, payloads)


def update_contacts(client: AmoClient, payloads: Sequence[dict[str, Any]]) -> frozenset[int]:
    """Update contacts; answers the acknowledged ids."""
    return entities.update(client, KEY, payloads)


def leads_by_contact(client: AmoClient, ids: Collection[int]) -> dict[int, list[int]]:
    """Return the ids of each contact's deals."""
    return entities.read_by_ids(client, KEY, ids, _lead_ids, {"with": "leads"})


def _lead_ids(row: dict[str, Any]) -> list[int]:
    return [entities.row_id(lead) for lead in (row.get("_embedded") or {}).get("leads") or ()]
