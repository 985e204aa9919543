"""What the demo proves, each time by reading the clinic's database and amoCRM again, never the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from deployments.sandbox.compare import CONTACT_MARK, LEAD_MARK, Crm, differences, read_crm
from deployments.sandbox.expected import Expectation, Rows, expect

__all__ = ["Proof", "View", "Witness"]

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Proof:
    """One line of the demo's summary."""

    title: str
    holds: bool
    detail: str


@dataclass(slots=True)
class View:
    """Database and amoCRM as they were at one moment."""

    wanted: Expectation
    crm: Crm
    writes: int


@dataclass(slots=True)
class Witness:
    """Reads both sides and says what holds.

    Attributes:
        rows: Reads a table of the clinic.
        base_url: amoCRM's address.
        token: Its token.
        writes: Returns how many writing requests amoCRM has received so far.
        timezone: Zone of the clinic.
        from_day: First day of the launch.
    """

    rows: Rows
    base_url: str
    token: str = field(repr=False)
    writes: Any
    timezone: str = "Europe/Moscow"
    from_day: date | None = None
    frozen: dict[int, bool] = field(default_factory=dict)
    rescheduled: frozenset[int] = frozenset()

    def expectation(self) -> Expectation:
        """Return what amoCRM must hold now."""
        now = datetime.now(tz=ZoneInfo(self.timezone)).replace(tzinfo=None)
        return expect(
            self.rows,
            self.timezone,
            self.from_day,
            frozen=self.frozen,
            rescheduled=self.rescheduled,
            now=now,
        )

    def look(self) -> View:
        """Read both sides now; first or repeat visit is frozen for every deal seen once."""
        wanted = self.expectation()
        self.frozen = {**wanted.primaries, **self.frozen}
        return View(wanted, read_crm(self.base_url, self.token), int(self.writes()))

    def complete(self, view: View) -> Proof:
        """Every patient and appointment is in amoCRM, once, with every field as the database has it."""
        found = differences(view.wanted, view.crm)
        counted = f"{len(view.wanted.contacts)} patients, {len(view.wanted.deals)} appointments"
        listed = "; ".join(str(difference) for difference in found[:SHOWN])
        return Proof(
            "amoCRM holds exactly what the database says, field by field",
            not found,
            f"{counted} compared" if not found else f"{len(found)} differences: {listed}",
        )

    def untouched(self, before: View, after: View) -> Proof:
        """Nothing was written in between."""
        touched = _touched(before.crm, after.crm)
        writes = after.writes - before.writes
        return Proof(
            "A second sync writes nothing",
            not touched and writes == 0,
            f"{writes} writing requests, {len(touched)} changed entities",
        )

    def exactly(self, before: View, after: View) -> Proof:
        """What was touched in amoCRM is what changed in the database, no more and no less."""
        wanted = _changed(before.wanted, after.wanted)
        touched = _touched(before.crm, after.crm)
        missing, extra = wanted - touched, touched - wanted
        detail = f"{len(wanted)} changed in the database, {len(touched)} touched in amoCRM"
        if missing or extra:
            detail += f"; not touched: {sorted(missing)[:SHOWN]}; without cause: {sorted(extra)[:SHOWN]}"
        return Proof("After an hour of work, exactly its changes follow", not missing and not extra, detail)

    @staticmethod
    def kept_back(view: View, listed: set[int]) -> Proof:
        """A patient who is kept back, or goes without a broken value, is listed; nobody else is."""
        wanted = view.wanted.listed_patients
        wrong = wanted ^ listed
        return Proof(
            "Patients with an unreadable phone go without it and are listed with the reason",
            bool(wanted) and not wrong,
            f"{len(wanted)} listed" if not wrong else f"listed wrongly or not: {sorted(wrong)[:SHOWN]}",
        )


def _touched(before: Crm, after: Crm) -> set[tuple[str, str]]:
    touched: set[tuple[str, str]] = set()
    for kind, code, old, new in (
        ("contact", CONTACT_MARK, before.contacts, after.contacts),
        ("deal", LEAD_MARK, before.leads, after.leads),
    ):
        was = {row["id"]: _plain(row) for row in old}
        now = {row["id"]: _plain(row) for row in new}
        marks = {
            row["id"]: crm.mark(row, code) for crm, rows in ((before, old), (after, new)) for row in rows
        }
        touched |= {
            (kind, marks[key].rsplit("-", 1)[-1] or f"amo {key}")
            for key in was.keys() | now.keys()
            if was.get(key) != now.get(key)
        }
    return touched


def _plain(row: Mapping[str, Any]) -> str:
    # updated_at is left in: a write that changes nothing is a write too.
    return json.dumps({key: value for key, value in row.items() if key != "_links"}, sort_keys=True)


def _changed(before: Expectation, after: Expectation) -> set[tuple[str, str]]:
    changed: set[tuple[str, str]] = set()
    for kind, old, new in (
        ("contact", before.contacts, after.contacts),
        ("deal", before.deals, after.deals),
    ):
        was = {key: asdict(card) for key, card in old.items()}
        now = {key: asdict(card) for key, card in new.items()}
        changed |= {(kind, str(key)) for key in was.keys() | now.keys() if was.get(key) != now.get(key)}
    return changed
