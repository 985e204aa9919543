"""``start``, ``stop``, ``status``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from deployments.cli.output import Output, OutputOption, show, table
from deployments.cli.session import open_session

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
    output: OutputOption = Output.TEXT,
) -> None:
    """Start the clinic's transfer; refused with each reason while a condition is not met."""
    ledger = open_session()
    from deployments.clinic_deployments import apply_started
    from tasks.gate import pass_gate
    from tasks.transfer import start_transfer
    from tasks.workspace import close_workspace

    record = ledger.connection(name)
    space = pass_gate("start", name, "incremental", dry_run=True)
    try:
        today = space.reader.now().date()
    finally:
        close_workspace("start")
    days = None if all_history else history_days
    launch = start_transfer(ledger, record, today, history_days=days, by="command line")
    scheduled = apply_started(ledger, name)
    since = launch.from_day.isoformat() if launch.from_day else "the beginning"
    note = "" if scheduled else " The schedule runs once ident-amocrm up is started."
    show(
        {"clinic": name, "started": True, "from_day": launch.from_day, "scheduled": scheduled},
        output,
        f"Started {name}: appointments from {since}.{note} Next: ident-amocrm sync {name}",
    )


def stop(name: NameArgument, output: OutputOption = Output.TEXT) -> None:
    """Stop the clinic's transfer; a batch in flight is finished."""
    ledger = open_session()
    from deployments.clinic_deployments import apply_started
    from tasks.transfer import stop_transfer

    stop_transfer(ledger, ledger.connection(name), by="command line")
    apply_started(ledger, name)
    show({"clinic": name, "started": False}, output, f"Stopped {name}.")


def status(output: OutputOption = Output.TEXT) -> None:
    """Show each clinic: started or stopped, last success, counts."""
    ledger = open_session(prefect=False)
    from tasks.transfer import clinic_state

    states = [clinic_state(ledger, record) for record in ledger.connections()]
    result = table("Клиники", "Клиника", "Передача", "Последний успех", "Контактов", "Сделок", "Не передано")
    for state in states:
        result.add_row(
            state.clinic,
            "запущена" if state.started else "остановлена",
            state.last_success_at or "—",
            str(state.contacts),
            str(state.leads),
            str(state.rejects),
        )
    show([asdict(state) for state in states], output, result)
