"""The nightly check: IDENT, the ledger and amoCRM compared for one clinic, and the repair of what is ours."""

from __future__ import annotations

from typing import Any

from prefect import flow

from tasks.connections import open_ledger
from tasks.extract import extract
from tasks.load import load, settle
from tasks.plan import plan
from tasks.reconcile import compare_all, repair, take_turn
from tasks.reconcile_report import report_differences
from tasks.recording import new_run_id, recorded, timed
from tasks.validate import validate
from tasks.workspace import close_workspace

__all__ = ["reconcile"]


@flow(name="reconcile", flow_run_name="{clinic}: сверка", persist_result=False, log_prints=False)
def reconcile(clinic: str, dry_run: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002
    """Сверить IDENT, журнал передачи и amoCRM и исправить то, что вправе исправить передача.

    Args:
        clinic: Имя клиники, как при подключении базы.
        dry_run: Только показать расхождения, ничего не исправляя.
    """
    ledger = open_ledger()
    run_id = new_run_id(ledger)
    try:
        with recorded(run_id, clinic, "reconcile", ledger, job="reconcile", dry_run=dry_run):
            take_turn(run_id, clinic, dry_run=dry_run)
            with timed(run_id, "extract"):
                settle(run_id)
                extract(run_id)
            with timed(run_id, "validate"):
                validate(run_id)
            with timed(run_id, "compare"):
                compare_all(run_id)
            if not dry_run:
                with timed(run_id, "repair"):
                    repair(run_id)
                    plan(run_id)
                with timed(run_id, "load"):
                    load(run_id)
            result: dict[str, Any] = report_differences(run_id)
            return result
    finally:
        close_workspace(run_id)
