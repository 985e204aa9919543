"""The comparison itself: cards of IDENT, rows of the ledger, entities of amoCRM."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tasks.reconciling.findings import Finding, Handling, Mismatch
from tasks.reconciling.judge import Judgement, Sight
from tasks.records import Kind

__all__ = ["Comparison", "Side", "compare", "compare_links"]


@dataclass(frozen=True, slots=True)
class Side:
    """One kind of entity on all three sides.

    Attributes:
        kind: Contact or lead.
        cards: Source ids that IDENT wants in amoCRM: inside the window and valid.
        held: amoCRM id by source id, as the ledger has it.
        closed: Source ids of the ledger that were closed because they vanished from IDENT.
        gone: Source ids of the ledger that this full read of IDENT missed.
        gone_before: Those that the full read before missed too.
        unknown: Source ids whose write may or may not have happened.
        kept_back: Source ids that are listed among the rejects as they are.
        sights: What amoCRM holds of this clinic.
    """

    kind: Kind
    cards: Collection[int] = frozenset()
    held: Mapping[int, int] = field(default_factory=dict)
    closed: Collection[int] = frozenset()
    gone: Collection[int] = frozenset()
    gone_before: Collection[int] = frozenset()
    unknown: Collection[int] = frozenset()
    kept_back: Collection[int] = frozenset()
    sights: Sequence[Sight] = ()


@dataclass(slots=True)
class Comparison:
    """What was found and what repairs it.

    Attributes:
        findings: The differences.
        adopt: Entities that the ledger is to hold, by source id; their content is compared by the next plan.
        due: Data to be made due again, by source id.
        absent: Source ids that neither IDENT nor amoCRM has any more.
        deleted: Source ids whose entity is gone from amoCRM.
        missing: Source ids that get an entity in this run.
        relinked: Contact by deal, where the right contact is attached and the ledger names another.
        detached: Deals whose contact, as the ledger names it, is no longer attached.
        stands: amoCRM id by source id, once the ledger was repaired.
    """

    findings: list[Finding] = field(default_factory=list)
    adopt: dict[int, Sight] = field(default_factory=dict)
    due: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    absent: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)
    missing: set[int] = field(default_factory=set)
    relinked: dict[int, int] = field(default_factory=dict)
    detached: set[int] = field(default_factory=set)
    stands: dict[int, int] = field(default_factory=dict)

    def add(
        self,
        mismatch: Mismatch,
        side: Side,
        key: int,
        amo_ids: Sequence[int] = (),
        fields: Sequence[str] = (),
        *,
        waits: bool = False,
    ) -> None:
        """Record a difference; one of a row that is kept back with its reason is only counted as such."""
        finding = Finding(mismatch, side.kind, key, tuple(amo_ids), tuple(fields), waits)
        if key in side.kept_back and finding.handling is Handling.REPAIR:
            finding = Finding(Mismatch.KEPT_BACK, side.kind, key, tuple(amo_ids), tuple(fields))
        self.findings.append(finding)


def compare(side: Side) -> Comparison:
    """Compare one kind of entity on all three sides."""
    result = Comparison()
    bearers, own = _sorted_sights(side, result)
    closed = set(side.closed)
    for key in sorted({*side.cards, *side.held, *bearers} - closed):
        marked = bearers.get(key, [])
        if len(marked) > 1:
            result.add(Mismatch.TWINS, side, key, [sight.amo_id for sight in marked])
        if key in side.held:
            _known(side, key, marked, own.get(key), result)
        elif marked:
            result.add(Mismatch.ORPHAN, side, key, [marked[0].amo_id])
            result.adopt[key] = marked[0]
            result.stands[key] = marked[0].amo_id
        elif key in side.unknown:
            result.add(Mismatch.UNSETTLED, side, key)
        else:
            result.add(Mismatch.MISSING, side, key)
            if key not in side.kept_back:
                result.missing.add(key)
    return result


def _sorted_sights(side: Side, result: Comparison) -> tuple[dict[int, list[Sight]], dict[int, Sight]]:
    """Return sights by the row that their mark names, lowest id first, and by the row that holds them."""
    bearers: dict[int, list[Sight]] = defaultdict(list)
    own: dict[int, Sight] = {}
    for sight in sorted(side.sights, key=lambda sight: sight.amo_id):
        if sight.held_by is not None:
            own[sight.held_by] = sight
        if sight.marked is None:
            continue
        if sight.taken or (sight.held_by is not None and sight.held_by != sight.marked):
            result.add(Mismatch.MARK_TAKEN, side, sight.marked, [sight.amo_id])
        else:
            bearers[sight.marked].append(sight)
    return bearers, own


def _known(side: Side, key: int, marked: Sequence[Sight], own: Sight | None, result: Comparison) -> None:
    """Compare a row that the ledger holds."""
    held = side.held[key]
    result.stands[key] = held
    if key in side.gone:
        _gone(side, key, own, result)
    elif marked and marked[0].amo_id != held:
        # The lowest id is kept: what we wrote first is older than its twin or its copy.
        result.add(Mismatch.MARK_ELSEWHERE, side, key, [held, marked[0].amo_id])
        result.adopt[key] = marked[0]
        result.stands[key] = marked[0].amo_id
    elif own is None:
        result.add(Mismatch.DELETED, side, key, [held])
        result.deleted.add(key)
    elif own.marked in {None, key}:  # one with another row's mark is listed and left alone
        judgement = own.judgement or Judgement()
        if own.marked is None:
            _unmarked(side, key, judgement, held, result)
        _judged(side, key, judgement, held, result)


def _gone(side: Side, key: int, own: Sight | None, result: Comparison) -> None:
    proven = key in side.gone_before
    result.add(Mismatch.GONE, side, key, [side.held[key]], waits=not proven)
    if own is None and proven:
        result.absent.add(key)


def _unmarked(side: Side, key: int, judgement: Judgement, held: int, result: Comparison) -> None:
    """Make a row due that lost its mark: any update puts the mark back."""
    if key not in side.cards:
        # Outside the window nothing is sent; it is found again by the ledger.
        return
    result.add(Mismatch.MARK_EMPTIED, side, key, [held])
    if not judgement.behind and not judgement.ours and judgement.quiet is not None:
        result.due[key].add(judgement.quiet)


def _judged(side: Side, key: int, judgement: Judgement, held: int, result: Comparison) -> None:
    if judgement.behind:
        result.add(Mismatch.BEHIND, side, key, [held], judgement.behind)
    if judgement.ours:
        result.add(Mismatch.FIELD, side, key, [held], judgement.ours)
        result.due[key].update(judgement.ours)
    if judgement.edited:
        result.add(Mismatch.EDITED, side, key, [held], judgement.edited)
    if judgement.stage == "behind":
        result.add(Mismatch.STAGE_BEHIND, side, key, [held])
        result.due[key].add("stage")
    elif judgement.stage == "left":
        result.add(Mismatch.STAGE_LEFT, side, key, [held])


def compare_links(
    side: Side,
    deals: Comparison,
    contacts: Comparison,
    owners: Mapping[int, int],
    linked: Mapping[int, int],
) -> None:
    """Compare whose contact each deal is linked to; the result goes into ``deals``.

    Args:
        side: The deals.
        deals: Their comparison.
        contacts: The comparison of the contacts.
        owners: Patient by deal, as IDENT has it.
        linked: Contact by deal, as the ledger has it.
    """
    for sight in side.sights:
        key = sight.held_by
        owner = owners.get(key) if key is not None else None
        if key is None or owner is None or key in deals.adopt or owner in contacts.deleted:
            continue
        wanted = contacts.stands.get(owner)
        if wanted is None and owner not in contacts.missing:
            continue
        if wanted in sight.contact_ids and wanted is not None:
            if linked.get(key) != wanted:
                deals.relinked[key] = wanted
        elif wanted is not None and linked.get(key) == wanted:
            deals.add(Mismatch.LINK_CHANGED, side, key, [sight.amo_id, *sight.contact_ids])
        else:
            deals.add(Mismatch.LINK_MISSING, side, key, [sight.amo_id])
            deals.due[key].add("patient_id")
            if linked.get(key) not in sight.contact_ids:
                deals.detached.add(key)
