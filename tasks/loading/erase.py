"""Clearing cards on request: attempt, request and receipt like any update, but no row of the snapshot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from tasks.errors import IdentAmocrmError, RowError
from tasks.loading.batch import Item, send_updates
from tasks.loading.ports import Card, Change, Load, Remote, sent_by_us
from tasks.records import Action, AppliedRow, Batch, Kind

__all__ = ["Clear", "NoteBook", "clear_cards", "clear_notes", "own_notes"]

Clear = Callable[[Remote, Callable[[str, str], bool]], Change]


class NoteBook(Protocol):
    """amoCRM, as far as notes are looked through and changed."""

    def numbered_notes(self, lead_id: int) -> Sequence[tuple[int, str]]:
        """Return ids and texts of a deal's notes."""

    def replace_note(self, lead_id: int, note_id: int, text: str) -> None:
        """Give a note another text; repeating is harmless."""


def clear_cards(load: Load, kind: Kind, found: Sequence[tuple[Card, Remote]], clear: Clear) -> None:
    """Clear cards of one kind; what amoCRM refuses is parked, and found again by whoever looks afterwards.

    Raises:
        IdentAmocrmError: When the run cannot go on.
    """
    rest = [
        Item(card, {**change.payload, "id": remote.id}, _nothing)
        for card, remote in found
        if (change := clear(remote, sent_by_us(load, card))).payload
    ]
    while rest:
        # Twins carry the mark of one row, and a batch knows its rows by their ids.
        batch = list({item.card.row.source_id: item for item in reversed(rest)}.values())[: load.batch_size]
        send_updates(load, kind, batch)
        rest = [item for item in rest if item not in batch]


def own_notes(notes: NoteBook, lead_id: int, mark: str) -> list[int]:
    """Return the ids of the notes that we wrote to a deal: they carry its mark."""
    return [number for number, text in notes.numbered_notes(lead_id) if f"[{mark}]" in text]


def clear_notes(load: Load, notes: NoteBook, card: Card, lead_id: int, text: str) -> int:
    """Replace the texts of the notes that we wrote to a deal; returns how many there were.

    One that amoCRM refuses is found again by whoever looks afterwards, and keeps nothing else from being
    cleared.

    Raises:
        IdentAmocrmError: When the run cannot go on.
    """
    numbers = own_notes(notes, lead_id, card.external_id)
    for number in numbers:
        load.guard()
        batch = Batch(Kind.NOTE, Action.UPDATE, (card.row.source_id,), load.request_hash([number, text]))
        attempt = load.journal.begin_attempt(load.run_id, load.clinic_uid, load.account_id, batch)
        try:
            notes.replace_note(lead_id, number, text)
        except IdentAmocrmError as error:
            if not isinstance(error, RowError):
                load.journal.close_attempt(attempt.id, [])
                raise
        load.journal.close_attempt(attempt.id, [])
    return len(numbers)


def _nothing(_amo_id: int) -> Sequence[AppliedRow]:
    return ()
