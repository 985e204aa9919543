"""Deals, which the API calls leads."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from tasks.amocrm import entities
from tasks.amocrm.client import AmoClient
from tasks.amocrm.contacts import leads_by_contact
from tasks.records import RemoteLead

__all__ = [
    "create_leads",
    "highest_lead_id",
    "iterate_leads",
    "latest_leads_down_to",
    "leads_of_contacts",
    "read_leads",
    "search_leads",
    "trashed_leads_above",
    "update_leads",
]

KEY = "leads"
WITH = {"with": "contacts"}


def _parse(row: dict[str, Any]) -> RemoteLead:
    linked = (row.get("_embedded") or {}).get("contacts") or ()
    main_first = sorted(linked, key=lambda contact: not contact.get("is_main"))
    return RemoteLead(
        id=entities.row_id(row),
        name=entities.text(row.get("name")),
        price=entities.whole(row.get("price")),
        pipeline_id=entities.whole(row.get("pipeline_id")),
        status_id=entities.whole(row.get("status_id")),
        responsible_user_id=entities.whole(row.get("responsible_user_id")),
        updated_at=entities.whole(row.get("updated_at")),
        values=entities.field_values(row),
        tags=entities.tags(row),
        contact_ids=tuple(entities.row_id(contact) for contact in main_first),
        is_deleted=bool(row.get("is_deleted")),
    )


def read_leads(client: AmoClient, ids: Collection[int]) -> dict[int, RemoteLead]:
    """Read deals by id, with their contacts."""
    return entities.read_by_ids(client, KEY, ids, _parse, WITH)


def iterate_leads(client: AmoClient, *, newest_first: bool = False) -> Iterator[RemoteLead]:
    """Read all deals, each once."""
    return entities.read_all(client, KEY, _parse, WITH, newest_first=newest_first)


def latest_leads_down_to(client: AmoClient, amo_id: int) -> Iterator[RemoteLead]:
    """Read deals by descending id until one is not above ``amo_id``."""
    return entities.newest_down_to(client, KEY, amo_id, _parse, WITH)


def search_leads(client: AmoClient, query: str) -> Iterator[RemoteLead]:
    """Read what amoCRM's search finds; it may be strangers, and what is seconds old may be missing."""
    params = {**WITH, "limit": client.page_size, "query": query}
    return (entities.parsed(row, _parse, f"GET {KEY}") for row in entities.rows(client, KEY, KEY, params))


def trashed_leads_above(client: AmoClient, amo_id: int) -> frozenset[int]:
    """Return ids of deals in the trash above ``amo_id``."""
    return entities.trashed_above(client, KEY, amo_id)


def leads_of_contacts(client: AmoClient, contact_ids: Collection[int]) -> dict[int, list[RemoteLead]]:
    """Return the deals of each contact, lowest id first."""
    numbers = leads_by_contact(client, contact_ids)
    known = read_leads(client, {number for ids in numbers.values() for number in ids})
    return {
        contact: [known[number] for number in sorted(ids) if number in known]
        for contact, ids in numbers.items()
    }


def highest_lead_id(client: AmoClient) -> int:
    """Return the highest deal id."""
    return entities.highest_id(client, KEY)


def create_leads(client: AmoClient, payloads: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Create deals; answers ids by ``request_id``."""
    return entities.create(client, KEY, payloads)


def update_leads(client: AmoClient, payloads: Sequence[dict[str, Any]]) -> frozenset[int]:
    """Update deals; answers the acknowledged ids."""
    return entities.update(client, KEY, payloads)
