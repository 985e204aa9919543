"""``events``: the journal of the installation, from the ledger's audit table."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.output import Output, OutputOption, show, table
from deployments.cli.session import open_session

__all__ = ["events"]


class Order(StrEnum):
    """In which order events are shown."""

    NEWEST = "newest"
    OLDEST = "oldest"
    EVENT = "event"
    LEVEL = "level"
    CLINIC = "clinic"


class Level(StrEnum):
    """How bad an event is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def events(  # noqa: PLR0913, PLR0917 - one option per filter
    event: Annotated[str | None, typer.Option(help="Only events that begin so, such as transfer.")] = None,
    clinic: Annotated[str | None, typer.Option(help="Only events of this clinic.")] = None,
    level: Annotated[Level | None, typer.Option(help="Only events of this level.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Not older than: 2026-03-01, 2026-03-01T08:00 (UTC), 24h, 7d.")
    ] = None,
    sort: Annotated[Order, typer.Option(help="Order of the events.")] = Order.NEWEST,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 50,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="The same as --sort oldest.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write them into this CSV file instead.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what happened: filtered, sorted, or as a CSV file."""
    ledger = open_session(prefect=False)
    from dataclasses import asdict
    from datetime import UTC, datetime

    from tasks.journal import as_csv, journal_lines, parse_since

    lines = journal_lines(
        ledger,
        event=event,
        clinic=clinic,
        level=level.value if level else None,
        since=parse_since(since, datetime.now(tz=UTC)) if since else None,
        sort="oldest" if oldest_first else sort.value,
        limit=limit,
    )
    if csv is not None:
        # The mark in front tells Excel that this is UTF-8.
        csv.write_text(as_csv(lines), encoding="utf-8-sig", newline="")
        show({"file": str(csv), "events": len(lines)}, output, f"Wrote {csv}: {len(lines)} events.")
        return
    result = table("События", "Когда", "Событие", "Клиника", "Уровень", "Данные")
    for line in lines:
        result.add_row(line.at, line.event, line.clinic or line.resource, line.level, line.data)
    show([asdict(line) for line in lines], output, result)
