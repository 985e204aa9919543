"""The account itself: entities in memory, and the only places that change them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from zoneinfo import ZoneInfo

from deployments.sandbox.amocrm.index import LaggingIndex, index_text
from deployments.sandbox.amocrm.model import (
    KINDS,
    LOST,
    UNSORTED_TYPE,
    WON,
    Change,
    CustomField,
    EnumOption,
    Json,
    Kind,
    Note,
    Pipeline,
    Record,
    Status,
    TagRef,
    User,
)

ACCOUNT_ID = 31_854_902
ADMIN_ID = 11_204_518
MANAGER_ID = 11_204_534
DISMISSED_ID = 11_204_561
_FIRST_STAGES = (
    ("Первичный контакт", "#99ccff"),
    ("Переговоры", "#ffff99"),
    ("Принимают решение", "#ffcc66"),
)
_PHONE_CODES = ("WORK", "WORKDD", "MOB", "FAX", "HOME", "OTHER")
_EMAIL_CODES = ("WORK", "PRIV", "OTHER")


class State:
    """Everything the account holds."""

    def __init__(
        self, *, timezone: str = "Europe/Moscow", index_lag: float = 2.0, name_order: int = 1
    ) -> None:
        self.timezone = timezone
        self.zone = ZoneInfo(timezone)
        self.name_order = name_order
        self.api_filter = False
        self.index = LaggingIndex(index_lag)
        self.users = [
            User(ADMIN_ID, "Администратор", "admin@example.com", is_admin=True),
            User(MANAGER_ID, "Менеджер", "manager@example.com"),
            User(DISMISSED_ID, "Уволенный сотрудник", "former@example.com", is_active=False),
        ]
        self.records: dict[Kind, dict[int, Record]] = {kind: {} for kind in KINDS}
        self.fields: dict[Kind, dict[int, CustomField]] = {kind: {} for kind in KINDS}
        self.tags: dict[Kind, dict[str, int]] = {kind: {} for kind in KINDS}
        self.notes: dict[Kind, dict[int, list[Note]]] = {kind: {} for kind in KINDS}
        self.pipelines: dict[int, Pipeline] = {}
        self._ids: dict[str, Iterator[int]] = {
            "contacts": itertools.count(47_203_411, 2),
            "leads": itertools.count(31_877_105, 2),
            "field": itertools.count(1_284_301, 2),
            "enum": itertools.count(918_221, 2),
            "pipeline": itertools.count(8_140_266, 4),
            "status": itertools.count(68_412_974, 4),
            "tag": itertools.count(214_507, 2),
            "note": itertools.count(402_118_733, 2),
        }
        self._furnish()

    def _furnish(self) -> None:
        self.add_pipeline("Воронка", sort=1, is_main=True, stages=_FIRST_STAGES)
        self.add_field("contacts", "Должность", "text", code="POSITION", predefined=True)
        self.add_field("contacts", "Телефон", "multitext", "PHONE", enums=_PHONE_CODES, predefined=True)
        self.add_field("contacts", "Email", "multitext", "EMAIL", enums=_EMAIL_CODES, predefined=True)

    def next_id(self, what: str) -> int:
        """Hand out the next id of a sequence."""
        return next(self._ids[what])

    # --- settings of the account -------------------------------------------------------------

    def add_pipeline(
        self,
        name: str,
        *,
        sort: int,
        is_main: bool = False,
        is_unsorted_on: bool = True,
        stages: Iterable[tuple[str, str]] = (),
    ) -> Pipeline:
        """Create a pipeline with its three system stages and the given ones."""
        if is_main:
            for other in self.pipelines.values():
                other.is_main = False
        pipeline = Pipeline(self.next_id("pipeline"), name, sort, is_main, is_unsorted_on)
        unsorted = Status(self.next_id("status"), "Неразобранное", 10, "#c1c1c1", pipeline.id, UNSORTED_TYPE)
        won = Status(WON, "Успешно реализовано", 10_000, "#CCFF66", pipeline.id)
        lost = Status(LOST, "Закрыто и не реализовано", 11_000, "#D5D8DB", pipeline.id)
        pipeline.statuses = [unsorted, won, lost]
        for status in pipeline.statuses:
            status.is_editable = False
        for number, (stage, color) in enumerate(stages, start=2):
            self.add_status(pipeline, stage, number * 10, color)
        self.pipelines[pipeline.id] = pipeline
        return pipeline

    def add_status(self, pipeline: Pipeline, name: str, sort: int | None, color: str | None) -> Status:
        """Add a stage before the closing ones."""
        if sort is None:
            sort = max(status.sort for status in pipeline.statuses if status.id not in {WON, LOST}) + 10
        status = Status(self.next_id("status"), name, sort, color or "#fffeb2", pipeline.id)
        pipeline.statuses.append(status)
        pipeline.statuses.sort(key=lambda one: one.sort)
        return status

    def main_pipeline(self) -> Pipeline:
        """Return the pipeline new leads go to by default."""
        return next(pipeline for pipeline in self.pipelines.values() if pipeline.is_main)

    def pipeline_of_status(self, status_id: int) -> Pipeline | None:
        """Find the pipeline an ordinary stage implies."""
        return next((one for one in self.pipelines.values() if one.status(status_id)), None)

    def add_field(
        self,
        kind: Kind,
        name: str,
        type_: str,
        code: str | None = None,
        *,
        enums: Iterable[str] | None = None,
        predefined: bool = False,
    ) -> CustomField:
        """Create a field definition."""
        field = CustomField(self.next_id("field"), name, type_, code, 500 + len(self.fields[kind]) * 2)
        field.is_predefined = predefined
        if enums is not None:
            field.enums = {}
            for sort, value in enumerate(enums):
                self.add_enum(field, value, sort)
        self.fields[kind][field.id] = field
        return field

    def add_enum(self, field: CustomField, value: str, sort: int, code: str | None = None) -> EnumOption:
        """Add a choice to a field."""
        option = EnumOption(self.next_id("enum"), value, sort, code)
        field.enums = {**(field.enums or {}), option.id: option}
        return option

    def field_by_code(self, kind: Kind, code: str) -> CustomField | None:
        """Find a field by its code."""
        return next((field for field in self.fields[kind].values() if field.code == code), None)

    def delete_field(self, kind: Kind, field_id: int) -> None:
        """Delete a field together with its values in every card."""
        del self.fields[kind][field_id]
        for record in self.records[kind].values():
            record.values.pop(field_id, None)

    def user(self, user_id: int) -> User | None:
        """Find a user."""
        return next((user for user in self.users if user.id == user_id), None)

    # --- cards -------------------------------------------------------------------------------

    def find(self, kind: Kind, record_id: int) -> Record | None:
        """Find a card that is not in the trash."""
        record = self.records[kind].get(record_id)
        return None if record is None or record.is_deleted else record

    def create(self, kind: Kind, change: Change, by: int) -> Record:
        """Create a card from a validated item."""
        now = int(time.time())
        created = change.attributes.get("created_at", now)
        record = Record(self.next_id(kind), kind, created, now, by, by, by)
        self.records[kind][record.id] = record
        if kind == "leads" and "status_id" not in change.attributes:
            main = self.main_pipeline()
            change.attributes |= {"pipeline_id": main.id, "status_id": main.first_open().id}
        self.apply(record, change, by)
        if kind == "leads" and not record.name:
            record.name = f"Сделка #{record.id}"
        return record

    def apply(self, record: Record, change: Change, by: int) -> None:
        """Write a validated item into a card: named fields are replaced, all others stay."""
        attributes = dict(change.attributes)
        attributes.pop("created_at", None)
        if record.kind == "contacts":
            attributes = self._with_names(record, attributes)
        closed_before = record.status_id in {WON, LOST}
        for name, value in attributes.items():
            setattr(record, name, value)
        if record.kind == "leads" and "closed_at" not in attributes:
            if record.status_id not in {WON, LOST}:
                record.closed_at = None
            elif not closed_before:
                record.closed_at = int(time.time())
        for field_id, values in change.values.items():
            if values is None:
                record.values.pop(field_id, None)
            else:
                record.values[field_id] = values
        self._apply_tags(record, change)
        for contact_id, is_main in change.contacts:
            self.link(record, self.records["contacts"][contact_id], is_main=is_main)
        self.touch(record, by)

    def _with_names(self, record: Record, sent: Json) -> Json:
        if not {"name", "first_name", "last_name"} & sent.keys():
            return sent
        if "first_name" in sent or "last_name" in sent:
            first = sent.get("first_name", record.first_name)
            last = sent.get("last_name", record.last_name)
            both = (first, last) if self.name_order == 1 else (last, first)
            name = " ".join(part for part in both if part)
            return sent | {"first_name": first, "last_name": last, "name": name}
        head, _, tail = sent["name"].partition(" ")
        first, last = (head, tail) if self.name_order == 1 or not tail else (tail, head)
        return sent | {"first_name": first, "last_name": last}

    def _apply_tags(self, record: Record, change: Change) -> None:
        if change.tags is not None:
            record.tags = {}
        for tag in [*(change.tags or []), *change.tags_to_add]:
            tag_id, name = self.tag(record.kind, tag)
            record.tags[tag_id] = name
        for tag in change.tags_to_delete:
            record.tags = {
                tag_id: name
                for tag_id, name in record.tags.items()
                if tag_id != tag.id and name.casefold() != (tag.name or "").casefold()
            }

    def tag(self, kind: Kind, tag: TagRef) -> tuple[int, str]:
        """Find a tag of the account, or create it by name."""
        known = self.tags[kind]
        if tag.id is not None:
            return tag.id, next(name for name, tag_id in known.items() if tag_id == tag.id)
        wanted = tag.name or ""
        for name, tag_id in known.items():
            if name.casefold() == wanted.casefold():
                return tag_id, name
        known[wanted] = self.next_id("tag")
        return known[wanted], wanted

    def touch(self, record: Record, by: int) -> None:
        """Note that a card was written, and tell the index about it."""
        record.updated_at = int(time.time())
        record.updated_by = by
        fields = self.fields[record.kind]
        texts: list[str] = [record.name]
        phones: list[str] = []
        for field_id, values in record.values.items():
            bucket = phones if fields[field_id].code == "PHONE" else texts
            bucket.extend(str(value["value"]) for value in values if "value" in value)
        self.index.put(record.kind, record.id, index_text(texts, phones))

    def link(self, lead: Record, contact: Record, *, is_main: bool) -> None:
        """Attach a contact to a lead; a lead with contacts always has exactly one main contact."""
        main = is_main or lead.links.get(contact.id, False) or not lead.links
        if main:
            lead.links = dict.fromkeys(lead.links, False)
        lead.links[contact.id] = main
        contact.links[lead.id] = True

    def unlink(self, lead: Record, contact: Record) -> None:
        """Detach a contact; the next one becomes the main contact."""
        was_main = lead.links.pop(contact.id, False)
        contact.links.pop(lead.id, None)
        if was_main and lead.links:
            lead.links[next(iter(lead.links))] = True

    def trash(self, record: Record, by: int) -> None:
        """Move a card to the trash, as a manager does in the interface."""
        leads, contacts = self.records["leads"], self.records["contacts"]
        for other in list(record.links):
            if record.kind == "leads":
                self.unlink(record, contacts[other])
            else:
                self.unlink(leads[other], record)
        record.is_deleted = True
        record.updated_at = int(time.time())
        record.updated_by = by
        self.index.put(record.kind, record.id, None)

    def merge(self, survivor: Record, duplicate: Record, by: int) -> None:
        """Merge contacts by hand: links and missing values move, the duplicate's id dies."""
        for lead_id in list(duplicate.links):
            lead = self.records["leads"][lead_id]
            self.link(lead, survivor, is_main=lead.links[duplicate.id])
        survivor.values = duplicate.values | survivor.values
        self.trash(duplicate, by)
        self.touch(survivor, by)

    def add_note(self, record: Record, note_type: str, params: Json, by: int) -> Note:
        """Append a note to a card's feed."""
        note = Note(self.next_id("note"), record.kind, record.id, note_type, params, int(time.time()), by)
        self.notes[record.kind].setdefault(record.id, []).append(note)
        self.touch(record, by)
        return note
