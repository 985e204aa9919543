"""One question about one row, and what IDENT answers to it.

The row is read by id into memory, compared by its hashes, and forgotten: what leaves this module are ids,
codes, names of fields and times.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from tasks.connections import open_source
from tasks.errors import IdentAmocrmError
from tasks.explaining.facts import SourceFacts
from tasks.frames import Entity, empty_frame
from tasks.ident.connection import database_errors
from tasks.launch import LAUNCH, Launch
from tasks.ledger.hashing import FieldHasher
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.mapping.filters import narrowed, passes
from tasks.mapping.model import DEAL_NAME, Filters, Policy
from tasks.mapping.model import Mapping as CardMapping
from tasks.mapping.texts import contact_texts, lead_texts
from tasks.planning.chains import collapse, held_back
from tasks.records import DATA, AppliedRow, Kind
from tasks.settings import Settings

__all__ = ["Inquiry", "Reading", "look", "read"]

KINDS = {Entity.PATIENT: Kind.CONTACT, Entity.APPOINTMENT: Kind.LEAD}
#: Data of a deal that are sent without a rule of the mapping: its contact and its stage.
STEERING = frozenset({"patient_id", "stage"})


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What is asked, and where the answers lie."""

    ledger: Ledger
    settings: Settings
    record: ConnectionRecord
    entity: Entity
    source_id: int

    @property
    def uid(self) -> str:
        """The clinic's unchanging id."""
        return self.record.clinic_uid

    @property
    def kind(self) -> Kind:
        """What the row becomes in amoCRM."""
        return KINDS[self.entity]

    @property
    def zone(self) -> ZoneInfo:
        """Zone of the clinic."""
        return ZoneInfo(self.record.timezone)

    def moment(self, epoch: float | None) -> datetime | None:
        """Return an instant of the ledger in the clinic's zone."""
        return None if epoch is None else self.at(epoch)

    def at(self, epoch: float) -> datetime:
        """Return a known instant of the ledger in the clinic's zone."""
        return datetime.fromtimestamp(epoch, tz=self.zone)

    def local(self, instant: Any) -> datetime | None:
        """Return an instant of a frame in the clinic's zone."""
        if pd.isna(instant):
            return None
        return pd.Timestamp(instant).tz_convert(self.zone).to_pydatetime(warn=False)

    def setting(self, name: str) -> dict[str, Any] | None:
        """Return a setting of the clinic."""
        return self.ledger.setting(f"clinic:{self.uid}", name)


@dataclass(frozen=True, slots=True)
class Reading:
    """What IDENT answered: the patient, or the whole reschedule chain; nothing of it is ever printed."""

    frame: pd.DataFrame = field(repr=False)
    patients: frozenset[int] = frozenset()
    branches: tuple[str, ...] = ()
    error: str = ""

    def root_of(self, source_id: int) -> int:
        """Return the key of the row's card."""
        if "rescheduled_from_id" not in self.frame or self.frame.empty:
            return source_id
        return int(collapse(self.frame)["root_id"].iloc[0])

    @property
    def ids(self) -> list[int]:
        """Ids of the rows."""
        return sorted(int(key) for key in self.frame.iloc[:, 0])


def read(inquiry: Inquiry) -> Reading:
    """Read the row by id, without window or filter; an appointment with its whole reschedule chain."""
    entity, key = inquiry.entity, inquiry.source_id
    try:
        connection, reader = open_source(inquiry.record, inquiry.settings)
        try:
            with database_errors(connection):
                if entity is Entity.PATIENT:
                    return Reading(_joined(entity, reader.patients([key])))
                frame = _joined(entity, reader.appointments(reader.chain([key])))
                owners = {int(owner) for owner in frame["patient_id"].dropna()}
                return Reading(frame, reader.existing(Entity.PATIENT, owners), connection.branch_names)
        finally:
            reader.close()
    except IdentAmocrmError as error:
        return Reading(empty_frame(entity), error=error.code)


def _joined(entity: Entity, pages: Iterable[pd.DataFrame]) -> pd.DataFrame:
    frames = [page for page in pages if len(page)]
    return pd.concat(frames, ignore_index=True) if frames else empty_frame(entity)


def look(
    inquiry: Inquiry,
    reading: Reading,
    known: AppliedRow | None,
    broken: Collection[int],
    mapping: CardMapping | None,
) -> tuple[SourceFacts, int]:
    """Return the row as IDENT has it, and the hash of its card, 0 where it has none.

    Args:
        inquiry: The question.
        reading: What IDENT answered.
        known: What amoCRM acknowledged of the card.
        broken: Appointments of the chain that failed validation.
        mapping: The account's mapping, where there is one.
    """
    frame, key = reading.frame, inquiry.source_id
    asked = frame[frame.iloc[:, 0] == key]
    if asked.empty:
        # The chain of a deleted appointment may live on with the one that replaced it.
        others = tuple(reading.ids)
        current = int(collapse(frame)["appointment_id"].iloc[-1]) if others else None
        return SourceFacts(exists=False, chain=others, current_id=current), 0
    row = asked.iloc[0]
    changed_at = inquiry.local(row["changed_at"])
    if inquiry.entity is Entity.PATIENT:
        differs, row_hash = _difference(inquiry, contact_texts(asked), known, mapping)
        return SourceFacts(exists=True, changed_at=changed_at, differs=differs), row_hash
    deal, replaced, holders = _deal(frame, key, broken)
    shown = deal.iloc[0] if replaced else row
    differs, row_hash = (), 0
    if pd.notna(deal["patient_id"].iloc[0]):
        if known is not None and known.is_primary is not None:
            deal = deal.assign(is_primary=known.is_primary)
        differs, row_hash = _difference(
            inquiry,
            lead_texts(deal, inquiry.zone, mapping.deal_name if mapping else DEAL_NAME),
            known,
            mapping,
        )
    source = SourceFacts(
        exists=True,
        changed_at=changed_at,
        differs=differs,
        status=str(row["status"]),
        start_at=inquiry.local(row["start_at"]),
        patient_id=None if pd.isna(shown["patient_id"]) else int(shown["patient_id"]),
        chain=tuple(reading.ids),
        current_id=int(deal["appointment_id"].iloc[0]),
        inside_window=_inside(inquiry, frame),
        passes_filters=_passes(mapping, reading.branches, deal),
        wants_deals=Launch.model_validate(inquiry.setting(LAUNCH) or {}).deals,
        holders=holders,
    )
    return source, row_hash


def _deal(
    frame: pd.DataFrame, key: int, broken: Collection[int]
) -> tuple[pd.DataFrame, bool, tuple[int, ...]]:
    """Return the row that the deal shows, whether the asked one was replaced, and which rows hold it back."""
    good = frame[~frame["appointment_id"].isin(broken)]
    waiting = held_back(frame, good)
    free = good[~good["appointment_id"].isin(waiting)]
    replaced = {int(parent) for parent in frame["rescheduled_from_id"].dropna()}
    deal = collapse(free if len(free) else frame).iloc[[-1]]
    if key in broken and (key not in replaced or free.empty):
        return deal, key in replaced, (key,)
    holders = tuple(sorted(set(broken) - replaced)) if key in waiting else ()
    return deal, key in replaced, holders


def _difference(
    inquiry: Inquiry, texts: pd.DataFrame, known: AppliedRow | None, mapping: CardMapping | None
) -> tuple[tuple[str, ...], int]:
    """Return names of transferred data that differ from what amoCRM acknowledged, and the row's hash."""
    kind = inquiry.kind
    hasher = FieldHasher(inquiry.settings.installation_key(), inquiry.uid)
    hashes = hasher.hash_frame(kind, texts)
    row_hash = int(hasher.row_hashes(hashes)[0])
    if known is None or known.row_hash == row_hash or not known.hashes:
        return (), row_hash
    sent = frozenset(DATA[kind])
    if mapping is not None:
        rules = mapping.contact if kind is Kind.CONTACT else mapping.lead
        sent = STEERING | {rule.datum for rule in rules if rule.policy is not Policy.NEVER}
    now = hashes.iloc[0]
    return tuple(
        name for name in DATA[kind] if name in sent and known.hashes.get(name, 0) != int(now[name])
    ), row_hash


def _passes(mapping: CardMapping | None, branches: Collection[str], deal: pd.DataFrame) -> bool:
    filters = narrowed(mapping.filters if mapping else Filters(), branches)
    return bool(passes(filters, deal, pd.Timestamp.now(tz=UTC)).iloc[0])


def _inside(inquiry: Inquiry, frame: pd.DataFrame) -> bool:
    """Tell whether the chain has a row inside the launch window; it is transferred as a whole then."""
    stored = inquiry.setting(LAUNCH)
    if stored is None:
        return True
    launch = Launch.model_validate(stored)
    asked = frame.loc[frame["appointment_id"] == inquiry.source_id, "start_at"]
    if asked.isna().any():
        return True  # it is read whatever the window, so that a person sees it
    starts = [start.replace(tzinfo=None) for value in frame["start_at"] if (start := inquiry.local(value))]
    return any(
        (launch.start is None or start >= launch.start) and (launch.end is None or start <= launch.end)
        for start in starts
    )
