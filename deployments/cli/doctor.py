"""``doctor``: everything a supporter would ask, in one look; and a bundle that may be sent to them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.output import ERROR, Output, OutputOption, say, show

if TYPE_CHECKING:
    from rich.text import Text

    from tasks.doctor.findings import Report

__all__ = ["doctor"]

LOG_LEVEL = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"


def doctor(
    bundle: Annotated[
        Path | None,
        typer.Option(help="Write a zip for the support: no personal data, no secrets."),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Check the whole installation: what was found, and what to do; exit 1 when there is a fault."""
    # As the user set it: the command line and the checks set what Prefect reads.
    environ = {name: value for name, value in os.environ.items() if name != LOG_LEVEL}
    from deployments.doctor import examine
    from tasks.doctor.findings import State

    looked = examine(environ, tell=say)
    report = looked.report
    data = report.as_dict()
    if bundle is not None:
        from tasks.doctor.bundle import write_bundle
        from tasks.support_bundle import bundle_members

        write_bundle(bundle, bundle_members(report, environ, looked.settings, looked.ledger))
        data["bundle"] = str(bundle)
        say(f"Wrote {bundle}: look into it before you send it; README.txt in it says what is in.")
    show(data, output, _page(report))
    if report.state is State.FAULT:
        raise typer.Exit(ERROR)


def _page(report: Report) -> Text:
    """Return the report for a terminal."""
    from rich.text import Text

    from tasks.doctor.findings import State

    colors = {State.OK: "green", State.WARNING: "yellow", State.FAULT: "bold red"}
    page = Text()
    for state, line in report.lines():
        if state is None:
            page.append(f"{line}\n", style="dim" if line.startswith(" ") else "bold")
            continue
        begin, name, rest = line[:2], line[2 : 2 + len(state.value)], line[2 + len(state.value) :]
        page.append(begin).append(name, style=colors[state]).append(f"{rest}\n")
    return page.append(f"\n{report.summary}")
