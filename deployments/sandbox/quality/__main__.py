"""``python -m deployments.sandbox.quality``: rows per second and memory of the suites, against pandera.

Each measurement has a process of its own. The baseline runs the same checks in the same run, and has to find
the same rows: a library that finds less is not faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from deployments.cli.output import Output, OutputOption, say, table
from deployments.sandbox.measuring import SaveOption, run_part, tell
from deployments.sandbox.quality.part import has_pandera
from tasks.frames import Entity

__all__ = ["Comparison", "Part", "compare", "main"]

SIZES = (10_000, 100_000, 1_000_000)
HOW_TO = "pandera is not installed, so there is no baseline: pip install 'pandera>=0.32' (make venv does)"


@dataclass(frozen=True, slots=True)
class Part:
    """One measurement.

    Attributes:
        seconds: The best time for all rows.
        peak_mb: The memory that it took above the rows and the libraries; 0 where the system does not tell.
        rules: Rules that were run.
        version: The library.
        woken: Seconds until the library was ready, its import included.
        failing: Rows that broke each rule.
    """

    seconds: float
    peak_mb: float
    rules: int
    version: str
    woken: float
    failing: dict[str, int] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one suite costs at one size.

    Attributes:
        entity: What the rows are.
        rows: How many.
        gate: Our gate.
        pandera: The baseline; ``None`` where it is not installed.
    """

    entity: str
    rows: int
    gate: Part
    pandera: Part | None

    @property
    def ratio(self) -> float | None:
        """Our seconds, as a multiple of the baseline's."""
        return self.gate.seconds / self.pandera.seconds if self.pandera else None

    @property
    def is_same(self) -> bool:
        """Whether both found the same number of rows by each rule."""
        return self.pandera is None or self.gate.failing == self.pandera.failing

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON data."""
        return {**asdict(self), "ratio": self.ratio, "is_same": self.is_same}


def compare(
    entity: Entity, rows: int, *, baseline: bool, times: int = 3, note: Callable[[str], None] = say
) -> Comparison:
    """Measure one suite at one size.

    Args:
        entity: What the rows are.
        rows: How many.
        baseline: Whether pandera is measured too.
        times: The best of so many is told.
        note: Told what happens now.

    Raises:
        TransientError: When a measurement fails.
    """
    note(f"{entity.value}s, {rows} rows")
    gate = _measured(entity, rows, "gate", times)
    pandera = _measured(entity, rows, "pandera", times) if baseline else None
    return Comparison(entity.value, rows, gate, pandera)


def _measured(entity: Entity, rows: int, engine: str, times: int) -> Part:
    part = "deployments.sandbox.quality.part"
    return Part(**run_part(part, entity.value, str(rows), engine, "--times", str(times)))


def _show(found: Sequence[Comparison], output: Output, save: Path | None) -> None:
    rows = table(
        "Validation: rows a second, best of a few, without import; memory above making the rows",
        *(
            "rows of",
            "rows",
            "rules",
            "gate, rows/s",
            "pandera, rows/s",
            "gate takes",
            "gate, MB",
            "pandera, MB",
        ),
    )
    for one in found:
        other = one.pandera
        rows.add_row(
            f"{one.entity}s",
            str(one.rows),
            f"{one.gate.rules} / {other.rules}" if other else str(one.gate.rules),
            f"{one.rows / one.gate.seconds:.0f}",
            f"{one.rows / other.seconds:.0f}" if other else "",
            f"{one.ratio:.1f}x" + ("" if one.is_same else ", other rows!") if one.ratio else "",
            f"{one.gate.peak_mb:.0f}",
            f"{other.peak_mb:.0f}" if other else "",
        )
    versions = {part.version for one in found for part in (one.gate, one.pandera) if part}
    woken = max(one.gate.woken for one in found)
    rows.caption = (
        f"{', '.join(sorted(versions))}. 1x is pandera's time for the same checks of rows, converted before "
        "(rules about the table are ours alone); the gate converts, judges and takes the frame apart. Once "
        f"in each process the gate takes up to {woken:.1f} s more, for its imports."
    )
    rows.caption_justify = "left"
    tell("quality", {"comparisons": [one.as_dict() for one in found]}, output, rows, save)


def main(
    rows: Annotated[list[int] | None, typer.Option(help="Rows of each frame; may be given again.")] = None,
    times: Annotated[int, typer.Option(min=1, help="The best of so many is told.")] = 3,
    save: SaveOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Measure the suites; exit 1 when the baseline finds other rows."""
    baseline = has_pandera()
    if not baseline:
        say(HOW_TO)
    sizes = rows or list(SIZES)
    found = [compare(entity, size, baseline=baseline, times=times) for entity in Entity for size in sizes]
    _show(found, output, save)
    for one in found:
        if one.pandera and not one.is_same:
            codes = sorted(
                code
                for code in {*one.gate.failing, *one.pandera.failing}
                if one.gate.failing.get(code) != one.pandera.failing.get(code)
            )
            say(f"{one.entity}s, {one.rows}: other rows by {', '.join(codes)}")
    if not all(one.is_same for one in found):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
