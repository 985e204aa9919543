"""What the last run left open: batches whose answer was lost, or whose process died.

Nothing new is sent before this is settled. The search index and amoCRM's filters are not trusted: ids are
read downwards to the mark that the attempt recorded before its request left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tasks.loading.ports import Load, Remote
from tasks.loading.resolve import marked
from tasks.records import (
    MAYBE_REMOVED,
    Action,
    AppliedRow,
    Attempt,
    Kind,
    Outcome,
    OutcomeState,
    RemoteLead,
)

__all__ = ["PROOF_SECONDS", "recover"]

#: Two complete scans at least this far apart, both without the entity, prove that it was never written.
PROOF_SECONDS = 60.0


def recover(load: Load, external_id: Callable[[Kind, int], str], now: float) -> dict[Kind, frozenset[int]]:
    """Settle open attempts.

    Args:
        load: State of the load.
        external_id: Mark of an entity by kind and source id.
        now: Epoch seconds.

    Returns:
        Source ids by kind that must not be created yet: their fate is still unknown.
    """
    unknown: dict[Kind, frozenset[int]] = {}
    for attempt in load.journal.open_attempts(load.clinic_uid):
        if attempt.action is not Action.CREATE or attempt.kind is Kind.NOTE:
            # An absolute update, a link or a note that looks before it writes: simply due again.
            load.journal.close_attempt(
                attempt.id, _outcomes(attempt, attempt.source_ids, OutcomeState.DEFERRED, "interrupted")
            )
            continue
        missing = _settle(load, attempt, external_id, now)
        if missing:
            unknown[attempt.kind] = unknown.get(attempt.kind, frozenset()) | missing
    return unknown


def _settle(
    load: Load, attempt: Attempt, external_id: Callable[[Kind, int], str], now: float
) -> frozenset[int]:
    wanted = {external_id(attempt.kind, key): key for key in attempt.source_ids}
    found: dict[int, Remote] = {}
    for remote in load.destination.newest_down_to(attempt.kind, attempt.highest_amo_id):
        key = wanted.get(load.cards.external_ids(attempt.kind, remote))
        if key is not None and (key not in found or remote.id < found[key].id):
            found[key] = remote
    missing = frozenset(attempt.source_ids) - found.keys()
    proven = (
        attempt.scans >= 1
        and attempt.last_scan_at is not None
        and now - attempt.last_scan_at >= PROOF_SECONDS
    )
    if missing and not proven:
        load.journal.apply_local(load.clinic_uid, load.account_id, _adopted(load, attempt.kind, found))
        if attempt.last_scan_at is None:
            load.journal.note_scan(attempt.id, now)
        return missing
    # A card merged into an older one left its mark there, below the attempt's highest id.
    merged = {mark: marked(load, attempt.kind, mark) for mark, key in wanted.items() if key in missing}
    found |= {wanted[mark]: remote for mark, remote in merged.items() if remote is not None}
    missing = frozenset(attempt.source_ids) - found.keys()
    load.journal.acknowledge(
        attempt.id,
        _adopted(load, attempt.kind, found),
        _outcomes(attempt, tuple(found), OutcomeState.DEFERRED, "found_again")
        + _absent(load, attempt, missing),
    )
    return frozenset()


def _adopted(load: Load, kind: Kind, found: Mapping[int, Remote]) -> list[AppliedRow]:
    """Return snapshot rows of what was found and is not known yet.

    Hash 0: the snapshot does not know what was written; the next plan compares and updates.
    """
    known = load.journal.applied_rows(load.clinic_uid, kind, list(found))
    rows: list[AppliedRow] = []
    for key, remote in found.items():
        if key in known and known[key].amo_id == remote.id:
            continue
        if isinstance(remote, RemoteLead):
            is_primary = load.cards.is_primary_place(remote.pipeline_id)
            place = (remote.pipeline_id, remote.status_id)
            rows.append(AppliedRow(Kind.LEAD, key, remote.id, 0, {}, *place, is_primary))
            rows += [AppliedRow(Kind.LINK, key, contact, contact, {}) for contact in remote.contact_ids[:1]]
        else:
            rows.append(AppliedRow(Kind.CONTACT, key, remote.id, 0, {}))
    return rows


def _absent(load: Load, attempt: Attempt, missing: frozenset[int]) -> list[Outcome]:
    """Return the outcomes of rows that two scans did not find.

    They are sent again, unless a person may have deleted them meanwhile: then a person decides.
    """
    removed = missing and load.destination.trashed_above(attempt.kind, attempt.highest_amo_id)
    if removed:
        return _outcomes(attempt, tuple(missing), OutcomeState.REJECTED, MAYBE_REMOVED)
    return _outcomes(attempt, tuple(missing), OutcomeState.DEFERRED, "proven_absent")


def _outcomes(attempt: Attempt, keys: tuple[int, ...], state: OutcomeState, reason: str) -> list[Outcome]:
    return [Outcome(attempt.run_id, attempt.kind, key, state, reason) for key in keys]
