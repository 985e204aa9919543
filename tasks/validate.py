"""Validating what was read: rows that break a rule are quarantined with the reason, the rest goes on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import pandas as pd
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from tasks.errors import GuardError
from tasks.frames import Entity
from tasks.planning.chains import held_back
from tasks.records import Kind, Reject
from tasks.waived import accepted, settle_waivers
from tasks.withholding import note_withheld
from tasks.workspace import Workspace, workspace

if TYPE_CHECKING:
    from expectations.gate import Verdict
    from expectations.suites import Rule

__all__ = [
    "CHAIN",
    "apply_expectations",
    "judges_rows",
    "rules_of",
    "severity_of",
    "validate",
    "validate_patients",
]

#: Reason of a row that is good itself, but whose reschedule chain has a row that is not.
CHAIN = "chain_held_back"


def apply_expectations(space: Workspace) -> dict[str, int]:
    """Run the suites of both frames and quarantine what fails a critical rule.

    Returns:
        Failing rows by rule.

    Raises:
        GuardError: When a rule about the table as a whole failed, or could not be evaluated.
    """
    if space.ahead is None:
        validate_patients(space)
    known = space.ledger.applied_index(space.uid, Kind.CONTACT).source_ids.tolist()
    references = {"patients": {*known, *space.patient_ids}}
    space.appointments = _validated(space, Entity.APPOINTMENT, space.appointments, references)
    settle_waivers(space)
    return dict(space.broken)


def validate_patients(space: Workspace) -> None:
    """Run the suite of patients and quarantine what fails a critical rule.

    Raises:
        GuardError: When a rule about the table as a whole failed, or could not be evaluated.
    """
    space.patients = _validated(space, Entity.PATIENT, space.patients, None)


def _validated(
    space: Workspace,
    entity: Entity,
    frame: pd.DataFrame,
    references: Mapping[str, Collection[int]] | None,
) -> pd.DataFrame:
    if frame.empty:
        return frame
    # The import costs seconds and 250 MB; a tick without changes must not pay for it.
    from expectations.gate import validate as validate_frame  # noqa: PLC0415

    passes = accepted(space, entity)
    verdict = validate_frame(frame, entity, references=references, now=space.reader.now(), accepted=passes)
    if verdict.stop:
        written = "no deal was" if space.ahead else "nothing was"
        raise GuardError(
            problem=f"The {entity.value}s failed rules about the whole table: {', '.join(verdict.stop)}.",
            remedy=f"Look at the validation artifact of this run; {written} written.",
            code="validation_stop",
        )
    failures = [*verdict.rejects, *verdict.withheld, *verdict.warnings]
    space.broken.update(rule for _key, rule, _column, _severity in failures)
    return _quarantine(space, entity, frame, verdict)


def _quarantine(space: Workspace, entity: Entity, frame: pd.DataFrame, verdict: Verdict) -> pd.DataFrame:
    """List what is kept back and return the rows that go on."""
    held_keys = {key for key, _rule, _column, _severity in verdict.rejects}
    withheld = [failure for failure in verdict.withheld if failure[0] not in held_keys]
    rejects = {
        (key, rule): Reject(entity.value, key, rule, column)
        for key, rule, column, _severity in [*verdict.rejects, *verdict.withheld]
    }
    space.invalid += len(held_keys)
    space.incomplete += len({key for key, _rule, _column, _severity in withheld})
    note_withheld(space, entity, [(key, column) for key, _rule, column, _severity in withheld])
    told = {(known.source_id, known.reason) for _uid, known in space.ledger.rejects(space.uid)}
    space.fresh_rejects += len({key for key, rule in rejects if (key, rule) not in told})
    good = verdict.good
    if entity is Entity.APPOINTMENT:
        held = held_back(frame, good)
        good = good[~good["appointment_id"].isin(held)].reset_index(drop=True)
        rejects |= {
            (key, CHAIN): Reject(entity.value, key, CHAIN, "rescheduled_from_id", held_by=holder)
            for key, holder in held.items()
        }
    for key, rule, column, _severity in verdict.skipped:
        # Listed, so that nobody has to wonder, but not counted as wrong: it may still be filled in.
        rejects.setdefault((key, rule), Reject(entity.value, key, rule, column))
    if not space.dry_run:
        _clear_stale(space, entity, frame.iloc[:, 0].tolist(), rejects.keys())
        space.ledger.add_rejects(space.uid, list(rejects.values()))
    return good


def _clear_stale(
    space: Workspace, entity: Entity, read: Collection[int], reasons: Collection[tuple[int, str]]
) -> None:
    """Forget what was wrong with the rows read now and is no more; what still is keeps its first date."""
    fresh, stale = set(read), dict[str, set[int]]()
    for _uid, reject in space.ledger.rejects(space.uid):
        here = reject.entity == entity.value and reject.source_id in fresh
        if here and (reject.source_id, reject.reason) not in reasons:
            stale.setdefault(reject.reason, set()).add(reject.source_id)
    for reason, ids in stale.items():
        space.ledger.clear_rejects(space.uid, entity.value, ids, reason)


def rules_of(entity: Entity) -> list[Rule]:
    """Return the rules of a suite, with what an analyst reads about each."""
    from expectations.suites import load_rules  # noqa: PLC0415 - beside the other import of this room

    return load_rules(entity)


def judges_rows(entity: str, code: str) -> bool:
    """Tell whether a rule is about single rows; one about the whole table leaves none to be read again."""
    return not any(rule.is_table for rule in rules_of(Entity(entity)) if rule.code == code)


def severity_of(entity: Entity, code: str) -> str:
    """Return the severity of a rule, empty where no suite has one of this code."""
    return next((rule.severity for rule in rules_of(entity) if rule.code == code), "")


@task(name="validate", cache_policy=NO_CACHE, persist_result=False)
def validate(run_id: str) -> dict[str, int]:
    """Validate the extracted frames with Great Expectations."""
    space = workspace(run_id)
    counts = apply_expectations(space)
    for rule, count in sorted(counts.items()):
        get_run_logger().warning("Rule %s: %d rows", rule, count)
    return counts
