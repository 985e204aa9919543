"""The main job: one clinic's changes from IDENT into amoCRM."""

from __future__ import annotations

from typing import Any, Literal

from prefect import flow

from tasks.ahead import ahead_stopped, read_early, send_contacts, warm_up
from tasks.connections import open_ledger
from tasks.extract import extract
from tasks.gate import gate
from tasks.load import load, settle
from tasks.plan import plan
from tasks.rebaseline import rebaseline as compare_anew
from tasks.rebaseline import refuse_unconfirmed
from tasks.recording import new_run_id, not_its_turn, recorded, timed
from tasks.report import report
from tasks.validate import validate
from tasks.workspace import close_workspace, workspace

__all__ = ["sync"]

Mode = Literal["incremental", "full"]


@flow(name="sync", flow_run_name="{clinic}: {mode}", persist_result=False, log_prints=False)
def sync(
    clinic: str,
    mode: Mode = "incremental",
    dry_run: bool = False,  # noqa: FBT001, FBT002
    rebaseline: bool = False,  # noqa: FBT001, FBT002
) -> dict[str, Any]:
    """Передать изменения клиники из IDENT в amoCRM.

    Args:
        clinic: Имя клиники, как при подключении базы.
        mode: Только изменения или полное чтение (полное само запускается раз в сутки).
        dry_run: Только показать план, ничего не отправляя.
        rebaseline: Сверить журнал с amoCRM заново (после восстановления из копии, потери ключа или журнала):
            свои карточки находятся и не создаются второй раз, отправляются только настоящие различия.
    """
    ledger = open_ledger()
    run_id = new_run_id(ledger)
    skipped: dict[str, Any] | None = not_its_turn(ledger, clinic)
    if skipped is not None:
        return skipped
    try:
        with recorded(run_id, clinic, mode, ledger, job="sync", dry_run=dry_run):
            warm_up(ledger, clinic)
            gate(run_id, clinic, mode, dry_run=dry_run)
            read_early(run_id)
            with timed(run_id, "settle"):
                settle(run_id)
                compare_anew(run_id, confirmed=rebaseline)
            with ahead_stopped(run_id):
                with timed(run_id, "contacts first"):
                    send_contacts(run_id)
                with timed(run_id, "extract"):
                    extract(run_id)
                with timed(run_id, "validate"):
                    validate(run_id)
                with timed(run_id, "plan"):
                    plan(run_id)
                refuse_unconfirmed(workspace(run_id))
                if not dry_run:
                    with timed(run_id, "load"):
                        load(run_id)
            result: dict[str, Any] = report(run_id)
            return result
    finally:
        close_workspace(run_id)
