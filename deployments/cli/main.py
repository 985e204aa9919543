"""Entry point of ``ident-amocrm``."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from deployments.cli import (
    backup,
    basis,
    configure,
    connect,
    doctor,
    erase,
    events,
    explain,
    law,
    mapping,
    reconcile,
    rejects,
    service,
    subscription,
    sync,
    thresholds,
    transfer,
    up,
)
from deployments.cli.output import ERROR, say
from tasks.errors import IdentAmocrmError
from tasks.settings import program_version

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Moves a dental clinic's patients and appointments from IDENT into amoCRM.",
)
app.command("connect-database")(connect.connect_database)
app.command("disconnect-database")(connect.disconnect_database)
app.command("rename-clinic")(connect.rename_clinic)
app.command("connect-amocrm")(connect.connect_amocrm)
app.command("autoconfigure")(configure.autoconfigure)
app.command("start")(transfer.start)
app.command("stop")(transfer.stop)
app.command("sync")(sync.sync)
app.command("reconcile")(reconcile.reconcile)
app.command("status")(transfer.status)
app.command("doctor")(doctor.doctor)
app.command("events")(events.events)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("erase-subject")(erase.erase_subject)
app.command("purge")(law.purge)
app.command("explain")(explain.explain)
app.command("up")(up.up)
app.command("worker")(up.worker)
app.command("demo")(up.demo)

audit_app = typer.Typer(no_args_is_help=True, help="Who did what, for an inspection.")
audit_app.command("export")(law.export)
app.add_typer(audit_app, name="audit")
basis_app = typer.Typer(no_args_is_help=True, help="On which legal basis patients are transferred.")
basis_app.command("attest")(basis.attest)
basis_app.command("show")(basis.show_basis)
basis_app.command("withdraw")(basis.withdraw)
app.add_typer(basis_app, name="basis")
mapping_app = typer.Typer(no_args_is_help=True, help="Which datum goes to which field.")
mapping_app.command("show")(mapping.show_mapping)
mapping_app.command("export")(mapping.export)
mapping_app.command("import")(mapping.import_)
mapping_app.command("check")(mapping.check)
mapping_app.command("backfill")(mapping.backfill)
app.add_typer(mapping_app, name="mapping")
rejects_app = typer.Typer(no_args_is_help=True, help="Rows that were not transferred, and why.")
rejects_app.command("list")(rejects.list_rejects)
rejects_app.command("show")(rejects.show_row)
rejects_app.command("retry")(rejects.retry_rejects)
rejects_app.command("waive")(rejects.waive)
rejects_app.command("unwaive")(rejects.unwaive)
rejects_app.command("export")(rejects.export)
app.add_typer(rejects_app, name="rejects")
thresholds_app = typer.Typer(no_args_is_help=True, help="Where a clinic's rules about its data draw lines.")
thresholds_app.command("show")(thresholds.show_thresholds)
thresholds_app.command("set")(thresholds.set_thresholds)
app.add_typer(thresholds_app, name="thresholds")
subscription_app = typer.Typer(no_args_is_help=True, help="State, prices and invoices of the subscription.")
subscription_app.command("status")(subscription.status)
subscription_app.command("quote")(subscription.quote)
subscription_app.command("activate")(subscription.activate)
subscription_app.command("extend")(subscription.extend)
app.add_typer(subscription_app, name="subscription")
service_app = typer.Typer(no_args_is_help=True, help="up as a service of Linux (systemd) or Windows.")
service_app.command("install")(service.install)
service_app.command("status")(service.status)
service_app.command("uninstall")(service.uninstall)
app.add_typer(service_app, name="service")


def _tell_version(asked: bool) -> None:  # noqa: FBT001 - typer's signature
    if asked:
        typer.echo(f"ident-amocrm {program_version()}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show the log of the run on standard error.")
    ] = False,
    version: Annotated[  # noqa: ARG001 - its callback tells
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Moves a dental clinic's patients and appointments from IDENT into amoCRM."""
    # Prefect writes a traceback of every failed run to the console; our errors say what to do instead.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "INFO" if verbose else "CRITICAL")


def _end(number: int, _frame: FrameType | None) -> None:
    """End a command in order: what is under way at amoCRM is waited for, its receipt is written."""
    signal.signal(number, signal.SIG_DFL)  # a second signal ends it at once
    raise SystemExit(128 + number)


def _leave_closed_folder() -> None:
    """Go home from a folder that ``sudo -u`` left us in and that this account may not enter.

    Prefect looks for its settings in the working folder, and falls over where it may not look.
    """
    try:
        Path(".env").stat()
    except PermissionError:
        home = Path.home()
        os.chdir(home)
        say(f"This account may not enter the folder you are in; files are looked for in {home}.")
    except OSError:
        pass


def main() -> None:
    """Run the command line; every failure is one paragraph and exit code 1."""
    signal.signal(signal.SIGTERM, _end)
    _leave_closed_folder()
    try:
        app()
    except IdentAmocrmError as error:
        say(f"Error ({error.code}): {error}")
        sys.exit(ERROR)
    except KeyboardInterrupt:
        say("Interrupted.")
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the last door: the text may hold values, so only its place is shown
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        say(
            f"Error (defect): {type(error).__name__} at {place}. This is a defect of ident-amocrm, "
            "not of your settings; nothing already acknowledged is lost. Please report it with this line."
        )
        sys.exit(ERROR)


if __name__ == "__main__":
    main()
