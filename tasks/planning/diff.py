"""The difference between what IDENT says now and what amoCRM last acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.records import DATA, Action, AppliedRow, Kind, PlanRow

__all__ = ["GONE_HASH", "Difference", "gone_rows", "plan_cards", "plan_links_and_notes"]

#: Row hash of an entity that vanished from IDENT and was closed for it; no real row hash is 0 or this.
GONE_HASH = -1

Int64Array = npt.NDArray[np.int64]


@dataclass(slots=True)
class Difference:
    """What one kind of card needs.

    Attributes:
        rows: Writes, creates first, each group by source id.
        silent: Keys whose data changed only where nothing is transferred: the snapshot moves, not amoCRM.
        parked: Keys left out because amoCRM refused exactly this data before.
    """

    rows: list[PlanRow] = field(default_factory=list)
    silent: list[int] = field(default_factory=list)
    parked: list[int] = field(default_factory=list)


def plan_cards(
    kind: Kind,
    hashes: pd.DataFrame,
    row_hashes: Int64Array,
    snapshot: tuple[Int64Array, Int64Array],
    applied_rows: Callable[[Collection[int]], Mapping[int, AppliedRow]],
    transferred: Collection[str],
    parked: Mapping[int, int],
    unacknowledged: Mapping[int, Sequence[AppliedRow]] = MappingProxyType({}),
) -> Difference:
    """Compare cards with the snapshot.

    Args:
        kind: Contact or lead.
        hashes: Keyed hash of every datum (int64), indexed by source id, columns ``DATA[kind]``.
        row_hashes: Hash of each whole row, in the order of ``hashes``.
        snapshot: Source ids (ascending) and row hashes that amoCRM acknowledged.
        applied_rows: Reads the full snapshot of the given ids.
        transferred: Data that the mapping sends; ``stage`` and ``patient_id`` count for leads.
        parked: Row hash at which amoCRM refused a row, by source id.
        unacknowledged: What was sent without a receipt, by source id: amoCRM may hold it instead of the
            snapshot, so a row that went back to its old value is different too.

    Returns:
        The difference; a row equal to the snapshot is in none of its lists.
    """
    keys = hashes.index.to_numpy(dtype=np.int64)
    known_keys, known_hashes = snapshot
    position = pd.Index(known_keys).get_indexer(pd.Index(keys))
    is_new = position < 0
    is_same = ~is_new
    is_same[is_same] = known_hashes[position[is_same]] == row_hashes[is_same]
    if unacknowledged:
        is_same &= ~np.isin(keys, list(unacknowledged))
    result = Difference()
    for key, row_hash in zip(keys[is_new], row_hashes[is_new], strict=True):
        if parked.get(int(key)) == int(row_hash):
            result.parked.append(int(key))
        else:
            result.rows.append(PlanRow(kind, int(key), Action.CREATE))
    touched = ~is_new & ~is_same
    _plan_updates(
        kind,
        hashes[touched],
        row_hashes[touched],
        lambda ids: {key: (row, *unacknowledged.get(key, ())) for key, row in applied_rows(ids).items()},
        transferred,
        parked,
        result,
    )
    return result


def _plan_updates(
    kind: Kind,
    hashes: pd.DataFrame,
    row_hashes: Int64Array,
    sent_rows: Callable[[Collection[int]], Mapping[int, Sequence[AppliedRow]]],
    transferred: Collection[str],
    parked: Mapping[int, int],
    result: Difference,
) -> None:
    keys = [int(key) for key in hashes.index]
    if not keys:
        return
    snapshots = sent_rows(keys)
    sent = [datum for datum in DATA[kind] if datum in transferred]
    values = hashes[sent].to_numpy(dtype=np.int64).tolist()
    for key, row_hash, row in zip(keys, row_hashes.tolist(), values, strict=True):
        if parked.get(key) == row_hash:
            result.parked.append(key)
            continue
        known = snapshots[key]
        different = {
            datum
            for one in known
            for datum, value in zip(sent, row, strict=True)
            # Row hash 0: what the entity holds is unknown, so every datum is compared with it.
            if one.row_hash == 0 or one.hashes.get(datum, 0) != value
        }
        changed = tuple(datum for datum in sent if datum in different)
        if not changed:
            result.silent.append(key)
            continue
        action = Action.MOVE if "stage" in changed or "start_at" in changed else Action.UPDATE
        if kind is Kind.CONTACT:
            action = Action.UPDATE
        result.rows.append(PlanRow(kind, key, action, changed, known[0].amo_id))


def plan_links_and_notes(leads: Collection[PlanRow]) -> list[PlanRow]:
    """Derive the rows that hang on deals: a link per new or re-assigned deal, a note per rescheduled one."""
    rows: list[PlanRow] = []
    for lead in leads:
        if lead.action is Action.CREATE:
            rows.append(PlanRow(Kind.LINK, lead.source_id, Action.CREATE))
            continue
        if "patient_id" in lead.changed:
            rows.append(PlanRow(Kind.LINK, lead.source_id, Action.UPDATE, ("patient_id",)))
        if "start_at" in lead.changed and lead.amo_id is not None:
            rows.append(PlanRow(Kind.NOTE, lead.source_id, Action.CREATE))
    return rows


def gone_rows(
    kind: Kind, missing: Collection[int], suspects: Collection[int], amo_ids: Mapping[int, int]
) -> list[PlanRow]:
    """Plan the closing of what vanished from IDENT, for keys missing now and in an earlier run too."""
    return [
        PlanRow(kind, key, Action.MOVE if kind is Kind.LEAD else Action.UPDATE, ("gone",), amo_ids[key])
        for key in sorted(set(missing) & set(suspects))
        if key in amo_ids
    ]
