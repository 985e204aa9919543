"""The protocol of one batch: attempt, request, receipt; and what becomes of the rows amoCRM refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.errors import AmbiguousWriteError, IdentAmocrmError, ValidationRejectedError
from tasks.loading.ports import Card, Load
from tasks.records import Action, AppliedRow, Attempt, Batch, Kind, Outcome, OutcomeState

__all__ = ["Item", "send_creates", "send_updates"]


@dataclass(frozen=True, slots=True)
class Item:
    """One entity of a batch.

    Attributes:
        card: What is written.
        payload: Body of the entity, without ``request_id``; with ``id`` for an update.
        receipt: Snapshot rows to move once amoCRM named the entity's id.
        also: Further kinds that the same request settles (the link inside a new deal).
    """

    card: Card
    payload: Mapping[str, Any]
    receipt: Callable[[int], Sequence[AppliedRow]]
    also: tuple[Kind, ...] = ()

    def outcomes(self, load: Load, state: OutcomeState, reason: str = "", field: str = "") -> list[Outcome]:
        """Return the outcome of the entity and of what hangs on it."""
        main = load.outcome(self.card, state, reason, field)
        return [main, *(load.outcome(self.card, state, reason, "", kind) for kind in self.also)]


def send_creates(load: Load, kind: Kind, items: Sequence[Item]) -> dict[int, int]:
    """Create entities.

    Args:
        load: State of the load.
        kind: Contact or lead.
        items: At most a batch.

    Returns:
        amoCRM id by source id of what was created.

    Raises:
        IdentAmocrmError: When the run cannot go on; nothing of the batch was written then.
    """
    if not items:
        return {}
    attempt = _begin(load, kind, Action.CREATE, items)
    attempt_id = attempt.id
    payloads = [{**item.payload, "request_id": str(item.card.row.source_id)} for item in items]
    try:
        answer = load.destination.create(kind, payloads)
    except ValidationRejectedError as error:
        load.journal.close_attempt(attempt_id, [])
        created: dict[int, int] = {}
        for part in _after_refusal(load, kind, items, error):
            created |= send_creates(load, kind, part)
        return created
    except AmbiguousWriteError:
        # The attempt stays open: recovery looks for the entities before anything is sent again.
        load.journal.record_outcomes(
            load.clinic_uid, _outcomes(load, items, OutcomeState.AMBIGUOUS, "answer_lost")
        )
        return {}
    except IdentAmocrmError as error:
        load.journal.close_attempt(attempt_id, _outcomes(load, items, OutcomeState.DEFERRED, error.code))
        raise
    created = {item.card.row.source_id: answer[key] for item in items if (key := _key(item)) in answer}
    missing = [item for item in items if item.card.row.source_id not in created]
    if missing:
        # They were sent with this batch, so they are looked for down to its mark: other threads' batches have
        # raised the highest id since.
        _begin(load, kind, Action.CREATE, missing, attempt.highest_amo_id)
    applied = [row for item in items if _key(item) in answer for row in item.receipt(answer[_key(item)])]
    done = [item for item in items if _key(item) in answer]
    load.journal.acknowledge(
        attempt_id,
        applied,
        _outcomes(load, done, OutcomeState.APPLIED)
        + _outcomes(load, missing, OutcomeState.AMBIGUOUS, "not_named"),
    )
    with load.lock:
        load.highest[kind] = max([load.highest.get(kind, 0), *created.values()])
    return created


def send_updates(load: Load, kind: Kind, items: Sequence[Item]) -> None:
    """Update entities by absolute values, which may be repeated; rows amoCRM refuses are parked.

    Raises:
        IdentAmocrmError: When the run cannot go on.
    """
    if not items:
        return
    attempt_id = _begin(load, kind, Action.UPDATE, items).id
    try:
        acknowledged = set(load.destination.update(kind, [dict(item.payload) for item in items]))
    except ValidationRejectedError as error:
        load.journal.close_attempt(attempt_id, [])
        for part in _after_refusal(load, kind, items, error):
            send_updates(load, kind, part)
        return
    except IdentAmocrmError as error:
        outcomes = _outcomes(load, items, OutcomeState.DEFERRED, error.code)
        load.journal.close_attempt(attempt_id, outcomes, maybe_written=True)
        raise
    done = [item for item in items if item.payload["id"] in acknowledged]
    missing = [item for item in items if item.payload["id"] not in acknowledged]
    load.journal.acknowledge(
        attempt_id,
        [row for item in done for row in item.receipt(int(item.payload["id"]))],
        _outcomes(load, done, OutcomeState.APPLIED)
        + _outcomes(load, missing, OutcomeState.DEFERRED, "not_acknowledged"),
    )


def _begin(
    load: Load, kind: Kind, action: Action, items: Sequence[Item], highest: int | None = None
) -> Attempt:
    load.guard()
    batch = Batch(
        kind,
        action,
        tuple(item.card.row.source_id for item in items),
        load.request_hash([dict(item.payload) for item in items]),
        load.highest.get(kind, 0) if highest is None else highest,
        tuple(row for item in items for row in item.receipt(int(item.payload.get("id", 0)))),
    )
    return load.journal.begin_attempt(load.run_id, load.clinic_uid, load.account_id, batch)


def _after_refusal(
    load: Load, kind: Kind, items: Sequence[Item], error: ValidationRejectedError
) -> list[list[Item]]:
    """Park the rows amoCRM named and return the rest; it named none: return halves, down to one row."""
    # amoCRM names a row by the request_id it was sent with (creates), else by its index (updates).
    places = {str(index) if "id" in item.payload else _key(item): item for index, item in enumerate(items)}
    named = {
        problem.request_id: problem for problem in reversed(error.problems) if problem.request_id in places
    }
    if named:
        culprits = {places[key].card.row.source_id: problem for key, problem in named.items()}
        parked = [item for item in items if item.card.row.source_id in culprits]
        outcomes = [
            outcome
            for item in parked
            for problem in [culprits[item.card.row.source_id]]
            for outcome in item.outcomes(
                load,
                OutcomeState.REJECTED,
                problem.code or error.code,
                load.cards.field_name(kind, item.payload, problem.path),
            )
        ]
        load.journal.record_outcomes(load.clinic_uid, outcomes)
        rest = [item for item in items if item.card.row.source_id not in culprits]
        return [rest] if rest else []
    if len(items) == 1:
        outcomes = items[0].outcomes(load, OutcomeState.REJECTED, error.code)
        load.journal.record_outcomes(load.clinic_uid, outcomes)
        return []
    middle = len(items) // 2
    return [list(items[:middle]), list(items[middle:])]


def _outcomes(load: Load, items: Sequence[Item], state: OutcomeState, reason: str = "") -> list[Outcome]:
    return [outcome for item in items for outcome in item.outcomes(load, state, reason)]


def _key(item: Item) -> str:
    return str(item.card.row.source_id)
