"""``python -m deployments.sandbox.latency``: how long a change in IDENT takes to be seen in amoCRM.

``up`` runs with its default schedule on a demo clinic; at random instants a patient's city or an
appointment's time changes in the database, and the stand-in's own clock tells when the card showed it.
It counts whole seconds, so each figure is rounded up.
"""

from __future__ import annotations

import math
import random
import re
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from deployments.cli.output import Output, OutputOption, say, table
from deployments.sandbox.bench import (
    CLINIC,
    DATABASE,
    RATE,
    TIMEZONE,
    admin,
    command,
    stand_in,
    surroundings,
    up,
)
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.store import write_sqlite
from deployments.sandbox.measuring import SaveOption, tell
from tasks.errors import TransientError

__all__ = ["TARGET", "Waits", "main", "measure"]

#: Seconds within which 95 of 100 changes must be seen.
TARGET = 60.0
CITY, START = "IDENT: Город", "IDENT: Начало приёма"
MARKS = {"contacts": "IDENT_PATIENT_ID", "leads": "IDENT_APPOINTMENT_ID"}
#: How long a change may stay unseen before the measurement gives up.
PATIENCE = 600.0
ZONE = ZoneInfo(TIMEZONE)


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds from the change to the card, a number for each change."""

    contacts: tuple[float, ...]
    deals: tuple[float, ...]

    @property
    def all(self) -> tuple[float, ...]:
        """Both kinds."""
        return self.contacts + self.deals

    @staticmethod
    def percentile(seconds: tuple[float, ...], percent: int) -> float:
        """Return the smallest wait that so many of a hundred do not exceed."""
        return sorted(seconds)[math.ceil(len(seconds) * percent / 100) - 1]

    @property
    def reached(self) -> bool:
        """Whether the target is met."""
        return self.percentile(self.all, 95) <= TARGET


@dataclass(slots=True)
class _Change:
    kind: str
    source_id: int
    shown: str
    at: float


class _Clinic:
    """The clinic's database and the cards that show it."""

    def __init__(self, database: Path, crm: str, seed: int) -> None:
        self._database = database
        self._crm = crm
        self._random = random.Random(seed)

    def cards(self) -> dict[tuple[str, int], tuple[str, int]]:
        """Return of each card, by kind and id in IDENT, what it shows and when it was written last."""
        found = {}
        dump = admin(self._crm, "dump")
        for kind, mark in MARKS.items():
            for card in dump[kind]:
                values = {
                    key: one["values"][0]["value"]
                    for one in card["custom_fields_values"] or ()
                    for key in (one["field_code"], one["field_name"])
                }
                source = re.search(r"(\d+)$", str(values.get(mark, "")))
                if source:
                    shown = str(values.get(CITY if kind == "contacts" else START, ""))
                    found[kind, int(source[1])] = (shown, int(card["updated_at"]))
        return found

    def movable(self, cards: dict[tuple[str, int], tuple[str, int]]) -> list[int]:
        """Return appointments to come that are one row of IDENT each, by what their cards show."""
        with closing(sqlite3.connect(self._database)) as link:
            rows = link.execute(
                "SELECT ID, PlanStart FROM Receptions WHERE PlanStart > ? AND ReceptionCanceled IS NULL",
                ((datetime.now(tz=ZONE) + timedelta(hours=1)).replace(tzinfo=None).isoformat(" "),),
            ).fetchall()
        return [
            number for number, start in rows if cards.get(("leads", number), ("",))[0] == _unix(str(start))
        ]

    def change(self, kind: str, source_id: int, number: int) -> _Change:
        """Write one row as IDENT would, now."""
        now = datetime.now(tz=ZONE).replace(tzinfo=None).isoformat(" ", "milliseconds")
        with closing(sqlite3.connect(self._database, timeout=60)) as link, link:
            if kind == "contacts":
                shown = f"Город {number}"
                link.execute(
                    "UPDATE Persons SET City = ?, DateTimeChanged = ? WHERE ID = ?", (shown, now, source_id)
                )
                link.execute("UPDATE Patients SET DateTimeChanged = ? WHERE ID_Persons = ?", (now, source_id))
            else:
                (old,) = link.execute(
                    "SELECT PlanStart FROM Receptions WHERE ID = ?", (source_id,)
                ).fetchone()
                start = datetime.fromisoformat(str(old)) + timedelta(
                    days=1, minutes=self._random.choice((15, 30))
                )
                written = start.isoformat(" ", "milliseconds")
                link.execute(
                    "UPDATE Receptions SET PlanStart = ?, PlanEnd = ?, DateTimeChanged = ? WHERE ID = ?",
                    (written, (start + timedelta(minutes=30)).isoformat(" ", "milliseconds"), now, source_id),
                )
                shown = _unix(written)
        return _Change(kind, source_id, shown, time.time())


def _unix(local: str) -> str:
    return str(int(datetime.fromisoformat(local).replace(tzinfo=ZONE).timestamp()))


def measure(folder: Path, *, changes: int, minutes: float, latency_ms: int, seed: int) -> Waits:
    """Change the clinic at random instants and wait for each change.

    Raises:
        TransientError: When a part does not come up, or a change is not seen within ten minutes.
    """
    database = folder / DATABASE
    write_sqlite(
        generate(ClinicSpec(today=datetime.now(tz=ZONE).date(), patients=300, appointments=600)), database
    )
    around = surroundings(folder / "home", RATE)
    with stand_in(folder, around, latency_ms) as crm, up(folder, around):
        say("Connecting, and the first load")
        for words in (
            ("connect-database", CLINIC, "--driver", "sqlite", "--database", str(database)),
            ("connect-amocrm", "--base-url", crm, "--token-file", str(folder / "token")),
            ("autoconfigure", "--yes", "--special", "all"),
            ("start", CLINIC, "--all-history"),
            ("sync", CLINIC),
        ):
            command(folder, around, *words)
        clinic = _Clinic(database, crm, seed)
        say(f"{changes} changes within {minutes:g} minutes")
        return _play(clinic, changes, minutes, seed)


def _play(clinic: _Clinic, changes: int, minutes: float, seed: int) -> Waits:
    chance = random.Random(seed)
    cards = clinic.cards()
    free = {
        "contacts": [number for kind, number in cards if kind == "contacts"],
        "leads": clinic.movable(cards),
    }
    moments = sorted(chance.uniform(0, 60 * minutes) for _ in range(changes))
    begin, done = time.monotonic(), 0
    waiting: list[_Change] = []
    waits: dict[str, list[float]] = {"contacts": [], "leads": []}
    while done < changes or waiting:
        while done < changes and time.monotonic() - begin >= moments[done]:
            kind = chance.choice([name for name in free if free[name]])
            number = free[kind].pop(chance.randrange(len(free[kind])))
            waiting.append(clinic.change(kind, number, done))
            done += 1
        cards = clinic.cards()
        for change in [*waiting]:
            shown, written_at = cards[change.kind, change.source_id]
            if shown == change.shown:
                waiting.remove(change)
                free[change.kind].append(change.source_id)
                waits[change.kind].append(max(0.0, written_at + 1 - change.at))
            elif time.time() - change.at > PATIENCE:
                raise TransientError(
                    problem=f"{change.kind} of row {change.source_id} was not seen in {PATIENCE:.0f} s.",
                    remedy="See the logs in the folder named by --keep.",
                    code="bench",
                )
        time.sleep(0.5)
    return Waits(tuple(waits["contacts"]), tuple(waits["leads"]))


def main(
    changes: Annotated[int, typer.Option(min=1, help="Changes in the clinic's database.")] = 200,
    minutes: Annotated[float, typer.Option(min=0.1, help="Within how many minutes they happen.")] = 10,
    latency_ms: Annotated[int, typer.Option(min=0, help="Delay of each of amoCRM's answers.")] = 300,
    seed: Annotated[int, typer.Option(help="The same number, the same changes.")] = 1,
    keep: Annotated[Path | None, typer.Option(help="Folder for what is written; else deleted.")] = None,
    save: SaveOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Measure the wait from a change in IDENT to amoCRM; exit 1 when the target is missed."""
    with tempfile.TemporaryDirectory(prefix="ident-amocrm-latency-") as name:
        folder = keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        waits = measure(folder, changes=changes, minutes=minutes, latency_ms=latency_ms, seed=seed)
    rows = [
        {
            "what": what,
            "changes": len(seconds),
            "p50": round(statistics.median(seconds), 1),
            "p95": round(Waits.percentile(seconds, 95), 1),
            "longest": round(max(seconds), 1),
        }
        for what, seconds in (("contacts", waits.contacts), ("deals", waits.deals), ("all", waits.all))
        if seconds
    ]
    text = table("From a change in IDENT to amoCRM, seconds", "", "changes", "p50", "p95", "longest")
    for row in rows:
        text.add_row(*(str(value) for value in row.values()))
    text.caption = f"target: p95 of all <= {TARGET:g} s: {'reached' if waits.reached else 'MISSED'}"
    text.caption_justify = "left"
    data = {"target": TARGET, "reached": waits.reached, "waits": rows}
    tell("latency", data, output, text, save)
    raise typer.Exit(0 if waits.reached else 1)


if __name__ == "__main__":
    typer.run(main)
