"""What the storm counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rich.table import Table

from tests.faults.judge import Verdict
from tests.faults.world import World

__all__ = ["Tally"]

#: Not one of these may be left.
BAD = ("duplicates", "lost", "unexplained", "leaks")


@dataclass
class Tally:
    """Counts of one part of the storm, taken from what stands in amoCRM against the clinic's database."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    stories: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, title: str, world: World, verdict: Verdict, leaks: list[str]) -> Tally:
        """Count one scenario; one that ends badly is told as a story of ids."""
        counts = Counter(scenarios=1, runs=world.runs, crashes=world.crashes, leaks=len(leaks))
        for name in ("duplicates", "lost", "unexplained"):
            counts[name] = len(getattr(verdict, name))
        tally = cls(counts, Counter(world.faults))
        if not tally.sound:
            lines = [*world.diary, *verdict.lines(), *(f"leak: {leak}" for leak in leaks)]
            tally.stories.append("\n  ".join([title, *lines]))
        return tally

    def add(self, other: Tally) -> None:
        """Count another scenario, too."""
        self.counts.update(other.counts)
        self.faults.update(other.faults)
        self.stories += other.stories

    @property
    def sound(self) -> bool:
        """Whether nothing was doubled, lost, left unexplained or given away."""
        return not any(self.counts[name] for name in BAD)

    @staticmethod
    def table(parts: dict[str, Tally]) -> Table:
        """Show all parts side by side."""
        table = Table(title="Faults", caption="counted in the stand-in against the clinic's database")
        for title in ("", *parts):
            table.add_column(title, justify="right" if title else "left")
        for name in ("scenarios", "runs", "crashes", "faults injected", *BAD):
            values = [
                part.faults.total() if name == "faults injected" else part.counts[name]
                for part in parts.values()
            ]
            style = "bold" if name in BAD else ""
            table.add_row(name, *(str(value) for value in values), style=style)
        for name in sorted({name for part in parts.values() for name in part.faults}):
            table.add_row(
                f"  {name}", *(str(part.faults[name] or "") for part in parts.values()), style="dim"
            )
        return table
