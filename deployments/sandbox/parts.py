"""``python -m deployments.sandbox.parts``: what each part of an installation costs, at rest and by run.

``up`` runs as an operator has it, on a demo clinic that is transferred already: first without a schedule,
then with it, and each run finds nothing new. Seconds are the processor's: a busy machine changes little. The
sizing of docs/how-to/scale.md is computed of this (``deployments.sandbox.sizing``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from deployments.cli.output import Output, OutputOption, say, table
from deployments.doors import free_port
from deployments.run_flow import SOCKET
from deployments.sandbox.bench import CLINIC, DATABASE, TIMEZONE, admin, command, stand_in, surroundings, up
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.store import write_sqlite
from deployments.sandbox.measuring import SaveOption, tell
from deployments.sandbox.postgresql import databases, programs, serve
from tasks.settings import Settings

__all__ = ["PARTS", "main"]

#: A word of a process's command line -> the part that it is.
PARTS = {
    "deployments.server": "Prefect's server",
    "deployments.run_host": "runs and their host",
    "deployments.run_flow": "runs and their host",
    "worker start": "worker",
    "deployments.data_docs": "pages",
    "deployments.cli.main": "supervisor",
    "postgres": "PostgreSQL",
    "redis-server": "Redis",
}
SHOWN = ("Prefect's server", "PostgreSQL", "Redis", "worker", "runs and their host", "supervisor", "pages")
#: Prefect's servers are named by addresses: these variables go to ``up`` as they are.
HANDED_ON = ("PREFECT_SERVER_", "PREFECT_MESSAGING_", "PREFECT_REDIS_", "IDENT_AMOCRM_STATE_URL")
REDIS_PORT = 6389  # or the next that is free


class _Look:
    """The parts of one installation at one moment: seconds of the processor, megabytes.

    A database's own processes are those of the machine: no other installation may use it meanwhile.
    """

    def __init__(self, home: Path) -> None:
        self.at = time.monotonic()
        self.seconds = dict.fromkeys(SHOWN, 0.0)
        self.megabytes = dict.fromkeys(SHOWN, 0.0)
        mark = f"IDENT_AMOCRM_HOME={home}".encode()
        for place in Path("/proc").glob("[0-9]*"):
            try:
                line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                part = next((name for word, name in PARTS.items() if word in line), "")
                shared = part in {"PostgreSQL", "Redis"}
                if not part or not (shared or mark in (place / "environ").read_bytes()):
                    continue
                ticks = (place / "stat").read_text(encoding="ascii", errors="replace").rpartition(") ")[2]
                status = (place / "smaps_rollup").read_text(encoding="ascii")
            except OSError:
                continue
            self.seconds[part] += sum(map(int, ticks.split()[11:15])) / os.sysconf("SC_CLK_TCK")
            proportional = next(row.split()[1] for row in status.splitlines() if row.startswith("Pss:"))
            self.megabytes[part] += int(proportional) / 1000

    def since(self, before: _Look) -> dict[str, float]:
        """Return the processor's seconds of each part between two looks."""
        return {part: max(0.0, self.seconds[part] - before.seconds[part]) for part in SHOWN}


def _settle(home: Path, seconds: float = 15.0) -> None:
    """Wait until ``up`` has followed the last command for so long, and the server what a run left behind."""
    mark = f"IDENT_AMOCRM_HOME={home}".encode()
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < seconds:
        for place in Path("/proc").glob("[0-9]*"):
            try:
                applies = b"deployments.apply" in (place / "cmdline").read_bytes()
                if applies and mark in (place / "environ").read_bytes():
                    quiet_since = time.monotonic()
            except OSError:
                continue
        time.sleep(0.5)


def _ticks(home: Path, crm: str, seconds: float) -> tuple[int, int, _Look, _Look]:
    """Let the schedule run: how many runs ended, their requests, and a look before and after."""
    began, before = admin(crm, "stats"), _Look(home)
    time.sleep(seconds)
    after, ended = _Look(home), admin(crm, "stats")
    reads = sum(one["path"] == "/api/v4/account" for one in ended["log"]) - sum(
        one["path"] == "/api/v4/account" for one in began["log"]
    )
    return reads, ended["requests"] - began["requests"], before, after


@contextmanager
def _servers(folder: Path) -> Iterator[dict[str, str]]:
    """Run PostgreSQL and Redis, as docs/how-to/scale.md wants them, and give the variables that name them."""
    place, redis = programs(), shutil.which("redis-server")
    if place is None or redis is None:
        say("No PostgreSQL or no Redis here: make postgresql redis")
        raise typer.Exit(1)
    port = free_port("127.0.0.1", REDIS_PORT)
    options = ("--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder))
    with serve(place) as server:
        ledger, prefect = databases(server, 2)
        broker = subprocess.Popen([redis, *options], stdout=subprocess.DEVNULL)  # noqa: S603 - Redis's own
        try:
            yield {
                "IDENT_AMOCRM_STATE_URL": ledger,
                "PREFECT_SERVER_DATABASE_CONNECTION_URL": prefect.replace("+psycopg", "+asyncpg"),
                "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
                "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
                "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
                "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
                "PREFECT_REDIS_MESSAGING_URL": f"redis://127.0.0.1:{port}/0",
                "PREFECT_SERVER_DOCKET_URL": f"redis://127.0.0.1:{port}/1",
            }
        finally:
            broker.terminate()
            broker.wait()


def measure(folder: Path, seconds: float, servers: Mapping[str, str]) -> dict[str, object]:
    """Measure every part, ``seconds`` at rest and as many with the schedule.

    Args:
        folder: An empty folder.
        seconds: How long each.
        servers: Variables that name PostgreSQL and Redis.
    """
    home = folder / "home"
    around = surroundings(home, rate=7)
    around |= {name: value for name, value in os.environ.items() if name.startswith(HANDED_ON)}
    around |= servers
    today = datetime.now(tz=ZoneInfo(TIMEZONE)).date()
    write_sqlite(generate(ClinicSpec(today=today, patients=200, appointments=400)), folder / DATABASE)
    with stand_in(folder, around, 0) as crm, up(folder, around):
        while sys.platform == "linux" and not (Settings(home=home).home / SOCKET).exists():
            time.sleep(0.1)
        for words in (
            ("connect-database", CLINIC, "--driver", "sqlite", "--database", str(folder / DATABASE)),
            ("connect-amocrm", "--base-url", crm, "--token-file", str(folder / "token")),
            ("autoconfigure", "--yes", "--special", "all"),
            ("sync", CLINIC),  # before the schedule, whose run would hold the clinic
        ):
            command(folder, around, *words)
        _settle(home)
        say("At rest")
        before = _Look(home)
        time.sleep(seconds)
        rest = _Look(home)
        command(folder, around, "start", CLINIC)
        _settle(home)
        say("With the schedule")
        runs, requests, first, last = _ticks(home, crm, seconds)
    idle = {part: cost / (rest.at - before.at) for part, cost in rest.since(before).items()}
    busy = last.since(first)
    length = last.at - first.at
    return {
        "seconds": seconds,
        "runs": runs,
        "requests_per_run": requests / runs if runs else None,
        "idle": {part: round(cost, 4) for part, cost in idle.items()},
        "per_run": {
            part: round(max(0.0, busy[part] - idle[part] * length) / runs, 3) if runs else None
            for part in SHOWN
        },
        "megabytes": {part: round(last.megabytes[part]) for part in SHOWN},
        "prefect_on": "PostgreSQL" if "PREFECT_SERVER_DATABASE_CONNECTION_URL" in around else "SQLite",
        "ledger_on": "PostgreSQL" if "IDENT_AMOCRM_STATE_URL" in around else "SQLite",
        "messages_by": "Redis" if "PREFECT_MESSAGING_BROKER" in around else "memory",
    }


def main(
    seconds: Annotated[float, typer.Option(min=30, help="How long at rest, and how long with runs.")] = 300,
    shared: Annotated[  # noqa: FBT002
        bool, typer.Option(help="Ledger and Prefect on a PostgreSQL, messages by a Redis of its own.")
    ] = False,
    save: SaveOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Measure what each part costs; variables of PostgreSQL and Redis are handed on to up."""
    if sys.platform != "linux":
        say("This is measured on Linux only: it reads /proc.")
        raise typer.Exit(1)
    with tempfile.TemporaryDirectory(prefix="ident-amocrm-parts-") as name, ExitStack() as stack:
        folder = Path(name)
        servers = stack.enter_context(_servers(folder)) if shared else {}
        data = measure(folder, seconds, servers)
    text = table(
        f"What each part costs; Prefect on {data['prefect_on']}, messages by {data['messages_by']}",
        *("part", "at rest, cores", "a run without changes, s", "memory, MB"),
    )
    idle, per_run, megabytes = (dict(data[name]) for name in ("idle", "per_run", "megabytes"))  # type: ignore[call-overload]
    for part in SHOWN:
        text.add_row(part, str(idle[part]), str(per_run[part]), str(megabytes[part]))
    text.caption = f"{data['runs']} runs of one clinic in {seconds:g} s; shared memory is counted once."
    text.caption_justify = "left"
    tell("parts", data, output, text, save)


if __name__ == "__main__":
    typer.run(main)
