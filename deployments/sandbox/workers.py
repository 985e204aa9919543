"""``python -m deployments.sandbox.workers``: is the pace kept when several machines load at once.

Three processes load at the same time, as three machines have them: a home, a host of runs and a clinic each;
one Prefect, one ledger in a PostgreSQL server started for this, one amoCRM account and its rate. Beside it
one process loads as much alone, in the same way. What is told of the pace was counted by the stand-in, by its
own clock, when requests came in.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.table import Table

from deployments.cli.output import Output, OutputOption, say, table
from deployments.sandbox.bench import (
    BATCH,
    RATE,
    TIMEZONE,
    TOO_MANY,
    Load,
    admin,
    command,
    hosted,
    served,
    stand_in,
    surroundings,
)
from deployments.sandbox.clinic.generator import ClinicSpec, stream
from deployments.sandbox.clinic.store import write_sqlite
from deployments.sandbox.measuring import SaveOption, tell
from deployments.sandbox.postgresql import databases, programs, serve
from deployments.worker import KEY_FILE
from tasks.settings import Settings

__all__ = ["WORKERS", "Loaded", "main", "measure"]

WORKERS = 3
#: Of each kind of card, what tells from which row of which clinic it is.
MARKS = {"contacts": "IDENT_PATIENT_ID", "leads": "IDENT_APPOINTMENT_ID"}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was measured of so many processes.

    Attributes:
        workers: The processes.
        rate: The rate they share.
        entities: Contacts and deals that amoCRM acknowledged, of all clinics.
        arrived: Contacts and deals that stand in the stand-in.
        duplicates: Those of them that are of a row which has another one.
        seconds: From the start of all processes to the last one's exit.
        requests: Requests that the stand-in counted.
        refused: Those of them that it answered 429.
        fullest: Requests in the fullest second of all, wherever that begins.
    """

    workers: int
    rate: float
    entities: int
    arrived: int
    duplicates: int
    seconds: float
    requests: int
    refused: int
    fullest: int

    @property
    def share(self) -> float:
        """Acknowledged entities, as a share of rate x batch in all these seconds."""
        return self.entities / (self.seconds * self.rate * BATCH)

    @property
    def sound(self) -> bool:
        """Whether the pace was kept, and every row is there once."""
        kept = self.fullest <= math.ceil(self.rate) and not self.refused
        return kept and self.arrived == self.entities and not self.duplicates


def measure(
    load: Load, workers: int, ledger_url: str, folder: Path, note: Callable[[str], None] = lambda _text: None
) -> Loaded:
    """Let so many processes load as many clinics at once.

    Args:
        load: The clinics together.
        workers: How many.
        ledger_url: An empty database for the ledger.
        folder: An empty folder.
        note: Told what happens now.

    Raises:
        TransientError: When a part does not come up, or a command fails.
    """
    note(f"{workers} at once: clinics, servers, connecting")
    clinics = [f"clinic{number + 1}" for number in range(workers)]
    for number, clinic in enumerate(clinics):
        _write(folder / f"{clinic}.db", load, workers, number)
    own = {"IDENT_AMOCRM_STATE_URL": ledger_url}
    first = surroundings(folder / clinics[0], load.rate) | own
    with ExitStack() as opened:
        crm = opened.enter_context(stand_in(folder, first, load.latency_ms))
        opened.enter_context(served(folder, first))
        _connect(folder, first, crm, clinics)
        machines = [first, *(_machine(folder / clinic, first, load.rate) for clinic in clinics[1:])]
        for machine in machines:
            opened.enter_context(hosted(folder, machine))
        admin(crm, "stats/reset", post=True)
        note(f"{workers} at once: loading")
        started = time.monotonic()
        with ThreadPoolExecutor(workers) as pool:
            runs = pool.map(
                lambda machine, clinic: command(folder, machine, "sync", clinic), machines, clinics
            )
            applied = [run["applied"] for run in runs]
        seconds = time.monotonic() - started
        stats, account = admin(crm, "stats"), admin(crm, "dump")
    marks = [_mark(card, mark) for kind, mark in MARKS.items() for card in account[kind]]
    return Loaded(
        workers=workers,
        rate=load.rate,
        entities=sum(one["contacts"]["create"] + one["leads"]["create"] for one in applied),
        arrived=len(marks),
        duplicates=sum(count - 1 for count in Counter(marks).values()),
        seconds=round(seconds, 2),
        requests=stats["requests"],
        refused=sum(entry["status"] == TOO_MANY for entry in stats["log"]),
        fullest=stats["max_per_second"],
    )


def _write(database: Path, load: Load, workers: int, number: int) -> None:
    """Write one of the clinics: other people in each, an equal part of all."""
    spec = ClinicSpec(
        today=datetime.now(tz=ZoneInfo(TIMEZONE)).date(),
        patients=load.patients // workers,
        appointments=load.appointments // workers,
    )
    write_sqlite(stream(replace(spec, seed=spec.seed + number)), database)


def _connect(folder: Path, around: dict[str, str], crm: str, clinics: list[str]) -> None:
    connected = ("--driver", "sqlite", "--database")
    for clinic in clinics:
        command(folder, around, "connect-database", clinic, *connected, str(folder / f"{clinic}.db"))
    command(folder, around, "connect-amocrm", "--base-url", crm, "--token-file", str(folder / "token"))
    command(folder, around, "autoconfigure", "--yes", "--special", "all")
    for clinic in clinics:
        command(folder, around, "start", clinic, "--all-history")


def _machine(home: Path, first: dict[str, str], rate: float) -> dict[str, str]:
    """Return what the processes of another machine see, as docs/how-to/scale.md has it set up."""
    home.mkdir(mode=0o700)
    settings = Settings(home=Path(first["IDENT_AMOCRM_HOME"]))
    settings.installation_key()  # made on first use
    shutil.copy(settings.home / KEY_FILE, home)
    shared = ("IDENT_AMOCRM_STATE_URL", "PREFECT_API_URL")
    return surroundings(home, rate) | {name: first[name] for name in shared}


def _mark(card: dict[str, Any], code: str) -> str:
    """Return from which row a card is; a card without it is its own."""
    values = (
        str(one["values"][0]["value"])
        for one in card["custom_fields_values"] or ()
        if code in {one["field_code"], one["field_name"]}
    )
    return next(values, f"{code} of {card['id']}")


def _shown(load: Load, found: Sequence[Loaded]) -> Table:
    text = table(
        f"Workers that share an account's rate: {load.patients} patients, {load.appointments} appointments, "
        f"{load.latency_ms} ms, ledger in PostgreSQL",
        "",
        *("one process alone" if one.workers == 1 else f"{one.workers} processes" for one in found),
    )
    rows: dict[str, Callable[[Loaded], object]] = {
        "configured rate, requests/s": lambda one: f"{one.rate:g}",
        "requests in the fullest second": lambda one: one.fullest,
        "requests": lambda one: one.requests,
        "refused (429)": lambda one: one.refused,
        "contacts + deals acknowledged": lambda one: one.entities,
        "of them in amoCRM": lambda one: one.arrived,
        "duplicates": lambda one: one.duplicates,
        "seconds": lambda one: one.seconds,
        "share of the ceiling": lambda one: f"{one.share:.1%}",
    }
    for label, value in rows.items():
        text.add_row(label, *(str(value(one)) for one in found))
    text.caption = (
        "The fullest second is of any second, by the stand-in's own clock when requests came in. 100 % is "
        f"{load.rate:g} requests/s x {BATCH} entities in all seconds from the start of the first to the exit "
        "of the last `sync`"
    )
    text.caption_justify = "left"
    return text


def main(
    patients: Annotated[int, typer.Option(min=WORKERS, help="Patients of all clinics.")] = Load.patients,
    appointments: Annotated[int, typer.Option(min=WORKERS, help="Their appointments.")] = Load.appointments,
    rate: Annotated[float, typer.Option(min=0.1, max=7, help="Requests per second.")] = RATE,
    latency_ms: Annotated[int, typer.Option(min=0, help="Delay of every answer.")] = Load.latency_ms,
    save: SaveOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Measure several processes and one; exit 1 when the pace was not kept or a row is not there once."""
    place = programs()
    if place is None:
        say("No PostgreSQL server here: make postgresql")
        raise typer.Exit(1)
    load, found = Load(patients, appointments, rate, latency_ms), []
    with serve(place) as server:
        for workers, url in zip((1, WORKERS), databases(server, 2), strict=True):
            with tempfile.TemporaryDirectory(prefix="ident-amocrm-workers-") as folder:
                found.append(measure(load, workers, url, Path(folder), note=say))
    text = _shown(load, found)
    loads = [{**asdict(one), "share": round(one.share, 4), "sound": one.sound} for one in found]
    tell("workers", {"load": asdict(load), "loads": loads}, output, text, save)
    if not all(one.sound for one in found):
        say("The pace was not kept, or not every row is there once.")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
