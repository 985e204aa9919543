"""What loading needs from the other rooms, as protocols, and the state of one load."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tasks.errors import IdentAmocrmError
from tasks.records import (
    AppliedRow,
    Attempt,
    Batch,
    Kind,
    Outcome,
    OutcomeState,
    PlanRow,
    RemoteContact,
    RemoteLead,
)

__all__ = ["Card", "Cards", "Change", "Destination", "Hasher", "Journal", "Load", "Remote", "sent_by_us"]

Remote = RemoteContact | RemoteLead
Payload = dict[str, Any]
Place = tuple[int, int]  # pipeline id, status id


class Change(Protocol):
    """What a card policy decided: the fields to send and what it left to a person."""

    @property
    def payload(self) -> Mapping[str, Any]:
        """Body of the entity without ``id`` and ``request_id``; empty when nothing is to be written."""

    @property
    def yielded(self) -> tuple[str, ...]:
        """Data left as they are because a person edited them."""

    @property
    def overwritten(self) -> tuple[str, ...]:
        """Data whose hand-made value was replaced, as their policy says."""


class Destination(Protocol):
    """amoCRM, as far as loading needs it; raises the classes of ``tasks.errors``."""

    def read(self, kind: Kind, ids: Collection[int]) -> Mapping[int, Remote]:
        """Read entities by id; what does not exist or is in the trash is absent."""

    def highest_id(self, kind: Kind) -> int:
        """Return the highest id of the account for this kind, 0 when there is none."""

    def newest_down_to(self, kind: Kind, amo_id: int) -> Iterable[Remote]:
        """Read entities by descending id until one is not above ``amo_id``; independent of the index."""

    def search(self, kind: Kind, text: str) -> Iterable[Remote]:
        """Read what amoCRM's search finds for a text: strangers too, and not what is seconds old."""

    def trashed_above(self, kind: Kind, amo_id: int) -> Collection[int]:
        """Return ids above ``amo_id`` that stand in the trash; whose they were cannot be read any more."""

    def create(self, kind: Kind, payloads: Sequence[Payload]) -> Mapping[str, int]:
        """Create entities; answers ids by ``request_id``."""

    def update(self, kind: Kind, payloads: Sequence[Payload]) -> Collection[int]:
        """Update entities; answers the acknowledged ids."""

    def link(self, lead_id: int, contact_id: int) -> bool:
        """Attach a contact to a deal as its main one; tell whether that was acknowledged.

        Harmless when it is attached already.
        """

    def unlink(self, lead_id: int, contact_id: int) -> None:
        """Detach a contact from a deal."""

    def notes(self, lead_id: int) -> Sequence[str]:
        """Return the texts of a deal's notes."""

    def add_note(self, lead_id: int, text: str) -> None:
        """Write a note to a deal."""


class Journal(Protocol):
    """The ledger, as far as loading needs it."""

    def begin_attempt(self, run_id: str, clinic_uid: str, account_id: int, batch: Batch) -> Attempt:
        """Commit the intention to send a batch."""

    def acknowledge(
        self, attempt_id: int, applied: Sequence[AppliedRow], outcomes: Sequence[Outcome]
    ) -> None:
        """Commit the receipt: snapshot, ids and outcomes in one transaction."""

    def close_attempt(
        self, attempt_id: int, outcomes: Sequence[Outcome], *, maybe_written: bool = False
    ) -> None:
        """Commit the end of a batch without a receipt."""

    def attempted_rows(self, attempt_id: int) -> Sequence[AppliedRow]:
        """Return what a batch sent, as the snapshot rows it becomes."""

    def open_attempts(self, clinic_uid: str) -> Sequence[Attempt]:
        """Return batches without a recorded answer."""

    def note_scan(self, attempt_id: int, at: float) -> None:
        """Record a complete scan that did not find a batch."""

    def apply_local(self, clinic_uid: str, account_id: int, rows: Sequence[AppliedRow]) -> None:
        """Move snapshot rows for which nothing had to be written, or claim an entity before adopting it."""

    def record_outcomes(self, clinic_uid: str, outcomes: Sequence[Outcome]) -> None:
        """Record the end of rows that had no request of their own."""

    def applied_rows(self, clinic_uid: str, kind: Kind, ids: Collection[int]) -> Mapping[int, AppliedRow]:
        """Return the snapshot of the given entities."""

    def owner_of(self, account_id: int, kind: Kind, amo_id: int) -> tuple[str, int] | None:
        """Return the clinic and source id an amoCRM entity belongs to, ``None`` when it is free."""


class Cards(Protocol):
    """The mapping, as far as loading needs it."""

    def change(
        self,
        kind: Kind,
        texts: Mapping[str, str | None],
        *,
        external_id: str,
        create: bool,
        changed: Collection[str],
        remote: Remote | None,
        sent: Callable[[str, str], bool],
    ) -> Change:
        """Decide what to send for one card."""

    def place(self, *, is_primary: bool, stage_key: str) -> Place | None:
        """Return where a deal belongs, ``None`` for «не менять»."""

    def may_move(
        self, *, current: Place | None, last_sent: Place | None, target: Place, stage_key: str
    ) -> bool:
        """Tell whether the transfer may move a deal from where it stands."""

    def is_primary_place(self, pipeline_id: int) -> bool | None:
        """Tell which of the two pipelines this is, ``None`` for neither."""

    def field_name(self, kind: Kind, payload: Mapping[str, Any], path: str) -> str:
        """Translate amoCRM's path into the name of the field."""

    def external_ids(self, kind: Kind, remote: Remote) -> str:
        """Return the external id that an entity carries, empty where there is none."""

    def reschedule_note(self, remote: RemoteLead, texts: Mapping[str, str | None], mark: str) -> str | None:
        """Return the note about a changed time, ``None`` when the deal already has the new one."""

    def gone_payload(self, kind: Kind, remote: Remote) -> Payload:
        """Return what marks the card of an entity that vanished from IDENT."""


class Hasher(Protocol):
    """Keyed hashes of texts."""

    def hash_value(self, kind: Kind, column: str, text: str | None) -> int:
        """Hash one text exactly as the snapshot does."""


@dataclass(frozen=True, slots=True)
class Card:
    """A planned row with everything needed to write it; its texts are personal and never leave the process.

    Attributes:
        row: The plan row.
        external_id: Mark of the entity.
        texts: Canonical text of each datum.
        hashes: Keyed hash of each datum.
        row_hash: Keyed hash of the row.
        stage_key: Where the appointment stands in its life (leads).
        is_primary: First or repeat visit (leads).
        patient_id: Whose appointment it is (leads).
        known: What the snapshot says, where the entity is known.
        unacknowledged: What was sent since and has no receipt: amoCRM may hold it, and it is ours.
    """

    row: PlanRow
    external_id: str
    texts: Mapping[str, str | None] = field(repr=False)
    hashes: Mapping[str, int] = field(repr=False)
    row_hash: int = 0
    stage_key: str = ""
    is_primary: bool = False
    patient_id: int | None = None
    known: AppliedRow | None = None
    unacknowledged: tuple[AppliedRow, ...] = ()

    @property
    def sent(self) -> tuple[AppliedRow, ...]:
        """What amoCRM may hold of ours: acknowledged, or sent without an answer."""
        return (self.known, *self.unacknowledged) if self.known is not None else self.unacknowledged


@dataclass(slots=True)
class Load:
    """State of one load, shared by its worker threads.

    Attributes:
        guard: Checks the lease before each request; raises when it was lost or the run is to stop.
        contact_ids: amoCRM id by patient, grown by each created contact.
        highest: Highest amoCRM id seen, by kind; written into attempts.
        yielded: How many data were left to a person.
        overwritten: How many hand-made values were replaced by policy.
    """

    run_id: str
    clinic_uid: str
    account_id: int
    destination: Destination
    journal: Journal
    cards: Cards
    hasher: Hasher
    guard: Callable[[], None]
    request_hash: Callable[[object], int]
    batch_size: int = 50
    workers: int = 4
    contact_ids: dict[int, int] = field(default_factory=dict)
    highest: dict[Kind, int] = field(default_factory=dict)
    yielded: int = 0
    overwritten: int = 0
    stopped: IdentAmocrmError | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def outcome(
        self,
        card: Card,
        state: OutcomeState,
        reason: str = "",
        field_name: str = "",
        kind: Kind | None = None,
    ) -> Outcome:
        """Return the outcome of a card."""
        return Outcome(
            self.run_id, kind or card.row.kind, card.row.source_id, state, reason, field_name, card.row_hash
        )

    def count(self, change: Change) -> None:
        """Count what the policies did."""
        with self.lock:
            self.yielded += len(change.yielded)
            self.overwritten += len(change.overwritten)


def sent_by_us(load: Load, card: Card) -> Callable[[str, str], bool]:
    """Return the test whether a text in amoCRM is what we last sent for a datum of this card."""

    def sent(datum: str, text: str) -> bool:
        hashed = load.hasher.hash_value(card.row.kind, datum, text)
        return any(row.hashes.get(datum, 0) == hashed for row in card.sent)

    return sent
