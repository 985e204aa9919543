"""What may differ between the three, and who has to act on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tasks.records import Kind

__all__ = ["HANDLING", "Finding", "Handling", "Mismatch"]


class Handling(StrEnum):
    """Whose a difference is."""

    REPAIR = "repair"  # ours: made due, and written by the ordinary plan and load
    WAIT = "wait"  # ours too, but not yet: something has to be proven first
    LEAVE = "leave"  # a person's work, or listed elsewhere already: counted, left as it is
    PERSON = "person"  # only a person can decide


class Mismatch(StrEnum):
    """Kinds of difference; what a person has to decide stands first."""

    DELETED = "deleted"  # acknowledged once, gone from amoCRM: deleted or merged by hand
    TWINS = "twins"  # several entities carry one mark
    MARK_TAKEN = "mark_taken"  # an entity carries the mark of one row and belongs to another
    MISSING = "missing"  # in IDENT, neither in the ledger nor in amoCRM
    BEHIND = "behind"  # IDENT changed and the change was not sent yet
    FIELD = "field"  # a value of ours was changed or lost in amoCRM, and the policy is that IDENT wins
    STAGE_BEHIND = "stage_behind"  # the deal stands before its stage, where we put it
    LINK_MISSING = "link_missing"  # the deal is not linked to its patient's contact
    MARK_ELSEWHERE = "mark_elsewhere"  # another entity than the ledger's carries the mark
    MARK_EMPTIED = "mark_emptied"  # the entity lost its mark
    ORPHAN = "orphan"  # carries our mark, unknown to the ledger
    GONE = "gone"  # in the ledger, no longer in IDENT; closed when two full reads missed it
    UNSETTLED = "unsettled"  # in IDENT; whether amoCRM has it is being found out after a lost answer
    EDITED = "edited"  # a value that a person edited
    STAGE_LEFT = "stage_left"  # moved by a person, or a step back, which is never made
    LINK_CHANGED = "link_changed"  # a person detached our contact or attached another
    KEPT_BACK = "kept_back"  # listed among the rejects with its reason


HANDLING: Final[Mapping[Mismatch, Handling]] = {
    Mismatch.DELETED: Handling.PERSON,
    Mismatch.TWINS: Handling.PERSON,
    Mismatch.MARK_TAKEN: Handling.PERSON,
    Mismatch.MISSING: Handling.REPAIR,
    Mismatch.BEHIND: Handling.REPAIR,
    Mismatch.FIELD: Handling.REPAIR,
    Mismatch.STAGE_BEHIND: Handling.REPAIR,
    Mismatch.LINK_MISSING: Handling.REPAIR,
    Mismatch.MARK_ELSEWHERE: Handling.REPAIR,
    Mismatch.MARK_EMPTIED: Handling.REPAIR,
    Mismatch.ORPHAN: Handling.REPAIR,
    Mismatch.GONE: Handling.REPAIR,
    Mismatch.UNSETTLED: Handling.WAIT,
    Mismatch.EDITED: Handling.LEAVE,
    Mismatch.STAGE_LEFT: Handling.LEAVE,
    Mismatch.LINK_CHANGED: Handling.LEAVE,
    Mismatch.KEPT_BACK: Handling.LEAVE,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference.

    Attributes:
        mismatch: What differs.
        kind: Of which entity.
        source_id: IDENT's id.
        amo_ids: The entities of amoCRM that it is about.
        fields: NAMES of the data that differ, never their values.
        waits: Whether a repair has to wait for a proof.
    """

    mismatch: Mismatch
    kind: Kind
    source_id: int
    amo_ids: tuple[int, ...] = ()
    fields: tuple[str, ...] = ()
    waits: bool = False

    @property
    def handling(self) -> Handling:
        """Whose it is."""
        return Handling.WAIT if self.waits else HANDLING[self.mismatch]
