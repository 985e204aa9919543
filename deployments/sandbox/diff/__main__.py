"""``python -m deployments.sandbox.diff``: what it takes to find the cards that changed.

The same cards, the same question (which are new, which changed in what, which are gone), a process for each
side. A side that finds other cards than were changed fails the measurement.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from deployments.cli.output import Output, OutputOption, say, table
from deployments.sandbox.diff.baseline import SIDES
from deployments.sandbox.diff.cases import CASES, LEDGER, RENDERED, place, planted, write
from deployments.sandbox.measuring import SaveOption, run_part, tell
from tasks.records import Kind

__all__ = ["BASELINE", "OURS", "Part", "compare", "main", "mistaken"]

OURS, BASELINE = "ident-amocrm", "pandas"
DATACOMPY = Path(".venv-datacompy/bin/python")
HOW_TO = (
    "datacompy is left out, no interpreter has it: make .venv-datacompy, or --datacompy PYTHON of one with "
    "deployments/sandbox/diff/datacompy.txt"
)


@dataclass(frozen=True, slots=True)
class Part:
    """What one side took for one case.

    Attributes:
        case: What changed.
        side: Who compared.
        processor: Seconds of the processor by stage: what was sent is read, then compared.
        clock: The same by the clock.
        peak_mb: Memory above the cards of now and the libraries; 0 where the system does not tell.
        found: New, changed and gone cards, and a digest of which and in what, by kind.
        version: The libraries.
    """

    case: str
    side: str
    processor: dict[str, float]
    clock: dict[str, float]
    peak_mb: float
    version: str
    found: dict[str, dict[str, Any]] = field(repr=False)

    @property
    def seconds(self) -> float:
        """Seconds of the processor in all."""
        return sum(self.processor.values())


def compare(
    folder: Path,
    sizes: Mapping[Kind, int],
    *,
    cases: Sequence[str] = tuple(CASES),
    datacompy: Path | None = None,
    times: int = 1,
    note: Callable[[str], None] = say,
) -> list[Part]:
    """Measure every side on every case.

    Args:
        folder: An empty folder.
        sizes: Cards of each kind.
        cases: What changed.
        datacompy: The interpreter that has it; without one it is left out.
        times: The best of so many is told.
        note: Told what happens now.

    Raises:
        TransientError: When a side fails.
    """
    note("Making the cards and the ledger")
    write(folder, dict(sizes), list(cases))
    parts = []
    for case in cases:
        note(f"Changed: {case}")
        ours = "deployments.sandbox.diff.ours"
        parts.append(Part(case, OURS, **run_part(ours, str(folder), case, "--times", str(times))))
        files = [str(place(folder, kind, stand)) for kind in RENDERED for stand in (None, case)]
        for side, (_compare, _reader, library) in SIDES.items():
            if library == "datacompy" and datacompy is None:
                continue
            other = "deployments.sandbox.diff.baseline"
            python = str(datacompy) if library == "datacompy" else sys.executable
            told = run_part(other, side, str(times), *files, python=python)
            told["found"] = dict(zip((kind.value for kind in RENDERED), told["found"], strict=True))
            parts.append(Part(case, side, **told))
    return parts


def mistaken(parts: Sequence[Part], sizes: Mapping[Kind, int]) -> list[str]:
    """Return who found other cards than were changed, or the same ones changed in something else."""
    first = {part.case: part.found for part in reversed(parts)}
    wrong = []
    for part in parts:
        counts = {
            kind.value: planted(rows, part.case) | {"digest": first[part.case][kind.value]["digest"]}
            for kind, rows in sizes.items()
        }
        if part.found != counts:
            wrong.append(f"{part.side}, {part.case}: {part.found} instead of {counts}")
    return wrong


def _show(
    parts: Sequence[Part], sizes: Mapping[Kind, int], folder: Path, output: Output, save: Path | None
) -> None:
    baseline = {part.case: part.seconds for part in parts if part.side == BASELINE}
    rows = table(
        f"What changed among {sizes[Kind.CONTACT]} patients and {sizes[Kind.LEAD]} appointments",
        *("changed", "side", "reading what was sent, s", "comparing, s", "together, s", "times"),
        *("by the clock, s", "memory, MB"),
    )
    for part in parts:
        reading = part.processor["snapshot"]
        rows.add_row(
            part.case,
            part.side,
            f"{reading:.2f}",
            f"{part.seconds - reading:.2f}",
            f"{part.seconds:.2f}",
            f"{part.seconds / baseline[part.case]:.2f}x",
            f"{sum(part.clock.values()):.2f}",
            f"{part.peak_mb:.0f}",
        )
    versions = {part.side: part.version for part in parts if part.side != OURS}
    ledger, kept = _sizes(folder)
    rows.caption = (
        f"Seconds of the processor, 1x is {BASELINE}; memory above the cards of now. "
        f"{'; '.join(f'{side}: {version}' for side, version in versions.items())}. {OURS} keeps what was "
        f"sent as a ledger of keyed hashes ({ledger:.0f} MB), and its seconds include hashing the cards of "
        f"now; the others keep all values, in Parquet files ({kept:.0f} MB)."
    )
    rows.caption_justify = "left"
    data = {
        "baseline": BASELINE,
        "cards": {kind.value: size for kind, size in sizes.items()},
        "parts": [
            {**asdict(part), "seconds": part.seconds, "times": part.seconds / baseline[part.case]}
            for part in parts
        ],
        "mistaken": mistaken(parts, sizes),
    }
    tell("diff", data, output, rows, save)


def _sizes(folder: Path) -> tuple[float, float]:
    """Return the megabytes of what was sent: of the ledger, of the Parquet files."""
    kept = sum(place(folder, kind).stat().st_size for kind in RENDERED)
    return (folder / LEDGER).stat().st_size / 1e6, kept / 1e6


def main(
    patients: Annotated[int, typer.Option(min=1000, help="Patients.")] = 10_000,
    appointments: Annotated[int, typer.Option(min=1000, help="Appointments.")] = 100_000,
    datacompy: Annotated[Path, typer.Option(help="Interpreter that has datacompy.")] = DATACOMPY,
    times: Annotated[int, typer.Option(min=1, help="The best of so many is told.")] = 3,
    save: SaveOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Compare with datacompy and plain pandas; exit 1 when a side finds other cards."""
    sizes = {Kind.CONTACT: patients, Kind.LEAD: appointments}
    interpreter = datacompy if datacompy.exists() else None
    if interpreter is None:
        say(HOW_TO)
    with tempfile.TemporaryDirectory(prefix="ident-amocrm-diff-") as name:
        folder = Path(name)
        parts = compare(folder, sizes, datacompy=interpreter, times=times)
        _show(parts, sizes, folder, output, save)
    for line in mistaken(parts, sizes):
        say(line)
    if mistaken(parts, sizes):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
