"""``explain``: why a patient or an appointment is in amoCRM, or is not."""

from __future__ import annotations

from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.output import Output, OutputOption, show
from deployments.cli.session import open_session

if TYPE_CHECKING:
    from rich.console import Group

    from tasks.explaining.story import Story

__all__ = ["explain"]


class What(StrEnum):
    """What may be asked about."""

    PATIENT = "patient"
    APPOINTMENT = "appointment"


def _page(story: Story) -> Group:
    """Return the story for a terminal: the chapters, then the verdict."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    from tasks.explaining.story import Language

    english = Language.ENGLISH
    parts: list[Text | Panel] = []
    for heading, told in groupby(story.lines, lambda line: line.heading(english)):
        parts.append(Text(heading, style="bold"))
        parts += [Text(f"  {line.text(english)}") for line in told]
    verdict = Text.assemble(
        (story.verdict(english), "bold"),
        f"\n{story.remedy(english)}\nNext try: {story.next_try(english)}",
    )
    facts = story.facts
    color = "green" if story.judgement.is_transferred else "red"
    title = f"{facts.entity.value} {facts.source_id}: {story.judgement.verdict.value}"
    return Group(*parts, Panel(verdict, title=title, title_align="left", border_style=color))


def explain(
    entity: Annotated[What, typer.Argument(help="patient or appointment.")],
    source_id: Annotated[int, typer.Argument(min=1, help="Its id in IDENT.", metavar="ID")],
    clinic: Annotated[
        str | None, typer.Option("--clinic", help="Name of the clinic, where several are connected.")
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Tell why a row is, or is not, in amoCRM; exit 0 transferred, 2 not transferred, 1 not known."""
    ledger = open_session()
    from tasks.explain import explain_row
    from tasks.frames import Entity

    story = explain_row(ledger, clinic, Entity(entity.value), source_id)
    data = story.as_dict()
    show(data, output, "" if output is Output.JSON else _page(story))
    if story.judgement.exit_code:
        raise typer.Exit(story.judgement.exit_code)
