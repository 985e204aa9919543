"""``python -m deployments.sandbox.extraction``: what it takes to read a whole clinic.

Our reader makes canonical frames: joined, cleaned, in one time zone, with visits, debts and services. The
others read the same columns of the same tables and leave them as they are. A process for each; those that
read other patients or other times fail the measurement.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from deployments.child import Child
from deployments.cli.output import Output, OutputOption, say, table
from deployments.sandbox.bench import TIMEZONE, running
from deployments.sandbox.clinic.generator import ClinicSpec, stream
from deployments.sandbox.clinic.store import write_sqlite
from deployments.sandbox.extraction.sides import BASELINE, FILE, OURS, SERVER, Side
from deployments.sandbox.measuring import ROOT, SaveOption, exponent, run_part, tell

__all__ = ["ROADS", "Part", "compare", "main", "mistaken", "server_missing"]

#: The stand-in for SQL Server belongs to the tests, and is not part of the installed package.
STAND_IN = "tests.support.serving_clinic"


@dataclass(frozen=True, slots=True)
class Part:
    """What one side took for one clinic.

    Attributes:
        road: Where the clinic is.
        factor: How many times the smallest clinic.
        side: Who read.
        processor: Seconds of the processor, of the reader only.
        clock: Seconds of the clock; on a server, its own time included.
        peak_mb: Memory above the libraries; 0 where the system does not tell.
        found: Patients and appointments, and a digest of who and when.
        version: The library.
    """

    road: str
    factor: int
    side: str
    processor: float
    clock: float
    peak_mb: float
    version: str
    found: dict[str, Any] = field(repr=False)


@contextmanager
def _file(spec: ClinicSpec, folder: Path) -> Iterator[dict[str, Any]]:
    place = folder / f"{spec.appointments}.db"
    write_sqlite(stream(spec), place)
    yield {"driver": "sqlite", "database": str(place), "timezone": TIMEZONE}


@contextmanager
def _server(spec: ClinicSpec, folder: Path) -> Iterator[dict[str, Any]]:
    log = folder / f"{spec.appointments}.log"
    around = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
    arguments = (str(spec.patient_count), str(spec.appointments))
    child = Child("stand-in for SQL Server", STAND_IN, arguments, folder, log, around)

    def announced() -> str:
        lines = log.read_text(encoding="utf-8").splitlines()
        return next((line for line in lines if line.startswith('{"host"')), "")

    with running(child, lambda: bool(announced())):
        yield json.loads(announced())


Road = Callable[[ClinicSpec, Path], Any]
#: Road -> how a clinic gets there, and who reads it.
ROADS: dict[str, tuple[Road, dict[str, Side]]] = {
    "SQLite file": (_file, FILE),
    "ODBC": (_server, SERVER),
}


def server_missing() -> str:
    """Return why nothing can be read over ODBC here; empty when it can."""
    if find_spec("tests") is None or find_spec(STAND_IN) is None:
        return "the stand-in for SQL Server is in the repository only: run this from there"
    if not any(Path("/usr").glob("lib*/**/libtdsodbc.so*")):
        return "FreeTDS is not installed: make odbc"
    return ""


def compare(
    folder: Path,
    *,
    patients: int,
    appointments: int,
    growth: Sequence[int],
    roads: Sequence[str] = tuple(ROADS),
    note: Callable[[str], None] = say,
) -> list[Part]:
    """Measure every side on clinics of every size.

    Args:
        folder: An empty folder.
        patients: Patients of the smallest clinic.
        appointments: Its appointments.
        growth: Sizes, as multiples of the smallest.
        roads: Where the clinics are.
        note: Told what happens now.

    Raises:
        TransientError: When a side fails.
    """
    parts = []
    today = datetime.now(tz=ZoneInfo(TIMEZONE)).date()
    for factor in growth:
        spec = ClinicSpec(today=today, patients=factor * patients, appointments=factor * appointments)
        for road in roads:
            opened, sides = ROADS[road]
            note(f"{road}: {spec.patient_count} patients, {spec.appointments} appointments")
            with opened(spec, folder) as clinic:
                for side, (_read, package) in sides.items():
                    if package and find_spec(package.replace("-", "_")) is None:
                        note(f"{side} is left out: it is not installed")
                        continue
                    told = run_part("deployments.sandbox.extraction.part", side, given=clinic)
                    parts.append(Part(road, factor, side, **told))
    return parts


def mistaken(parts: Sequence[Part]) -> list[str]:
    """Return who read other patients or other times than the baseline."""
    known = {(part.road, part.factor): part.found for part in parts if part.side == BASELINE}
    return [
        f"{part.side} over {part.road}: {part.found} instead of {known[part.road, part.factor]}"
        for part in parts
        if part.found != known[part.road, part.factor]
    ]


def exponents(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Return how time and memory of each side grow with the clinic."""
    found = []
    for road, side in dict.fromkeys((part.road, part.side) for part in parts):
        own = [part for part in parts if (part.road, part.side) == (road, side)]
        sizes = [part.factor for part in own]
        time, memory = (
            exponent(sizes, [getattr(part, name) for part in own]) for name in ("processor", "peak_mb")
        )
        found.append({"road": road, "side": side, "time": time, "memory": memory})
    return found


def _show(parts: Sequence[Part], output: Output, save: Path | None) -> None:
    base = {(part.road, part.factor): part.processor for part in parts if part.side == BASELINE}
    powers = {(one["road"], one["side"]): one for one in exponents(parts)}
    rows = table(
        "Reading a whole clinic",
        *("road", "patients + appointments", "side", "seconds", "rows/s", "times", "by the clock, s"),
        *("memory, MB", "grows by the power of (time, memory)"),
    )
    for part in parts:
        patients, appointments = part.found["patients"], part.found["appointments"]
        power = powers[part.road, part.side]
        is_last = part.factor == max(one.factor for one in parts)
        rows.add_row(
            part.road,
            f"{patients} + {appointments}",
            part.side,
            f"{part.processor:.2f}",
            f"{(patients + appointments) / part.processor:.0f}",
            f"{part.processor / base[part.road, part.factor]:.2f}x",
            f"{part.clock:.2f}",
            f"{part.peak_mb:.0f}",
            f"{power['time']}, {power['memory']}" if is_last and power["time"] else "",
        )
    versions = {part.version for part in parts if part.side != OURS}
    rows.caption = (
        f"Seconds of the reader's processor, 1x is {BASELINE}; memory above the libraries. "
        f"{', '.join(sorted(versions))}. {OURS} makes frames that are ready to be validated; the others "
        "leave the tables as they are, in a file times and money as text. ODBC is FreeTDS on loopback, and "
        "the server a stand-in for SQL Server in a process of its own, so its clock tells little."
    )
    rows.caption_justify = "left"
    data = {
        "baseline": BASELINE,
        "parts": [{**asdict(part), "times": part.processor / base[part.road, part.factor]} for part in parts],
        "exponents": list(powers.values()),
        "mistaken": mistaken(parts),
    }
    tell("extraction", data, output, rows, save)


def main(
    patients: Annotated[int, typer.Option(min=1, help="Patients of the smallest clinic.")] = 2500,
    appointments: Annotated[int, typer.Option(min=1, help="Its appointments.")] = 7500,
    growth: Annotated[list[int] | None, typer.Option(min=1, help="Sizes, as multiples of it.")] = None,
    save: SaveOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Compare with plain reads of the same tables; exit 1 when a side reads other rows."""
    roads = list(ROADS)
    if missing := server_missing():
        say(f"ODBC is left out: {missing}")
        roads.remove("ODBC")
    with tempfile.TemporaryDirectory(prefix="ident-amocrm-extraction-") as name:
        parts = compare(
            Path(name),
            patients=patients,
            appointments=appointments,
            growth=growth or [1, 2, 4],
            roads=roads,
        )
    _show(parts, output, save)
    for line in mistaken(parts):
        say(line)
    if mistaken(parts):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
