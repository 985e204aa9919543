"""``start``, ``stop``, ``status``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.output import Output, OutputOption, show, table
from deployments.cli.session import open_session

if TYPE_CHECKING:
    from datetime import date

    from tasks.launch import Window
    from tasks.ledger.store import ConnectionRecord, Ledger

__all__ = ["start", "status", "stop"]

NameArgument = Annotated[str, typer.Argument(help="Name of the clinic.")]


def start(
    name: NameArgument,
    history_days: Annotated[
        int, typer.Option(min=0, help="Days before today from which on appointments are transferred.")
    ] = 0,
    all_history: Annotated[
        bool, typer.Option("--all-history", help="Transfer all past appointments.")
    ] = False,
    ahead_days: Annotated[
        int | None, typer.Option(min=1, help="Days after today until which; all that are booked otherwise.")
    ] = None,
    deals: Annotated[
        bool, typer.Option("--deals/--no-deals", help="Transfer appointments as deals, not only patients.")
    ] = True,
    preview: Annotated[
        bool, typer.Option("--preview", help="Only count the deals that would enter each stage.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Start the clinic's transfer; refused with each reason while a condition is not met."""
    ledger = open_session()
    from deployments.clinic_deployments import apply_started
    from tasks.starting import database_day
    from tasks.transfer import start_transfer

    record = ledger.connection(name)
    today = database_day(ledger, record)
    window: Window = {
        "history_days": None if all_history else history_days,
        "ahead_days": ahead_days,
        "deals": deals,
    }
    if preview:
        _show_preview(ledger, record, today, window, output)
        return
    launch = start_transfer(ledger, record, today, by="command line", **window)
    scheduled = apply_started(ledger, name)
    since = launch.from_day.isoformat() if launch.from_day else "the beginning"
    what = f"appointments from {since}" if launch.deals else "patients only"
    note = "" if scheduled else " The schedule runs once ident-amocrm up is started."
    show(
        {"clinic": name, "started": True, "from_day": launch.from_day, "scheduled": scheduled},
        output,
        f"Started {name}: {what}.{note} Next: ident-amocrm sync {name}",
    )


def _show_preview(
    ledger: Ledger, record: ConnectionRecord, today: date, window: Window, output: Output
) -> None:
    """Count what a start would write, without starting."""
    from tasks.preview import preview
    from tasks.transfer import wanted_launch

    launch, _wider = wanted_launch(ledger, record, today, **window)
    found = preview("preview", record.name, launch)
    result = table(f"{record.name}: {found.live} deals in open stages", "Воронка", "Этап", "Сделок")
    for one in found.stages:
        result.add_row(one.pipeline, one.stage, str(one.deals))
    show(found.as_dict(), output, result)


def stop(name: NameArgument, output: OutputOption = Output.TEXT) -> None:
    """Stop the clinic's transfer; a batch in flight is finished."""
    ledger = open_session()
    from deployments.clinic_deployments import apply_started
    from tasks.transfer import stop_transfer

    stop_transfer(ledger, ledger.connection(name), by="command line")
    apply_started(ledger, name)
    show({"clinic": name, "started": False}, output, f"Stopped {name}.")


def status(output: OutputOption = Output.TEXT) -> None:
    """Show the program's version and each clinic: started or stopped, last success, counts, a long load."""
    ledger = open_session(prefect=False)
    from tasks.progress import time_left
    from tasks.settings import program_version
    from tasks.transfer import clinic_state

    versions = {"version": program_version(), "ledger": ledger.database.revision()}

    states = [clinic_state(ledger, record) for record in ledger.connections()]
    result = table(
        "Клиники",
        "Клиника",
        "Передача",
        "Последний запуск",
        "Последний успех",
        "Контактов",
        "Сделок",
        "Не передано",
        "Идёт загрузка",
    )
    for state in states:
        load = state.load
        result.add_row(
            state.clinic,
            "запущена" if state.started else "остановлена",
            state.last_started_at or "—",
            state.last_success_at or "—",
            str(state.contacts),
            str(state.leads),
            str(state.rejects),
            f"{load.percent:.1f} %. {time_left(load)}" if load else "—",
        )
    result.caption = f"ident-amocrm {versions['version']}, ledger {versions['ledger']}"
    show({**versions, "clinics": [asdict(state) for state in states]}, output, result)
