"""Validating what was read: rows that break a rule are quarantined with the reason, the rest goes on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

import pandas as pd
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from tasks.data_docs import keep_verdict, show_verdicts
from tasks.errors import ConfigurationError, GuardError
from tasks.events import emit
from tasks.frames import Entity
from tasks.ledger.store import Ledger
from tasks.planning.chains import held_back
from tasks.planning.holding import PATIENT_BACK
from tasks.records import Kind, Reject
from tasks.waived import accepted, settle_waivers
from tasks.whole import Memory, known_of, newest
from tasks.withholding import note_withheld
from tasks.workspace import Workspace, workspace

if TYPE_CHECKING:
    from expectations.gate import Verdict
    from expectations.rules import Rule
    from expectations.thresholds import Thresholds

__all__ = [
    "CHAIN",
    "THRESHOLDS",
    "acceptable_stops",
    "action_of",
    "apply_expectations",
    "judges_rows",
    "rule_of",
    "save_thresholds",
    "severity_of",
    "thresholds_of",
    "validate",
    "validate_patients",
]

#: Reason of a row that is good itself, but whose reschedule chain has a row that is not.
CHAIN: Final = "chain_held_back"
#: Name of the clinic's setting that holds where its rules draw their lines.
THRESHOLDS: Final = "thresholds"
#: What is needed of the rows as they were read once they are judged: keys, and what ties them together.
READ: Final = {
    Entity.PATIENT: ["patient_id"],
    Entity.APPOINTMENT: ["appointment_id", "rescheduled_from_id"],
}
#: Rule about the whole that is told once, not in every run.
FRESH: Final = "source_fresh"
VOLUME: Final = "rows_volume"


def apply_expectations(space: Workspace) -> dict[str, int]:
    """Run the suites of both frames, quarantine failing rows, withhold failing values.

    Returns:
        Failing rows by rule.

    Raises:
        GuardError: When a rule about the table as a whole failed, or could not be evaluated.
    """
    memory = Memory.of(space)
    if space.ahead is None:
        _patients(space, memory)
    owners = set(space.appointments["patient_id"].dropna().astype("int64").unique().tolist())
    known = space.ledger.applied_index(space.uid, Kind.CONTACT, owners - space.patient_ids).source_ids
    references = {"patients": {*known.tolist(), *space.patient_ids}}
    memory.newest = newest(space, memory)
    space.appointments = _validated(space, memory, Entity.APPOINTMENT, space.appointments, references)
    settle_waivers(space)
    if not space.dry_run:
        memory.keep(space)
    return dict(space.broken)


def validate_patients(space: Workspace) -> None:
    """Run the suite of patients, before anything else is read.

    Raises:
        GuardError: When a rule about the table as a whole failed, or could not be evaluated.
    """
    memory = Memory.of(space)
    _patients(space, memory)
    if not space.dry_run:
        memory.keep(space)


def _patients(space: Workspace, memory: Memory) -> None:
    space.patients = _validated(space, memory, Entity.PATIENT, space.patients, None)


def _validated(
    space: Workspace,
    memory: Memory,
    entity: Entity,
    frame: pd.DataFrame,
    references: Mapping[str, Collection[int]] | None,
) -> pd.DataFrame:
    thresholds = thresholds_of(space.ledger, space.uid)
    if frame.empty and not (entity is Entity.APPOINTMENT and _is_silent(space, memory, thresholds)):
        return frame
    # The import costs seconds and 250 MB; a tick without changes must not pay for it.
    from expectations.gate import validate as validate_frame  # noqa: PLC0415
    from expectations.whole import Whole, filled_shares  # noqa: PLC0415

    now = space.reader.now().replace(tzinfo=space.zone)
    rows, read = len(frame), frame[READ[entity]]
    shares = filled_shares(frame) if space.full and rows else {}
    verdict = validate_frame(
        frame,
        entity,
        references=references,
        now=now,
        accepted=accepted(space, entity),
        thresholds=thresholds,
        whole=Whole(**known_of(space, memory, entity)),
        is_last=True,
    )
    keep_verdict(space, entity, rows, verdict)
    if verdict.stop:
        raise _stopped(space, entity, verdict)
    anew = VOLUME in verdict.passed
    memory.count(entity, space.counts[f"{entity.value}s"], now.date().isoformat(), anew=anew)
    if shares:
        memory.filled[entity.value] = shares
    failures = [*verdict.rejects, *verdict.withheld, *verdict.warnings]
    space.broken.update(rule for _key, rule, _column, _severity in failures)
    _remark(space, memory, entity, verdict)
    return _quarantine(space, entity, read, verdict)


def _is_silent(space: Workspace, memory: Memory, thresholds: Thresholds) -> bool:
    """Tell whether IDENT fell silent in working hours and nobody was told: an empty frame is judged then."""
    from expectations.whole import Whole, quiet_hours  # noqa: PLC0415 - light: it imports pandas only

    if not memory.newest or memory.told == memory.newest:
        return False
    whole = Whole(newest_change=pd.Timestamp(memory.newest).to_pydatetime())
    return (quiet_hours(whole, thresholds, space.reader.now()) or 0.0) > thresholds.quiet_hours


def _stopped(space: Workspace, entity: Entity, verdict: Verdict) -> GuardError:
    """Return the error of a table that is not fit to be sent."""
    written = "No deal was sent" if space.ahead else "Nothing was sent"
    codes = [
        f"{code} ({', '.join(verdict.named[code])})" if verdict.named.get(code) else code
        for code in verdict.stop
    ]
    pages = {rule.code: rule.link for rule, _checked, _failing in verdict.results}
    return GuardError(
        problem=f"The {entity.value}s failed rules about the whole table: {', '.join(codes)}. {written}.",
        remedy=f"What to do stands in {', '.join(pages[code] for code in verdict.stop)}.",
        code="validation_stop",
    )


def _remark(space: Workspace, memory: Memory, entity: Entity, verdict: Verdict) -> None:
    """Report what is unusual about the table, and stops nothing."""
    rules: dict[str, Rule] = {rule.code: rule for rule, _checked, _failing in verdict.results}
    for code in verdict.remarks:
        if code == FRESH:
            if memory.told == memory.newest:
                continue
            memory.told = memory.newest
        space.broken[code] += 1
        space.remarks.append(code)
        space.warnings.append(f"{rules[code].explanation}. {rules[code].remedy}")
        if not space.dry_run:
            payload = {"entity": entity.value, "rule": code}
            emit("database.unusual", space.uid, space.clinic.name, "warning", payload, space.ledger)


def _quarantine(space: Workspace, entity: Entity, read: pd.DataFrame, verdict: Verdict) -> pd.DataFrame:
    """List what is kept back and return the rows that go on."""
    held_keys = {key for key, _rule, _column, _severity in verdict.rejects}
    rejects = {
        (key, rule): Reject(entity.value, key, rule, column)
        for key, rule, column, _severity in [*verdict.rejects, *verdict.withheld]
    }
    space.invalid += len(held_keys)
    space.incomplete += len({key for key, _column in verdict.taken_out} - held_keys)
    note_withheld(space, entity, verdict.taken_out)
    told = {(known.source_id, known.reason) for _uid, known in space.ledger.rejects(space.uid)}
    space.fresh_rejects += len({key for key, rule in rejects if (key, rule) not in told})
    good = verdict.good
    if entity is Entity.APPOINTMENT:
        held = held_back(read, good)
        if held:
            good = good[~good["appointment_id"].isin(held)].reset_index(drop=True)
        rejects |= {
            (key, CHAIN): Reject(entity.value, key, CHAIN, "rescheduled_from_id", held_by=holder)
            for key, holder in held.items()
        }
    for key, rule, column, _severity in verdict.skipped:
        # Listed, so that nobody has to wonder, but not counted as wrong: it may still be filled in.
        rejects.setdefault((key, rule), Reject(entity.value, key, rule, column))
    if not space.dry_run:
        _clear_stale(space, entity, read.iloc[:, 0], good.iloc[:, 0], rejects.keys())
        space.ledger.add_rejects(space.uid, list(rejects.values()))
    return good


def _clear_stale(
    space: Workspace, entity: Entity, read: pd.Series, good: pd.Series, reasons: Collection[tuple[int, str]]
) -> None:
    """Forget what was wrong with the rows read now and is no more; what still is keeps its first date.

    A good row goes on waiting for its patient.
    """
    listed = [reject for _uid, reject in space.ledger.rejects(space.uid, entity.value)]
    keys = {reject.source_id for reject in listed}
    fresh, passed = (set(column[column.isin(list(keys))].tolist()) for column in (read, good))
    waiting = {(key, PATIENT_BACK) for key in passed}
    stale: dict[str, set[int]] = {}
    for reject in listed:
        row = (reject.source_id, reject.reason)
        if reject.source_id in fresh and row not in reasons and row not in waiting:
            stale.setdefault(reject.reason, set()).add(reject.source_id)
    for reason, keys in stale.items():
        space.ledger.clear_rejects(space.uid, entity.value, keys, reason)


def rule_of(entity: Entity, code: str) -> Rule | None:
    """Return a rule with what an analyst reads about it; nothing where no suite has one of this code."""
    from expectations.suites import load_rules  # noqa: PLC0415 - beside the other imports of this room

    return next((rule for rule in load_rules(entity) if rule.code == code), None)


def acceptable_stops(entity: Entity) -> list[str]:
    """Return codes of the rules about a whole table that stop a run and that an analyst may accept."""
    from expectations.suites import load_rules  # noqa: PLC0415 - beside the other imports of this room

    stops = (rule for rule in load_rules(entity) if rule.is_table and rule.action == "stop")
    return [rule.code for rule in stops if rule.waivable]


def judges_rows(entity: str, code: str) -> bool:
    """Tell whether a rule is about single rows; one about the whole table leaves none to be read again."""
    rule = rule_of(Entity(entity), code)
    return rule is not None and not rule.is_table


def severity_of(entity: Entity, code: str) -> str:
    """Return the severity of a rule, empty where no suite has one of this code."""
    rule = rule_of(entity, code)
    return rule.severity if rule else ""


def action_of(entity: Entity, code: str) -> str:
    """Return what follows when a rule fails, empty where no suite has one of this code."""
    rule = rule_of(entity, code)
    return rule.action if rule else ""


def thresholds_of(ledger: Ledger, clinic_uid: str) -> Thresholds:
    """Return where the rules of a clinic draw their lines."""
    from expectations.thresholds import Thresholds  # noqa: PLC0415

    return Thresholds.model_validate(ledger.setting(f"clinic:{clinic_uid}", THRESHOLDS) or {})


def save_thresholds(ledger: Ledger, clinic_uid: str, changes: Mapping[str, str], by: str) -> Thresholds:
    """Change thresholds of a clinic; an empty text puts one back to its default.

    Args:
        ledger: The installation's ledger.
        clinic_uid: The clinic.
        changes: New values, as typed, by name; several of one threshold are joined by commas.
        by: Who changes them, for the history.

    Raises:
        ConfigurationError: When there is no such threshold, or the value makes no sense; nothing is changed.
    """
    from expectations.thresholds import Thresholds  # noqa: PLC0415

    stored = dict(ledger.setting(f"clinic:{clinic_uid}", THRESHOLDS) or {})
    for name, value in changes.items():
        stored.pop(name, None)
        if value:
            stored[name] = value.split(",") if name == "working_days" else value
    try:
        chosen = Thresholds.model_validate(stored)
    except ValueError:
        raise ConfigurationError(
            problem=f"These thresholds make no sense: {', '.join(sorted(changes))}.",
            remedy="See their names and limits: ident-amocrm thresholds show NAME.",
            code="thresholds",
        ) from None
    own = chosen.model_dump(mode="json", exclude_defaults=True)
    ledger.put_setting(f"clinic:{clinic_uid}", THRESHOLDS, own, by=by)
    return chosen


@task(name="validate", cache_policy=NO_CACHE, persist_result=False)
def validate(run_id: str) -> dict[str, int]:
    """Validate the extracted frames with Great Expectations."""
    space = workspace(run_id)
    try:
        counts = apply_expectations(space)
    finally:
        show_verdicts(space)
    for rule, count in sorted(counts.items()):
        get_run_logger().warning("Rule %s: %d rows", rule, count)
    return counts
