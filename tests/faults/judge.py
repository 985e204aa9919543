"""What amoCRM holds against what the clinic's database says; the ledger is never asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.compare import CONTACT_MARK, LEAD_MARK, Crm, differences
from deployments.sandbox.expected import STAGE_NAMES, Expectation
from tests.faults.clinic import Clinic
from tests.faults.people import People

__all__ = ["Verdict", "judge", "look"]

START = "IDENT: Начало приёма"
#: Fields of a patient that follow from other rows; an increment does not see that such a row is gone.
TOTALS = frozenset(
    {
        "IDENT: Первый визит",
        "IDENT: Последний визит",
        "IDENT: Завершённых приёмов",
        "IDENT: Всего приёмов",
        "IDENT: Долг пациента",
    }
)
FREE = {STAGE_NAMES[key] for key in ("cancelled", "no_show", "rescheduled")}
CLOSED = {142, 143}


@dataclass
class Verdict:
    """What is not as it must be."""

    duplicates: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.duplicates or self.lost or self.unexplained)

    def lines(self) -> list[str]:
        return [
            f"{kind}: {text}"
            for kind in ("duplicates", "lost", "unexplained")
            for text in getattr(self, kind)
        ]


def look(crm: StandIn) -> tuple[Crm, list[dict[str, Any]]]:
    """Read everything the stand-in holds, and its notes."""
    dump = crm.admin("dump")
    places = {
        (pipeline["id"], stage["id"]): (pipeline["name"], stage["name"])
        for pipeline in dump["pipelines"]
        for stage in pipeline["_embedded"]["statuses"]
    }
    fields = {item["id"]: item for kind in ("contacts", "leads") for item in dump["fields"][kind]}
    return Crm(dump["contacts"], dump["leads"], places, fields, dump["account"]["timezone"]), dump["notes"]


def judge(
    wanted: Expectation, view: Crm, notes: list[dict[str, Any]], clinic: Clinic, people: People, *, full: bool
) -> Verdict:
    """Compare.

    Args:
        wanted: What the database says.
        view: What amoCRM holds.
        notes: Its notes.
        clinic: Knows what was deleted in IDENT.
        people: Know what they did by hand.
        full: Whether full reads have seen what no increment can.
    """
    verdict = Verdict()
    case = _Case(wanted, view, clinic, people, full=full)
    for difference in differences(wanted, view):
        text = str(difference)
        key = int(difference.source_id) if difference.source_id.isdigit() else 0
        if difference.what.startswith("stands"):
            verdict.duplicates.append(text)
        elif not case.explains(difference.entity, key, difference.what):
            missing = difference.what == "missing in amoCRM"
            (verdict.lost if missing else verdict.unexplained).append(text)
    verdict.unexplained += [*case.trampled(), *case.not_closed()]
    verdict.duplicates += _notes_twice(notes)
    return verdict


class _Case:
    def __init__(self, wanted: Expectation, view: Crm, clinic: Clinic, people: People, *, full: bool) -> None:
        self.wanted, self.view, self.clinic, self.people, self.full = wanted, view, clinic, people, full
        self.contacts = {_key(view, row, CONTACT_MARK): row for row in view.contacts}
        self.leads = {_key(view, row, LEAD_MARK): row for row in view.leads}

    def explains(self, entity: str, key: int, what: str) -> bool:
        """Tell whether a person, or a deletion in IDENT, is the reason of a difference."""
        if entity == "contact":
            return self._contact(key, what)
        return self._deal(key, what)

    def _contact(self, key: int, what: str) -> bool:
        if what == "missing in amoCRM":
            return key in self.people.removed["contacts"]
        if what == "not expected":
            return key in self.clinic.gone_patients
        if what == "Фамилия":
            return ("contacts", key) in self.people.names
        if what == "Телефоны":
            found = self._phones(self.contacts[key])
            extra = found - self.wanted.contacts[key].phones
            return found >= self.wanted.contacts[key].phones and extra <= self.people.phones.get(key, set())
        if what in TOTALS and not self.full and key in self.clinic.stale:
            return True
        # Merging fills what the surviving contact did not have.
        card = self.wanted.contacts[key]
        return key in self.people.absorbers and not (card.email if what == "Email" else card.fields.get(what))

    def _deal(self, key: int, what: str) -> bool:
        owner = self.wanted.deals[key].patient_id if key in self.wanted.deals else None
        removed = owner in self.people.removed["contacts"]
        if what == "missing in amoCRM":
            return key in self.people.removed["leads"] or removed
        if what == "not expected":
            return key in self.clinic.gone
        if what == "Название":
            return ("leads", key) in self.people.names
        if what == "Контакт":
            return removed
        return what == "Воронка и этап" and self._by_hand(key)

    def _by_hand(self, key: int) -> bool:
        """Tell whether a deal stands where a person put it, or further on by the rules."""
        if key not in self.people.places:
            return False
        pipeline, stage = self.people.places[key]
        row = self.leads[key]
        if (row["pipeline_id"], row["status_id"]) == (pipeline, stage):
            return True
        order = [one for of, one in self.view.places if of == pipeline]
        wanted = self.wanted.deals[key].stage
        onwards = order.index(row["status_id"]) > order.index(stage)
        return stage not in CLOSED and (onwards or wanted in FREE)

    def _phones(self, row: dict[str, Any]) -> frozenset[str]:
        (name,) = (one["name"] for one in self.view.fields.values() if one.get("code") == "PHONE")
        found: frozenset[str] = self.view.values(row).get(name, frozenset())
        return found

    def trampled(self) -> Iterator[str]:
        """Name what people did and what no longer stands."""
        cards = {"contacts": self.contacts, "leads": self.leads}
        for (kind, key), name in self.people.names.items():
            row = cards[kind].get(key)
            if row is not None and row["last_name" if kind == "contacts" else "name"] != name:
                yield f"{kind} {key}: the name a manager typed was replaced"
        for (kind, key), tag in self.people.tags.items():
            row = cards[kind].get(key)
            if row is not None and tag not in {one["name"] for one in row["_embedded"]["tags"]}:
                yield f"{kind} {key}: a manager's tag is gone"
        for key, numbers in self.people.phones.items():
            row = self.contacts.get(key)
            if row is not None and not numbers <= self._phones(row):
                yield f"contacts {key}: a manager's phone is gone"
        for kind, keys in self.people.removed.items():
            yield from (f"{kind} {key}: resurrected" for key in keys & cards[kind].keys())
        for key, (pipeline, stage) in self.people.places.items():
            row = self.leads.get(key)
            if row is not None and stage in CLOSED and row["status_id"] != stage:
                yield f"leads {key}: a deal that a manager closed was moved ({pipeline})"

    def not_closed(self) -> Iterator[str]:
        """Name deals that stand open although IDENT has forgotten them, and the reverse."""
        for key, row in self.leads.items():
            tagged = any("удал" in one["name"].casefold() for one in row["_embedded"]["tags"])
            if self.full and key in self.clinic.gone and not tagged:
                yield f"leads {key}: deleted in IDENT, not marked"
            if tagged and key not in self.clinic.gone:
                yield f"leads {key}: marked as deleted, but IDENT has it"


def _key(view: Crm, row: dict[str, Any], code: str) -> int:
    return int(view.mark(row, code).rsplit("-", 1)[-1] or -row["id"])


def _notes_twice(notes: list[dict[str, Any]]) -> Iterator[str]:
    """Name deals whose latest reschedule was told twice: a return to an old time is told anew."""
    last: dict[int, str] = {}
    twice: Counter[int] = Counter()
    for note in sorted(notes, key=lambda note: note["id"]):
        text = note["params"]["text"]
        twice[note["entity_id"]] += last.get(note["entity_id"]) == text
        last[note["entity_id"]] = text
    yield from (f"note of amoCRM deal {key} stands twice" for key, count in twice.items() if count)
