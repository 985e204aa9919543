"""What commands print: text for a person on a terminal, JSON for a program, and exit codes.

Exit codes: 0 done, 1 error, 2 done with rejects. JSON goes to standard output alone; everything said on the
way goes to standard error.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.table import Table

__all__ = ["DONE_WITH_REJECTS", "ERROR", "Output", "OutputOption", "say", "show", "table"]

ERROR = 1
DONE_WITH_REJECTS = 2


class Output(StrEnum):
    """How a command prints its result."""

    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", help="text for people, json for programs.")]


def say(text: str) -> None:
    """Tell a person something on the way; standard error, so that JSON stays clean."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def show(data: Any, output: Output, text: RenderableType) -> None:
    """Print a result."""
    if output is Output.JSON:
        typer.echo(json.dumps(data, ensure_ascii=False, indent=2, default=str))
    else:
        Console(highlight=False, soft_wrap=True).print(text)


def table(title: str, *columns: str) -> Table:
    """Return an empty table."""
    result = Table(title=title, title_justify="left")
    for column in columns:
        result.add_column(column, overflow="fold")  # a name that was cut off helps nobody
    return result
