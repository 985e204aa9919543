"""``events``: the journal of the installation, from the ledger's audit table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from deployments.cli.output import Output, OutputOption, show, table
from deployments.cli.session import open_session

__all__ = ["events"]


def events(
    event: Annotated[str | None, typer.Option(help="Only events that begin so, such as transfer.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 50,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="Sort by date, oldest first.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what happened, newest first."""
    ledger = open_session(prefect=False)
    prefix = (
        None if event is None else event if event.startswith("ident-amocrm.") else f"ident-amocrm.{event}"
    )
    rows = ledger.audit(event_prefix=prefix, limit=limit, order="asc" if oldest_first else "desc")
    result = table("События", "Когда", "Событие", "Ресурс", "Уровень", "Данные")
    data = []
    for row in rows:
        at = datetime.fromtimestamp(row.occurred_at, tz=UTC).isoformat(timespec="seconds")
        data.append(
            {
                "at": at,
                "event": row.event,
                "resource": row.resource,
                "level": row.level,
                "payload": row.payload,
            }
        )
        result.add_row(at, row.event, row.resource, row.level, str(row.payload))
    show(data, output, result)
