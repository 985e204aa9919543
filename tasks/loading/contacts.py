"""Contacts: create, adopt, update."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tasks.loading.batch import Item, send_creates, send_updates
from tasks.loading.ports import Card, Load, sent_by_us
from tasks.loading.resolve import read_cards
from tasks.records import AppliedRow, Kind, OutcomeState

__all__ = ["create_contacts", "update_contacts"]


def create_contacts(load: Load, cards: Sequence[Card]) -> None:
    """Create the contacts of one batch and remember their ids for the deals that follow."""
    items = []
    for card in cards:
        change = load.cards.change(
            Kind.CONTACT,
            card.texts,
            external_id=card.external_id,
            create=True,
            changed=tuple(card.texts),
            remote=None,
            sent=lambda _datum, _text: False,
        )
        items.append(Item(card, change.payload, _receipt(card)))
    created = send_creates(load, Kind.CONTACT, items)
    with load.lock:
        load.contact_ids.update(created)


def update_contacts(load: Load, cards: Sequence[Card]) -> None:
    """Update the contacts of one batch, reading them first: what a person typed is seen before it is touched.

    A contact that no longer exists is parked: the transfer never resurrects what a person deleted. One that
    was merged goes on as the card it was merged into, if that carries its mark now.
    """
    remotes = read_cards(load, Kind.CONTACT, cards)
    items: list[Item] = []
    for card in cards:
        remote = remotes.get(card.row.source_id)
        if remote is None:
            load.journal.record_outcomes(
                load.clinic_uid, [load.outcome(card, OutcomeState.REJECTED, "not_in_amocrm")]
            )
            continue
        if remote.id != card.row.amo_id:
            with load.lock:
                load.contact_ids[card.row.source_id] = remote.id
        if card.row.changed == ("gone",):
            payload = load.cards.gone_payload(Kind.CONTACT, remote)
        else:
            change = load.cards.change(
                Kind.CONTACT,
                card.texts,
                external_id=card.external_id,
                create=False,
                changed=card.row.changed,
                remote=remote,
                sent=sent_by_us(load, card),
            )
            load.count(change)
            payload = dict(change.payload)
        if payload:
            items.append(Item(card, {**payload, "id": remote.id}, _receipt(card)))
        else:
            load.journal.apply_local(load.clinic_uid, load.account_id, _receipt(card)(remote.id))
            load.journal.record_outcomes(load.clinic_uid, [load.outcome(card, OutcomeState.APPLIED)])
    send_updates(load, Kind.CONTACT, items)


def _receipt(card: Card) -> Callable[[int], Sequence[AppliedRow]]:
    def receipt(amo_id: int) -> Sequence[AppliedRow]:
        return [AppliedRow(Kind.CONTACT, card.row.source_id, amo_id, card.row_hash, card.hashes)]

    return receipt
