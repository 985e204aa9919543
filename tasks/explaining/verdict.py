"""The verdict over one row: in which end state of the transfer it is, and what leads out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tasks.explaining.facts import (
    MANY_PAST_MOVES,
    NO_PATIENT,
    NOT_IN_AMOCRM,
    SEVERAL,
    Facts,
    HeldFacts,
)
from tasks.frames import Entity
from tasks.records import MAYBE_REMOVED, OutcomeState

__all__ = ["Judgement", "Value", "Verdict", "judge"]

Value = str | int | datetime | tuple[int, ...] | tuple[str, ...] | None


class Verdict(StrEnum):
    """Every end state that a row can be in."""

    TRANSFERRED = "transferred"
    UPDATE_WAITING = "update_waiting"
    KEPT_BACK = "kept_back"
    PATIENT_KEPT_BACK = "patient_kept_back"
    CHAIN_HELD_BACK = "chain_held_back"
    REFUSED = "refused"
    SEVERAL_CANDIDATES = "several_candidates"
    MAYBE_REMOVED = "maybe_removed"
    MANY_PAST_MOVES = "many_past_moves"
    NOT_IN_AMOCRM = "not_in_amocrm"
    DEFERRED = "deferred"
    STAGE_NOT_MAPPED = "stage_not_mapped"
    ANSWER_LOST = "answer_lost"
    OUTSIDE_WINDOW = "outside_window"
    FILTERED = "filtered"
    PATIENTS_ONLY = "patients_only"
    NO_PATIENT = "no_patient"
    GONE = "gone"
    UNKNOWN_ID = "unknown_id"
    UNDETERMINED = "undetermined"
    NEVER_STARTED = "never_started"
    STOPPED = "stopped"
    RUNS_FAIL = "runs_fail"
    NOT_READ_YET = "not_read_yet"
    ERASED = "erased"


ARRIVED = frozenset({Verdict.TRANSFERRED, Verdict.UPDATE_WAITING})
#: Reasons that nothing but a person's word ends.
NO_STAGE = "stage_not_mapped"
WORD = {
    MAYBE_REMOVED: (Verdict.MAYBE_REMOVED, "decide_removed"),
    MANY_PAST_MOVES: (Verdict.MANY_PAST_MOVES, "confirm_moves"),
}
UNANSWERED = frozenset({Verdict.UNKNOWN_ID, Verdict.UNDETERMINED})


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with what its sentence names.

    Attributes:
        verdict: The end state.
        values: Ids, codes, field names and times that the sentences name.
        remedy: Code of what to do next.
        next_try: Code of when the transfer turns to the row again.
    """

    verdict: Verdict
    remedy: str
    next_try: str
    values: Mapping[str, Value] = field(default_factory=dict)

    @property
    def is_transferred(self) -> bool:
        """Whether the row stands in amoCRM, as it is or with an update on its way."""
        return self.verdict in ARRIVED

    @property
    def exit_code(self) -> int:
        """0 transferred, 2 not transferred, 1 nothing can be said."""
        return 0 if self.is_transferred else 1 if self.verdict in UNANSWERED else 2


Rule = Callable[[Facts], Judgement | None]


def judge(facts: Facts) -> Judgement:
    """Return the verdict; the first rule that has something to say decides."""
    rules: tuple[Rule, ...] = (
        _erased,
        _existence,
        _lost_answer,
        _removed_in_amocrm,
        _empty_slot,
        _failed_validation,
        _held_patient,
        _refused,
        _deferred,
        _standing,
        _never_planned,
    )
    return next(found for rule in rules if (found := rule(facts)) is not None)


# ---- is it there at all ------------------------------------------------------------------------------------


def _erased(facts: Facts) -> Judgement | None:
    return Judgement(Verdict.ERASED, "admit", "never", {"clinic": facts.argument}) if facts.erased else None


def _existence(facts: Facts) -> Judgement | None:
    source = facts.source
    if source is None:
        if facts.is_known:
            return None
        return Judgement(Verdict.UNDETERMINED, "source_unreachable", "unknown", {"error": facts.source_error})
    if source.exists:
        return None
    return _gone(facts) if facts.is_known else Judgement(Verdict.UNKNOWN_ID, "check_id", "never")


def _gone(facts: Facts) -> Judgement:
    applied = facts.applied
    if applied is None:
        return Judgement(Verdict.GONE, "gone_before", "never")
    values: dict[str, Value] = {"amo_id": applied.amo_id, **_schedule(facts)}
    if applied.closed:
        return Judgement(Verdict.GONE, "gone_closed", "never", values)
    if facts.source is not None and facts.source.current_id is not None:
        # A deal is a chain: it lives on with the appointment that replaced the deleted one.
        values["row"] = facts.source.current_id
        return Judgement(Verdict.GONE, "gone_replaced", _tick(facts, "next_change"), values)
    return Judgement(Verdict.GONE, "gone_open", _tick(facts, "next_full"), values)


# ---- what became of it in amoCRM ---------------------------------------------------------------------------


def _lost_answer(facts: Facts) -> Judgement | None:
    last = facts.plans[0] if facts.plans else None
    lost = last is not None and last.state is OutcomeState.AMBIGUOUS
    if facts.applied is not None or (facts.attempt is None and not lost):
        return None
    started = facts.attempt.started_at if facts.attempt else last.planned_at if last else None
    return Judgement(Verdict.ANSWER_LOST, "wait_for_proof", _tick(facts), {"at": started})


def _removed_in_amocrm(facts: Facts) -> Judgement | None:
    parked = next((held for held in facts.held if held.reason == NOT_IN_AMOCRM), None)
    remote, applied = facts.remote, facts.applied
    missing = applied is not None and remote is not None and not remote.error and not remote.exists
    if parked is None and not missing:
        return None
    values: dict[str, Value] = {"amo_id": applied.amo_id if applied else None}
    if parked is None:
        return Judgement(Verdict.NOT_IN_AMOCRM, "restore_card", _tick(facts, "next_change"), values)
    restored = remote is not None and remote.exists
    remedy = "card_restored" if restored else "restore_and_retry"
    return Judgement(Verdict.NOT_IN_AMOCRM, remedy, _parked(facts, parked), values | _retry(facts, parked))


def _refused(facts: Facts) -> Judgement | None:
    parked = next((held for held in facts.held if held.by_amocrm), None)
    if parked is None:
        return None
    values = _reason(parked) | _retry(facts, parked)
    if parked.reason in WORD:
        verdict, remedy = WORD[parked.reason]
        next_try = "next_tick" if parked.released else "next_word"
        return Judgement(verdict, remedy, _tick(facts, next_try), values)
    if parked.reason == NO_STAGE:
        return Judgement(Verdict.STAGE_NOT_MAPPED, "map_stage", _parked(facts, parked), values)
    if parked.reason == SEVERAL:
        return Judgement(Verdict.SEVERAL_CANDIDATES, "choose_candidate", _parked(facts, parked), values)
    return Judgement(Verdict.REFUSED, "correct_and_retry", _parked(facts, parked), values)


# ---- what keeps it back before amoCRM ----------------------------------------------------------------------


def _empty_slot(facts: Facts) -> Judgement | None:
    if facts.entity is not Entity.APPOINTMENT:
        return None
    if facts.source is not None:
        empty = facts.source.patient_id is None
    else:
        empty = any(held.reason == NO_PATIENT for held in facts.held)
    if not empty:
        return None
    return Judgement(Verdict.NO_PATIENT, "fill_in_patient", _tick(facts, "next_change"))


def _failed_validation(facts: Facts) -> Judgement | None:
    direct = {held.source_id: held for held in facts.held if held.is_direct}
    if facts.source is None or facts.entity is Entity.PATIENT:
        holders = [facts.source_id] if facts.source_id in direct else []
        if not holders and (chain := _named(facts, "chain_held_back")):
            return _chain(facts, chain)
    else:
        holders = [row for row in facts.source.holders if row in direct]
    if facts.source_id in holders:
        held = direct[facts.source_id]
        next_try = "next_tick" if held.data_changed else "next_change"
        return Judgement(Verdict.KEPT_BACK, "correct_in_ident", _tick(facts, next_try), _reason(held))
    return _chain(facts, direct[holders[0]]) if holders else None


def _chain(facts: Facts, held: HeldFacts) -> Judgement:
    values = {"row": held.source_id, **_reason(held)}
    return Judgement(Verdict.CHAIN_HELD_BACK, "correct_chain", _tick(facts, "next_change"), values)


def _held_patient(facts: Facts) -> Judgement | None:
    patient = facts.patient
    if facts.applied is not None or patient is None or patient.amo_id is not None:
        return None
    listed = _named(facts, "patient_kept_back")
    holding = [held for held in patient.held if not held.withheld]
    if listed is None and not holding:
        return None
    held = holding[0] if holding else listed
    values: dict[str, Value] = {"patient_id": patient.patient_id, **(_reason(held) if held else {})}
    return Judgement(
        Verdict.PATIENT_KEPT_BACK, "explain_patient", _tick(facts, "next_patient"), values | _clinic(facts)
    )


# ---- what it waits for -------------------------------------------------------------------------------------


def _deferred(facts: Facts) -> Judgement | None:
    last = facts.plans[0] if facts.plans else None
    if facts.applied is not None or last is None:
        return None
    if facts.waiting_since is None and last.state in {OutcomeState.APPLIED, OutcomeState.REJECTED}:
        return None
    values: dict[str, Value] = {"reason": last.reason, "since": facts.waiting_since or last.planned_at}
    if last.state is None:
        run = facts.last_run
        here = run is not None and (run.run_id, run.state) == (last.run_id, "running")
        values["reason"] = "run_in_progress" if here else "interrupted"
    return Judgement(Verdict.DEFERRED, _waiting_remedy(facts), _tick(facts), values | _clinic(facts))


def _standing(facts: Facts) -> Judgement | None:
    applied, source = facts.applied, facts.source
    if applied is None:
        return None
    values: dict[str, Value] = {"amo_id": applied.amo_id, "at": applied.applied_at}
    owed = facts.waiting_since is not None or facts.link_waiting or not applied.confirmed
    changed = source.differs if source is not None else ()
    if changed and not owed and source is not None and not source.inside_window:
        return Judgement(Verdict.OUTSIDE_WINDOW, "window_update", "next_window", values | _window(facts))
    if owed or changed:
        values |= _pending(facts, changed)
        return Judgement(
            Verdict.UPDATE_WAITING, _waiting_remedy(facts), _tick(facts), values | _clinic(facts)
        )
    return Judgement(Verdict.TRANSFERRED, "nothing", _tick(facts, "next_change"), values)


def _pending(facts: Facts, changed: tuple[str, ...]) -> dict[str, Value]:
    """Return what the update is about and what it waits for."""
    last = facts.plans[0] if facts.plans else None
    if last is None or last.state is OutcomeState.APPLIED:
        reason = "not_planned" if changed else "waits_for_patient" if facts.link_waiting else "found_again"
        return {"reason": reason, "fields": changed or ("patient_id",) * facts.link_waiting}
    reason = last.reason or ("interrupted" if last.state is None else last.state.value)
    return {"reason": reason, "fields": changed or last.changed}


def _never_planned(facts: Facts) -> Judgement:  # noqa: PLR0911 - one answer per cause
    """Name what has kept the row from ever being planned, the strongest cause first."""
    source = facts.source
    if source is None:
        return Judgement(Verdict.UNDETERMINED, "source_unreachable", "unknown", {"error": facts.source_error})
    if not source.inside_window:
        return Judgement(Verdict.OUTSIDE_WINDOW, "widen_window", "next_window", _window(facts))
    if not source.wants_deals:
        return Judgement(Verdict.PATIENTS_ONLY, "want_deals", "never", {})
    if not source.passes_filters:
        return Judgement(Verdict.FILTERED, "widen_filter", "never", {})
    values = _clinic(facts) | _schedule(facts)
    if facts.started is None:
        return Judgement(Verdict.NEVER_STARTED, "start", "next_start", values)
    if not facts.started:
        return Judgement(Verdict.STOPPED, "start", "next_start", values | {"at": facts.started_at})
    run = facts.last_run
    if run is not None and run.state == "failed":
        return Judgement(Verdict.RUNS_FAIL, "repair_runs", "next_tick", values | {"code": run.code})
    return Judgement(Verdict.NOT_READ_YET, "sync_full", "next_tick", values)


# ---- values ------------------------------------------------------------------------------------------------


def _tick(facts: Facts, code: str = "next_tick") -> str:
    """Return when the next run turns to the row: without a schedule, not before somebody starts it."""
    return code if facts.started else f"{code}_stopped"


def _parked(facts: Facts, held: HeldFacts) -> str:
    return _tick(facts, "next_tick" if held.released or held.data_changed else "next_parked")


def _waiting_remedy(facts: Facts) -> str:
    if not facts.started:
        return "start"
    run = facts.last_run
    return "repair_runs" if run is not None and run.state == "failed" else "wait"


def _named(facts: Facts, reason: str) -> HeldFacts | None:
    return next((held for held in facts.held if held.reason == reason), None)


def _reason(held: HeldFacts) -> dict[str, Value]:
    return {"reason": held.reason, "field": held.field, "since": held.first_seen, "seen": held.last_seen}


def _retry(facts: Facts, held: HeldFacts) -> dict[str, Value]:
    return {"entity": held.entity, "id": held.source_id, **_clinic(facts)}


def _clinic(facts: Facts) -> dict[str, Value]:
    code = facts.last_run.code if facts.last_run is not None else ""
    return {"clinic": facts.argument, "code": code}


def _schedule(facts: Facts) -> dict[str, Value]:
    return {"full": facts.full_due_at, **_clinic(facts)}


def _window(facts: Facts) -> dict[str, Value]:
    first, last = facts.window or (None, None)
    return {
        "from_day": first.isoformat() if first else None,
        "to_day": last.isoformat() if last else None,
        **_clinic(facts),
    }
