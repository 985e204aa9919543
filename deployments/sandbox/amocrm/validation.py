"""Strict checks of written items. Nothing is applied before every item of a batch has passed."""

from __future__ import annotations

from typing import Any

from deployments.sandbox.amocrm.answers import ApiProblemError
from deployments.sandbox.amocrm.model import UNSORTED_TYPE, Change, CustomField, Json, Kind, Status, TagRef
from deployments.sandbox.amocrm.state import State
from deployments.sandbox.amocrm.values import Errors, ValueParser, is_type

NAME_LIMIT = 255
_COMMON = {
    "id": "int",
    "name": "string",
    "responsible_user_id": "int",
    "created_by": "int",
    "updated_by": "int",
    "created_at": "int",
    "updated_at": "int",
    "custom_fields_values": "array",
    "tags_to_add": "array",
    "tags_to_delete": "array",
    "_embedded": "object",
    "request_id": "string",
}
_KEYS: dict[Kind, dict[str, str]] = {
    "contacts": {**_COMMON, "first_name": "string", "last_name": "string"},
    "leads": {
        **_COMMON,
        "price": "int",
        "status_id": "int",
        "pipeline_id": "int",
        "closed_at": "int",
        "loss_reason_id": "int",
    },
}
_EMBEDDED: dict[Kind, frozenset[str]] = {
    "contacts": frozenset({"tags", "companies"}),
    "leads": frozenset({"tags", "contacts", "companies", "source"}),
}
_NULLABLE = frozenset({"closed_at", "loss_reason_id", "custom_fields_values"})
_PLAIN = ("name", "first_name", "last_name", "price", "responsible_user_id", "created_at", "closed_at")
_USERS = ("responsible_user_id", "created_by", "updated_by")


def check_keys(item: Any, keys: dict[str, str], errors: Errors, nullable: frozenset[str]) -> Json:
    """Check key names and JSON types; return the item's sound part."""
    if not is_type(item, "object"):
        errors.wrong_type("", "object")
        return {}
    sound: Json = {}
    for key, value in item.items():
        if key not in keys:
            errors.add(key, "FieldNotExpected")
        elif value is None and key in nullable:
            sound[key] = None
        elif not is_type(value, keys[key]):
            errors.wrong_type(key, keys[key])
        else:
            sound[key] = value
    return sound


class BatchErrors:
    """Errors of a whole batch, by request_id."""

    def __init__(self) -> None:
        self._items: list[Json] = []

    def add(self, request_id: str, errors: Errors) -> None:
        """Keep an item's errors, if it has any."""
        if errors.items:
            self._items.append({"request_id": request_id, "errors": errors.items})

    def raise_any(self) -> None:
        """Refuse the whole batch when any of its items is wrong."""
        if self._items:
            raise ApiProblemError(400, "Request validation failed", errors=self._items)


def request_id_of(item: Any, index: int) -> str:
    """Return the item's request_id, or its place in the batch."""
    sent = item.get("request_id") if isinstance(item, dict) else None
    return sent if isinstance(sent, str) else str(index)


def validate_batch(state: State, kind: Kind, items: list[Any], *, create: bool) -> list[Change]:
    """Check a batch of contacts or leads.

    Raises:
        ApiProblemError: With status 400 and every culprit named, when any item is wrong.
    """
    batch = BatchErrors()
    changes = []
    for index, item in enumerate(items):
        errors = Errors()
        changes.append(_ItemCheck(state, kind, errors, create=create).run(item, request_id_of(item, index)))
        batch.add(request_id_of(item, index), errors)
    batch.raise_any()
    return changes


class _ItemCheck:
    """The checks of one item."""

    def __init__(self, state: State, kind: Kind, errors: Errors, *, create: bool) -> None:
        self._state = state
        self._kind: Kind = kind
        self._errors = errors
        self._create = create

    def run(self, item: Any, request_id: str) -> Change:
        sound = check_keys(item, _KEYS[self._kind], self._errors, _NULLABLE)
        change = Change(request_id)
        if not self._create:
            change.record_id = self._known_id(sound)
        change.attributes = {key: sound[key] for key in _PLAIN if key in sound}
        for key in ("name", "first_name", "last_name"):
            if len(sound.get(key, "")) > NAME_LIMIT:
                self._errors.too_long(key, NAME_LIMIT)
        for key in _USERS:
            user = self._state.user(sound[key]) if sound.get(key) else None
            if sound.get(key) and (user is None or not user.is_active):
                self._errors.add(key, "NotSupportedChoice")
        if sound.get("loss_reason_id") is not None:
            self._errors.add("loss_reason_id", "NotSupportedChoice")  # a fresh account lists no reasons
        if self._kind == "leads":
            change.attributes |= self._stage(sound, change.record_id)
        self._custom_fields(sound.get("custom_fields_values"), change)
        change.tags_to_add = self._tags(sound.get("tags_to_add", []), "tags_to_add")
        change.tags_to_delete = self._tags(sound.get("tags_to_delete", []), "tags_to_delete")
        self._embedded(sound.get("_embedded", {}), change)
        return change

    def _known_id(self, sound: Json) -> int | None:
        if "id" not in sound:
            self._errors.add("id", "FieldMissing")
            return None
        if self._state.find(self._kind, sound["id"]) is None:
            self._errors.add("id", "NotSupportedChoice")
            return None
        return int(sound["id"])

    def _stage(self, sound: Json, record_id: int | None) -> Json:
        """Resolve the stage: an ordinary status implies its pipeline, 142 and 143 do not."""
        state, status_id = self._state, sound.get("status_id")
        if status_id is None and "pipeline_id" not in sound:
            return {}
        if "pipeline_id" in sound:
            pipeline = state.pipelines.get(sound["pipeline_id"])
            if pipeline is None:
                self._errors.add("pipeline_id", "NotSupportedChoice")
                return {}
        elif status_id in {142, 143}:
            current = None if record_id is None else state.find("leads", record_id)
            pipeline = state.pipelines[current.pipeline_id] if current else state.main_pipeline()
        else:
            pipeline = state.pipeline_of_status(int(status_id or 0))
        status: Status | None = None
        if pipeline is not None:
            status = pipeline.first_open() if status_id is None else pipeline.status(status_id)
        if pipeline is None or status is None or status.type == UNSORTED_TYPE:
            self._errors.add("status_id", "NotSupportedChoice")
            return {}
        return {"pipeline_id": pipeline.id, "status_id": status.id}

    def _custom_fields(self, items: list[Any] | None, change: Change) -> None:
        parser = ValueParser(self._state.zone, self._errors)
        for index, item in enumerate(items or []):
            path = f"custom_fields_values.{index}"
            if not is_type(item, "object"):
                self._errors.wrong_type(path, "object")
                continue
            for key in item.keys() - {"field_id", "field_code", "values"}:
                self._errors.add(f"{path}.{key}", "FieldNotExpected")
            field = self._field(item, path)
            if "values" not in item:
                self._errors.add(f"{path}.values", "FieldMissing")
            elif field is not None and item["values"] is None:
                change.values[field.id] = None
            elif field is not None:
                stored = parser.parse(field, item["values"], f"{path}.values")
                if stored is not None:
                    change.values[field.id] = stored

    def _field(self, item: Json, path: str) -> CustomField | None:
        if "field_id" in item:
            key, expected = "field_id", "int"
        elif "field_code" in item:
            key, expected = "field_code", "string"
        else:
            self._errors.add(f"{path}.field_id", "FieldMissing")
            return None
        if not is_type(item[key], expected):
            self._errors.wrong_type(f"{path}.{key}", expected)
            return None
        fields = self._state.fields[self._kind]
        by_code = self._state.field_by_code
        field = fields.get(item[key]) if key == "field_id" else by_code(self._kind, item[key])
        if field is None:
            self._errors.add(f"{path}.{key}", "NotSupportedChoice")
        return field

    def _tags(self, items: Any, path: str) -> list[TagRef]:
        if not is_type(items, "array"):
            self._errors.wrong_type(path, "array")
            return []
        refs = [self._tag(item, f"{path}.{index}") for index, item in enumerate(items)]
        return [ref for ref in refs if ref is not None]

    def _tag(self, item: Any, path: str) -> TagRef | None:
        if not is_type(item, "object"):
            self._errors.wrong_type(path, "object")
            return None
        for key in item.keys() - {"id", "name"}:
            self._errors.add(f"{path}.{key}", "FieldNotExpected")
        if item.get("id") is not None:
            if item["id"] in self._state.tags[self._kind].values():
                return TagRef(item["id"], None)
            self._errors.add(f"{path}.id", "NotSupportedChoice")
            return None
        if not is_type(item.get("name"), "string"):
            self._errors.wrong_type(f"{path}.name", "string")
            return None
        return TagRef(None, item["name"])

    def _embedded(self, embedded: Json, change: Change) -> None:
        for key in embedded.keys() - _EMBEDDED[self._kind]:
            self._errors.add(f"_embedded.{key}", "FieldNotExpected")
        if embedded.get("tags") is not None:
            change.tags = self._tags(embedded["tags"], "_embedded.tags")
        contacts = embedded.get("contacts") or []
        if not self._create:
            return  # amoCRM honours embedded contacts at creation only
        if not is_type(contacts, "array"):
            self._errors.wrong_type("_embedded.contacts", "array")
            return
        for index, item in enumerate(contacts):
            path = f"_embedded.contacts.{index}"
            if not is_type(item, "object"):
                self._errors.wrong_type(path, "object")
            elif not is_type(item.get("id"), "int"):
                self._errors.wrong_type(f"{path}.id", "int")
            elif self._state.find("contacts", item["id"]) is None:
                self._errors.add(f"{path}.id", "NotSupportedChoice")
            elif not is_type(item.get("is_main", False), "bool"):
                self._errors.wrong_type(f"{path}.is_main", "bool")
            else:
                change.contacts.append((item["id"], item.get("is_main", False)))
