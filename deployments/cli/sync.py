"""``sync``: one run of the main job, now."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from deployments.cli.output import DONE_WITH_REJECTS, Output, OutputOption, say, show, table
from deployments.cli.session import have_run, open_session

__all__ = ["sync"]

#: Rows of a plan on the screen.
SHOWN = 100


def sync(
    name: Annotated[str, typer.Argument(help="Name of the clinic.")],
    full: Annotated[bool, typer.Option("--full", help="Read everything, not only changes.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, send nothing.")] = False,
    rebaseline: Annotated[
        bool,
        typer.Option("--rebaseline", help="Compare the ledger with amoCRM anew and write real differences."),
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Transfer a clinic's changes now, also while its schedule is stopped."""
    asked = {"--full": full, "--dry-run": dry_run, "--rebaseline": rebaseline}
    have_run("sync", name, *(flag for flag, given in asked.items() if given), "--output", output.value)
    open_session()
    from deployments.progress_bar import progress_bar
    from flows.sync import sync as sync_flow
    from tasks.settings import load_settings

    mode: Literal["full", "incremental"] = "full" if full else "incremental"
    with progress_bar(load_settings(), name):
        result = sync_flow(name, mode=mode, dry_run=dry_run, rebaseline=rebaseline)
    for warning in result["warnings"]:
        say(f"Warning: {warning}")
    planned, applied = result["planned"], result["applied"]
    if dry_run and output is Output.TEXT:
        _show_plan(result["plan"])
    summary = table(
        f"{name}: {result['mode']}" + (" (dry run, nothing sent)" if dry_run else ""),
        "",
        "planned",
        "applied",
    )
    for kind in ("contacts", "leads"):
        for action in planned[kind]:
            summary.add_row(f"{kind} {action}", str(planned[kind][action]), str(applied[kind][action]))
    summary.add_row("links", str(planned["links"]), str(applied["links"]))
    summary.add_row("notes", str(planned["notes"]), str(applied["notes"]))
    for key in (
        "invalid",
        "incomplete",
        "rejected",
        "deferred",
        "ambiguous",
        "unsettled",
        "requests",
        "writes",
        "seconds",
    ):
        summary.add_row(key, "", str(result[key]))
    show(result, output, summary)
    if any(result[key] for key in ("invalid", "incomplete", "rejected", "ambiguous", "unsettled")):
        say(f"Some rows were not transferred: ident-amocrm rejects list --clinic {name}")
        raise typer.Exit(DONE_WITH_REJECTS)


def _show_plan(rows: list[dict[str, Any]]) -> None:
    """Show what a run would send, as far as a screen goes; ``--output json`` has all of it."""
    plan = table("Plan", "what", "IDENT id", "action", "changed", "amoCRM id")
    for row in rows[:SHOWN]:
        changed = ", ".join(row["changed"])
        plan.add_row(row["kind"], str(row["source_id"]), row["action"], changed, str(row["amo_id"] or ""))
    if len(rows) > SHOWN:
        plan.caption = f"{len(rows) - SHOWN} more rows: --output json"
    show(rows, Output.TEXT, plan)
