"""``python -m deployments.sandbox.starts``: what it costs to start a run, by each way that Prefect offers.

``up`` runs as an operator has it, with no clinic connected, and the health check, which then has nothing to
do, is run in turn by each way. Processor time is that of the worker, the host of runs and all they started.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import requests
import typer
from prefect.utilities.processutils import command_to_string

from deployments.child import Child
from deployments.cli.output import Output, OutputOption, say, table
from deployments.environment import up_file
from deployments.run_flow import SOCKET
from deployments.sandbox.bench import surroundings, up
from deployments.sandbox.measuring import SaveOption, tell
from tasks.errors import TransientError
from tasks.settings import Settings

__all__ = ["BASELINE", "OURS", "WAYS", "Way", "compare", "main"]

BASELINE, OURS = "Prefect's process worker", "host of runs"
#: Each way -> the job variables by which the worker is told.
WAYS: dict[str, dict[str, str]] = {
    BASELINE: {},
    "one Python for each run": {"command": command_to_string([sys.executable, "-m", "prefect.engine"])},
    OURS: {"command": command_to_string([sys.executable, "-m", "deployments.run_flow"])},
}
SHOWN = ("started", "times", "ended", "processor", "processor_times")
DEPLOYMENT = "health-check/health-check"
PATIENCE = 120.0


@dataclass(slots=True)
class Way:
    """What was measured of one way, a number for each run.

    Attributes:
        started: Seconds from the moment the worker took the run to its first line.
        ended: Seconds from that moment to its end.
        processor: Seconds of processor time.
    """

    started: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def row(self, baseline: Way) -> dict[str, float]:
        """Return the medians, and how they compare."""
        started, ended, processor = map(statistics.median, (self.started, self.ended, self.processor))
        return {
            "started": round(started, 2),
            "ended": round(ended, 2),
            "processor": round(processor, 2),
            "times": round(statistics.median(baseline.started) / started, 1),
            "processor_times": round(statistics.median(baseline.processor) / max(processor, 0.01), 1),
        }


def compare(folder: Path, runs: int) -> dict[str, Way]:
    """Run each way in turn, so that a busy moment of the machine spoils none of them.

    Raises:
        TransientError: When Prefect does not come up or a run does not end well.
    """
    found = {name: Way() for name in WAYS}
    with _up(folder) as (api, child):
        deployment = _ask(api, f"deployments/name/{DEPLOYMENT}")["id"]
        for turn in range(runs + 1):
            for name, variables in WAYS.items():
                _ask(api, f"deployments/{deployment}", {"job_variables": variables}, method="PATCH")
                before = _processor(child)
                states = _run(api, deployment)
                if turn:  # the first one of each warms the machine's caches
                    way = found[name]
                    way.started.append(states["Running"] - states["Pending"])
                    way.ended.append(states["Completed"] - states["Pending"])
                    way.processor.append(_processor(child) - before)
    return found


@contextmanager
def _up(folder: Path) -> Iterator[tuple[str, Child]]:
    settings = Settings(home=folder / "home")
    with up(folder, surroundings(settings.home, rate=1)) as child:
        while not (settings.home / SOCKET).exists():
            time.sleep(0.1)
        yield str(json.loads(up_file(settings).read_text(encoding="utf-8"))["api"]), child


def _ask(api: str, path: str, body: Any = None, method: str = "") -> Any:
    verb = method or ("GET" if body is None else "POST")
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(verb, f"{api}/{path}", json=body, timeout=60)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def _run(api: str, deployment: str) -> dict[str, float]:
    """Run the flow, and return the moment of each of its states."""
    run = _ask(api, f"deployments/{deployment}/create_flow_run", {})["id"]
    until = time.monotonic() + PATIENCE
    while True:
        states = {
            str(state["name"]): datetime.fromisoformat(state["timestamp"]).timestamp()
            for state in _ask(api, f"flow_run_states/?flow_run_id={run}")
        }
        if "Completed" in states:
            return states
        if time.monotonic() > until or {"Failed", "Crashed", "Cancelled"} & states.keys():
            raise TransientError(
                problem=f"A run of {DEPLOYMENT} did not end well: {sorted(states)}.",
                remedy="See the worker's log in the folder named by --keep.",
                code="bench",
            )
        time.sleep(0.1)


def _processor(up: Child) -> float:
    """Wait until no run is left; return the processor time of the worker, the host and all they started."""
    until = time.monotonic() + PATIENCE
    while True:
        processes = _processes()
        starters = [
            pid
            for pid, (parent, _, line) in processes.items()
            if up.process is not None
            and parent == up.process.pid
            and (b"deployments.run_host" in line or b"worker" in line.split(b"\0"))
        ]
        if not any(parent in starters for parent, _, _ in processes.values()):
            return sum(processes[pid][1] for pid in starters) / os.sysconf("SC_CLK_TCK")
        if time.monotonic() > until:
            raise TransientError(
                problem="A run's process does not end.", remedy="See the worker's log.", code="bench"
            )
        time.sleep(0.05)


def _processes() -> dict[int, tuple[int, int, bytes]]:
    """Return of each process its parent, the ticks that it and those it waited for took, and its command."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            stat = (place / "stat").read_text(encoding="ascii", errors="replace").rpartition(") ")[2].split()
            found[int(place.name)] = (
                int(stat[1]),
                sum(map(int, stat[11:15])),
                (place / "cmdline").read_bytes(),
            )
        except OSError:
            continue
    return found


def main(
    runs: Annotated[int, typer.Option(min=1, help="Runs of each way.")] = 10,
    keep: Annotated[Path | None, typer.Option(help="Folder for what is written; else deleted.")] = None,
    save: SaveOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Compare the ways to start a run: seconds, processor time, ratios to Prefect's default."""
    if sys.platform != "linux":
        say("This is measured on Linux only: elsewhere a run starts as Prefect starts it.")
        raise typer.Exit(1)
    with tempfile.TemporaryDirectory(prefix="ident-amocrm-starts-") as name:
        folder = keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        ways = compare(folder, runs)
    rows = [{"way": name, **way.row(ways[BASELINE])} for name, way in ways.items()]
    text = table(
        f"Starting a run, medians of {runs}; times = baseline / this",
        *("way", "seconds to Running", "times", "seconds to its end", "seconds of processor", "times"),
    )
    for row in rows:
        text.add_row(*(str(row[name]) for name in ("way", *SHOWN)))
    text.caption, text.caption_justify = f"baseline: {BASELINE}", "left"
    tell("starts", {"runs": runs, "baseline": BASELINE, "ways": rows}, output, text, save)


if __name__ == "__main__":
    typer.run(main)
