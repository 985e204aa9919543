"""The main job: one clinic's changes from IDENT into amoCRM."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal
from uuid import uuid4

from prefect import flow
from prefect.runtime import flow_run

from tasks.breaker import trip
from tasks.connections import open_ledger
from tasks.errors import IdentAmocrmError
from tasks.events import emit
from tasks.extract import extract
from tasks.gate import gate
from tasks.ledger.store import Ledger
from tasks.load import load, settle
from tasks.plan import plan
from tasks.report import report
from tasks.validate import validate
from tasks.workspace import close_workspace, workspace

__all__ = ["sync"]

Mode = Literal["incremental", "full"]


@flow(name="sync", flow_run_name="{clinic}: {mode}", persist_result=False, log_prints=False)
def sync(clinic: str, mode: Mode = "incremental", dry_run: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002
    """Передать изменения клиники из IDENT в amoCRM.

    Args:
        clinic: Имя клиники, как при подключении базы.
        mode: Только изменения или полное чтение (полное само запускается раз в сутки).
        dry_run: Только показать план, ничего не отправляя.
    """
    run_id = str(flow_run.id or uuid4())
    ledger = open_ledger()
    try:
        with _recorded(run_id, clinic, mode, ledger, dry_run=dry_run):
            gate(run_id, clinic, mode, dry_run=dry_run)
            with _timed(run_id, "extract"):
                settle(run_id)
                extract(run_id)
            with _timed(run_id, "validate"):
                validate(run_id)
            with _timed(run_id, "plan"):
                plan(run_id)
            if not dry_run:
                with _timed(run_id, "load"):
                    load(run_id)
            result: dict[str, Any] = report(run_id)
            return result
    finally:
        close_workspace(run_id)


@contextmanager
def _timed(run_id: str, step: str) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    finally:
        workspace(run_id).seconds[step] = time.monotonic() - started


@contextmanager
def _recorded(run_id: str, clinic: str, mode: str, ledger: Ledger, *, dry_run: bool) -> Iterator[None]:
    """Record the run's start and, where it fails, its cause; the ledger keeps it when Prefect forgets."""
    record = ledger.connection(clinic)
    before = ledger.last_run(record.clinic_uid)
    if not dry_run:
        ledger.start_run(run_id, record.clinic_uid, mode, by="sync")
    try:
        yield
    except IdentAmocrmError as error:
        trip(ledger, error)
        if not dry_run:
            ledger.finish_run(run_id, "failed", {"code": error.code})
            # A database that is down for an hour fails a hundred ticks and is one event.
            if before is None or before.state != "failed" or before.counts.get("code") != error.code:
                event = "transfer.refused" if error.code in {"refused", "not_configured"} else "sync.failed"
                emit(event, record.clinic_uid, clinic, "error", {"code": error.code}, ledger)
        raise
