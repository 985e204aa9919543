"""``python -m deployments.sandbox.tick``: what a tick and a full read cost when nothing changed.

A clinic of every size is transferred; then it is read whole, and a tick follows, each in a process of its
own. A run that plans anything fails the measurement.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from deployments.cli.output import Output, OutputOption, say, table
from deployments.sandbox.bench import DATABASE, TIMEZONE
from deployments.sandbox.clinic.generator import ClinicSpec
from deployments.sandbox.extraction.__main__ import ROADS, server_missing
from deployments.sandbox.measuring import SaveOption, exponent, run_part, tell
from deployments.sandbox.tick.installation import busy_clinic, configure
from deployments.sandbox.tick.part import STEPS

__all__ = ["RUNS", "Part", "compare", "main", "mistaken"]

FILE, SERVER = ROADS
PART = "deployments.sandbox.tick.part"
#: In this order: what a full read saw, the tick after it need not judge again.
RUNS = {"full": "full read", "tick": "tick"}
#: Written when the transfer is complete.
TRANSFERRED = "transferred"


@dataclass(frozen=True, slots=True)
class Part:
    """What one run took on one clinic.

    Attributes:
        factor: How many times the smallest clinic.
        patients: Its patients.
        appointments: Its appointments.
        run: Which run.
        processor: Seconds of the processor by step.
        clock: The same by the clock.
        first_query: Seconds from the start of the process to the end of its first query.
        peak_mb: Memory above the libraries that every run loads; 0 where the system does not tell.
        highest_mb: Memory in all.
        found: What was read, and what was planned.
    """

    factor: int
    patients: int
    appointments: int
    run: str
    processor: dict[str, float]
    clock: dict[str, float]
    first_query: dict[str, float]
    peak_mb: float
    highest_mb: float
    found: dict[str, Any] = field(repr=False)

    @property
    def seconds(self) -> float:
        """Seconds of the processor in all steps."""
        return sum(self.processor.values())


def compare(
    folder: Path,
    *,
    patients: int,
    appointments: int,
    growth: Sequence[int],
    road: str = FILE,
    profile: Path | None = None,
    note: Callable[[str], None] = say,
) -> list[Part]:
    """Measure both runs on clinics of every size.

    Args:
        folder: Where the transferred clinics are, or will be.
        patients: Patients of the smallest clinic.
        appointments: Its appointments.
        growth: Sizes, as multiples of the smallest.
        road: Where the clinics are.
        profile: File for where the time goes on the first of them.
        note: Told what happens now.

    Raises:
        TransientError: When a run fails.
    """
    parts = []
    for factor in growth:
        size = (factor * patients, factor * appointments)
        home = folder / f"{'-'.join(map(str, size))}-{list(ROADS).index(road)}"
        home.mkdir(parents=True, exist_ok=True)
        with _transferred(home, size, road, note):
            for run, name in RUNS.items():
                note(f"{name}: {size[0]} patients, {size[1]} appointments")
                parts.append(Part(factor, *size, name, **_measured(home, run)))
            if profile is not None and factor == growth[0]:
                _profile(home, profile)
    return parts


@contextmanager
def _transferred(home: Path, size: tuple[int, int], road: str, note: Callable[[str], None]) -> Iterator[None]:
    """Have a clinic whose rows amoCRM has: one that is there already, or a new one."""
    if (home / TRANSFERRED).exists():
        yield
        return
    note(f"Transferring {size[0]} patients, {size[1]} appointments")
    today = datetime.now(tz=ZoneInfo(TIMEZONE)).date()
    spec = ClinicSpec(today=today, patients=size[0], appointments=size[1])
    if road == SERVER:
        with ROADS[road][0](spec, home) as clinic:
            configure(home, clinic, None)
            run_part(PART, str(home), "transfer")
            yield
        return
    database = home / DATABASE
    present = busy_clinic(spec, database)
    configure(home, {"driver": "sqlite", "database": str(database), "timezone": TIMEZONE}, present)
    run_part(PART, str(home), "transfer")
    (home / TRANSFERRED).touch()
    yield


def _measured(home: Path, run: str, *arguments: str) -> dict[str, Any]:
    return run_part(PART, str(home), run, *arguments, given={"started": time.time()})


def _profile(home: Path, into: Path) -> None:
    """Write where the time of both runs goes, of runs that are not measured: a profile slows them down."""
    texts = []
    for run, name in RUNS.items():
        _measured(home, run, "--profile", str(home / "profile.txt"))
        texts.append(f"== {name} ==\n\n{(home / 'profile.txt').read_text(encoding='utf-8')}")
    into.write_text("\n".join(reversed(texts)), encoding="utf-8")


def mistaken(parts: Sequence[Part]) -> list[str]:
    """Return runs that planned something, although nothing had changed, or read too little."""
    wrong = []
    for part in parts:
        everything = {"patients": part.patients, "appointments": part.appointments}
        is_full = part.run == RUNS["full"]
        if part.found["planned"] or part.found["full"] is not is_full:
            wrong.append(f"{part.run} of {part.patients} patients: {part.found}")
        elif is_full and part.found["read"] != everything:
            wrong.append(f"{part.run} read {part.found['read']} instead of {everything}")
    return wrong


def exponents(parts: Sequence[Part]) -> dict[str, dict[str, float | None]]:
    """Return by which power of the clinic's size time and memory of each run grow."""
    found = {}
    for run in RUNS.values():
        own = [part for part in parts if part.run == run]
        sizes = [part.factor for part in own]
        found[run] = {
            "time": exponent(sizes, [part.seconds for part in own]),
            "memory": exponent(sizes, [part.peak_mb for part in own]),
        }
    return found


def _show(parts: Sequence[Part], road: str, output: Output, save: Path | None) -> None:
    powers = exponents(parts)
    rows = table(
        f"A tick and a full read without changes, {road}",
        *("patients + appointments", "run", "read", "seconds", f"of them {', '.join(STEPS)}"),
        *("by the clock, s", "memory, MB", "with libraries, MB", "first query, s"),
        "grows by the power of (time, memory)",
    )
    for part in sorted(parts, key=lambda one: (one.run, one.factor)):
        power, is_last = powers[part.run], part.factor == max(one.factor for one in parts)
        rows.add_row(
            f"{part.patients} + {part.appointments}",
            part.run,
            " + ".join(map(str, part.found["read"].values())),
            f"{part.seconds:.2f}",
            ", ".join(f"{part.processor[step]:.2f}" for step in STEPS),
            f"{sum(part.clock.values()):.2f}",
            f"{part.peak_mb:.0f}",
            f"{part.highest_mb:.0f}",
            f"{part.first_query['processor']:.2f}",
            f"{power['time']}, {power['memory']}" if is_last and power["time"] else "",
        )
    rows.caption = (
        "Seconds of the processor, of the run only; the first query's are those of its process from the "
        "start, imports included. A tick reads again what changed in the last quarter of an hour. Memory is "
        "that of the run, and with what its process had loaded before. amoCRM is asked nothing. What was "
        "done about it, with profiles of before and after: docs/explanation/what-a-tick-costs.md."
    )
    rows.caption_justify = "left"
    data = {
        "road": road,
        "parts": [{**asdict(part), "seconds": part.seconds} for part in parts],
        "exponents": powers,
        "mistaken": mistaken(parts),
    }
    tell("tick", data, output, rows, save)


def main(
    patients: Annotated[int, typer.Option(min=1, help="Patients of the smallest clinic.")] = 12_500,
    appointments: Annotated[int, typer.Option(min=1, help="Its appointments.")] = 125_000,
    growth: Annotated[int, typer.Option(min=1, help="Up to so many times as large, doubling.")] = 1,
    road: Annotated[str, typer.Option(help=" | ".join(ROADS))] = FILE,
    clinics: Annotated[Path | None, typer.Option(help="Folder that keeps transferred clinics.")] = None,
    profile: Annotated[Path | None, typer.Option(help="File for where the time goes.")] = None,
    save: SaveOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Measure runs in which nothing changed; exit 1 when one of them plans anything."""
    if road not in ROADS:
        raise typer.BadParameter(road, param_hint="--road")
    if road == SERVER and (missing := server_missing()):
        say(missing)
        raise typer.Exit(1)
    with tempfile.TemporaryDirectory(prefix="ident-amocrm-tick-") as name:
        # A server's clinic ends with it.
        folder = Path(name) if clinics is None or road == SERVER else clinics
        parts = compare(
            folder,
            patients=patients,
            appointments=appointments,
            growth=[2**power for power in range(growth.bit_length()) if 2**power <= growth],
            road=road,
            profile=profile,
        )
    _show(parts, road, output, save)
    for line in mistaken(parts):
        say(line)
    if mistaken(parts):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
