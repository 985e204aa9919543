"""Contacts of a first load leave while its appointments are still read, validated and planned.

amoCRM's pace makes a first load last minutes or hours. Whatever is done before its first request makes it
longer; what is done while contacts are under way costs nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from importlib import import_module
from threading import Thread

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from tasks.collector import put_aside
from tasks.data_docs import show_verdicts
from tasks.errors import GuardError, RunStoppedError
from tasks.extract import MARK, read_first, read_patients
from tasks.ledger.store import Ledger
from tasks.load import open_load, send_rows
from tasks.loading.engine import ask_highest
from tasks.plan import plan_contacts
from tasks.rebaseline import BASELINE, cause_of
from tasks.records import Kind
from tasks.validate import validate_patients
from tasks.workspace import Ahead, Workspace, workspace

__all__ = ["ahead_stopped", "read_early", "send_contacts", "start_ahead", "warm_up"]

#: Seconds that a thread at work keeps the interpreter to itself while others wait to send.
PROMPT = 0.001


def warm_up(ledger: Ledger, clinic: str) -> None:
    """Begin to import Great Expectations where it is needed for certain, while amoCRM is waited for.

    Its import takes seconds, in which a first load could have sent ten requests.
    """
    if MARK not in (ledger.watermark(ledger.connection(clinic).clinic_uid) or {}):
        Thread(target=import_module, args=("expectations.custom",), name="warm-up", daemon=True).start()


def start_ahead(space: Workspace) -> int:
    """Read, validate and plan the contacts of a first load, and begin to send them.

    Any other run has little to send, or must be looked at as a whole before anything of it leaves: a dry run,
    a rehearsal, a comparison that adopted cards.

    Returns:
        How many contacts are on their way.

    Raises:
        GuardError: When the patients are not fit to be sent; nothing was.
    """
    stored = space.ledger.watermark(space.uid) or {}
    if space.dry_run or space.rehearsal or space.rebaseline or space.adopted or MARK in stored:
        space.early = None
        return 0
    run = open_load(space)
    with _background() as pool:
        # Asked while the patients are read; an answer that fails is asked for again by the load, which tells.
        pool.submit(ask_highest, run, Kind.CONTACT, Kind.LEAD)
        read_patients(space)
        validate_patients(space)
        rows = plan_contacts(space)
        space.ledger.save_plan(space.run_id, space.uid, rows)
        space.ahead = Ahead(rows, run, pool.submit(send_rows, space, run, rows))
    return len(rows)


def read_early(run_id: str) -> None:
    """Begin to read the patients of a first load while amoCRM is asked what it has of this clinic."""
    space = workspace(run_id)
    baseline = space.ledger.setting(f"clinic:{space.uid}", BASELINE) or {}
    if baseline.get("counted") or cause_of(space) not in {"", "empty"}:
        return  # refused until a person confirms, each half minute: no reason to read a clinic each time
    if not space.dry_run and MARK not in (space.ledger.watermark(space.uid) or {}):
        with _background() as pool:
            space.early = pool.submit(read_first, space)


@contextmanager
def _background() -> Iterator[ThreadPoolExecutor]:
    """One thread, which ends when all it was given is done; nobody waits for it here."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        yield pool
    finally:
        pool.shutdown(wait=False)


@contextmanager
def ahead_stopped(run_id: str) -> Iterator[None]:
    """Let nothing be on its way any more when the steps inside fail: the batches under way are finished."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(PROMPT)  # what is read and planned meanwhile must not make a request late
    try:
        with put_aside() if workspace(run_id).early else nullcontext():
            yield
    finally:
        sys.setswitchinterval(usual)
        ahead = workspace(run_id).ahead
        if ahead is not None and not ahead.sending.done():
            ahead.run.stopped = ahead.run.stopped or RunStoppedError(
                problem="Another step failed while contacts were sent; the batches in flight were finished.",
                remedy="Look at that step; what is left is sent by the next run.",
                code="run_stopped",
            )
            wait([ahead.sending])


@task(name="contacts first", cache_policy=NO_CACHE, persist_result=False)
def send_contacts(run_id: str) -> int:
    """Let the contacts of a first load leave while its appointments are read."""
    space = workspace(run_id)
    try:
        count = start_ahead(space)
    except GuardError:
        show_verdicts(space)  # no later step does
        raise
    if count:
        get_run_logger().info("%d contacts of a first load are on their way", count)
    return count
