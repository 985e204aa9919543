"""Small typed records that the rooms hand to one another through the step modules.

Nothing here does anything: a record is what one room says and another one hears.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tasks.frames import CONTACT_DATA, LEAD_DATA

__all__ = [
    "DATA",
    "MAYBE_REMOVED",
    "Account",
    "Action",
    "AppliedRow",
    "Attempt",
    "Batch",
    "CustomField",
    "FieldEnum",
    "Invoice",
    "Kind",
    "Outcome",
    "OutcomeState",
    "Period",
    "Pipeline",
    "PlanRow",
    "Reject",
    "RemoteContact",
    "RemoteLead",
    "Stage",
    "User",
    "Waiver",
]


class Kind(StrEnum):
    """What a plan row writes."""

    CONTACT = "contact"
    LEAD = "lead"
    LINK = "link"
    NOTE = "note"


class Action(StrEnum):
    """What a plan row does to its entity."""

    CREATE = "create"
    UPDATE = "update"
    MOVE = "move"  # an update of a deal that also changes its stage


class OutcomeState(StrEnum):
    """How a planned row ended; every planned row ends in exactly one of these."""

    APPLIED = "applied"
    REJECTED = "rejected"  # parked with a reason until its data, its mapping or a person changes it
    DEFERRED = "deferred"  # not this time: it waits for another row or the next run
    AMBIGUOUS = "ambiguous"  # sent, but the answer was lost


#: Reason of a row that was not found again while something was deleted in amoCRM: a person has to decide.
MAYBE_REMOVED = "maybe_removed"

#: Data of a card by kind, in the order in which the ledger packs their hashes.
DATA: Mapping[Kind, tuple[str, ...]] = {Kind.CONTACT: CONTACT_DATA, Kind.LEAD: LEAD_DATA}


# ---- amoCRM, as read -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Account:
    """The amoCRM account behind a token."""

    id: int
    subdomain: str
    name: str
    current_user_id: int
    timezone: str  # IANA name; date fields are midnights of this zone
    name_order: int  # contact_name_display_order: 1 first last, 2 last first


@dataclass(frozen=True, slots=True)
class User:
    """A user of the account."""

    id: int
    name: str
    is_active: bool
    is_admin: bool


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a pipeline; 142 and 143 stand in every pipeline."""

    id: int
    name: str
    sort: int
    pipeline_id: int
    type: int = 0  # 1: «Неразобранное»
    color: str = ""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A sales pipeline with its stages in order."""

    id: int
    name: str
    sort: int
    is_main: bool
    is_archive: bool
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class FieldEnum:
    """One option of a select field."""

    id: int
    value: str
    sort: int = 0
    code: str | None = None


@dataclass(frozen=True, slots=True)
class CustomField:
    """Definition of a custom field of contacts or leads."""

    id: int
    name: str
    type: str
    code: str | None = None
    is_api_only: bool = False
    sort: int = 0
    enums: tuple[FieldEnum, ...] = ()


#: ``custom_fields_values`` of an entity by field id: the raw ``values`` items as amoCRM sent them.
FieldValues = Mapping[int, tuple[Mapping[str, Any], ...]]


@dataclass(frozen=True, slots=True)
class RemoteContact:
    """A contact as amoCRM has it now."""

    id: int
    name: str = field(repr=False)
    first_name: str = field(repr=False)
    last_name: str = field(repr=False)
    responsible_user_id: int
    updated_at: int  # epoch seconds
    values: FieldValues = field(repr=False)
    tags: frozenset[str] = frozenset()
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class RemoteLead:
    """A deal as amoCRM has it now."""

    id: int
    name: str = field(repr=False)
    price: int
    pipeline_id: int
    status_id: int
    responsible_user_id: int
    updated_at: int  # epoch seconds
    values: FieldValues = field(repr=False)
    tags: frozenset[str] = frozenset()
    contact_ids: tuple[int, ...] = ()  # the main contact first
    is_deleted: bool = False


# ---- the ledger ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One write that a run intends, for one entity.

    Attributes:
        kind: What is written.
        source_id: IDENT's id: the patient's for a contact, the root appointment's of the reschedule chain
            for a lead, a link or a note.
        action: Create, update or move.
        changed: Data whose IDENT value differs from what was last sent, in the order of ``DATA``; empty for
            a create.
        amo_id: The entity to change; for a create, the existing entity to adopt, where one was found.
    """

    kind: Kind
    source_id: int
    action: Action
    changed: tuple[str, ...] = ()
    amo_id: int | None = None


@dataclass(frozen=True, slots=True)
class AppliedRow:
    """What the ledger knows of an entity that amoCRM acknowledged.

    Attributes:
        kind: Contact, lead or link.
        source_id: As in ``PlanRow``.
        amo_id: amoCRM's id; for a link, the contact's id.
        row_hash: Keyed hash of all data of the row.
        hashes: Keyed hash of each datum that was sent, by datum; 0 stands for "never sent".
        pipeline_id: Where we last put the deal.
        status_id: Where we last put the deal.
        is_primary: Frozen when the deal was created.
    """

    kind: Kind
    source_id: int
    amo_id: int
    row_hash: int
    hashes: Mapping[str, int]
    pipeline_id: int | None = None
    status_id: int | None = None
    is_primary: bool | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Writes that are about to leave in one request.

    Attributes:
        kind: What is written.
        action: What is done to it.
        source_ids: The rows.
        request_hash: Keyed hash of the request.
        highest_amo_id: Highest id of this kind seen before.
        rows: Snapshot rows as they will be once amoCRM acknowledged them.
    """

    kind: Kind
    action: Action
    source_ids: tuple[int, ...]
    request_hash: int
    highest_amo_id: int = 0
    rows: tuple[AppliedRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """A batch of writes whose request left, or was about to leave, without a recorded answer."""

    id: int
    run_id: str
    kind: Kind
    action: Action
    source_ids: tuple[int, ...]
    highest_amo_id: int  # highest id of this kind seen before the request left
    started_at: float  # epoch seconds
    scans: int = 0  # complete scans that did not find it
    last_scan_at: float | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was kept back, with the reason a person can act on.

    Attributes:
        entity: ``patient``, ``appointment``, ``contact`` or ``lead``.
        source_id: IDENT's id.
        reason: Name of the expectation, or amoCRM's code.
        field: NAME of the offending column or field, never its value.
        data_hash: Row hash at the time; another hash makes the row due again.
        first_seen: Epoch seconds.
        last_seen: Epoch seconds.
        held_by: The row at fault, where this one only depends on it: its patient, or a row of its chain.
    """

    entity: str
    source_id: int
    reason: str
    field: str = ""
    data_hash: int = 0
    first_seen: float = 0.0
    last_seen: float = 0.0
    held_by: int | None = None


@dataclass(frozen=True, slots=True)
class Waiver:
    """An analyst's word that rows which break a rule may pass.

    Attributes:
        entity: ``patient`` or ``appointment``.
        source_id: The row; ``None`` for every row of the clinic.
        reason: Code of the rule.
        note: Why, in the analyst's words; kept in the ledger only.
        waived_by: Who says so.
        until: Epoch seconds.
        waived_at: Epoch seconds.
    """

    entity: str
    source_id: int | None
    reason: str
    note: str = field(repr=False)
    waived_by: str
    until: float
    waived_at: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one planned row ended.

    Attributes:
        run_id: The run that planned it.
        kind: As in the plan row.
        source_id: As in the plan row.
        state: The end state.
        reason: Code of the reason; empty for applied rows.
        field: NAME of the offending field, where amoCRM named one.
        data_hash: Row hash at the time, so that a rejected row is tried again when its data changed.
    """

    run_id: str
    kind: Kind
    source_id: int
    state: OutcomeState
    reason: str = ""
    field: str = ""
    data_hash: int = 0


# ---- the subscription ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Period:
    """A time in which the transfer may run.

    Attributes:
        kind: ``trial``, ``paid`` or ``top_up`` (extra users inside a paid time).
        users: How many users it covers; 0 for the trial, which covers all.
        starts_at: Epoch seconds.
        ends_at: Epoch seconds.
    """

    kind: str
    users: int
    starts_at: float
    ends_at: float


@dataclass(frozen=True, slots=True)
class Invoice:
    """A demand for money, and what it buys once it is paid.

    Attributes:
        number: Its number, unique in this installation.
        kind: ``paid`` or ``top_up``, the kind of the period that it buys.
        months: Months that are paid.
        users: Users that the period will cover; for a top-up the additional ones.
        amount: Whole roubles.
        starts_at: Epoch seconds.
        ends_at: Epoch seconds.
        created_at: When the offer was accepted and the invoice made, epoch seconds.
        request_id: The flow run or command that made it: the same one asks again for the same invoice.
        provider: Name of the payment provider.
        paid_at: Epoch seconds; ``None`` until then.
    """

    number: str
    kind: str
    months: int
    users: int
    amount: int
    starts_at: float
    ends_at: float
    created_at: float
    request_id: str
    provider: str = "operator"
    paid_at: float | None = None
