"""Waivers in a run: which rows pass, which have to be read because their waiver is new, expired or revoked.

A row that passes leaves the list of rejects, so nothing but the waiver knows that it is to be judged again
when the waiver ends. A waiver of a whole rule does not know its rows: its end makes the run read everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tasks.events import emit
from tasks.frames import Entity
from tasks.ledger.waivers import WaiverRecord
from tasks.workspace import Workspace

__all__ = ["accepted", "due_by_waivers", "needs_full_read", "settle_waivers"]


def _known(space: Workspace) -> tuple[WaiverRecord, ...]:
    """Return the waivers as they were when the run began: all its steps see the same ones."""
    if space.waivers is None:
        space.waivers = tuple(space.ledger.open_waivers(space.uid))
        space.waivers_at = time.time()
    return space.waivers


def _over(space: Workspace) -> list[WaiverRecord]:
    return [one for one in _known(space) if not one.is_valid(space.waivers_at)]


def _fresh(space: Workspace) -> list[WaiverRecord]:
    known = _known(space)
    return [one for one in known if one.taken_at is None and one.is_valid(space.waivers_at)]


def accepted(space: Workspace, entity: Entity) -> frozenset[tuple[int | None, str]]:
    """Return what the gate lets pass: (row, rule), the row ``None`` for every row."""
    return frozenset(
        (one.waiver.source_id, one.waiver.reason)
        for one in _known(space)
        if one.waiver.entity == entity.value and one.is_valid(space.waivers_at)
    )


def needs_full_read(space: Workspace, judges_rows: Callable[[str, str], bool]) -> bool:
    """Tell whether a rule is in force again for all rows: nobody knows which ones passed.

    Args:
        space: The run.
        judges_rows: Tells of an entity and a rule whether it is about single rows.
    """
    ended = (one.waiver for one in _over(space) if one.waiver.source_id is None)
    return any(judges_rows(one.entity, one.reason) for one in ended)


def due_by_waivers(space: Workspace) -> dict[Entity, frozenset[int]]:
    """Return rows that are judged otherwise than the last time, although IDENT did not change them."""
    found: dict[Entity, set[int]] = {entity: set() for entity in Entity}
    fresh = _fresh(space)
    for one in (*fresh, *_over(space)):
        if one.waiver.source_id is not None:
            found[Entity(one.waiver.entity)].add(one.waiver.source_id)
    whole = {(one.waiver.entity, one.waiver.reason) for one in fresh if one.waiver.source_id is None}
    if whole:
        for _uid, reject in space.ledger.rejects(space.uid):
            if (reject.entity, reject.reason) in whole:
                found[Entity(reject.entity)].add(reject.source_id)
    return {entity: frozenset(ids) for entity, ids in found.items()}


def settle_waivers(space: Workspace) -> None:
    """Record that the rows of new and ended waivers were judged, and tell what expired."""
    fresh, over = _fresh(space), _over(space)
    if space.dry_run or not (fresh or over):
        return
    space.ledger.settle_waivers([one.id for one in fresh], [one.id for one in over])
    expired = [one.waiver for one in over if one.revoked_at is None]
    for entity, reason in sorted({(one.entity, one.reason) for one in expired}):
        same = [one for one in expired if (one.entity, one.reason) == (entity, reason)]
        payload = {
            "entity": entity,
            "reason": reason,
            "rows": sum(one.source_id is not None for one in same),
            "all_rows": any(one.source_id is None for one in same),
        }
        emit("rejects.waiver_expired", space.uid, space.clinic.name, "info", payload, space.ledger)
