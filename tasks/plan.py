"""Planning: the difference between what IDENT says and what amoCRM acknowledged, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, timedelta
from functools import partial
from typing import Final

import numpy as np
import pandas as pd
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from tasks.adoption import adopt_contacts, adopt_deals, park
from tasks.destination import AmoDestination
from tasks.drift import hold, is_gone_paused
from tasks.extract import FULL_DUE, MARK, SUSPECTS, missing_twice, next_full
from tasks.filters import within_filters
from tasks.frames import Entity, empty_frame, give_memory_back
from tasks.keyed import Keyed
from tasks.mapping.model import Policy
from tasks.mapping.texts import contact_texts, lead_texts
from tasks.planning.chains import collapse
from tasks.planning.diff import GONE_HASH, gone_rows, plan_cards, plan_links_and_notes
from tasks.planning.holding import (
    MANY_PAST_MOVES,
    NOT_IN_AMOCRM,
    PATIENT_BACK,
    moves_of_the_past,
)
from tasks.rebaseline import adopt_marked, drop_settled_links
from tasks.records import DATA, MAYBE_REMOVED, Action, Kind, PlanRow, Reject
from tasks.seen import SEEN, seen_now
from tasks.withholding import hold_withheld, without_withheld
from tasks.workspace import CardTable, Render, Workspace, workspace

__all__ = ["STEERING", "build_cards", "build_plan", "plan", "plan_contacts"]

STEERING = frozenset({"patient_id", "stage"})
#: Name of the clinic's setting that names the deals long over that were moved today.
PAST_MOVES = "past_moves"
#: Columns whose values are the keys of cards.
KEYS: Final = {Kind.CONTACT: "patient_id", Kind.LEAD: "root_id"}
#: Cards whose texts are made at once to be hashed.
PAGE: Final = 50_000


def build_plan(space: Workspace) -> None:
    """Build the plan of a run; in a dry run nothing is stored."""
    give_memory_back()
    rows = plan_contacts(space) if space.ahead is None else list(space.ahead.rows)
    adopt_marked(space, Kind.LEAD)
    _deal_cards(space, is_last=True)
    _clear_settled(space, Kind.LEAD)
    rows = without_withheld(space, adopt_deals(space, rows + _difference(space, Kind.LEAD)))
    rows = _keep_back(space, rows)
    rows = _hold_past_moves(space, rows)
    rows += _vanished(space)
    rows += plan_links_and_notes([row for row in rows if row.kind is Kind.LEAD])
    space.plan = drop_settled_links(space, rows + _missing_links(space, rows))
    if space.dry_run:
        return
    _settle_waiting(space)
    rest = space.plan[len(space.ahead.rows) :] if space.ahead else space.plan
    if rest:  # what is on its way was saved before, and may be owed no more
        space.ledger.save_plan(space.run_id, space.uid, rest)
    _move_watermark(space)


def plan_contacts(space: Workspace) -> list[PlanRow]:
    """Plan the contacts alone."""
    adopt_marked(space, Kind.CONTACT)
    _contact_cards(space)
    _clear_settled(space, Kind.CONTACT)
    return without_withheld(space, adopt_contacts(space, _difference(space, Kind.CONTACT)))


def build_cards(space: Workspace) -> None:
    """Render and hash what IDENT says about patients and appointments."""
    _deal_cards(space)
    _contact_cards(space)


def _contact_cards(space: Workspace) -> None:
    patients = space.patients
    hashes = hold(space, Kind.CONTACT, _hashed(space, Kind.CONTACT, patients, contact_texts))
    hashes = hold_withheld(space, Kind.CONTACT, hashes, patients["patient_id"])
    space.cards[Kind.CONTACT] = CardTable(hashes, space.hasher.row_hashes(hashes), patients, contact_texts)


def _hashed(space: Workspace, kind: Kind, rows: pd.DataFrame, render: Render) -> pd.DataFrame:
    """Return the hashes of cards, whose texts are made and forgotten page by page."""
    names = list(DATA[kind])
    hashes = np.empty((len(rows), len(names)), dtype=np.int64)
    for start in range(0, len(rows), PAGE):
        page = space.hasher.hash_frame(kind, render(rows.iloc[start : start + PAGE]))
        hashes[start : start + PAGE] = page[names].to_numpy()
    give_memory_back()
    return pd.DataFrame(hashes, index=pd.Index(rows[KEYS[kind]]), columns=names, copy=False)


def _deal_cards(space: Workspace, *, is_last: bool = False) -> None:
    """Make cards of deals; ``is_last`` when nobody needs the appointments after that."""
    deals = collapse(space.appointments, space.parents, is_last=is_last)
    if is_last:
        space.appointments = empty_frame(Entity.APPOINTMENT)
    give_memory_back()
    owned = deals["patient_id"].notna()
    deals = deals if owned.all() else deals[owned].reset_index(drop=True)
    marked, marks = space.ledger.applied_primaries(space.uid, deals["root_id"].tolist())
    place = pd.Index(marked).get_indexer(pd.Index(deals["root_id"]))
    own = deals["is_primary"].to_numpy(dtype=bool)
    deals["is_primary"] = np.where(place >= 0, np.append(marks, False)[place], own)
    deals = within_filters(space, deals)
    roots = pd.Index(deals["root_id"])
    space.stage_keys = Keyed(roots, deals["stage_key"], str)
    space.primaries = Keyed(roots, deals["is_primary"], bool)
    space.owners = Keyed(roots, deals["patient_id"], int)
    space.starts = Keyed(roots, deals["start_at"], pd.Timestamp)
    render = partial(lead_texts, zone=space.zone, deal_name=space.settled_mapping().deal_name)
    hashes = hold(space, Kind.LEAD, _hashed(space, Kind.LEAD, deals, render))
    hashes = hold_withheld(space, Kind.LEAD, hashes, deals["appointment_id"])
    space.cards[Kind.LEAD] = CardTable(hashes, space.hasher.row_hashes(hashes), deals, render)


def _difference(space: Workspace, kind: Kind) -> list[PlanRow]:
    table = space.cards[kind]
    index = space.ledger.applied_index(space.uid, kind, table.hashes.index.tolist())
    mapping = space.settled_mapping()
    rules = mapping.contact if kind is Kind.CONTACT else mapping.lead
    transferred = {rule.datum for rule in rules if rule.policy is not Policy.NEVER} | STEERING
    refused = [reject for _uid, reject in space.ledger.rejects(space.uid, kind.value)]
    parked = {reject.source_id: reject.data_hash for reject in refused if reject.data_hash}
    decided = space.ledger.released_keys(space.uid, MAYBE_REMOVED).get(kind, frozenset())
    undecided = {reject.source_id for reject in refused if reject.reason == MAYBE_REMOVED} - decided
    released = space.ledger.released_keys(space.uid).get(kind, frozenset())
    for key in released:
        parked.pop(key, None)
    difference = plan_cards(
        kind,
        table.hashes,
        table.row_hashes,
        (index.source_ids, index.row_hashes),
        lambda keys: space.ledger.applied_rows(space.uid, kind, keys),
        transferred,
        parked,
        space.ledger.unacknowledged(space.uid, kind),
    )
    rows = without_withheld(space, difference.rows)
    said = [row for row in rows if row.changed or row.action is Action.CREATE]
    space.silent[kind] = difference.silent + [
        row.source_id for row in rows if not row.changed and row.action is not Action.CREATE
    ]
    unknown = space.unknown.get(kind, frozenset()) | undecided
    return [row for row in said if not (row.action is Action.CREATE and row.source_id in unknown)]


def _clear_settled(space: Workspace, kind: Kind) -> None:
    """Take off the list what stands in amoCRM as IDENT has it: what was refused was taken back in IDENT.

    No plan row will ever say so. A card that was missing is looked for when a person asks.
    """
    listed = [row for _uid, row in space.ledger.rejects(space.uid, kind.value)]
    table = space.cards[kind]
    here = [row for row in listed if row.source_id in table and row.field != "patient_id"]
    if space.dry_run or not here:
        return
    known = space.ledger.applied_rows(space.uid, kind, [row.source_id for row in here])
    sent = space.ledger.unacknowledged(space.uid, kind)
    same = {key for key, row in known.items() if row.row_hash == table.row_hash(key) and key not in sent}
    removed = {row.source_id for row in here if row.reason == NOT_IN_AMOCRM} & same
    asked = removed & space.ledger.released_keys(space.uid).get(kind, frozenset())
    found = AmoDestination(space.client).read(kind, [known[key].amo_id for key in asked]) if asked else {}
    back = {key for key in asked if known[key].amo_id in found}
    space.ledger.clear_rejects(space.uid, kind.value, (same - removed) | back)
    away = [row for row in here if row.source_id in asked - back]
    space.ledger.add_rejects(space.uid, away)


def _hold_past_moves(space: Workspace, rows: list[PlanRow]) -> list[PlanRow]:
    """Hold the moves of deals long over when they are many: managers' boards would be stormed.

    IDENT's vendor closes old appointments in bulk, months later; a clinic's own people change a few.
    """
    settings, scope = space.settings, f"clinic:{space.uid}"
    now = pd.Timestamp.now(tz=UTC)
    released = space.ledger.released_keys(space.uid, MANY_PAST_MOVES).get(Kind.LEAD, frozenset())
    moves = moves_of_the_past(rows, space.starts, now - timedelta(days=settings.past_move_days), released)
    known = space.ledger.applied_rows(space.uid, Kind.LEAD, [row.source_id for row in moves])
    table = space.cards[Kind.LEAD]
    # A deal found again, now or before, has no known stage: most likely it stands where it belongs.
    moves = [
        row
        for row in moves
        if (sent := known[row.source_id].hashes if row.source_id in known else {})
        and sent.get("stage") != table.hashes_of(row.source_id)["stage"]
    ]
    if not moves:
        return rows
    today, keys = now.date().isoformat(), {row.source_id for row in moves}
    stored = space.ledger.setting(scope, PAST_MOVES) or {}
    # A move that did not get through is planned again in the next run, and is still one move.
    moved = keys | set(stored.get("deals", ()) if stored.get("day") == today else ())
    if len(moved) <= settings.past_move_limit:
        value = {"day": today, "deals": sorted(moved)}
        if not space.dry_run and value != stored:
            space.ledger.put_setting(scope, PAST_MOVES, value, by=space.run_id)
        return rows
    for key in sorted(keys):
        park(space, Kind.LEAD, key, MANY_PAST_MOVES, "stage", table.row_hash(key))
    space.warnings.append(
        f"{len(keys)} deals of appointments long over wait for your word: "
        f"ident-amocrm rejects retry {space.clinic.name} --entity lead --reason {MANY_PAST_MOVES}"
    )
    return [row for row in rows if row.kind is not Kind.LEAD or row.source_id not in keys]


def _keep_back(space: Workspace, rows: list[PlanRow]) -> list[PlanRow]:
    """Leave out new deals of a patient who is kept back, and list them with that reason.

    They come by themselves when the patient does. Deals of a patient whose contact may have been written
    without an answer are planned and wait instead.
    """
    new = [row.source_id for row in rows if row.kind is Kind.LEAD and row.action is Action.CREATE]
    expected = _coming(space, rows, new) | set(space.unknown.get(Kind.CONTACT, frozenset()))
    back = [key for key in new if space.owners.get(key) not in expected]
    left_out = set(back)
    if not space.dry_run:
        entity = Entity.APPOINTMENT.value
        listed = [
            Reject(entity, key, PATIENT_BACK, "patient_id", held_by=space.owners.get(key)) for key in back
        ]
        space.ledger.add_rejects(space.uid, listed)
        waiting = {row.source_id for _uid, row in space.ledger.rejects(space.uid, entity, PATIENT_BACK)}
        free = {key for key in waiting - left_out if key in space.owners}
        space.ledger.clear_rejects(space.uid, entity, free, PATIENT_BACK)
    return [row for row in rows if row.kind is not Kind.LEAD or row.source_id not in left_out]


def _coming(space: Workspace, rows: Iterable[PlanRow], deals: Iterable[int]) -> set[int]:
    """Return which patients of these deals have a contact, with all who get one in this run."""
    owners = {space.owners[key] for key in deals if key in space.owners}
    known = set(space.ledger.applied_index(space.uid, Kind.CONTACT, owners).source_ids.tolist())
    return known | {row.source_id for row in rows if row.kind is Kind.CONTACT}


def _missing_links(space: Workspace, rows: list[PlanRow]) -> list[PlanRow]:
    """Plan links that an earlier run left out, or amoCRM refused, although the deal itself was written."""
    planned = {row.source_id for row in rows if row.kind is Kind.LEAD}
    waiting = space.ledger.open_keys(space.uid).get(Kind.LINK, frozenset())
    waiting = (waiting | space.ledger.released_links(space.uid)) - planned
    known = space.ledger.applied_rows(space.uid, Kind.LEAD, waiting)
    expected = _coming(space, rows, known)
    return [
        PlanRow(Kind.LINK, key, Action.UPDATE, ("patient_id",))
        for key in sorted(known)
        if key in space.cards[Kind.LEAD] and space.owners.get(key) in expected
    ]


def _settle_waiting(space: Workspace) -> None:
    """Forget what waited and needs nothing any more, so that the next tick does not fetch it again.

    What stays: rows whose fate in amoCRM is still unknown, deals of a patient of that kind, and links to a
    patient who is kept back.
    """
    waiting = space.ledger.open_keys(space.uid)
    expected = _coming(space, space.plan, waiting.get(Kind.LINK, frozenset()))
    planned = {(row.kind, row.source_id) for row in space.plan}
    unsettled = space.unknown.get(Kind.CONTACT, frozenset())
    for kind, keys in waiting.items():
        unknown = space.unknown.get(Kind.LEAD if kind in {Kind.LINK, Kind.NOTE} else kind, frozenset())
        stale = {
            key
            for key in keys
            if (kind, key) not in planned
            and key not in unknown
            and not (kind is not Kind.CONTACT and space.owners.get(key) in unsettled)
            and not (kind is Kind.LINK and key in space.owners and space.owners[key] not in expected)
        }
        if stale:
            space.ledger.drop_waiting(space.uid, kind, stale)


def _vanished(space: Workspace) -> list[PlanRow]:
    """Plan the closing of what two full reads missed, and remember what this one missed."""
    rows: list[PlanRow] = []
    if not space.full:
        return rows
    for kind, missing in space.gone.items():
        if kind is Kind.LEAD and is_gone_paused(space):
            continue
        index = space.ledger.applied_index(space.uid, kind, missing)
        amo_ids = {
            int(key): int(amo_id)
            for key, amo_id, row_hash in zip(index.source_ids, index.amo_ids, index.row_hashes, strict=True)
            if row_hash != GONE_HASH
        }
        rows += gone_rows(kind, missing, missing_twice(space, kind), amo_ids)
    if not space.dry_run:
        suspects = {kind.value: sorted(missing) for kind, missing in space.gone.items()}
        if suspects != (space.ledger.setting(f"clinic:{space.uid}", SUSPECTS) or {}):
            space.ledger.put_setting(f"clinic:{space.uid}", SUSPECTS, suspects, by=space.run_id)
    return rows


def _move_watermark(space: Workspace) -> None:
    if space.changes is None:
        return
    stored = space.ledger.watermark(space.uid) or {}
    value = {MARK: space.changes.watermark.to_json(), FULL_DUE: stored.get(FULL_DUE), SEEN: seen_now(space)}
    if space.full:
        value[FULL_DUE] = next_full(space.reader.now(), space.settings.full_read_hour).isoformat()
    space.ledger.move_watermark(space.uid, value)


@task(name="plan", cache_policy=NO_CACHE, persist_result=False)
def plan(run_id: str) -> dict[str, int]:
    """Compare with the snapshot and write the plan into the ledger."""
    space = workspace(run_id)
    build_plan(space)
    counts: dict[str, int] = {}
    for row in space.plan:
        key = f"{row.kind.value}_{row.action.value}"
        counts[key] = counts.get(key, 0) + 1
    get_run_logger().info("Planned %s", counts or "nothing")
    return counts
