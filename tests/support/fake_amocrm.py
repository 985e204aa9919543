"""An amoCRM account in memory, as ``tasks.loading`` sees one; it checks the commit protocol at every write."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.errors import AmbiguousWriteError, FieldProblem, ValidationRejectedError
from tasks.ledger.store import Ledger
from tasks.loading.ports import Remote
from tasks.planning.identity import external_id
from tasks.records import Action, Kind, RemoteContact, RemoteLead

UID = "u"
MARK = 9  # field of the external id


def mark(kind: Kind, source_id: int) -> str:
    return external_id(UID, "P" if kind is Kind.CONTACT else "A", source_id)


def key_of(entity: Mapping[str, Any]) -> str:
    for item in entity.get("custom_fields_values", ()):
        if item["field_id"] == MARK and item["values"]:
            return str(item["values"][0]["value"])
    return ""


Fault = Callable[["FakeAmo", Kind, Sequence[dict[str, Any]]], Mapping[str, int]]


@dataclass
class FakeAmo:
    """An amoCRM account in memory; it checks the protocol at every write.

    Attributes:
        entities: What the account holds, by kind and id.
        log: Every call that may write, in order: what it was and what it was about.
        faults: What happens to the next writes, by ("create" | "update" | "link" | "note"); taken in order.
        bad: Complaint by external id, for a 400 that names the rows.
        poison: External ids for which a batch is refused without naming anybody.
    """

    ledger: Ledger
    entities: dict[Kind, dict[int, dict[str, Any]]] = field(
        default_factory=lambda: {Kind.CONTACT: {}, Kind.LEAD: {}}
    )
    trash: dict[Kind, set[int]] = field(default_factory=lambda: {Kind.CONTACT: set(), Kind.LEAD: set()})
    notes_of: dict[int, list[str]] = field(default_factory=dict)
    log: list[tuple[str, Kind, tuple[str, ...]]] = field(default_factory=list)
    faults: dict[str, list[Fault | Exception | None]] = field(default_factory=dict)
    bad: dict[str, tuple[str, str]] = field(default_factory=dict)
    poison: set[str] = field(default_factory=set)
    read_down_to: list[int] = field(default_factory=list)
    next_id: int = 1000

    # ---- what loading asks ---------------------------------------------------------------------------

    def read(self, kind: Kind, ids: Collection[int]) -> Mapping[int, Remote]:
        return {key: self.remote(kind, key) for key in ids if key in self.entities[kind]}

    def highest_id(self, kind: Kind) -> int:
        self._stumble("highest", kind, [])
        return max(self.entities[kind], default=0)

    def newest_down_to(self, kind: Kind, amo_id: int) -> Iterable[Remote]:
        self.read_down_to.append(amo_id)
        return [self.remote(kind, key) for key in sorted(self.entities[kind], reverse=True) if key > amo_id]

    def search(self, kind: Kind, text: str) -> Iterable[Remote]:
        """Find by a part of the mark, as amoCRM's search does: strangers come along."""
        found = [key for key, entity in self.entities[kind].items() if text in key_of(entity)]
        return [self.remote(kind, key) for key in sorted(found, reverse=True)]

    def trashed_above(self, kind: Kind, amo_id: int) -> Collection[int]:
        return {key for key in self.trash[kind] if key > amo_id}

    def create(self, kind: Kind, payloads: Sequence[dict[str, Any]]) -> Mapping[str, int]:
        ids = tuple(int(payload["request_id"]) for payload in payloads)
        committed = [row for row in self.ledger.open_attempts(UID) if row.source_ids == ids]
        assert [(row.kind, row.action) for row in committed] == [(kind, Action.CREATE)], "sent before written"
        assert committed[0].highest_amo_id <= self.next_id
        assert self.found(kind, payloads) == [], "created twice"
        self.log.append(("create", kind, tuple(key_of(payload) for payload in payloads)))
        fault = self._stumble("create", kind, payloads)
        if fault is not None:
            return fault(self, kind, payloads)
        self._judge(payloads, [str(payload["request_id"]) for payload in payloads])
        return self.store(kind, payloads)

    def update(self, kind: Kind, payloads: Sequence[dict[str, Any]]) -> Collection[int]:
        open_now = {(row.kind, row.action) for row in self.ledger.open_attempts(UID)}
        assert (kind, Action.UPDATE) in open_now, "sent before written"
        marks = tuple(key_of(self.entities[kind][payload["id"]]) for payload in payloads)
        self.log.append(("update", kind, marks))
        fault = self._stumble("update", kind, payloads)
        self._judge(
            [self.entities[kind][payload["id"]] for payload in payloads],
            [str(index) for index in range(len(payloads))],
        )
        for payload in payloads:
            self._merge(self.entities[kind][payload["id"]], payload)
        return [payload["id"] for payload in payloads] if fault is None else []

    def link(self, lead_id: int, contact_id: int) -> bool:
        self.log.append(("link", Kind.LINK, (str(lead_id), str(contact_id))))
        self._stumble("link", Kind.LINK, [])
        linked = self.entities[Kind.LEAD][lead_id]["_embedded"]["contacts"]
        rest = [item["id"] for item in linked if item["id"] != contact_id]
        linked[:] = [{"id": number} for number in (contact_id, *rest)]
        return True

    def unlink(self, lead_id: int, contact_id: int) -> None:
        linked = self.entities[Kind.LEAD][lead_id]["_embedded"]["contacts"]
        linked[:] = [item for item in linked if item["id"] != contact_id]

    def notes(self, lead_id: int) -> Sequence[str]:
        return list(self.notes_of.get(lead_id, ()))

    def add_note(self, lead_id: int, text: str) -> None:
        self.log.append(("note", Kind.NOTE, (key_of(self.entities[Kind.LEAD][lead_id]), text)))
        fault = self._stumble("note", Kind.NOTE, [])
        self.notes_of.setdefault(lead_id, []).append(text)
        if fault is not None:
            raise lost_error()

    # ---- inside --------------------------------------------------------------------------------------

    def _stumble(self, what: str, kind: Kind, payloads: Sequence[dict[str, Any]]) -> Fault | None:
        queue = self.faults.get(what)
        fault = queue.pop(0) if queue else None
        if isinstance(fault, Exception):
            raise fault
        return fault

    def _judge(self, entities: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
        marks = [key_of(entity) for entity in entities]
        problems = tuple(
            FieldProblem(name, *self.bad[known])
            for name, known in zip(names, marks, strict=True)
            if known in self.bad
        )
        if problems or self.poison & set(marks):
            raise ValidationRejectedError(problem="400", remedy="", problems=problems)

    def store(self, kind: Kind, payloads: Sequence[dict[str, Any]]) -> dict[str, int]:
        answer = {}
        for payload in payloads:
            self.next_id += 1
            entity: dict[str, Any] = {"_embedded": {"contacts": []}}
            self._merge(entity, {**payload, "id": self.next_id})
            self.entities[kind][self.next_id] = entity
            answer[str(payload["request_id"])] = self.next_id
        return answer

    def _merge(self, entity: dict[str, Any], payload: Mapping[str, Any]) -> None:
        old = {item["field_id"]: item for item in entity.get("custom_fields_values", ())}
        new = {item["field_id"]: item for item in payload.get("custom_fields_values", ())}
        entity.update(payload)
        entity["custom_fields_values"] = list((old | new).values())

    def remote(self, kind: Kind, amo_id: int) -> Remote:
        entity = self.entities[kind][amo_id]
        values = {
            item["field_id"]: tuple(item["values"] or ()) for item in entity.get("custom_fields_values", ())
        }
        tags = frozenset(item["name"] for item in entity.get("tags_to_add", ()))
        if kind is Kind.CONTACT:
            return RemoteContact(amo_id, "", "", entity.get("last_name", ""), 1, 1, values, tags)
        return RemoteLead(
            amo_id,
            entity.get("name", ""),
            0,
            entity["pipeline_id"],
            entity["status_id"],
            1,
            1,
            values,
            tags,
            tuple(item["id"] for item in entity["_embedded"]["contacts"]),
        )

    # ---- what tests ask ------------------------------------------------------------------------------

    def found(self, kind: Kind, payloads: Sequence[Mapping[str, Any]]) -> list[int]:
        """Return ids under which entities of a batch stand already."""
        wanted = {key_of(payload) for payload in payloads}
        return [key for key, entity in self.entities[kind].items() if key_of(entity) in wanted]

    def marks(self, kind: Kind) -> list[str]:
        return sorted(key_of(entity) for entity in self.entities[kind].values())

    def delete(self, kind: Kind, amo_id: int) -> None:
        """Move a card to the trash, as a manager does."""
        del self.entities[kind][amo_id]
        self.trash[kind].add(amo_id)

    def merge(self, survivor: int, duplicate: int) -> None:
        """Merge two contacts, as a manager does: what the older one lacks moves to it, links too."""
        contacts = self.entities[Kind.CONTACT]
        gone = contacts.pop(duplicate)
        have = {item["field_id"] for item in contacts[survivor].get("custom_fields_values", ())}
        more = [item for item in gone.get("custom_fields_values", ()) if item["field_id"] not in have]
        contacts[survivor].setdefault("custom_fields_values", []).extend(more)
        for deal in self.entities[Kind.LEAD].values():
            for item in deal["_embedded"]["contacts"]:
                item["id"] = survivor if item["id"] == duplicate else item["id"]

    def of(self, kind: Kind, source_id: int) -> dict[str, Any]:
        [entity] = [one for one in self.entities[kind].values() if key_of(one) == mark(kind, source_id)]
        return entity

    def sent(self, what: str, kind: Kind) -> list[tuple[str, ...]]:
        return [about for name, of_kind, about in self.log if (name, of_kind) == (what, kind)]


def lost_error() -> AmbiguousWriteError:
    return AmbiguousWriteError(problem="no answer", remedy="")


def lost(amo: FakeAmo, kind: Kind, payloads: Sequence[dict[str, Any]]) -> Mapping[str, int]:
    """Write the batch and lose the answer."""
    amo.store(kind, payloads)
    raise lost_error()


def never_arrived(_amo: FakeAmo, _kind: Kind, _payloads: Sequence[dict[str, Any]]) -> Mapping[str, int]:
    """Lose the request; nobody can tell from a lost answer."""
    raise lost_error()


def half(amo: FakeAmo, kind: Kind, payloads: Sequence[dict[str, Any]]) -> Mapping[str, int]:
    """Write half of the batch and lose the answer."""
    amo.store(kind, payloads[: (len(payloads) + 1) // 2])
    raise lost_error()


def silent_about_first(amo: FakeAmo, kind: Kind, payloads: Sequence[dict[str, Any]]) -> Mapping[str, int]:
    """Write the batch and leave the first request id out of the answer."""
    answer = amo.store(kind, payloads)
    return {key: value for key, value in answer.items() if key != str(payloads[0]["request_id"])}
