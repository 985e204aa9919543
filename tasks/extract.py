"""Reading IDENT: what changed, what is due, what is gone."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pandas as pd
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from tasks.collector import few_collections
from tasks.drift import resume_repaired
from tasks.errors import GuardError
from tasks.frames import FRAMES, Entity, empty_frame, give_memory_back
from tasks.ident.access import chunks
from tasks.ident.connection import database_errors
from tasks.ident.reader import Changes, Watermark, Window
from tasks.planning.chains import collapse, links
from tasks.planning.diff import GONE_HASH
from tasks.planning.holding import FOR_A_PERSON
from tasks.rebaseline import work_on_a_copy
from tasks.records import Kind
from tasks.seen import leave_out_seen, note_seen
from tasks.validate import judges_rows
from tasks.waived import due_by_waivers, needs_full_read
from tasks.workspace import Workspace, workspace

__all__ = ["FULL_DUE", "MARK", "SUSPECTS", "extract", "read_changes", "read_first", "read_patients"]

#: Keys of the stored watermark.
MARK, FULL_DUE = "mark", "full_due_at"
#: Name of the clinic's setting that lists what a full read missed once.
SUSPECTS = "gone_suspects"
#: Name of the clinic's setting that tells by which mapping and fields its rows were refused.
SCHEMA = "schema"
#: So many known keys are looked for at once.
MANY = 20_000
KINDS = {Kind.CONTACT: Entity.PATIENT, Kind.LEAD: Entity.APPOINTMENT}


@few_collections()
def read_first(space: Workspace) -> tuple[Changes, pd.DataFrame]:
    """Find out what a first load has to read, and read all patients; asks neither ledger nor amoCRM."""
    changes = space.reader.everything(Window(space.launch.start, space.launch.end))
    return changes, _concat(Entity.PATIENT, space.reader.patients(None))


def read_patients(space: Workspace) -> None:
    """Take all patients of a first load, read by now or here; ``read_changes`` reads the rest.

    Raises:
        GuardError: When a full read misses more known rows than the shrink limit allows.
    """
    with database_errors(space.connection):
        changes, patients = space.early.result() if space.early else read_first(space)
    space.early = None
    _begin(space, changes)
    space.patients = patients
    _leave_out_erased(space)
    _count_patients(space)


def _leave_out_erased(space: Workspace) -> None:
    """Take patients out of the frames whose cards were cleared on request, and their appointments."""
    erased = space.ledger.erased(space.uid)
    if erased:
        space.patients, space.appointments = (
            frame[~frame["patient_id"].isin(erased)].reset_index(drop=True)
            for frame in (space.patients, space.appointments)
        )


def _count_patients(space: Workspace) -> None:
    space.patient_ids = frozenset(space.patients["patient_id"].tolist())
    space.extracted["patients"] = len(space.patients)


def _begin(space: Workspace, first: Changes | None = None) -> Changes:
    """Find out what has to be read, once; a full read is guarded before anything of it may be sent."""
    if space.changes is None:
        resume_repaired(space)
        _release_after_change(space)
        with database_errors(space.connection):
            space.changes, space.full = (first, True) if first else _changed(space)
            if space.full:
                space.gone = _gone(space)
    return space.changes


@few_collections()
def read_changes(space: Workspace) -> None:
    """Read the increment: changed rows and due rows; everything when a full read is asked for or due.

    Raises:
        GuardError: When a full read misses more known rows than the shrink limit allows.
    """
    changes = _begin(space)
    due_patients, due_appointments = _due(space)
    with database_errors(space.connection):
        patient_ids, appointment_ids = (
            due_patients | changes.patients,
            due_appointments | changes.appointments,
        )
        known = _contacts(space, patient_ids)
        if not space.full and patient_ids - known:
            # A patient who was kept back comes with all appointments: those have not changed since.
            window = Window(space.launch.start, space.launch.end)
            appointment_ids |= space.reader.appointments_of(patient_ids - known, window)
        space.appointments = _concat(Entity.APPOINTMENT, space.reader.appointments(appointment_ids))
        space.parents = links(space.appointments)
        _leave_out_erased(space)
        space.extracted["appointments"] = len(space.appointments)
        if space.ahead is not None:
            return  # its patients are read; one that is newer comes with the next run, with all appointments
        owners = set(space.appointments["patient_id"].dropna().astype("int64").unique().tolist())
        known |= _contacts(space, owners - known)
        patient_ids |= owners - known
        if not space.full:
            former = _former_owners(space)
            patient_ids |= former
            known |= former
        wanted = None if space.full and len(patient_ids) > space.settings.database_page_size else patient_ids
        space.patients = _concat(Entity.PATIENT, space.reader.patients(wanted))
    _leave_out_erased(space)
    _count_patients(space)
    if space.full:
        _note_latest(space, changes)
        # A million ids that nobody needs any more.
        space.changes = replace(changes, patients=frozenset(), appointments=frozenset())
        give_memory_back()
    else:
        leave_out_seen(space, due_patients, due_appointments, known)


def _contacts(space: Workspace, patients: Collection[int]) -> set[int]:
    """Return which of these patients have a contact."""
    return set(space.ledger.applied_index(space.uid, Kind.CONTACT, patients).source_ids.tolist())


def _note_latest(space: Workspace, changes: Changes) -> None:
    """Note what an increment would read now: the tick after this full read need not judge it again."""
    window = Window(space.launch.start, space.launch.end)
    overlap = space.settings.overlap_minutes
    with database_errors(space.connection):
        latest = space.reader.changes(changes.watermark, window, overlap_minutes=overlap)
    patients, appointments = space.patients, space.appointments
    note_seen(
        space,
        patients[patients["patient_id"].isin(latest.patients)],
        appointments[appointments["appointment_id"].isin(latest.appointments)],
    )


def _release_after_change(space: Workspace) -> None:
    """Let what amoCRM refused be tried again once the mapping, a field or a stage changed.

    What waits for a person's word goes on waiting, also where the same row was refused before.
    """
    scope = f"clinic:{space.uid}"
    before = space.ledger.setting(scope, SCHEMA)
    if (before or {}).get("digest") == space.schema:
        return
    refused = {
        (reject.entity, reject.reason)
        for _uid, reject in space.ledger.rejects(space.uid)
        if reject.entity in {kind.value for kind in KINDS} and reject.reason not in FOR_A_PERSON
    }
    if refused and space.dry_run:
        work_on_a_copy(space)  # the plan is to be the one that a run makes
    for entity, reason in sorted(refused):
        space.ledger.release(space.uid, entity, None, reason)
    if not space.dry_run:
        space.ledger.put_setting(scope, SCHEMA, {"digest": space.schema}, by=space.run_id)


def _changed(space: Workspace) -> tuple[Changes, bool]:
    window = Window(space.launch.start, space.launch.end)
    stored = space.ledger.watermark(space.uid) or {}
    now = space.reader.now()
    due = stored.get(FULL_DUE)
    full = (
        space.mode == "full"
        or MARK not in stored
        or (due is not None and now >= datetime.fromisoformat(due))
        or needs_full_read(space, judges_rows)
    )
    if full:
        return space.reader.everything(window), True
    since = Watermark.from_json(stored[MARK])
    overlap = space.settings.overlap_minutes
    return space.reader.changes(since, window, overlap_minutes=overlap), False


def _due(space: Workspace) -> tuple[frozenset[int], frozenset[int]]:
    """Return what waits: interrupted, deferred, released, waived rows, by id without a window."""
    waiting = space.ledger.open_keys(space.uid)
    released = space.ledger.released_keys(space.uid)
    waived = due_by_waivers(space)
    asked = {kind: released.get(kind, frozenset()) | waived[entity] for kind, entity in KINDS.items()}
    if not space.dry_run:
        for kind, keys in asked.items():
            # What is good leaves the list before it is planned; a run that dies in between must not lose it.
            space.ledger.owe(space.uid, kind, keys, time.time())
    patients = waiting.get(Kind.CONTACT, frozenset()) | asked[Kind.CONTACT]
    due = {key for kind in (Kind.LEAD, Kind.LINK, Kind.NOTE) for key in waiting.get(kind, frozenset())}
    due |= asked[Kind.LEAD]
    if not due:
        return patients, frozenset()
    with database_errors(space.connection):
        return patients, space.reader.chain(due)


def _former_owners(space: Workspace) -> set[int]:
    """Return patients whose appointment went to somebody else: IDENT forgot them, the ledger has not.

    Their visits and their debt changed with it.
    """
    deals = collapse(space.appointments, space.parents)
    links_of = space.ledger.applied_rows(space.uid, Kind.LINK, [int(root) for root in deals["root_id"]])
    if not links_of:
        return set()
    contacts = [row.amo_id for row in links_of.values()]
    patients = space.ledger.sources_of(space.uid, Kind.CONTACT, contacts)
    former = {
        patients.get(links_of[int(root)].amo_id)
        for root, owner in zip(deals["root_id"], deals["patient_id"], strict=True)
        if int(root) in links_of and patients.get(links_of[int(root)].amo_id) != owner
    }
    return {key for key in former if key is not None}


def _gone(space: Workspace) -> dict[Kind, frozenset[int]]:
    """Return ledger keys that IDENT no longer has, under the shrink guard.

    What was closed for it before is settled: counted again, it would trip the guard in time.
    """
    missing: dict[Kind, frozenset[int]] = {}
    for kind, entity in KINDS.items():
        index = space.ledger.applied_index(space.uid, kind)
        known = index.source_ids[index.row_hashes != GONE_HASH]
        missing[kind] = frozenset(
            key
            for part in chunks(known.tolist(), MANY)
            for key in frozenset(part) - space.reader.existing(entity, part)
        )
        if kind is Kind.LEAD:
            # A deal is a chain: it lives on while the appointment that replaced the deleted one does.
            missing[kind] -= space.reader.replaced(missing[kind])
        if len(known) and len(missing[kind]) / len(known) > space.settings.shrink_limit:
            raise GuardError(
                problem=(
                    f"{len(missing[kind])} of {len(known)} known {entity.value}s are missing in IDENT; "
                    "a restored or emptied database looks like this. Nothing was written."
                ),
                remedy="If they were really deleted, raise IDENT_AMOCRM_SHRINK_LIMIT for one run.",
                code="shrunk",
            )
    return missing


def next_full(now: datetime, hour: int) -> datetime:
    """Return the next nightly full read after ``now``, clinic-local."""
    today = now.replace(hour=hour, minute=0, second=0, microsecond=0)
    return today if now < today else today + timedelta(days=1)


def _concat(entity: Entity, pages: Iterator[pd.DataFrame]) -> pd.DataFrame:
    """Join pages column by column, letting go of each: never is everything there twice."""
    frames = [page for page in pages if len(page)]
    if len(frames) < 2:
        return frames[0] if frames else empty_frame(entity)
    joined = {
        name: pd.concat([page.pop(name) for page in frames], ignore_index=True) for name in FRAMES[entity]
    }
    return pd.DataFrame(joined, copy=False)


def missing_twice(space: Workspace, kind: Kind) -> Collection[int]:
    """Return keys that the full read before this one missed too."""
    stored = space.ledger.setting(f"clinic:{space.uid}", SUSPECTS) or {}
    return [int(key) for key in stored.get(kind.value, [])]


@task(name="extract", cache_policy=NO_CACHE, persist_result=False)
def extract(run_id: str) -> dict[str, int]:
    """Read what changed in IDENT; the rows stay in the run's working memory."""
    space = workspace(run_id)
    read_changes(space)
    get_run_logger().info(
        "Extracted %d patients and %d appointments (%s)",
        space.extracted["patients"],
        space.extracted["appointments"],
        "full" if space.full else "incremental",
    )
    return dict(space.extracted)
