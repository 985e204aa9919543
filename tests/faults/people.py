"""What managers do in amoCRM with their own hands, and what of it must still stand at the end."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.amocrm.state import MANAGER_ID
from deployments.sandbox.amocrm.validation import validate_batch
from deployments.sandbox.compare import CONTACT_MARK, LEAD_MARK, Crm
from deployments.sandbox.expected import PIPELINE_NAMES

__all__ = ["HANDS", "People"]

KINDS = {"contacts": CONTACT_MARK, "leads": LEAD_MARK}


@dataclass
class People:
    """The managers of an account.

    Attributes:
        names: Names they typed, by kind and source id.
        places: Where they put deals, latest last, by root.
        phones: Numbers they added to a contact, by patient.
        absorbers: Contacts that took in others, with what those held.
        removed: Cards they deleted or merged away, by kind.
    """

    crm: StandIn
    rng: random.Random
    names: dict[tuple[str, int], str] = field(default_factory=dict)
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    phones: dict[int, set[str]] = field(default_factory=dict)
    absorbers: set[int] = field(default_factory=set)
    tags: dict[tuple[str, int], str] = field(default_factory=dict)
    removed: dict[str, set[int]] = field(default_factory=lambda: {"contacts": set(), "leads": set()})

    def _pick(self, view: Crm, kind: str) -> tuple[int, dict[str, Any]] | None:
        rows = view.contacts if kind == "contacts" else view.leads
        ours = [(mark, row) for row in rows if (mark := view.mark(row, KINDS[kind]))]
        if not ours:
            return None
        mark, row = self.rng.choice(ours)
        return int(mark.rsplit("-", 1)[-1]), row

    def _edit(self, kind: str, row: dict[str, Any], **changes: Any) -> None:
        self.crm.admin("edit", {"entity": kind, "id": row["id"], "changes": changes})

    def renamed(self, view: Crm) -> str:
        kind = self.rng.choice(("contacts", "leads"))
        if (chosen := self._pick(view, kind)) is None:
            return ""
        key, row = chosen
        name = f"Рукой {self.rng.randrange(10**6)}"
        self._edit(kind, row, **{"last_name" if kind == "contacts" else "name": name})
        self.names[kind, key] = name
        return f"manager renames {kind} {key}"

    def moved(self, view: Crm) -> str:
        if (chosen := self._pick(view, "leads")) is None:
            return ""
        key, row = chosen
        stages = [stage for pipeline, stage in view.places if pipeline == row["pipeline_id"]]
        stage = self.rng.choice(
            [one for one in stages if view.places[row["pipeline_id"], one][1] != "Неразобранное"]
        )
        self._edit("leads", row, status_id=stage, pipeline_id=row["pipeline_id"])
        if stage != row["status_id"]:
            self.places[key] = (row["pipeline_id"], stage)
        return f"manager moves deal {key}"

    def tagged(self, view: Crm) -> str:
        kind = self.rng.choice(("contacts", "leads"))
        if (chosen := self._pick(view, kind)) is None:
            return ""
        key, row = chosen
        self._edit(kind, row, tags_to_add=[{"name": "важно"}])
        self.tags[kind, key] = "важно"
        return f"manager tags {kind} {key}"

    def phoned(self, view: Crm) -> str:
        if (chosen := self._pick(view, "contacts")) is None:
            return ""
        key, row = chosen
        number = f"+7495{self.rng.randrange(10**7):07}"
        (field_id,) = (one["id"] for one in view.fields.values() if one.get("code") == "PHONE")
        known = [
            {"value": item["value"], "enum_id": item["enum_id"]}
            for one in row["custom_fields_values"] or ()
            if one["field_id"] == field_id
            for item in one["values"]
        ]
        self._edit("contacts", row, fields={"PHONE": [*known, {"value": number, "enum_code": "WORK"}]})
        self.phones.setdefault(key, set()).add(number)
        return f"manager adds a phone to contact {key}"

    def deleted(self, view: Crm) -> str:
        kind = self.rng.choice(("contacts", "leads"))
        if (chosen := self._pick(view, kind)) is None:
            return ""
        key, row = chosen
        self.crm.admin("delete", {"entity": kind, "id": row["id"]})
        self.removed[kind].add(key)
        return f"manager deletes {kind} {key}"

    def own_contact_with_deal(self, patient: dict[str, Any]) -> tuple[int, int]:
        """Let a manager have made a contact and an open deal for a patient before IDENT's card came."""
        state = self.crm.sandbox.state
        person = {
            "last_name": patient["Surname"],
            "first_name": patient["Name"],
            "custom_fields_values": [
                {"field_code": "PHONE", "values": [{"value": patient["MobilePhone"], "enum_code": "MOB"}]}
            ],
        }
        (card,) = validate_batch(state, "contacts", [person], create=True)
        contact = state.create("contacts", card, MANAGER_ID)
        pipeline = next(one for one in state.pipelines.values() if one.name == PIPELINE_NAMES[True])
        wish = {
            "name": "Звонок",
            "pipeline_id": pipeline.id,
            "status_id": pipeline.first_open().id,
            "_embedded": {"contacts": [{"id": contact.id, "is_main": True}]},
        }
        (deal,) = validate_batch(state, "leads", [wish], create=True)
        return contact.id, state.create("leads", deal, MANAGER_ID).id

    def merged(self, view: Crm) -> str:
        one, two = self._pick(view, "contacts"), self._pick(view, "contacts")
        if one is None or two is None or one[0] == two[0]:
            return ""
        self.crm.admin("merge", {"id": one[1]["id"], "duplicates": [two[1]["id"]]})
        self.removed["contacts"].add(two[0])
        self.absorbers.add(one[0])
        if not _phones(view, one[1]):
            self.phones.setdefault(one[0], set()).update(_phones(view, two[1]))
        return f"manager merges contact {two[0]} into {one[0]}"


def _phones(view: Crm, row: dict[str, Any]) -> frozenset[str]:
    (name,) = (one["name"] for one in view.fields.values() if one.get("code") == "PHONE")
    found: frozenset[str] = view.values(row).get(name, frozenset())
    return found


HANDS = ("renamed", "renamed", "moved", "moved", "tagged", "phoned", "deleted", "merged")
