"""What stands in the account after a run: cards that stand there twice, cards that are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.sandbox.bench import TIMEZONE
from deployments.sandbox.compare import sqlite_rows
from deployments.sandbox.expected import expect
from deployments.sandbox.rivals.reading import MARKS, patients, visits

__all__ = ["Standing", "Wanted", "judge", "wanted_of_ours", "wanted_of_rivals"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a side has to bring: each patient's e-mail by id, and the ids of deals."""

    contacts: Mapping[str, str | None]
    leads: frozenset[str]

    @property
    def cards(self) -> int:
        """How many cards that is."""
        return len(self.contacts) + len(self.leads)


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands in an account.

    Attributes:
        cards: Cards with an id of the clinic.
        doubled: Those of them beyond the first of an id.
        lost: Ids that no card has; of a patient, also those of whom no card has the e-mail of now.
    """

    cards: int
    doubled: int
    lost: int

    @property
    def arrived(self) -> int:
        """Different cards."""
        return self.cards - self.doubled


def wanted_of_rivals(database: Path) -> Wanted:
    """Return what the rivals read; a patient without an e-mail has none to be compared."""
    return Wanted(
        {str(row["id"]): row["email"] for row in patients(database)},
        frozenset(str(row["id"]) for row in visits(database)),
    )


def wanted_of_ours(database: Path) -> Wanted:
    """Return what the database says to the fault tests, too: a deal has the id of its chain's root."""
    found = expect(sqlite_rows(database), TIMEZONE, None)
    return Wanted(
        {str(key): one.email for key, one in found.contacts.items()}, frozenset(map(str, found.deals))
    )


def judge(account: Mapping[str, Any], wanted: Wanted) -> Standing:
    """Judge what the stand-in's ``dump`` shows."""
    ids = {kind: Counter(_id(row, MARKS[kind]) for row in account[kind]) for kind in MARKS}
    for counted in ids.values():
        counted.pop("", None)  # a person's own card
    mails = {
        (_id(row, MARKS["contacts"]), mail) for row in account["contacts"] for mail in _values(row, "EMAIL")
    }
    lost = [key for key in wanted.leads if key not in ids["leads"]]
    lost += [
        key
        for key, mail in wanted.contacts.items()
        if key not in ids["contacts"] or (mail and (key, mail) not in mails)
    ]
    cards = sum(counted.total() for counted in ids.values())
    return Standing(cards, cards - sum(map(len, ids.values())), len(lost))


def _id(row: Mapping[str, Any], code: str) -> str:
    """Return the clinic's id; ours stands in a card as ``IDENT-<clinic>-P-<id>``."""
    return next(iter(_values(row, code)), "").rpartition("-")[2]


def _values(row: Mapping[str, Any], code: str) -> list[str]:
    fields = row["custom_fields_values"] or ()
    return [str(item["value"]) for field in fields if field["field_code"] == code for item in field["values"]]
