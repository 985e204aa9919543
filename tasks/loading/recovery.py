"""What the last run left open: batches whose answer was lost, or whose process died.

Nothing new is sent before this is settled. The search index and amoCRM's filters are not trusted: ids are
read downwards to the mark that the attempt recorded before its request left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from tasks.loading.ports import Load, Remote
from tasks.loading.resolve import is_free, marked
from tasks.records import (
    MAYBE_REMOVED,
    Action,
    AppliedRow,
    Attempt,
    Kind,
    Outcome,
    OutcomeState,
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
                attempt.id,
                _outcomes(attempt, attempt.source_ids, OutcomeState.DEFERRED, "interrupted"),
                maybe_written=True,
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
        if key is None or (key in found and found[key].id < remote.id):
            continue
        if is_free(load, attempt.kind, remote.id, key):
            found[key] = remote
    missing = frozenset(attempt.source_ids) - found.keys()
    proven = (
        attempt.scans >= 1
        and attempt.last_scan_at is not None
        and now - attempt.last_scan_at >= PROOF_SECONDS
    )
    if missing and not proven:
        adopted = _adopted(load, attempt, found)
        load.journal.apply_local(load.clinic_uid, load.account_id, adopted)
        load.journal.record_outcomes(load.clinic_uid, _found_again(attempt, adopted))
        if attempt.last_scan_at is None:
            load.journal.note_scan(attempt.id, now)
        return missing
    # A card merged into an older one left its mark there, below the attempt's highest id.
    taken: set[int] = set()
    for mark, key in wanted.items():
        bearer = marked(load, attempt.kind, mark) if key in missing else None
        if bearer is not None and is_free(load, attempt.kind, bearer.id, key):
            found[key] = bearer
        elif bearer is not None:
            taken.add(key)
    missing = frozenset(attempt.source_ids) - found.keys()
    adopted = _adopted(load, attempt, found)
    load.journal.acknowledge(
        attempt.id, adopted, _found_again(attempt, adopted) + _absent(load, attempt, missing, taken)
    )
    return frozenset()


def _adopted(load: Load, attempt: Attempt, found: Mapping[int, Remote]) -> list[AppliedRow]:
    """Return snapshot rows of what was found and is not known yet: as it was sent, under its id now."""
    kind = attempt.kind
    known = load.journal.applied_rows(load.clinic_uid, kind, list(found))
    attempted = {(row.kind, row.source_id): row for row in load.journal.attempted_rows(attempt.id)}
    rows: list[AppliedRow] = []
    for key, remote in found.items():
        if key in known and known[key].amo_id == remote.id:
            continue
        # Hash 0 says that what was written is not known: the next plan compares and updates.
        rows.append(replace(attempted.get((kind, key), AppliedRow(kind, key, 0, 0, {})), amo_id=remote.id))
        if (Kind.LINK, key) in attempted:
            rows.append(attempted[Kind.LINK, key])
    return rows


def _found_again(attempt: Attempt, adopted: Sequence[AppliedRow]) -> list[Outcome]:
    """Return the outcomes of rows that were found: in place, unless nobody knows what was sent for them."""
    return [
        Outcome(
            attempt.run_id,
            row.kind,
            row.source_id,
            OutcomeState.APPLIED if row.row_hash else OutcomeState.DEFERRED,
            "found_again",
        )
        for row in adopted
    ]


def _absent(load: Load, attempt: Attempt, missing: frozenset[int], taken: Collection[int]) -> list[Outcome]:
    """Return the outcomes of rows that two scans did not find.

    They are sent again, unless a person may have deleted them meanwhile, or has merged them into the card of
    another row: then a person decides.
    """
    removed = missing and load.destination.trashed_above(attempt.kind, attempt.highest_amo_id)
    decided = missing if removed else missing & set(taken)
    return [
        *_outcomes(attempt, tuple(decided), OutcomeState.REJECTED, MAYBE_REMOVED),
        *_outcomes(attempt, tuple(missing - decided), OutcomeState.DEFERRED, "proven_absent"),
    ]


def _outcomes(attempt: Attempt, keys: tuple[int, ...], state: OutcomeState, reason: str) -> list[Outcome]:
    return [Outcome(attempt.run_id, attempt.kind, key, state, reason) for key in keys]
