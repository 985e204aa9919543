"""``python -m deployments.sandbox.report``: the page of figures, made of what the measurements saved."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from deployments.cli.output import say
from deployments.sandbox.measuring import ROOT
from deployments.sandbox.reach import COLUMNS, rows
from tasks.markdown import plain

__all__ = ["FOLDER", "PAGE", "main", "page"]

FOLDER: Final = ROOT / "docs/reference/benchmarks"
PAGE: Final = FOLDER.with_suffix(".md")
#: The order of the page; what is not named here comes last.
ORDER: Final = (
    "bench",
    "rivals",
    "workers",
    "updates",
    "latency",
    "starts",
    "tick",
    "parts",
    "extraction",
    "quality",
    "diff",
)
HEAD: Final = """# Measured

`make bench` measures, saves the results in [benchmarks/](benchmarks/) and makes this page of them
(`python -m deployments.sandbox.report`); a part that was not measured again stays as it was, with its date.
Each figure stands beside a baseline of the same run: ratios can be expected elsewhere too, seconds cannot.
"""
#: The reasons are a person's: see there.
WHY: Final = (
    "What stands in the way of each, and what would help: "
    "[what-is-reached.md](../explanation/what-is-reached.md)."
)


def page(folder: Path) -> str:
    """Return the page.

    Args:
        folder: What the measurements saved.
    """
    saved = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    saved.sort(key=lambda one: ORDER.index(one["name"]) if one["name"] in ORDER else len(ORDER))
    return "\n".join([HEAD, _reach(saved), *map(_section, saved)])


def _reach(saved: list[dict[str, Any]]) -> str:
    by_name = {one["name"]: one["data"] for one in saved}
    lines = [_row(COLUMNS), f"|{'---|' * len(COLUMNS)}", *map(_row, rows(by_name))]
    return "\n".join(("## What was to be reached", "", *lines, "", WHY, ""))


def _section(saved: Mapping[str, Any]) -> str:
    command = f"`python -m deployments.sandbox.{saved['name']}`"
    lines = [
        f"## {saved['title']}",
        "",
        f"{command}, {saved['measured_on']}: {_machine(saved['data']['machine'])}.",
        "",
        _row(saved["columns"]),
        f"|{'---|' * len(saved['columns'])}",
        *map(_row, saved["rows"]),
    ]
    if saved["caption"]:
        lines += ["", saved["caption"]]
    return "\n".join((*lines, ""))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(plain(text) for text in cells)} |"


def _machine(facts: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in facts["packages"].items())
    return (
        f"{facts['cores']} cores ({facts['processor']}), {facts['memory_gb']} GB, {facts['system']}, "
        f"Python {facts['python']}, {packages}"
    )


def main(
    folder: Annotated[Path, typer.Argument(help="What the measurements saved.")] = FOLDER,
    into: Annotated[Path, typer.Option(help="The page.")] = PAGE,
) -> None:
    """Write the page."""
    into.write_text(page(folder), encoding="utf-8")
    say(f"{into.name} tells of {len(list(folder.glob('*.json')))} measurements.")


if __name__ == "__main__":
    typer.run(main)
