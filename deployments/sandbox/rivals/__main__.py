"""``python -m deployments.sandbox.rivals``: the same load by what a clinic could take instead of us.

The demo clinic's patients and appointments go as contacts and deals into the stand-in amoCRM: by
``ident-amocrm sync``, by a loop over the public client ``amocrm-api``, by dlt's reverse ETL, each as its
documentation writes it and as a careful user would (``by_amocrm_api.py``, ``by_dlt.py`` say what was given to
them). Then each runs again with nothing changed, again after a tenth of the patients changed, and from the
beginning with each twentieth answer to a POST lost, the first one too, until it says that it is done.
What counts is what stands in the account afterwards: cards that stand there twice, cards that are missing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from deployments.cli.output import Output, OutputOption, say, table
from deployments.sandbox.bench import DATABASE, RATE, TIMEZONE, TOO_MANY, admin, stand_in, surroundings
from deployments.sandbox.clinic.generator import ClinicSpec, stream
from deployments.sandbox.clinic.store import SqliteStore, write_sqlite
from deployments.sandbox.measuring import SaveOption, tell
from deployments.sandbox.rivals.judge import Standing, judge
from deployments.sandbox.rivals.reading import patients as all_patients
from deployments.sandbox.rivals.sides import OURS, Load, Place, Side, ours, rivals

__all__ = ["FIRST", "LOSING", "Run", "Size", "compare", "main", "unsound"]

RIVALS = Path(".venv-rivals/bin/python")
HOW_TO = (
    "The rivals are left out, no interpreter has them: make .venv-rivals, or --python PYTHON of one with "
    "deployments/sandbox/rivals/rivals.txt"
)
FIRST, AGAIN, CHANGED, LOSING = (
    "first load",
    "nothing changed",
    "10 % of patients changed",
    "5 % of answers lost",
)
RUNS = (FIRST, AGAIN, CHANGED, LOSING)
TENTH = 10
#: The failure of ``LOSING``: the work is done, the connection closes before the answer.
LOSS = {"mode": "drop_after", "method": "POST", "path_prefix": "/api/v4/", "every": 20, "count": 10**9}
#: So often a user starts a side again that does not say that it is done.
STARTS = 3

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one side, seen from outside.

    Attributes:
        size: Patients and appointments of the clinic.
        side: Who ran.
        what: What was before the run.
        starts: How often it was started until it said that it is done.
        seconds: From the start of the process to its exit, all starts together.
        requests: Requests that the stand-in counted.
        refused: Those of them that it answered 429.
        arrived: Cards that stand in the account and did not before, each counted once.
        doubled: Second cards that this run made.
        lost: Cards that should stand in the account after it and do not.
    """

    size: Size
    side: str
    what: str
    starts: int
    seconds: float
    requests: int
    refused: int
    arrived: int
    doubled: int
    lost: int

    @property
    def pace(self) -> float:
        """New cards a second."""
        return self.arrived / self.seconds


def compare(
    folder: Path,
    sides: Iterable[tuple[Size, Sequence[Side]]],
    *,
    latency_ms: int = 300,
    note: Callable[[str], None] = say,
) -> list[Run]:
    """Measure sides on clinics.

    Args:
        folder: An empty folder.
        sides: Who loads a clinic of which size: beside those of another size, after those of its own.
        latency_ms: Delay of every answer.
        note: Told what happens now.

    Raises:
        TransientError: When a part does not come up, or a command of ours fails before the first run.
    """
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda work: _one_after_another(folder, work[0], work[1], latency_ms, note), sides)
    return [run for runs in found for run in runs]


def _one_after_another(
    folder: Path, size: Size, sides: Sequence[Side], latency_ms: int, note: Callable[[str], None]
) -> list[Run]:
    runs = []
    for side in sides:
        for losing in (False, True):
            note(f"{size[0]} patients, {size[1]} appointments: {side.name}{', answers lost' * losing}")
            place = folder / f"{side.name}-{size[0]}{'-losing' * losing}".replace(" ", "")
            runs += _in_one_account(place, size, side, latency_ms, losing=losing)
    return runs


def _in_one_account(folder: Path, size: Size, side: Side, latency_ms: int, *, losing: bool) -> list[Run]:
    folder.mkdir()
    database = folder / DATABASE
    today = datetime.now(tz=ZoneInfo(TIMEZONE)).date()
    write_sqlite(stream(ClinicSpec(patients=size[0], appointments=size[1], today=today)), database)
    around = surroundings(folder / "home", RATE)
    with stand_in(folder, around, latency_ms) as crm:
        place = Place(folder, database, crm, around)
        with side.ready(place) as load:
            if losing:
                admin(crm, "faults", post=True, given=LOSS)
                return [_run(size, side, LOSING, place, load)]
            runs = [_run(size, side, what, place, load) for what in (FIRST, AGAIN)]
            _change(database)
            return [*runs, _run(size, side, CHANGED, place, load)]


def _run(size: Size, side: Side, what: str, place: Place, load: Load) -> Run:
    before = _standing(place, side)
    admin(place.crm, "stats/reset", post=True)
    started, starts = time.monotonic(), 1
    while not load() and starts < STARTS:
        starts += 1
    seconds = time.monotonic() - started
    stats, after = admin(place.crm, "stats"), _standing(place, side)
    return Run(
        size=size,
        side=side.name,
        what=what,
        starts=starts,
        seconds=round(seconds, 2),
        requests=stats["requests"],
        refused=sum(entry["status"] == TOO_MANY for entry in stats["log"]),
        arrived=after.arrived - before.arrived,
        doubled=after.doubled - before.doubled,
        lost=after.lost,
    )


def _standing(place: Place, side: Side) -> Standing:
    return judge(admin(place.crm, "dump"), side.wanted(place.database))


def _change(database: Path) -> None:
    """Give each tenth patient another e-mail, as IDENT would."""
    now = datetime.now(tz=ZoneInfo(TIMEZONE)).replace(tzinfo=None, microsecond=0)
    store = SqliteStore(database)
    for row in all_patients(database)[::TENTH]:
        key, changed = row["id"], {"DateTimeChanged": now}
        store.update("Persons", {"ID": key}, {"Email": f"moved{key}@example.org"} | changed)
        store.update("Patients", {"ID_Persons": key}, changed)
    store.close()


def unsound(runs: Sequence[Run]) -> list[str]:
    """Return where our own side doubled or lost a card."""
    return [
        f"{run.side}, {run.what}, {run.size[0]} patients: {run.doubled} doubled, {run.lost} lost"
        for run in runs
        if run.side == OURS and (run.doubled or run.lost)
    ]


def _show(runs: Sequence[Run], latency_ms: int, output: Output, save: Path | None) -> None:
    pace = {run.what: run.pace for run in runs if run.side == OURS}
    rows = table(
        f"The same load by what a clinic could take instead; {latency_ms} ms, 7 requests/s allowed",
        *("run", "side", "patients + appointments", "starts", "seconds", "requests", "refused (429)"),
        *("new cards", "cards/s", "times", "doubled", "lost"),
    )
    for run in sorted(runs, key=lambda one: RUNS.index(one.what)):
        brings = run.what in {FIRST, LOSING}
        rows.add_row(
            run.what,
            run.side,
            f"{run.size[0]} + {run.size[1]}",
            str(run.starts),
            f"{run.seconds:.1f}",
            str(run.requests),
            str(run.refused),
            str(run.arrived),
            f"{run.pace:.1f}" if brings else "",
            f"{run.pace / pace[run.what]:.2f}x" if brings else "",
            str(run.doubled),
            str(run.lost),
        )
    rows.caption = (
        f"Seconds from the start to the exit of the process, interpreter and reading included; 1x is {OURS}, "
        "which makes a deal of each chain of reschedules and sends every field; the others make one of each "
        "appointment that was not rescheduled and send the main fields. Doubled: second cards of one patient "
        "or appointment that the run made; lost: what the account lacks after it. «reads first»: the script "
        "of a careful user, which reads the account's cards and updates what stands there; dlt's also takes "
        "changed rows only. Lost answers: each twentieth to a POST, the first one too; the others repeat "
        "such a request. What writes card by card has a smaller clinic and runs beside the others: it waits "
        "for nearly all of its time, the same for each card."
    )
    rows.caption_justify = "left"
    data = {
        "baseline": OURS,
        "latency_ms": latency_ms,
        "runs": [asdict(run) | {"cards_per_second": round(run.pace, 2)} for run in runs],
        "unsound": unsound(runs),
    }
    tell("rivals", data, output, rows, save)


def main(
    patients: Annotated[int, typer.Option(min=10, help="Patients of the clinic.")] = 1000,
    appointments: Annotated[int, typer.Option(min=10, help="Its appointments.")] = 2000,
    less: Annotated[int, typer.Option(min=1, help="So many times smaller for a loop card by card.")] = 20,
    latency_ms: Annotated[int, typer.Option(min=0, help="Delay of every answer.")] = 300,
    python: Annotated[Path, typer.Option(help="Interpreter that has the rivals.")] = RIVALS,
    save: SaveOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Compare with amocrm-api and dlt; exit 1 when our side doubles or loses a card."""
    sides = [ours()]
    if python.exists():
        sides += rivals(python)
    else:
        say(HOW_TO)
    work = [
        ((patients, appointments), [side for side in sides if side.batches]),
        ((patients // less, appointments // less), [side for side in sides if not side.batches]),
    ]
    with tempfile.TemporaryDirectory(prefix="ident-amocrm-rivals-") as folder:
        runs = compare(Path(folder), work, latency_ms=latency_ms)
    _show(runs, latency_ms, output, save)
    for line in unsound(runs):
        say(line)
    if unsound(runs):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
