"""``erase-subject``: clear a person's cards in amoCRM on request, and never transfer the person again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.output import DONE_WITH_REJECTS, Output, OutputOption, say, show, table
from deployments.cli.session import open_session

if TYPE_CHECKING:
    from rich.table import Table

    from tasks.erasure import Erasure

__all__ = ["erase_subject"]


def erase_subject(
    clinic: Annotated[str, typer.Argument(help="Name of the clinic, also of one that was disconnected.")],
    patient: Annotated[list[int], typer.Option(help="Number of the patient in IDENT; may be repeated.")],
    by: Annotated[str, typer.Option("--by", help="Who decides it, by name or office.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be cleared; nothing is written.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    lift: Annotated[
        bool, typer.Option("--lift", help="The other way: let the patient be transferred again.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Clear a person in amoCRM, forget them here, and never send them again."""
    ledger = open_session(prefect=not lift)
    from tasks import erasure
    from tasks.settings import load_settings

    if not dry_run:
        erasure.refuse_nobody(by)
    settings, record = load_settings(), erasure.any_clinic(ledger, clinic)
    patients = sorted(set(patient))
    if lift:
        known = sorted(ledger.erased(record.clinic_uid) & set(patients))
        lifted = known if dry_run else erasure.lift(ledger, record, patients, by=by)
        told = "Would be transferred again" if dry_run else "Transferred again from the next run on"
        told += f": {lifted or 'nobody; there was no tombstone'}."
        show({"clinic": clinic, "lifted": lifted}, output, told)
        return
    if dry_run:
        _show(erasure.rehearse(ledger, settings, record, patients), output, "Would be cleared")
        return
    if not yes:
        if output is Output.TEXT:
            _show(erasure.rehearse(ledger, settings, record, patients), output, "To be cleared")
        if not typer.confirm("Clear these cards? It cannot be undone.", err=True):
            say("Declined; nothing was changed.")
            return
    done = erasure.erase(ledger, settings, record, patients, by=by)
    _show(done, output, "Cleared")
    if any(one.left for one in done.patients):
        say("What a person typed stays as it is: clear it in amoCRM, or delete the card there.")
    if not done.finished:
        say(
            "Not finished: something of theirs is still in amoCRM, IDENT was silent, or a write whose "
            "answer was lost is looked for. Nobody sends them any more; each run tries again, or repeat this "
            "command in a minute."
        )
        raise typer.Exit(DONE_WITH_REJECTS)


def _show(found: Erasure, output: Output, title: str) -> None:
    for warning in found.warnings:
        say(f"Warning: {warning}")
    show(found.as_dict(), output, _table(found, title))


def _table(found: Erasure, title: str) -> Table:
    result = table(title, "Patient", "Contacts", "Deals", "Notes", "Typed by a person, stays", "Finished")
    for one in found.patients:
        left = "; ".join(f"{card}: {', '.join(data)}" for card, data in (one.left or {}).items())
        result.add_row(
            str(one.patient_id),
            ", ".join(map(str, one.contacts)),
            ", ".join(map(str, one.deals)),
            str(one.notes),
            left,
            "yes" if one.finished else "",
        )
    return result
