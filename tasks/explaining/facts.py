"""What is known of one row, collected from IDENT, the ledger and amoCRM."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import date, datetime

from tasks.frames import Entity
from tasks.records import Action, OutcomeState

__all__ = [
    "MANY_PAST_MOVES",
    "NOT_IN_AMOCRM",
    "NO_PATIENT",
    "SEVERAL",
    "AppliedFacts",
    "AttemptFacts",
    "Facts",
    "HeldFacts",
    "PatientFacts",
    "PlanFacts",
    "RemoteFacts",
    "RunFacts",
    "SourceFacts",
]

#: Reasons that other rooms write into the ledger and that have a verdict of their own.
NO_PATIENT = "no_patient"
SEVERAL = "several_candidates"
MANY_PAST_MOVES = "many_past_moves"
NOT_IN_AMOCRM = "not_in_amocrm"
#: Reasons that say: the row itself is good, another one is not.
INDIRECT = frozenset({"chain_held_back", "patient_kept_back"})
CARDS = frozenset({"contact", "lead"})


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """The row in IDENT now.

    Attributes:
        exists: Whether IDENT has it.
        changed_at: When IDENT last changed it, as IDENT says.
        differs: Names of data that are not what amoCRM last acknowledged.
        status: Status of the appointment.
        start_at: Its planned start.
        patient_id: Whose it is; ``None`` for a slot without a patient.
        chain: Ids of its reschedule chain, itself included.
        current_id: The row of the chain that the deal shows.
        inside_window: Whether the chain has a row inside the launch window.
        passes_filters: Whether the filters of the mapping and the connection let it get a deal.
        wants_deals: Whether the launch configuration has deals at all.
        holders: Rows of the chain that failed validation and hold this one back, itself included.
    """

    exists: bool
    changed_at: datetime | None = None
    differs: tuple[str, ...] = ()
    status: str = ""
    start_at: datetime | None = None
    patient_id: int | None = None
    chain: tuple[int, ...] = ()
    current_id: int | None = None
    inside_window: bool = True
    passes_filters: bool = True
    wants_deals: bool = True
    holders: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldFacts:
    """One reason for which a row is kept back.

    Attributes:
        entity: ``patient`` or ``appointment`` for an expectation, ``contact`` or ``lead`` for amoCRM.
        severity: Of the expectation; empty for amoCRM's refusals.
        released: Whether a person let it be tried again.
        data_changed: Whether the row changed in IDENT since.
        withheld: Whether only a value is kept back, and the row goes without it.
    """

    entity: str
    source_id: int
    reason: str
    field: str
    first_seen: datetime
    last_seen: datetime
    severity: str = ""
    released: bool = False
    data_changed: bool = False
    withheld: bool = False

    @property
    def by_amocrm(self) -> bool:
        """Whether the card was refused, not the row."""
        return self.entity in CARDS

    @property
    def is_direct(self) -> bool:
        """Whether the row itself did not pass an expectation."""
        return not self.by_amocrm and not self.withheld and self.reason not in INDIRECT


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """A plan of the row and its end; ``state`` is ``None`` while there is none."""

    run_id: str
    action: Action
    changed: tuple[str, ...]
    planned_at: datetime
    state: OutcomeState | None = None
    reason: str = ""
    field: str = ""
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """A batch with this row whose answer is not known."""

    run_id: str
    started_at: datetime
    scans: int = 0
    last_scan_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AppliedFacts:
    """What amoCRM acknowledged.

    Attributes:
        confirmed: False for an entity that was found again or claimed: what stands in it is not known yet.
        closed: Whether it was closed because its row vanished from IDENT.
    """

    amo_id: int
    applied_at: datetime
    pipeline_id: int | None = None
    status_id: int | None = None
    stage: str = ""
    is_primary: bool | None = None
    confirmed: bool = True
    closed: bool = False


@dataclass(frozen=True, slots=True)
class RemoteFacts:
    """The card in amoCRM now.

    Attributes:
        error: Code of the error, when amoCRM could not be asked.
        exists: Whether it is there and not in the trash.
        amo_id: Its id; another one than the ledger's when a person merged the card into that one.
        ours: Whether it carries our mark; ``None`` without a mapping that says which field holds it.
        linked: Whether the deal hangs on the contact of its patient.
    """

    error: str = ""
    exists: bool = False
    amo_id: int | None = None
    ours: bool | None = None
    pipeline_id: int | None = None
    status_id: int | None = None
    stage: str = ""
    linked: bool | None = None


@dataclass(frozen=True, slots=True)
class PatientFacts:
    """The patient of an appointment."""

    patient_id: int
    exists: bool = True
    amo_id: int | None = None
    held: tuple[HeldFacts, ...] = ()
    answer_lost: bool = False


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run of the clinic's transfer; ``code`` says why it failed."""

    run_id: str
    state: str
    started_at: datetime
    finished_at: datetime | None = None
    code: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of one row.

    Attributes:
        entity: What was asked for.
        source_id: Its id in IDENT.
        root_id: Key of its card: the root of the reschedule chain for an appointment, else its own id.
        mark: External id of its card.
        started: Whether the transfer is started; ``None`` when it never was.
        started_at: When it was started or stopped.
        window: First and last day of the launch window; ``None`` when there is none yet.
        watermark_at: Changes before it were read.
        full_due_at: When everything is read again.
        source: ``None`` when IDENT could not be read, ``source_error`` says why then.
        gone_once: Whether the last full read missed it.
        remote: ``None`` when there is no card to look for.
        card_url: Link to the card.
        erased: Whether the person's cards were cleared on request, so that they are never sent again.
    """

    clinic: str
    clinic_uid: str
    timezone: str
    entity: Entity
    source_id: int
    root_id: int
    mark: str
    started: bool | None = None
    started_at: datetime | None = None
    window: tuple[date | None, date | None] | None = None
    watermark_at: datetime | None = None
    full_due_at: datetime | None = None
    last_run: RunFacts | None = None
    source: SourceFacts | None = None
    source_error: str = ""
    gone_once: bool = False
    held: tuple[HeldFacts, ...] = ()
    plans: tuple[PlanFacts, ...] = ()
    attempt: AttemptFacts | None = None
    waiting_since: datetime | None = None
    link_waiting: bool = False
    applied: AppliedFacts | None = None
    remote: RemoteFacts | None = None
    card_url: str = ""
    patient: PatientFacts | None = None
    erased: bool = False

    @property
    def is_known(self) -> bool:
        """Whether the ledger ever heard of the row."""
        return bool(self.applied or self.held or self.plans or self.attempt or self.waiting_since)

    @property
    def amo_id(self) -> int | None:
        """Id of the card, where it stands now as far as that is known."""
        if self.remote is not None and self.remote.amo_id is not None:
            return self.remote.amo_id
        return self.applied.amo_id if self.applied is not None else None

    @property
    def argument(self) -> str:
        """The clinic's name as a command takes it."""
        return shlex.quote(self.clinic)
