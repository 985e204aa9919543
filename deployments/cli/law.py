"""``purge`` and ``audit export``: removing what is old, and showing an inspection who did what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.output import Output, OutputOption, say, show
from deployments.cli.session import open_session

__all__ = ["export", "purge"]


def purge(
    what: Annotated[
        str,
        typer.Argument(
            help="runs: history of runs; events: events of the journal; replaced: ledgers and keys that a "
            "restore replaced; logs: old log files."
        ),
    ],
    older_than: Annotated[str, typer.Option(help="Age above which it goes: 30d, 52w.")],
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without it, it is only counted.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Remove what is kept longer than it is needed; without --yes only counts."""
    ledger = open_session(prefect=False)
    from datetime import UTC, datetime

    from tasks import purge as purging
    from tasks.journal import parse_since
    from tasks.settings import load_settings

    now = datetime.now(tz=UTC)
    age = now - parse_since(older_than, now)
    counts = purging.purge(ledger, load_settings(), what, age, dry_run=not yes)
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    verb = "Removed" if yes else "Would be removed"
    show({"class": what, "removed": yes, "counts": counts}, output, f"{verb}: {listed}.")
    if not yes:
        say(f"Nothing was removed. To do it: ident-amocrm purge {what} --older-than {older_than} --yes")


def export(
    file: Annotated[Path, typer.Argument(help="CSV file to write.")],
    since: Annotated[str, typer.Option(help="From when on: 2026-03-01, 90d, 52w.")] = "52w",
    until: Annotated[str | None, typer.Option(help="Until when; now by default.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Write who started and decided what, when, with which counts; nobody's data are in it."""
    ledger = open_session(prefect=False)
    from datetime import UTC, datetime

    from tasks.inspection import as_csv, inspect
    from tasks.journal import parse_since

    now = datetime.now(tz=UTC)
    lines = inspect(ledger, parse_since(since, now), parse_since(until, now) if until else now)
    # The mark in front tells Excel that this is UTF-8.
    file.write_text(as_csv(lines), encoding="utf-8-sig", newline="")
    show({"file": str(file), "lines": len(lines)}, output, f"Wrote {file}: {len(lines)} lines.")
