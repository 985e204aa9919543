"""What the last run left open: batches whose answer was lost, or whose process died.

Nothing new is sent before this is settled. The search index and amoCRM's filters are not trusted: ids are
read downwards to the mark that the attempt recorded before its request left.
"""

from __future__ import annotations

from collections.abc import Callable

from tasks.loading.ports import Load
from tasks.records import Action, AppliedRow, Attempt, Kind, Outcome, OutcomeState, RemoteLead

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
    found: dict[int, AppliedRow] = {}
    links: list[AppliedRow] = []
    for remote in load.destination.newest_down_to(attempt.kind, attempt.highest_amo_id):
        key = wanted.get(load.cards.external_ids(attempt.kind, remote))
        if key is None or (key in found and found[key].amo_id < remote.id):
            continue
        # Hash 0: the snapshot does not know what was written; the next plan compares and updates.
        if isinstance(remote, RemoteLead):
            found[key] = AppliedRow(
                Kind.LEAD,
                key,
                remote.id,
                0,
                {},
                remote.pipeline_id,
                remote.status_id,
                load.cards.is_primary_place(remote.pipeline_id),
            )
            links += [AppliedRow(Kind.LINK, key, contact, contact, {}) for contact in remote.contact_ids[:1]]
        else:
            found[key] = AppliedRow(Kind.CONTACT, key, remote.id, 0, {})
    missing = frozenset(attempt.source_ids) - found.keys()
    proven = (
        attempt.scans >= 1
        and attempt.last_scan_at is not None
        and now - attempt.last_scan_at >= PROOF_SECONDS
    )
    if missing and not proven:
        if found:
            load.journal.apply_local(load.clinic_uid, load.account_id, [*found.values(), *links])
        if attempt.last_scan_at is None:
            load.journal.note_scan(attempt.id, now)
        return missing
    load.journal.acknowledge(
        attempt.id,
        [*found.values(), *links],
        _outcomes(attempt, tuple(found), OutcomeState.DEFERRED, "found_again")
        + _outcomes(attempt, tuple(missing), OutcomeState.DEFERRED, "proven_absent"),
    )
    return frozenset()


def _outcomes(attempt: Attempt, keys: tuple[int, ...], state: OutcomeState, reason: str) -> list[Outcome]:
    return [Outcome(attempt.run_id, attempt.kind, key, state, reason) for key in keys]
