"""``python -m deployments.sandbox.updates``: how close changed cards come to what amoCRM's pace allows.

A clinic is transferred, every patient and every appointment of it changes, and one ``sync`` follows. The
ceiling is another one than that of a first load: a card is read before it is written, lest a person's work be
written over, and amoCRM reads cards and writes them in requests of their own. So a batch takes two requests,
and the ceiling is half of rate x batch. What every run takes besides, some seconds for its start, for reading
and for validation, is part of the share, so there are enough cards that it weighs little; the share while
cards are sent is told beside it.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from deployments.cli.output import Output, OutputOption, say, table
from deployments.sandbox.bench import (
    BATCH,
    DATABASE,
    RATE,
    TIMEZONE,
    Load,
    Tick,
    admin,
    connect,
    hosted,
    served,
    stand_in,
    surroundings,
    tick,
)
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.store import write_sqlite
from deployments.sandbox.measuring import SaveOption, tell

__all__ = ["REQUESTS_PER_BATCH", "TARGET", "Updates", "main", "measure"]

#: Share of the ceiling that updates must reach.
TARGET = 0.9
#: One reads the cards, one writes them.
REQUESTS_PER_BATCH = 2
#: A field of each kind that changes, by its name in amoCRM; what it changes to.
FIELDS = {"contacts": "IDENT: Город", "leads": "IDENT: Комментарий к приёму"}
CHANGED = "Изменено"


@dataclass(frozen=True, slots=True)
class Updates:
    """What was measured.

    Attributes:
        load: The clinic, the rate, the latency.
        contacts: Contacts whose update amoCRM acknowledged.
        deals: Deals whose update it acknowledged.
        created: Contacts and deals of the first load.
        shown: Contacts and deals that show the change in the stand-in.
        run: The ``sync`` after the change.
    """

    load: Load
    contacts: int
    deals: int
    created: tuple[int, int]
    shown: tuple[int, int]
    run: Tick

    @property
    def ceiling(self) -> float:
        """Updates a second when every request that the pace allows reads or writes a full batch."""
        return self.load.rate * BATCH / REQUESTS_PER_BATCH

    @property
    def share(self) -> float:
        """Acknowledged updates, as a share of what the ceiling allows in that time."""
        return (self.contacts + self.deals) / (self.run.seconds * self.ceiling)

    @property
    def loading(self) -> float:
        """The same share in the seconds in which cards are sent."""
        return (self.contacts + self.deals) / (float(self.run.report["stages"]["load"]) * self.ceiling)

    @property
    def baseline(self) -> str:
        """What the share refers to."""
        return (
            f"100 % is {self.load.rate:g} requests/s x {BATCH} cards / {REQUESTS_PER_BATCH} requests (cards "
            f"are read before they are written) = {self.ceiling:g} updates/s in all seconds from the start "
            "to the exit of `sync`"
        )

    @property
    def sound(self) -> bool:
        """Whether every card was updated, and shows it."""
        return self.created == self.shown == (self.contacts, self.deals) and self.run.refused == 0

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON data."""
        numbers = {
            "share": round(self.share, 4),
            "share_loading": round(self.loading, 4),
            "target": TARGET,
            "ceiling": self.ceiling,
        }
        return {**asdict(self), **numbers, "baseline": self.baseline, "sound": self.sound}


def measure(load: Load, folder: Path, note: Callable[[str], None] = lambda _text: None) -> Updates:
    """Measure the updates of one clinic.

    Args:
        load: What to measure.
        folder: An empty folder for the clinic, the installation and the logs.
        note: Told what happens now.

    Raises:
        TransientError: When a part does not come up, or a command fails.
    """
    database = folder / DATABASE
    today = datetime.now(tz=ZoneInfo(TIMEZONE)).date()
    write_sqlite(
        generate(ClinicSpec(today=today, patients=load.patients, appointments=load.appointments)), database
    )
    around = surroundings(folder / "home", load.rate)
    with stand_in(folder, around, load.latency_ms) as crm, served(folder, around), hosted(folder, around):
        note("Connecting, and the first load")
        connect(folder, around, database, crm)
        first = tick(folder, around, crm).report["applied"]
        _change_all(database)
        note("Every card is changed")
        run = tick(folder, around, crm)
        shown = _shown(admin(crm, "dump"))
    applied = run.report["applied"]
    return Updates(
        load=load,
        contacts=applied["contacts"]["update"],
        deals=applied["leads"]["update"],
        created=(first["contacts"]["create"], first["leads"]["create"]),
        shown=shown,
        run=run,
    )


def _change_all(database: Path) -> None:
    """Write every patient and every appointment as IDENT would, now."""
    now = datetime.now(tz=ZoneInfo(TIMEZONE)).replace(tzinfo=None).isoformat(" ", "milliseconds")
    with closing(sqlite3.connect(database, timeout=60)) as link, link:
        link.execute("UPDATE Persons SET City = ?, DateTimeChanged = ?", (CHANGED, now))
        link.execute("UPDATE Patients SET DateTimeChanged = ?", (now,))
        link.execute("UPDATE Receptions SET Comment = ?, DateTimeChanged = ?", (CHANGED, now))


def _shown(account: dict[str, Any]) -> tuple[int, int]:
    contacts, deals = (
        sum(
            one["field_name"] == name and one["values"][0]["value"] == CHANGED
            for card in account[kind]
            for one in card["custom_fields_values"] or ()
        )
        for kind, name in FIELDS.items()
    )
    return contacts, deals


def main(
    patients: Annotated[int, typer.Option(min=1, help="Patients of the clinic.")] = 5000,
    appointments: Annotated[int, typer.Option(min=1, help="Its appointments.")] = 5700,
    rate: Annotated[float, typer.Option(min=0.1, max=7, help="Requests per second.")] = RATE,
    latency_ms: Annotated[int, typer.Option(min=0, help="Delay of every answer.")] = Load.latency_ms,
    save: SaveOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Measure the updates of all cards; exit 1 when the share is below the target."""
    with tempfile.TemporaryDirectory(prefix="ident-amocrm-updates-") as folder:
        result = measure(Load(patients, appointments, rate, latency_ms), Path(folder), note=say)
    run, reached = result.run, result.share >= TARGET
    rows = table(f"Every card changed; {rate:g} requests/s, {latency_ms} ms", "", "updates")
    rows.add_row("contacts + deals acknowledged", f"{result.contacts} + {result.deals}")
    rows.add_row("of them changed in amoCRM", " + ".join(map(str, result.shown)))
    for name in ("seconds", "requests", "writes", "refused"):
        rows.add_row(f"{name} (429)" if name == "refused" else name, str(getattr(run, name)))
    for name, seconds in run.report["stages"].items():
        rows.add_row(f"  {name}, seconds", str(seconds))
    verdict = f"(target {TARGET:.0%}: {'reached' if reached else 'MISSED'})"
    rows.add_row("share of the ceiling", f"{result.share:.1%} {verdict}")
    rows.add_row("the same while cards are sent", f"{result.loading:.1%}")
    rows.caption, rows.caption_justify = result.baseline, "left"
    tell("updates", result.as_dict(), output, rows, save)
    if not result.sound:
        say("Not every card was changed, or amoCRM refused a request.")
    if not (result.sound and reached):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
