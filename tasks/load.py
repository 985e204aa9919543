"""Writing the plan to amoCRM."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from contextlib import nullcontext
from dataclasses import replace

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from tasks.adoption import mark
from tasks.collector import put_aside
from tasks.destination import AmoDestination, MappedCards
from tasks.erasing import finish_erasures
from tasks.loading.engine import load_plan
from tasks.loading.ports import Card, Load
from tasks.loading.recovery import recover
from tasks.options import Options
from tasks.planning.diff import GONE_HASH
from tasks.progress import progress_shown
from tasks.records import Action, AppliedRow, Kind, PlanRow
from tasks.workspace import Workspace, workspace

__all__ = ["apply_plan", "load", "open_load", "recover_attempts", "request_hasher", "send_rows", "settle"]

GONE = ("gone",)


def open_load(space: Workspace) -> Load:
    """Return the state of a load of this run."""
    mapping = space.settled_mapping()
    return Load(
        run_id=space.run_id,
        clinic_uid=space.uid,
        account_id=space.settled_account().id,
        destination=AmoDestination(space.client),
        journal=space.ledger,
        cards=MappedCards(
            mapping, space.pipelines, space.contact_fields, space.clinic.timezone, Options(space)
        ),
        hasher=space.hasher,
        guard=space.guard,
        request_hash=request_hasher(space.settings.installation_key()),
        batch_size=space.settings.batch_size,
        workers=space.settings.workers,
    )


def request_hasher(key: bytes) -> Callable[[object], int]:
    """Return what hashes requests: keyed, since a bare hash of one is a guessable fingerprint of a phone."""

    def request_hash(payload: object) -> int:
        text = json.dumps(payload, sort_keys=True, ensure_ascii=False, default=str)
        digest = hashlib.blake2b(text.encode(), digest_size=8, key=key).digest()
        return int.from_bytes(digest, "big", signed=True)

    return request_hash


def recover_attempts(space: Workspace) -> None:
    """Settle what an earlier run, or the erasure of a person, left open, before anything is read or sent."""
    run = open_load(space)
    space.unknown = recover(run, lambda kind, source_id: mark(space, kind, source_id), time.time())
    finish_erasures(space, run)


def apply_plan(space: Workspace) -> Load:
    """Send the plan, or what of it is not on its way yet.

    Raises:
        IdentAmocrmError: What stopped the run; the rows not sent are deferred.
    """
    if space.ahead is None:
        run, rows = open_load(space), space.plan
        card_of = _prepare(space, run, rows)
    else:
        run, rows = space.ahead.run, space.plan[len(space.ahead.rows) :]
        card_of = _prepare(space, run, rows)  # while the last contacts are under way
        wait([space.ahead.sending])
        if run.stopped is None:
            space.ahead.sending.result()  # a defect, which no run goes on after
    _move_silent(space)
    load_plan(run, rows, card_of, lambda: space.ledger.settled(space.run_id))
    return run


def send_rows(space: Workspace, run: Load, rows: Sequence[PlanRow]) -> None:
    """Send rows of the plan.

    Raises:
        IdentAmocrmError: What stopped the run; the rows not sent are deferred.
    """
    load_plan(run, rows, _prepare(space, run, rows), lambda: space.ledger.settled(space.run_id))


def _prepare(space: Workspace, run: Load, rows: Sequence[PlanRow]) -> Callable[[PlanRow], Card]:
    """Ask the ledger for all that sending these rows needs; return what makes the card of one."""
    owners = {space.owners[row.source_id] for row in rows if row.source_id in space.owners}
    index = space.ledger.applied_index(space.uid, Kind.CONTACT, owners)
    known_contacts = dict(zip(index.source_ids.tolist(), index.amo_ids.tolist(), strict=True))
    with run.lock:
        run.contact_ids = known_contacts | run.contact_ids
    _claim(space, rows)
    known = {
        kind: space.ledger.applied_rows(
            space.uid,
            kind,
            [row.source_id for row in rows if row.kind is kind and row.action is not Action.CREATE],
        )
        for kind in (Kind.CONTACT, Kind.LEAD, Kind.LINK)
    }
    unacknowledged = {
        kind: space.ledger.unacknowledged(space.uid, kind) for kind in (Kind.CONTACT, Kind.LEAD)
    }

    def card(row: PlanRow) -> Card:
        pending = unacknowledged.get(row.kind, {}).get(row.source_id, ())
        return replace(_card(space, row, known), unacknowledged=pending)

    return card


def _card(space: Workspace, row: PlanRow, known: dict[Kind, dict[int, AppliedRow]]) -> Card:
    snapshot = known.get(row.kind, {}).get(row.source_id)
    table = space.cards[Kind.CONTACT if row.kind is Kind.CONTACT else Kind.LEAD]
    external = mark(space, row.kind, row.source_id)
    if row.changed == GONE:
        is_primary = bool(snapshot and snapshot.is_primary)
        hashes = snapshot.hashes if snapshot else {}
        return Card(row, external, {}, hashes, GONE_HASH, "gone", is_primary, known=snapshot)
    return Card(
        row=row,
        external_id=external,
        texts=table.texts(row.source_id),
        hashes=table.hashes_of(row.source_id),
        row_hash=table.row_hash(row.source_id),
        stage_key=space.stage_keys.get(row.source_id, ""),
        is_primary=space.primaries.get(row.source_id, False),
        patient_id=space.owners.get(row.source_id) if row.kind is not Kind.CONTACT else None,
        known=snapshot,
    )


def _claim(space: Workspace, rows: Sequence[PlanRow]) -> None:
    """Claim what is to be adopted before anything is written to it: two patients never share a contact."""
    for kind in (Kind.CONTACT, Kind.LEAD):
        planned = {
            row.source_id: row.amo_id
            for row in rows
            if row.kind is kind and row.amo_id is not None and row.action is not Action.CREATE
        }
        known = space.ledger.applied_rows(space.uid, kind, list(planned))
        claims = [AppliedRow(kind, key, amo_id, 0, {}) for key, amo_id in planned.items() if key not in known]
        if claims:
            space.ledger.apply_local(space.uid, space.settled_account().id, claims)


def _move_silent(space: Workspace) -> None:
    """Move the snapshot of rows whose change is not transferred anywhere."""
    for kind, keys in space.silent.items():
        table = space.cards[kind]
        known = space.ledger.applied_rows(space.uid, kind, keys)
        rows = [
            AppliedRow(
                kind,
                key,
                row.amo_id,
                table.row_hash(key),
                table.hashes_of(key),
                row.pipeline_id,
                row.status_id,
                row.is_primary,
            )
            for key, row in known.items()
        ]
        if rows:
            space.ledger.apply_local(space.uid, space.settled_account().id, rows)


@task(name="recover", cache_policy=NO_CACHE, persist_result=False)
def settle(run_id: str) -> dict[str, int]:
    """Find out what became of writes whose answer was lost."""
    space = workspace(run_id)
    if space.dry_run:
        # Nothing may change: what is open counts as unknown, and is left out of the plan.
        for attempt in space.ledger.open_attempts(space.uid):
            if attempt.action is Action.CREATE and attempt.kind in {Kind.CONTACT, Kind.LEAD}:
                before = space.unknown.get(attempt.kind, frozenset())
                space.unknown[attempt.kind] = before | frozenset(attempt.source_ids)
    else:
        recover_attempts(space)
    return {kind.value: len(keys) for kind, keys in space.unknown.items()}


@task(name="load", cache_policy=NO_CACHE, persist_result=False)
def load(run_id: str) -> dict[str, int]:
    """Send the plan to amoCRM; a snapshot row moves only when amoCRM acknowledged it."""
    space = workspace(run_id)
    with put_aside() if space.plan else nullcontext(), progress_shown(space):
        run = apply_plan(space)
    get_run_logger().info(
        "Loaded %d planned rows with %d requests; left to people: %d values, overwritten by policy: %d",
        len(space.plan),
        space.client.requests,
        run.yielded,
        run.overwritten,
    )
    return {"requests": space.client.requests, "yielded": run.yielded, "overwritten": run.overwritten}
