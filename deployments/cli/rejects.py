"""``rejects list`` and ``rejects retry``: what was not transferred and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from deployments.cli.output import Output, OutputOption, show, table
from deployments.cli.session import open_session

__all__ = ["list_rejects", "retry_rejects"]

ClinicOption = Annotated[str | None, typer.Option("--clinic", help="Only this clinic.")]


def list_rejects(clinic: ClinicOption = None, output: OutputOption = Output.TEXT) -> None:
    """List rows that were kept back, with reason and field name; values are never shown."""
    ledger = open_session(prefect=False)
    names = {record.clinic_uid: record.name for record in ledger.connections()}
    uid = ledger.connection(clinic).clinic_uid if clinic else None
    rows = [
        {
            "clinic": names.get(owner, owner),
            "entity": reject.entity,
            "source_id": reject.source_id,
            "reason": reject.reason,
            "field": reject.field,
            "first_seen": datetime.fromtimestamp(reject.first_seen, tz=UTC).isoformat(timespec="seconds"),
            "last_seen": datetime.fromtimestamp(reject.last_seen, tz=UTC).isoformat(timespec="seconds"),
        }
        for owner, reject in ledger.rejects(uid)
    ]
    result = table("Не передано", "Клиника", "Что", "ID в IDENT", "Причина", "Поле", "С")
    for row in rows:
        result.add_row(
            *(str(row[key]) for key in ("clinic", "entity", "source_id", "reason", "field", "first_seen"))
        )
    show(rows, output, result)


def retry_rejects(
    clinic: Annotated[str, typer.Argument(help="Name of the clinic.")],
    entity: Annotated[str, typer.Option(help="contact, lead, patient or appointment.")],
    source_id: Annotated[list[int] | None, typer.Option("--id", help="IDENT id; all when left out.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only rows with this reason.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Let rows that were kept back be tried again in the next run."""
    ledger = open_session(prefect=False)
    count = ledger.release(ledger.connection(clinic).clinic_uid, entity, source_id or None, reason)
    show(
        {"clinic": clinic, "released": count},
        output,
        f"Released {count} rows. Next: ident-amocrm sync {clinic}",
    )
