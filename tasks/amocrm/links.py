"""Which contact a deal belongs to; on an existing deal only these routes change it."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.amocrm import entities
from tasks.amocrm.client import AmoClient

__all__ = ["link_contacts", "unlink_contacts"]


def link_contacts(client: AmoClient, links: Sequence[tuple[int, int, bool]]) -> bool:
    """Attach contacts to deals: (deal, contact, whether it is the main one); repeating is harmless.

    Returns:
        Whether amoCRM named every link in its answer.
    """
    answer = client.post(
        "leads/link",
        [
            {
                "entity_id": lead,
                "to_entity_id": contact,
                "to_entity_type": "contacts",
                "metadata": {"is_main": is_main},
            }
            for lead, contact, is_main in links
        ],
        repeatable=True,
    )
    named = entities.listed(answer, "links")
    # amoCRM's examples name the deal of each link, its table of the answer does not.
    return all(
        any(row.get("entity_id", lead) == lead and row.get("to_entity_id") == contact for row in named)
        for lead, contact, _is_main in links
    )


def unlink_contacts(client: AmoClient, links: Sequence[tuple[int, int]]) -> None:
    """Detach contacts from deals: (deal, contact)."""
    client.post(
        "leads/unlink",
        [
            {"entity_id": lead, "to_entity_id": contact, "to_entity_type": "contacts"}
            for lead, contact in links
        ],
        repeatable=True,
    )
