"""What the ledger keeps of a run, also when Prefect forgets it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Literal
from uuid import uuid4

from prefect.runtime import deployment, flow_run
from prefect.states import Completed

from tasks.breaker import trip
from tasks.errors import GuardError, IdentAmocrmError, LeaseHeldError, LedgerUnavailableError
from tasks.events import emit
from tasks.lease import is_dead
from tasks.ledger.administration import RunRecord
from tasks.ledger.store import Ledger
from tasks.settings import load_settings
from tasks.transfer import is_started
from tasks.workspace import workspace

__all__ = ["new_run_id", "not_its_turn", "recorded", "timed"]

#: Errors by which the gate refuses a run: a person has to do something first.
REFUSALS = frozenset(
    {
        "basis_missing",
        "not_configured",
        "rebaseline_due",
        "refused",
        "subscription_expired",
        "subscription_suspended",
    }
)
#: Prefect's tag of runs that a schedule made.
AUTO = "auto-scheduled"
LEASE_HELD = LeaseHeldError.default_code
#: Codes of what is no error of ours: a signal or a cancelled run; anything that nobody foresaw.
INTERRUPTED, DEFECT = "interrupted", "defect"
#: Ends of a run that say nothing about the clinic.
PASSING = frozenset({LEASE_HELD, INTERRUPTED})


def new_run_id(ledger: Ledger) -> str:
    """Return the id under which the ledger keeps this run: Prefect's, with a number where it was used.

    Prefect's «Retry» starts the same flow run again; what became of the first try's plan is not to be counted
    as this one's.
    """
    first = str(flow_run.id or uuid4())
    tries = (first if number == 1 else f"{first}-{number}" for number in count(1))
    return next(run_id for run_id in tries if not ledger.knows_run(run_id))


@contextmanager
def timed(run_id: str, step: str) -> Iterator[None]:
    """Measure a step."""
    started = time.monotonic()
    try:
        yield
    finally:
        workspace(run_id).seconds[step] = time.monotonic() - started


@contextmanager
def recorded(
    run_id: str, clinic: str, mode: str, ledger: Ledger, *, job: Literal["sync", "reconcile"], dry_run: bool
) -> Iterator[None]:
    """Record a run's start and, where it fails, its cause."""
    record = ledger.connection(clinic)
    before = ledger.last_run(record.clinic_uid)
    if not dry_run:
        ledger.start_run(run_id, record.clinic_uid, mode, by=job)
    try:
        yield
    except BaseException as error:
        if isinstance(error, LedgerUnavailableError):
            raise  # there is nowhere to record it
        if isinstance(error, IdentAmocrmError):
            trip(ledger, error)
        if not dry_run:
            code = _code_of(error)
            ledger.finish_run(run_id, "failed", {"code": code})
            # Another run does the work: nothing is wrong with the clinic. And a database that is down for an
            # hour fails a hundred ticks, but is one event.
            if code not in PASSING and not _failed_so(before, code):
                emit(_event(job, error, code), record.clinic_uid, clinic, "error", {"code": code}, ledger)
            if job == "sync" and code not in PASSING and _keeps_failing(ledger, record.clinic_uid):
                payload = {"code": code, "runs": load_settings().failing_runs}
                emit("sync.failing", record.clinic_uid, clinic, "error", payload, ledger)
        raise


def _code_of(error: BaseException) -> str:
    """Return under which code a failure is kept; the text of a stranger's error may hold values."""
    if isinstance(error, IdentAmocrmError):
        return error.code
    return DEFECT if isinstance(error, Exception) else INTERRUPTED


def _event(job: str, error: BaseException, code: str) -> str:
    if code in REFUSALS:
        return "transfer.refused"
    return f"{job}.guard_tripped" if isinstance(error, GuardError) else f"{job}.failed"


def _keeps_failing(ledger: Ledger, clinic_uid: str) -> bool:
    """Tell whether the run that failed now makes their number full: once, not at every later one."""
    enough = load_settings().failing_runs
    latest = ledger.runs(clinic_uid, enough + 1)
    failed = [run.state == "failed" and run.counts.get("code") not in PASSING for run in latest]
    return all(failed[:enough]) and len(failed) >= enough and not all(failed[enough:] or [False])


def _failed_so(run: RunRecord | None, code: str) -> bool:
    return run is not None and run.state == "failed" and run.counts.get("code") == code


def not_its_turn(ledger: Ledger, clinic: str) -> Any | None:
    """Return the end of a scheduled run that has nothing to do; ``None`` when the way is free.

    A reconciliation lasts minutes and a tick comes every 30 seconds: such a tick is no failure. And a tick
    that was scheduled before the operator stopped the transfer must not run after it. A run that a person
    started says so instead, with the remedy.
    """
    if deployment.id is None:
        return None
    record = ledger.connection(clinic)
    if AUTO in flow_run.tags and not is_started(ledger, record):
        return Completed(name="Skipped", message="Передача этой клиники остановлена.")
    if AUTO in flow_run.tags and _is_missed(ledger, record.clinic_uid):
        return Completed(name="Skipped", message="Запуск опоздал: более поздний уже всё передал.")
    if not ledger.lease_is_held(record.clinic_uid, is_dead):
        return None
    return Completed(name="Skipped", message="Клинику сейчас ведёт другой запуск (например, сверка).")


def _is_missed(ledger: Ledger, clinic_uid: str) -> bool:
    """Tell whether a run that began after this tick was due has ended well already."""
    success = ledger.last_run(clinic_uid, "completed")
    return success is not None and success.started_at > flow_run.scheduled_start_time.timestamp()
