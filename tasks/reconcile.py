"""Reconciling: IDENT, the ledger and amoCRM compared as they stand, and what is ours made due again.

A repair never writes to amoCRM by itself. It corrects the ledger, so that the ordinary plan finds the rows
and the ordinary load writes them under the same policies, attempts and receipts as any other change.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from tasks.destination import MappedCards
from tasks.errors import LeaseHeldError
from tasks.extract import missing_twice
from tasks.gate import pass_gate
from tasks.ledger.resend import DUE_HASH
from tasks.observe import observe
from tasks.plan import build_cards
from tasks.planning.diff import GONE_HASH
from tasks.planning.holding import NOT_IN_AMOCRM
from tasks.rebaseline import refuse_when_due
from tasks.reconciling.compare import Comparison, Side, compare, compare_links
from tasks.reconciling.judge import Sight
from tasks.records import AppliedRow, Kind, Reject
from tasks.workspace import Workspace, workspace

__all__ = ["apply_repairs", "compare_all", "compare_sides", "repair", "take_turn", "wait_for_gate"]

#: How long to wait for a tick in progress, and how often to ask.
TURN_SECONDS, ASK_SECONDS = 900.0, 2.0


def wait_for_gate(run_id: str, clinic: str, *, dry_run: bool, patience: float = TURN_SECONDS) -> Workspace:
    """Pass the gate as soon as the clinic's lease is free: a tick takes seconds, so it is waited for.

    Raises:
        LeaseHeldError: When another run had the clinic all the time.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return pass_gate(run_id, clinic, "full", dry_run=dry_run)
        except LeaseHeldError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(ASK_SECONDS)


def compare_sides(space: Workspace) -> None:
    """Compare both kinds, and the links between them; nothing is changed."""
    build_cards(space)
    contacts = _side(space, Kind.CONTACT)
    space.compared[Kind.CONTACT] = compare(contacts)
    deals = _side(space, Kind.LEAD)
    space.compared[Kind.LEAD] = compare(deals)
    links = space.ledger.applied_index(space.uid, Kind.LINK)
    compare_links(
        deals,
        space.compared[Kind.LEAD],
        space.compared[Kind.CONTACT],
        space.owners,
        dict(zip(links.source_ids.tolist(), links.amo_ids.tolist(), strict=True)),
    )


def _side(space: Workspace, kind: Kind) -> Side:
    index = space.ledger.applied_index(space.uid, kind)
    rows = list(
        zip(index.source_ids.tolist(), index.amo_ids.tolist(), index.row_hashes.tolist(), strict=True)
    )
    sights = observe(space, kind)
    space.looked_at[kind] = len(sights)
    cards = frozenset(space.cards[kind].hashes.index.tolist())
    held = {key: amo_id for key, amo_id, row_hash in rows if row_hash != GONE_HASH}
    unknown = set(space.unknown.get(kind, frozenset()))
    if kind is Kind.LEAD:
        waiting = space.unknown.get(Kind.CONTACT, frozenset())
        unknown |= {key for key, owner in space.owners.items() if owner in waiting}
    return Side(
        kind=kind,
        cards=cards,
        held=held,
        closed=frozenset(key for key, _amo_id, row_hash in rows if row_hash == GONE_HASH),
        gone=space.gone.get(kind, frozenset()),
        gone_before=frozenset(missing_twice(space, kind)),
        unknown=frozenset(unknown),
        kept_back=frozenset(_parked(space, kind) | (_of_parked(space, held) if kind is Kind.LEAD else set())),
        sights=sights,
    )


def _parked(space: Workspace, kind: Kind) -> set[int]:
    """Return rows that the plan leaves out: refused as they are, and released by nobody."""
    table = space.cards[kind]
    released = space.ledger.released_keys(space.uid).get(kind, frozenset())
    return {
        reject.source_id
        for _uid, reject in space.ledger.rejects(space.uid)
        if reject.entity == kind.value
        and reject.source_id in table
        and reject.data_hash == table.row_hash(reject.source_id)
        and reject.source_id not in released
    }


def _of_parked(space: Workspace, held: Collection[int]) -> set[int]:
    """Return new deals of patients who are kept back: they are listed, and come with their patient."""
    known = set(space.ledger.applied_index(space.uid, Kind.CONTACT).source_ids.tolist())
    coming = known | (set(space.cards[Kind.CONTACT].hashes.index.tolist()) - _parked(space, Kind.CONTACT))
    coming |= space.compared[Kind.CONTACT].stands.keys()
    return {key for key, owner in space.owners.items() if key not in held and owner not in coming}


def apply_repairs(space: Workspace) -> None:
    """Correct the ledger, so that the plan that follows finds what is ours to write."""
    for kind, comparison in space.compared.items():
        table = space.cards[kind]
        known = space.ledger.applied_rows(space.uid, kind, {*comparison.due, *comparison.absent})
        again = [_due(known[key], data) for key, data in comparison.due.items() if key in known]
        closed = [replace(row, row_hash=GONE_HASH) for key, row in known.items() if key in comparison.absent]
        rows = [*_adopted(space, kind, comparison), *closed]
        space.ledger.apply_local(space.uid, space.settled_account().id, rows)
        space.ledger.apply_local(space.uid, space.settled_account().id, again, keep_sent=True)
        hashes = {key: table.row_hash(key) if key in table else 0 for key in comparison.deleted}
        listed = [
            Reject(kind.value, key, NOT_IN_AMOCRM, "", row_hash) for key, row_hash in sorted(hashes.items())
        ]
        space.ledger.add_rejects(space.uid, listed)
        _clear_restored(space, kind, comparison)
    deals = space.compared[Kind.LEAD]
    # Detaching what is not attached would be refused.
    space.ledger.forget(space.uid, Kind.LINK, deals.detached)
    links = [AppliedRow(Kind.LINK, key, contact, contact, {}) for key, contact in deals.relinked.items()]
    space.ledger.apply_local(space.uid, space.settled_account().id, links)


def _due(row: AppliedRow, data: Collection[str]) -> AppliedRow:
    """Forget that some data were sent: the plan compares the row, and the policies decide as for any change.

    What stays known keeps telling a person's edit from a value of ours.
    """
    row_hash = row.row_hash if row.row_hash == 0 else DUE_HASH
    return replace(row, row_hash=row_hash, hashes={**row.hashes, **dict.fromkeys(data, 0)})


def _adopted(space: Workspace, kind: Kind, comparison: Comparison) -> list[AppliedRow]:
    known = space.ledger.applied_rows(space.uid, kind, comparison.adopt)
    return [
        row
        for key, sight in comparison.adopt.items()
        for row in _adopt(space, kind, key, sight, known.get(key))
    ]


def _adopt(
    space: Workspace, kind: Kind, key: int, sight: Sight, known: AppliedRow | None
) -> list[AppliedRow]:
    """Return the ledger's rows of an entity that was found: hash 0, its content is not known to be ours."""
    if kind is Kind.CONTACT or sight.place is None:
        return [AppliedRow(kind, key, sight.amo_id, 0, {})]
    cards = MappedCards(space.settled_mapping(), space.pipelines, space.contact_fields, space.clinic.timezone)
    is_primary = known.is_primary if known is not None else cards.is_primary_place(sight.place[0])
    deal = AppliedRow(kind, key, sight.amo_id, 0, {}, *sight.place, is_primary)
    return [deal, *(AppliedRow(Kind.LINK, key, one, one, {}) for one in sight.contact_ids[:1])]


def _clear_restored(space: Workspace, kind: Kind, comparison: Comparison) -> None:
    """Take off the list what a person brought back from the trash."""
    back = {
        reject.source_id
        for _uid, reject in space.ledger.rejects(space.uid)
        if reject.entity == kind.value
        and reject.reason == NOT_IN_AMOCRM
        and reject.source_id in comparison.stands
        and reject.source_id not in comparison.deleted
    }
    space.ledger.clear_rejects(space.uid, kind.value, back)


@task(name="gate", cache_policy=NO_CACHE, persist_result=False)
def take_turn(run_id: str, clinic: str, *, dry_run: bool) -> dict[str, str]:
    """Check the conditions of the run, once no tick holds the clinic."""
    space = wait_for_gate(run_id, clinic, dry_run=dry_run)
    refuse_when_due(space)
    for warning in space.warnings:
        get_run_logger().warning(warning)
    return {"clinic": clinic, "uid": space.uid, "mode": "reconcile"}


@task(name="compare", cache_policy=NO_CACHE, persist_result=False)
def compare_all(run_id: str) -> dict[str, int]:
    """Read amoCRM once and compare it with IDENT and with the ledger."""
    space = workspace(run_id)
    compare_sides(space)
    counts: dict[str, int] = {}
    for comparison in space.compared.values():
        for finding in comparison.findings:
            counts[finding.mismatch.value] = counts.get(finding.mismatch.value, 0) + 1
    get_run_logger().info("Differences: %s", counts or "none")
    return counts


@task(name="repair", cache_policy=NO_CACHE, persist_result=False)
def repair(run_id: str) -> None:
    """Make due what is ours, adopt what carries our mark, list what a person deleted."""
    apply_repairs(workspace(run_id))
