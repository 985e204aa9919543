"""One deal per appointment: reschedule chains collapsed to their root.

IDENT reschedules in two ways (``ident.md`` 1.8): the same row gets another time, or a new row names the old
one in ``ID_ReceptionsTransferFrom`` and the old one is cancelled. For the clinic both are one appointment, so
a chain is one deal: its key is the root, its content the latest row.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from tasks.frames import Status

__all__ = ["NO_SHOW", "collapse", "held_back", "links", "roots"]

NO_SHOW = "no_show"


def links(appointments: pd.DataFrame) -> dict[int, int]:
    """Return which appointment each one replaced."""
    moved = appointments[["appointment_id", "rescheduled_from_id"]].dropna().astype("int64")
    return dict(zip(moved["appointment_id"].tolist(), moved["rescheduled_from_id"].tolist(), strict=True))


def roots(appointments: pd.DataFrame, parents: Mapping[int, int] | None = None) -> dict[int, int]:
    """Return the first row of each appointment's chain; links that were not read are given."""
    known = links(appointments) if parents is None else parents
    return {key: _root(key, known) for key in appointments["appointment_id"].tolist()}


def collapse(
    appointments: pd.DataFrame, parents: Mapping[int, int] | None = None, *, is_last: bool = False
) -> pd.DataFrame:
    """Collapse reschedule chains.

    Of several rows of a chain the one counts that nobody was rescheduled from; where a chain forks, one that
    is not cancelled goes before one that is, then the highest id.

    Args:
        appointments: Canonical appointments; the chains of all rows must be complete. A row whose ancestor
            is missing keeps that ancestor's id as its root, so that deleting an old row renames no deal.
        parents: The links of the chains as they were read, where some rows were kept back since: a chain with
            a broken row in its middle is still one chain.
        is_last: Whether nobody needs the appointments any more: they are let go of column by column, so that
            never is everything there twice.

    Returns:
        One row per chain with the appointment's columns and

        * ``root_id`` (int64): the deal's key;
        * ``stage_key`` (str): the status, or ``no_show`` for a cancelled appointment nobody came to.
    """
    parents = {**links(appointments), **(parents or {})}
    keys = appointments["appointment_id"].to_numpy(dtype="int64")
    root_ids, moved = keys.copy(), np.flatnonzero(np.isin(keys, list(parents)))
    root_ids[moved] = [_root(key, parents) for key in keys[moved].tolist()]
    cancelled = (appointments["status"] == Status.CANCELLED).to_numpy(dtype=bool)
    superseded = np.isin(keys, list(parents.values()))
    # By root, then by rank; the rows themselves are copied once.
    order = np.lexsort((-keys, cancelled, superseded, root_ids))
    ordered = root_ids[order]
    is_first = np.append(True, ordered[1:] != ordered[:-1])[: len(order)]
    rows = order[is_first]
    latest: pd.DataFrame
    if is_last:
        columns = {name: appointments.pop(name).array.take(rows) for name in map(str, list(appointments))}
        latest = pd.DataFrame(columns, copy=False)
    else:
        latest = appointments.iloc[rows].reset_index(drop=True)
    missed = latest["is_no_show"] & (latest["status"] == Status.CANCELLED)
    latest["root_id"] = ordered[is_first]
    latest["stage_key"] = latest["status"].where(~missed, NO_SHOW)
    return latest


def held_back(appointments: pd.DataFrame, good: pd.DataFrame) -> dict[int, int]:
    """Return good rows that must wait because a row that followed them in their chain is not good.

    Without this, a chain whose latest row is broken would fall back to the appointment it replaced.

    Args:
        appointments: Canonical appointments as read.
        good: Those of them that passed validation.

    Returns:
        The broken row, by the row that it holds.
    """
    held: dict[int, int] = {}
    parents = links(appointments)
    if not parents:
        return held
    superseded = set(parents.values())
    keys = good["appointment_id"]
    good_ids = set(keys[keys.isin(list(parents.keys() | superseded))].tolist())
    for child in parents.keys() - good_ids - superseded:
        key = child
        while key in parents and parents[key] not in held:
            key = parents[key]
            held[key] = child
    return {key: holder for key, holder in held.items() if key in good_ids}


def _root(key: int, parents: Mapping[int, int]) -> int:
    """Follow a chain to its first row; a loop, which IDENT cannot make but a restored table can, ends it."""
    seen = {key}
    while key in parents and parents[key] not in seen:
        key = parents[key]
        seen.add(key)
    return min(seen) if key in parents else key
