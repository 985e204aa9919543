"""``python -m deployments.sandbox.sizing``: how big an installation must be, computed of what was measured.

Reads the results that ``make bench`` saved: ``parts`` (what a run costs each part) and ``diff`` (how big a
ledger is). docs/how-to/scale.md shows what it prints.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from deployments.cli.output import Output, OutputOption, say, show, table
from deployments.sandbox.bench import BATCH, RATE
from deployments.sandbox.measuring import ROOT
from deployments.sandbox.report import FOLDER
from deployments.supervisor import RUNS_AT_ONCE
from tasks.settings import Settings

__all__ = ["CLINICS", "LABELS", "PAGE", "Size", "main", "sizes", "written"]

CLINICS: Final = (1, 10, 100)
TICK: Final = int(Settings.model_fields["tick_seconds"].default)
#: Share of amoCRM's rate that looking for changes may take: the rest is for the changes.
QUIET_SHARE: Final = 0.5
#: Share of a core that one process of Prefect's server may be busy: above that its answers come late.
SERVER_SHARE: Final = 0.7
#: Share of its cores that a machine of workers may be busy.
WORKER_SHARE: Final = 0.7
#: A run beside the host it was forked from, megabytes: it has pages of its own while it works.
RUN_MB: Final = 100
#: The page that shows the sizes, and where.
PAGE: Final = ROOT / "docs/how-to/scale.md"
BEGIN, END = "<!-- python -m deployments.sandbox.sizing --write -->", "<!-- end -->"
SERVER, RUNS, WORKER, POSTGRESQL = "Prefect's server", "runs and their host", "worker", "PostgreSQL"


@dataclass(frozen=True, slots=True)
class Size:
    """What so many clinics of one amoCRM account need.

    Attributes:
        clinics: How many.
        tick_seconds: The shortest schedule that the rate and Prefect's server allow, at least the default.
        requests: Requests a second that ticks without changes send.
        server_cores: What Prefect's server is busy with.
        database_cores: The same of PostgreSQL.
        worker_cores: The same of all runs and workers.
        cores: Cores to have for the runs.
        workers: Processes of ``ident-amocrm worker`` with the default limit.
        memory_gb: Of all workers.
        ledger_gb: The ledger's size.
        first_load_hours: All first loads, one after another or side by side: the rate is one.
    """

    clinics: int
    tick_seconds: int
    requests: float
    server_cores: float
    database_cores: float
    worker_cores: float
    cores: int
    workers: int
    memory_gb: float
    ledger_gb: float
    first_load_hours: float


def sizes(folder: Path, *, cards: int, rate: float = RATE, counts: tuple[int, ...] = CLINICS) -> list[Size]:
    """Compute what numbers of clinics need.

    Args:
        folder: What the measurements saved.
        cards: Patients and appointments of a clinic.
        rate: Requests per second to amoCRM.
        counts: Numbers of clinics.
    """
    parts = _data(folder, "parts")
    bytes_a_card = _bytes_a_card(folder)
    return [_size(parts, count, cards, rate, bytes_a_card) for count in counts]


def _size(parts: Mapping[str, Any], clinics: int, cards: int, rate: float, bytes_a_card: float) -> Size:
    idle, per_run, megabytes = parts["idle"], parts["per_run"], parts["megabytes"]
    by_rate = clinics * parts["requests_per_run"] / (rate * QUIET_SHARE)
    by_server = clinics * per_run[SERVER] / (SERVER_SHARE - idle[SERVER])
    tick = max(TICK, 10 * math.ceil(max(by_rate, by_server) / 10))
    runs = clinics / tick  # a second
    work = runs * (per_run[RUNS] + per_run[WORKER])
    # A run waits for amoCRM and the database for as long as it works: two at once keep a core busy.
    workers = max(1, math.ceil(2 * work / WORKER_SHARE / RUNS_AT_ONCE))
    memory = workers * (megabytes[RUNS] + megabytes[WORKER] + RUNS_AT_ONCE * RUN_MB) / 1000
    return Size(
        clinics=clinics,
        tick_seconds=tick,
        requests=round(runs * parts["requests_per_run"], 2),
        server_cores=round(idle[SERVER] + runs * per_run[SERVER], 2),
        database_cores=round(idle[POSTGRESQL] + runs * per_run[POSTGRESQL], 2),
        worker_cores=round(work + workers * idle[WORKER], 2),
        cores=max(1, math.ceil((work + workers * idle[WORKER]) / WORKER_SHARE)),
        workers=workers,
        memory_gb=round(memory, 1),
        ledger_gb=round(clinics * cards * bytes_a_card / 1e9, 2),
        first_load_hours=round(clinics * cards / (rate * BATCH) / 3600, 2),
    )


def _data(folder: Path, name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["data"]
    return data


def _bytes_a_card(folder: Path) -> float:
    """Return the ledger's size for one card, as the measurement of the diff tells below its table."""
    saved = json.loads((folder / "diff.json").read_text(encoding="utf-8"))
    [megabytes] = re.findall(r"ledger of keyed hashes \((\d+) MB\)", saved["caption"])
    return float(megabytes) * 1e6 / float(sum(saved["data"]["cards"].values()))


def written(page: str, found: Sequence[Size]) -> str:
    """Return the page with its table made of these sizes."""
    columns = ["", *(f"{one.clinics} clinic{'s' if one.clinics > 1 else ''}" for one in found)]
    rows = [columns, ["---"] * len(columns)]
    rows += [[label, *(str(getattr(one, name)) for one in found)] for label, name in LABELS.items()]
    before, rest = page.split(BEGIN)
    lines = (f"| {' | '.join(row)} |" for row in rows)
    return f"{before}{BEGIN}\n{chr(10).join(lines)}\n{END}{rest.split(END)[1]}"


def main(
    folder: Annotated[Path, typer.Argument(help="What the measurements saved.")] = FOLDER,
    patients: Annotated[int, typer.Option(min=1, help="Patients of a clinic.")] = 10_000,
    appointments: Annotated[int, typer.Option(min=0, help="Its appointments.")] = 30_000,
    rate: Annotated[float, typer.Option(min=0.1, max=7, help="Requests per second.")] = RATE,
    write: Annotated[bool, typer.Option("--write", help="Write it into docs/how-to/scale.md.")] = False,  # noqa: FBT002
    output: OutputOption = Output.TEXT,
) -> None:
    """Tell what 1, 10 and 100 clinics of one amoCRM account need."""
    found = sizes(folder, cards=patients + appointments, rate=rate)
    if write:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
    text = table(
        f"Clinics of {patients} patients and {appointments} appointments, {rate:g} requests/s",
        "",
        *(f"{one.clinics} clinics" for one in found),
    )
    for label, name in LABELS.items():
        text.add_row(label, *(str(getattr(one, name)) for one in found))
    show([asdict(one) for one in found], output, text)
    if output is Output.TEXT:
        say("Of Prefect's server one process is counted; ticks may take half of the rate.")


LABELS: Final = {
    "schedule, seconds": "tick_seconds",
    "requests/s without changes": "requests",
    "Prefect's server, cores busy": "server_cores",
    "PostgreSQL, cores busy": "database_cores",
    "runs and workers, cores busy": "worker_cores",
    "cores for them": "cores",
    "workers (of 5 runs at once)": "workers",
    "memory of the workers, GB": "memory_gb",
    "ledger, GB": "ledger_gb",
    "first loads, hours": "first_load_hours",
}


if __name__ == "__main__":
    typer.run(main)
