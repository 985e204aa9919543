"""One deal per appointment: reschedule chains collapsed to their root.

IDENT reschedules in two ways (``ident.md`` 1.8): the same row gets another time, or a new row names the old
one in ``ID_ReceptionsTransferFrom`` and the old one is cancelled. For the clinic both are one appointment, so
a chain is one deal: its key is the root, its content the latest row.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from tasks.frames import Status

__all__ = ["NO_SHOW", "collapse", "held_back", "links", "roots"]

NO_SHOW = "no_show"


def links(appointments: pd.DataFrame) -> dict[int, int]:
    """Return which appointment each one replaced."""
    pairs = zip(appointments["appointment_id"], appointments["rescheduled_from_id"], strict=True)
    return {int(child): int(parent) for child, parent in pairs if not pd.isna(parent)}


def roots(appointments: pd.DataFrame, parents: Mapping[int, int] | None = None) -> dict[int, int]:
    """Return the first row of each appointment's chain; links that were not read are given."""
    known = links(appointments) if parents is None else parents
    return {int(key): _root(int(key), known) for key in appointments["appointment_id"]}


def collapse(appointments: pd.DataFrame, parents: Mapping[int, int] | None = None) -> pd.DataFrame:
    """Collapse reschedule chains.

    Of several rows of a chain the one counts that nobody was rescheduled from; where a chain forks, one that
    is not cancelled goes before one that is, then the highest id.

    Args:
        appointments: Canonical appointments; the chains of all rows must be complete. A row whose ancestor
            is missing keeps that ancestor's id as its root, so that deleting an old row renames no deal.
        parents: The links of the chains as they were read, where some rows were kept back since: a chain with
            a broken row in its middle is still one chain.

    Returns:
        One row per chain with the appointment's columns and

        * ``root_id`` (int64): the deal's key;
        * ``stage_key`` (str): the status, or ``no_show`` for a cancelled appointment nobody came to.
    """
    parents = {**links(appointments), **(parents or {})}
    deals = appointments.assign(
        root_id=appointments["appointment_id"].map(roots(appointments, parents)).astype("int64"),
        stage_key=appointments["status"].where(
            ~(appointments["is_no_show"] & (appointments["status"] == Status.CANCELLED)), NO_SHOW
        ),
    )
    superseded = deals["appointment_id"].isin(set(parents.values()))
    ranked = deals.assign(_superseded=superseded, _cancelled=deals["status"] == Status.CANCELLED).sort_values(
        ["root_id", "_superseded", "_cancelled", "appointment_id"], ascending=[True, True, True, False]
    )
    latest = ranked.drop_duplicates("root_id", keep="first")
    return latest.drop(columns=["_superseded", "_cancelled"]).reset_index(drop=True)


def held_back(appointments: pd.DataFrame, good: pd.DataFrame) -> dict[int, int]:
    """Return good rows that must wait because a row that followed them in their chain is not good.

    Without this, a chain whose latest row is broken would fall back to the appointment it replaced.

    Args:
        appointments: Canonical appointments as read.
        good: Those of them that passed validation.

    Returns:
        The broken row, by the row that it holds.
    """
    good_ids = {int(key) for key in good["appointment_id"]}
    held: dict[int, int] = {}
    parents = links(appointments)
    superseded = set(parents.values())
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
