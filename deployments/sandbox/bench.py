"""``make bench``: how close the first load comes to what amoCRM's pace allows, and what a quiet tick costs.

Everything runs in processes of its own, through the commands an operator uses: a demo clinic in a SQLite
file, the stand-in amoCRM, what ``ident-amocrm up`` keeps running but for its worker (a Prefect server, and
the host that has everything loaded), and ``sync``.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import requests
import typer

from deployments.child import Child
from deployments.cli.output import Output, OutputOption, say, table
from deployments.doors import free_port
from deployments.environment import answers, prepare_environment
from deployments.run_flow import SOCKET
from deployments.sandbox.clinic.generator import ClinicSpec, stream
from deployments.sandbox.clinic.store import write_sqlite
from deployments.sandbox.measuring import SaveOption, tell
from tasks.errors import TransientError
from tasks.settings import Settings

__all__ = [
    "CLINIC",
    "DATABASE",
    "RATE",
    "TARGET",
    "TIMEZONE",
    "Load",
    "Result",
    "Tick",
    "admin",
    "command",
    "connect",
    "hosted",
    "measure",
    "running",
    "served",
    "stand_in",
    "surroundings",
    "tick",
    "up",
]

#: Share of the ceiling that the first load must reach.
TARGET = 0.95
CLINIC = "demo"
DATABASE = "clinic.db"
TIMEZONE = "Europe/Moscow"
ROOT = Path(__file__).resolve().parents[2]
BATCH = int(Settings.model_fields["batch_size"].default)
RATE = float(Settings.model_fields["requests_per_second"].default)
LIMIT = 7  # requests a second that amoCRM takes from one integration
TOO_MANY = 429
START_SECONDS, STOP_SECONDS = 180.0, 15.0


@dataclass(frozen=True)
class Load:
    """What is measured."""

    patients: int = 10_000
    appointments: int = 20_000
    rate: float = RATE
    latency_ms: int = 300


@dataclass(frozen=True, slots=True)
class Tick:
    """One run of ``sync``, seen from outside.

    Attributes:
        seconds: From the start of the process to its exit.
        requests: Requests that the stand-in counted.
        writes: Those of them that may write.
        refused: Those of them that it answered 429.
        report: What ``sync --output json`` printed.
    """

    seconds: float
    requests: int
    writes: int
    refused: int
    report: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured.

    Attributes:
        contacts: Contacts that amoCRM acknowledged in the first run.
        deals: Deals that it acknowledged.
        arrived: Contacts and deals that stand in the stand-in afterwards.
        first: The first load.
        again: A run without changes after it.
        full: A full read without changes.
    """

    load: Load
    contacts: int
    deals: int
    arrived: tuple[int, int]
    first: Tick
    again: Tick
    full: Tick

    @property
    def ceiling(self) -> float:
        """Entities a second when every request that the pace allows writes a full batch."""
        return self.load.rate * BATCH

    @property
    def share(self) -> float:
        """Acknowledged contacts and deals, as a share of what the ceiling allows in that time."""
        return (self.contacts + self.deals) / (self.first.seconds * self.ceiling)

    @property
    def baseline(self) -> str:
        """What the share refers to."""
        return (
            f"100 % is {self.load.rate:g} requests/s x {BATCH} entities = {self.ceiling:g} entities/s in all "
            "seconds from the start to the exit of `sync`: interpreter, reading, validation and planning "
            "included, and every read, link and note among the requests"
        )

    @property
    def validation(self) -> float:
        """Seconds of validating every row, as a share of reading and comparing it."""
        stages = self.full.report["stages"]
        return float(stages["validate"] / (stages["extract"] + stages["plan"]))

    @property
    def sound(self) -> bool:
        """Whether all that was acknowledged is there, and runs without changes wrote nothing."""
        return self.arrived == (self.contacts, self.deals) and self.again.writes == self.full.writes == 0

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON data."""
        numbers = {
            "share": round(self.share, 4),
            "target": TARGET,
            "ceiling": self.ceiling,
            "validation": round(self.validation, 3),
        }
        return {**asdict(self), **numbers, "baseline": self.baseline, "sound": self.sound}


def measure(load: Load, folder: Path, note: Callable[[str], None] = lambda _text: None) -> Result:
    """Measure one load.

    Args:
        load: What to measure.
        folder: An empty folder for the clinic, the installation and the logs.
        note: Told what happens now.

    Raises:
        TransientError: When a part does not come up, or a command fails.
    """
    note(f"A clinic of {load.patients} patients and {load.appointments} appointments")
    database = folder / DATABASE
    today = datetime.now(tz=ZoneInfo(TIMEZONE)).date()
    write_sqlite(
        stream(ClinicSpec(appointments=load.appointments, patients=load.patients, today=today)), database
    )
    around = surroundings(folder / "home", load.rate)
    with stand_in(folder, around, load.latency_ms) as crm, served(folder, around), hosted(folder, around):
        note("Connecting")
        connect(folder, around, database, crm)
        note("First load")
        first = tick(folder, around, crm)
        note("A tick without changes")
        again = tick(folder, around, crm)
        note("A full read without changes")
        full = tick(folder, around, crm, "--full")
        applied = first.report["applied"]
        account = admin(crm, "dump")
    return Result(
        load=load,
        contacts=applied["contacts"]["create"],
        deals=applied["leads"]["create"],
        arrived=(len(account["contacts"]), len(account["leads"])),
        first=first,
        again=again,
        full=full,
    )


def surroundings(home: Path, rate: float) -> dict[str, str]:
    """Return what the processes see: a home of their own, none of the user's settings, no proxy."""
    around = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "IDENT_AMOCRM_")) and "proxy" not in name.lower()
    }
    around |= {"IDENT_AMOCRM_HOME": str(home), "IDENT_AMOCRM_REQUESTS_PER_SECOND": str(rate)}
    around["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    prepare_environment(Settings(home=home), around)
    return around


@contextmanager
def stand_in(folder: Path, around: dict[str, str], latency_ms: int) -> Iterator[str]:
    """Run the stand-in amoCRM, and give its address; its token is in the folder's ``token``."""
    options = ("--port", "0", "--token-file", str(folder / "token"), "--limit", str(LIMIT))
    log = folder / "stand-in.log"
    arguments = (*options, "--latency-ms", str(latency_ms))
    child = Child("stand-in", "deployments.sandbox.amocrm", arguments, folder, log, around)

    def announced() -> str:
        lines = log.read_text(encoding="utf-8").splitlines()
        return next((str(json.loads(line)["url"]) for line in lines if line.startswith('{"url"')), "")

    with running(child, lambda: bool(announced())):
        yield announced()


def connect(folder: Path, around: dict[str, str], database: Path, crm: str) -> None:
    """Set an installation up as an operator does, up to its first run."""
    for words in (
        ("connect-database", CLINIC, "--driver", "sqlite", "--database", str(database)),
        ("connect-amocrm", "--base-url", crm, "--token-file", str(folder / "token")),
        ("autoconfigure", "--yes", "--special", "all"),
        ("start", CLINIC, "--all-history"),
    ):
        command(folder, around, *words)


@contextmanager
def served(folder: Path, around: dict[str, str]) -> Iterator[None]:
    """Serve Prefect to all commands, which would else bring up a temporary server each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    start = ("server", "start", "--host", "127.0.0.1", "--port", str(port))
    child = Child("server", "prefect", start, folder, folder / "server.log", dict(around))
    with running(child, lambda: answers(api)):
        around["PREFECT_API_URL"] = api
        yield


@contextmanager
def hosted(folder: Path, around: dict[str, str]) -> Iterator[None]:
    """Keep everything loaded, as ``up`` does where processes can be forked."""
    if sys.platform != "linux":
        yield
        return
    home = around["IDENT_AMOCRM_HOME"]
    log = folder / "host.log"
    child = Child("host of runs", "deployments.run_host", (home,), ROOT, log, dict(around), attached=False)
    with running(child, (Path(home) / SOCKET).exists):
        yield


@contextmanager
def up(folder: Path, around: dict[str, str]) -> Iterator[Child]:
    """Run ``up`` as an operator has it."""
    arguments = ("up", "--port", str(free_port("127.0.0.1", 4200)))
    child = Child("up", "deployments.cli.main", arguments, folder, folder / "up.log", around)
    with running(child, lambda: "Running." in child.log.read_text(encoding="utf-8")):
        yield child


@contextmanager
def running(child: Child, ready: Callable[[], bool]) -> Iterator[None]:
    """Run a child until it is no more needed.

    Raises:
        TransientError: When it does not come up.
    """
    child.start()
    try:
        until = time.monotonic() + START_SECONDS
        while not ready():
            if not child.alive or time.monotonic() > until:
                raise TransientError(
                    problem=f"The {child.name} did not start: {child.log.read_text(encoding='utf-8')[-500:]}",
                    remedy="Look at the message above; each bench starts from nothing.",
                    code="bench",
                )
            time.sleep(0.1)
        yield
    finally:
        child.stop(STOP_SECONDS)


def command(folder: Path, around: dict[str, str], *arguments: str) -> dict[str, Any]:
    """Run a command of ours, and return its JSON.

    Raises:
        TransientError: When it fails.
    """
    done = subprocess.run(  # noqa: S603 - this interpreter, our own command
        [sys.executable, "-m", "deployments.cli.main", *arguments, "--output", "json"],
        env=around,
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode not in {0, 2}:  # 2: done, with rejects
        raise TransientError(
            problem=f"ident-amocrm {arguments[0]} failed: {done.stderr.strip()}",
            remedy="Look at the message above; each bench starts from nothing.",
            code="bench",
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def tick(folder: Path, around: dict[str, str], crm: str, *options: str) -> Tick:
    """Run ``sync``, and look at it from outside."""
    admin(crm, "stats/reset", post=True)
    started = time.monotonic()
    report = command(folder, around, "sync", CLINIC, *options)
    seconds = time.monotonic() - started
    stats = admin(crm, "stats")
    refused = sum(entry["status"] == TOO_MANY for entry in stats["log"])
    return Tick(round(seconds, 2), stats["requests"], stats["writes"], refused, report)


def admin(crm: str, path: str, *, post: bool = False, given: Any = None) -> Any:
    """Ask the stand-in's controls."""
    with requests.Session() as session:
        session.trust_env = False
        verb = "POST" if post else "GET"
        answer = session.request(verb, f"{crm}/sandbox/admin/{path}", json=given, timeout=120)
    answer.raise_for_status()
    return answer.json()


def _show(result: Result, output: Output, save: Path | None) -> None:
    load = result.load
    rows = table(
        f"First load: {load.patients} patients, {load.appointments} appointments; {load.rate:g} requests/s, "
        f"{load.latency_ms} ms",
        "",
        "first load",
        "no change",
        "full, no change",
    )
    entities = f"{result.contacts} + {result.deals}"
    rows.add_row("contacts + deals acknowledged", entities, "")
    rows.add_row("of them in amoCRM", " + ".join(str(number) for number in result.arrived), "")
    for name in ("seconds", "requests", "writes", "refused"):
        label = f"{name} (429)" if name == "refused" else name
        rows.add_row(label, *(str(getattr(tick, name)) for tick in (result.first, result.again, result.full)))
    for name in result.first.report["stages"]:
        stages = [
            str(tick.report["stages"].get(name, "")) for tick in (result.first, result.again, result.full)
        ]
        rows.add_row(f"  {name}, seconds", *stages)
    verdict = "reached" if result.share >= TARGET else "MISSED"
    rows.add_row("share of the ceiling", f"{result.share:.1%}", f"target {TARGET:.0%}: {verdict}")
    rows.add_row("validation, share of extract + plan", "", "", f"{result.validation:.1%}")
    rows.caption, rows.caption_justify = result.baseline, "left"
    tell("bench", result.as_dict(), output, rows, save)


def main(
    patients: Annotated[int, typer.Option(min=1, help="Patients of the clinic.")] = Load.patients,
    appointments: Annotated[int, typer.Option(min=1, help="Its appointments.")] = Load.appointments,
    rate: Annotated[float, typer.Option(min=0.1, max=7, help="Requests per second.")] = Load.rate,
    latency_ms: Annotated[int, typer.Option(min=0, help="Delay of every answer.")] = Load.latency_ms,
    save: SaveOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Measure the first load and a tick without changes; exit 1 when the share is below the target."""
    with tempfile.TemporaryDirectory(prefix="ident-amocrm-bench-") as folder:
        result = measure(Load(patients, appointments, rate, latency_ms), Path(folder), note=say)
    _show(result, output, save)
    if not result.sound:
        say("Not everything acknowledged is there, or a run without changes wrote something.")
    if not result.sound or result.share < TARGET:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
