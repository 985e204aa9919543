"""A loop over ``amocrm-api``, a card a request: the library's ``create`` and ``update`` take no batch.

Given to it beside its README: cards as dictionaries (``objects.create(data)``), a deal with its contact in
the same request (``lead.contacts.append`` would take a second one), a session that repeats a refused or
broken request up to five times, as dlt's own does (the library repeats nothing).
``--reads-first`` is the careful user's: the account's cards are read once by ``objects.all()``, what stands
there is updated.

The library writes to ``https://SUBDOMAIN.amocrm.ru`` only: its ``_get_url`` is replaced.
Runs in an interpreter of its own: nothing but Python's own modules, pandas and the library.
"""

from __future__ import annotations

from typing import Any

from amocrm.v2 import Contact, Lead, custom_field, interaction, tokens
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from deployments.sandbox.rivals.options import Options, options
from deployments.sandbox.rivals.reading import CONTACT_MARK, LEAD_MARK, contact, lead, patients, visits

__all__ = ["load"]


class MarkedContact(Contact):  # type: ignore[misc]
    """A contact with the clinic's id, declared as the README does."""

    mark = custom_field.TextCustomField(CONTACT_MARK, code=CONTACT_MARK)


class MarkedLead(Lead):  # type: ignore[misc]
    """A deal with the clinic's id."""

    mark = custom_field.TextCustomField(LEAD_MARK, code=LEAD_MARK)


def load(given: Options) -> None:
    """Load the clinic."""
    _connect(given)
    known = {model: _known(model) if given.reads_first else {} for model in (MarkedContact, MarkedLead)}
    contacts = {
        row["id"]: _write(MarkedContact, known, row["id"], contact(row)) for row in patients(given.database)
    }
    for row in visits(given.database):
        _write(MarkedLead, known, row["id"], lead(row, contacts.get(row["patient_id"])))


def _connect(given: Options) -> None:
    storage = tokens.MemoryTokensStorage()
    storage.save_tokens(given.token, "")
    tokens.default_token_manager("id", "secret", "clinic", "https://localhost", storage=storage)
    interaction.BaseInteraction._get_url = lambda _self, path: f"{given.crm}/api/v4/{path}"  # noqa: SLF001
    again = Retry(total=5, backoff_factor=1, status_forcelist=[429, *range(500, 600)], allowed_methods=None)
    interaction._session.mount("http://", HTTPAdapter(max_retries=again))  # noqa: SLF001


def _known(model: Any) -> dict[str, int]:
    return {card.mark: card.id for card in model.objects.all() if card.mark}


def _write(model: Any, known: dict[Any, dict[str, int]], source_id: int, card: dict[str, Any]) -> int:
    amo_id = known[model].get(str(source_id))
    if amo_id is None:
        return int(model.objects.create(card).id)
    model.objects.update(amo_id, card)
    return amo_id


if __name__ == "__main__":
    load(options())
