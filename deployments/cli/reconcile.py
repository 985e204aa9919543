"""``reconcile``: IDENT, the ledger and amoCRM compared, and what is ours repaired."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.cli.output import DONE_WITH_REJECTS, Output, OutputOption, say, show, table
from deployments.cli.session import open_session

__all__ = ["reconcile"]

#: Ids that a line of the table shows; JSON and the artifact name more.
SHOWN = 10


def reconcile(
    name: Annotated[str, typer.Argument(help="Name of the clinic.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the differences, repair nothing.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Compare IDENT, the ledger and amoCRM, and repair what is ours to repair."""
    open_session()
    from flows.reconcile import reconcile as reconcile_flow

    result = reconcile_flow(name, dry_run=dry_run)
    for warning in result["warnings"]:
        say(f"Warning: {warning}")
    summary = table(
        f"{name}: reconcile" + (" (dry run, nothing repaired)" if dry_run else ""),
        "difference",
        "entity",
        "count",
        "repaired",
        "whose",
        "IDENT ids",
    )
    for line in result["differences"]:
        ids = [str(row["source_id"]) for row in line["rows"][:SHOWN]]
        more = " …" if line["count"] > len(ids) else ""
        columns = [line[key] for key in ("mismatch", "entity", "count", "repaired", "handling")]
        summary.add_row(*(str(column) for column in columns), " ".join(ids) + more)
    for key in ("repaired", "unrepaired", "for_a_person", "waits", "left", "requests", "writes", "seconds"):
        summary.add_row(key, "", "", "", "", str(result[key]))
    show(result, output, summary)
    if result["unrepaired"] or result["for_a_person"]:
        say("Something is left: see docs/how-to/reconcile.md for what each difference means.")
        raise typer.Exit(DONE_WITH_REJECTS)
