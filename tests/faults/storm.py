"""``make faults``: random scenarios, counted from what the stand-in holds against the clinic's database."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.faults.scenario import play
from tests.faults.world import stand_in, template

__all__ = ["main"]

console = Console()


def main(
    scenarios: Annotated[int, typer.Option(min=0, help="Random scenarios.")] = 300,
    seed: Annotated[int, typer.Option(help="Number of the first scenario.")] = 1,
    verbose: Annotated[bool, typer.Option(help="Tell every story.")] = False,
) -> None:
    """Play the storm; exit 1 unless nothing was doubled, lost or left unexplained."""
    counts: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="ident-amocrm-faults-") as name, stand_in() as crm:
        folder = Path(name)
        origin = template(folder / "origin", crm)
        for number in track(range(seed, seed + scenarios), console=console, transient=True):
            world, verdict = play(origin, crm, folder / str(number), number)
            counts += Counter(
                scenarios=1,
                runs=world.runs,
                crashes=world.crashes,
                duplicates=len(verdict.duplicates),
                lost=len(verdict.lost),
                unexplained=len(verdict.unexplained),
            )
            faults += world.faults
            if verdict or verbose:
                console.print(f"[bold]scenario {number}[/bold]", *world.diary, *verdict.lines(), sep="\n  ", markup=False)
            shutil.rmtree(folder / str(number))
    table = Table("", "", title="Storm")
    for title in ("scenarios", "runs", "crashes", "duplicates", "lost", "unexplained"):
        table.add_row(title, str(counts[title]))
    table.add_row("faults injected", str(faults.total()))
    for title, number in sorted(faults.items()):
        table.add_row(f"  {title}", str(number))
    console.print(table)
    raise typer.Exit(1 if counts["duplicates"] + counts["lost"] + counts["unexplained"] else 0)


if __name__ == "__main__":
    typer.run(main)
