"""Finding a card again by the mark it carries."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tasks.loading.ports import Card, Load, Remote
from tasks.records import Kind

__all__ = ["is_free", "marked", "read_cards"]


def marked(load: Load, kind: Kind, external_id: str) -> Remote | None:
    """Return the card that carries a mark, the lowest id where there are twins.

    amoCRM's search also finds strangers, and ``…-P-1`` in ``…-P-10``: only an exact mark counts.
    """
    found = [
        remote
        for remote in load.destination.search(kind, external_id)
        if not remote.is_deleted and load.cards.external_ids(kind, remote) == external_id
    ]
    return min(found, key=lambda remote: remote.id, default=None)


def is_free(load: Load, kind: Kind, amo_id: int, source_id: int) -> bool:
    """Tell whether a card belongs to this row or to none.

    A person who merges the cards of two rows may leave either mark on the one that stays.
    """
    return load.journal.owner_of(load.account_id, kind, amo_id) in {None, (load.clinic_uid, source_id)}


def read_cards(load: Load, kind: Kind, cards: Collection[Card]) -> Mapping[int, Remote]:
    """Read what is to be updated, by source id.

    A card that a person merged into another one is found once more by its mark, which moves along; one that
    was deleted, or merged into the card of another row, is absent.
    """
    by_id = load.destination.read(kind, [card.row.amo_id for card in cards if card.row.amo_id])
    found: dict[int, Remote] = {}
    for card in cards:
        remote = by_id.get(card.row.amo_id) if card.row.amo_id else None
        if remote is None:
            remote = marked(load, kind, card.external_id)
            if remote is not None and not is_free(load, kind, remote.id, card.row.source_id):
                remote = None
        if remote is not None:
            found[card.row.source_id] = remote
    return found
