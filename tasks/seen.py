"""Leaving out what the last run read as it is now.

IDENT stamps a row before its transaction commits, so every increment reads some minutes back, and in a
clinic's working hours most of what it reads is known. Judging it again costs the import of Great Expectations
and seconds of every tick.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any, Final

import pandas as pd

from tasks.frames import Entity
from tasks.planning.chains import roots
from tasks.workspace import Workspace

__all__ = ["SEEN", "leave_out_seen", "note_seen", "seen_now"]

#: Key of the stored watermark: with which mapping and fields the last increment was read, and its rows.
SEEN: Final = "seen"
#: More rows than this come from a dictionary or a bulk edit and are not read twice in a row.
LIMIT: Final = 5000

Digests = dict[str, int]


def leave_out_seen(
    space: Workspace, due_patients: Collection[int], due_appointments: Collection[int], known: Collection[int]
) -> None:
    """Take rows out of the frames that the last increment read as they are now, and planned.

    A chain of reschedules stays whole when one of its rows is new, and an appointment stays when its patient
    comes for the first time.

    Args:
        space: The run, with what it read.
        due_patients: Patients that have to be looked at whether they changed or not.
        due_appointments: Appointments likewise.
        known: Patients who have a contact.
    """
    patients, appointments = note_seen(space, space.patients, space.appointments)
    stored = (space.ledger.watermark(space.uid) or {}).get(SEEN) or {}
    if stored.get("schema") != space.schema:
        return
    same_patients = _same(patients, stored["patient"]) - set(due_patients)
    fresh = {int(key) for key in patients} - same_patients - set(known)
    waiting = set(space.appointments["appointment_id"][space.appointments["patient_id"].isin(fresh)])
    same = _same(appointments, stored["appointment"]) - set(due_appointments) - waiting
    chains = roots(space.appointments)
    changed = {root for key, root in chains.items() if key not in same}
    settled = {key for key, root in chains.items() if root not in changed}
    space.patients = _without(space.patients, same_patients)
    space.appointments = _without(space.appointments, settled)


def note_seen(
    space: Workspace, patients: pd.DataFrame, appointments: pd.DataFrame
) -> tuple[Digests, Digests]:
    """Note rows that the next increment reads again, as they are judged and planned in this run.

    Args:
        space: The run.
        patients: Patients as they were read.
        appointments: Appointments as they were read.

    Returns:
        Digests of both.
    """
    if len(patients) + len(appointments) > LIMIT and space.full:
        return {}, {}
    digests = _digests(space, Entity.PATIENT, patients), _digests(space, Entity.APPOINTMENT, appointments)
    space.seen = {"schema": space.schema, "patient": digests[0], "appointment": digests[1]}
    return digests


def seen_now(space: Workspace) -> dict[str, Any]:
    """Return what the next increment may leave out, for the watermark of this run."""
    count = sum(len(space.seen.get(entity.value, ())) for entity in Entity)
    return space.seen if count <= LIMIT else {}


def _digests(space: Workspace, entity: Entity, frame: pd.DataFrame) -> Digests:
    """Return a keyed digest of each row: a bare one of a phone is undone in seconds."""
    key = space.settings.installation_key()

    def digest(row: tuple[object, ...]) -> int:
        hashed = hashlib.blake2b(f"{space.uid}|{entity}|{row!r}".encode(), key=key, digest_size=8)
        return int.from_bytes(hashed.digest(), "big", signed=True)

    rows = frame.itertuples(index=False, name=None)
    return {str(row[0]): digest(row) for row in rows if not pd.isna(row[0])}


def _same(now: Digests, before: Digests) -> set[int]:
    return {int(key) for key, digest in now.items() if before.get(key) == digest}


def _without(frame: pd.DataFrame, keys: Collection[int]) -> pd.DataFrame:
    return frame[~frame.iloc[:, 0].isin(list(keys))].reset_index(drop=True) if keys else frame
