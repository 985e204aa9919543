"""Routes of custom field definitions."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from deployments.sandbox.amocrm.answers import ApiProblemError, empty, hal, read_array, read_json
from deployments.sandbox.amocrm.listing import Query, paged
from deployments.sandbox.amocrm.model import KINDS, SELECT_TYPES, CustomField, Json, Kind
from deployments.sandbox.amocrm.rows import field_row
from deployments.sandbox.amocrm.sandbox import kind_of, state_of
from deployments.sandbox.amocrm.state import State
from deployments.sandbox.amocrm.validation import BatchErrors, check_keys, request_id_of
from deployments.sandbox.amocrm.values import Errors

router = APIRouter()
# multitext, the paid types and the computed ones cannot be created through the API.
CREATABLE = SELECT_TYPES | {
    "text",
    "textarea",
    "numeric",
    "checkbox",
    "date",
    "date_time",
    "birthday",
    "url",
    "monetary",
    "streetaddress",
}
_KEYS = {
    "id": "int",
    "name": "string",
    "type": "string",
    "code": "string",
    "sort": "int",
    "is_api_only": "bool",
    "group_id": "string",
    "enums": "array",
    "required_statuses": "array",
    "hidden_statuses": "array",
    "remind": "string",
    "currency": "string",
    "request_id": "string",
}
_ENUM_KEYS = {"id": "int", "value": "string", "sort": "int", "code": "string"}
_NULLABLE = frozenset({"code", "group_id", "enums", "required_statuses", "hidden_statuses"})


async def list_fields(request: Request) -> Response:
    """List field definitions: 50 a page unless told."""
    kind = kind_of(request)
    types = Query(request).all("filter", "type")
    fields = [one for one in state_of(request).fields[kind].values() if not types or one.type in types]
    path = f"{kind}/custom_fields"
    return paged(request, path, "custom_fields", fields, lambda one: field_row(kind, one), totals=True)


async def get_field(request: Request, field_id: int) -> Response:
    """Read one field definition."""
    kind = kind_of(request)
    return hal(field_row(kind, _field(state_of(request), kind, field_id)))


def _field(state: State, kind: Kind, field_id: int) -> CustomField:
    field = state.fields[kind].get(field_id)
    if field is None:
        raise ApiProblemError(404, "Custom field not found")
    return field


async def create_fields(request: Request) -> Response:
    """Create field definitions; an item with an id is accepted and silently not created."""
    state, kind = state_of(request), kind_of(request)
    items = await read_array(request)
    batch, codes = BatchErrors(), {field.code for field in state.fields[kind].values() if field.code}
    for index, item in enumerate(items):
        errors = Errors()
        sound = check_keys(item, _KEYS, errors, _NULLABLE)
        for key in ("name", "type"):
            if key in sound and not sound[key]:
                errors.add(key, "NotBlank")
            elif isinstance(item, dict) and key not in item:
                errors.add(key, "FieldMissing")
        if sound.get("type") and sound["type"] not in CREATABLE:
            errors.add("type", "NotSupportedChoice")
        code = sound.get("code")
        if code and code in codes:
            errors.add("code", "NotSupportedChoice")
        elif code:
            codes.add(code)
        _check_enums(sound, sound.get("type", ""), None, errors)
        batch.add(request_id_of(item, index), errors)
    batch.raise_any()
    rows = []
    for index, item in enumerate(items):
        if "id" not in item:
            field = state.add_field(kind, item["name"], item["type"], item.get("code"))
            _write(state, field, item)
            rows.append(field_row(kind, field) | {"request_id": request_id_of(item, index)})
    return hal({"_total_items": len(rows), "_embedded": {"custom_fields": rows}}, 201)


def _check_enums(sound: Json, type_: str, field: CustomField | None, errors: Errors) -> None:
    enums = sound.get("enums")
    if enums is None:
        return
    if type_ not in SELECT_TYPES | {"multitext"}:
        errors.add("enums", "FieldNotExpected")
        return
    known = (field.enums if field else None) or {}
    texts = [one.get("value") for one in enums if isinstance(one, dict)]
    for index, item in enumerate(enums):
        nested = Errors()
        option = check_keys(item, _ENUM_KEYS, nested, frozenset({"code"}))
        if not option.get("value"):
            nested.add("value", "FieldMissing")
        elif texts.count(option["value"]) > 1:
            nested.add("value", "NotSupportedChoice")
        if "id" in option and option["id"] not in known:
            nested.add("id", "NotSupportedChoice")
        errors.items.extend(error | {"path": f"enums.{index}.{error['path']}"} for error in nested.items)


def _write(state: State, field: CustomField, item: Json) -> None:
    for key in item.keys() & {"name", "sort", "is_api_only", "group_id", "code"}:
        setattr(field, key, item[key])
    for key in item.keys() & {"required_statuses", "hidden_statuses", "remind", "currency"}:
        field.extra[key] = item[key]
    if field.type in SELECT_TYPES:
        field.enums = field.enums or {}
    if item.get("enums") is not None:
        _replace_enums(state, field, item["enums"])


def _replace_enums(state: State, field: CustomField, items: list[Json]) -> None:
    """Replace the list: a choice that is not repeated with its id is deleted, its values are lost."""
    before, field.enums = field.enums or {}, {}
    for index, item in enumerate(items):
        sort, code = item.get("sort", index), item.get("code")
        if "id" in item:
            option = before[item["id"]]
            option.value, option.sort, option.code = item["value"], sort, code
            field.enums[option.id] = option
        else:
            state.add_enum(field, item["value"], sort, code)


def _check_update(state: State, kind: Kind, body: Any, field: CustomField | None, errors: Errors) -> Json:
    sound = check_keys(body, _KEYS, errors, _NULLABLE)
    if field is None:
        errors.add("id", "NotSupportedChoice")
        return sound
    if sound.get("type", field.type) != field.type:
        errors.add("type", "NotSupportedChoice")  # a type is for life
    code = sound.get("code")
    holder = state.field_by_code(kind, code) if code else None
    if holder is not None and holder is not field:
        errors.add("code", "NotSupportedChoice")
    _check_enums(sound, field.type, field, errors)
    return sound


async def update_field(request: Request, field_id: int) -> Response:
    """Change one field definition."""
    state, kind = state_of(request), kind_of(request)
    field = _field(state, kind, field_id)
    errors, batch = Errors(), BatchErrors()
    sound = _check_update(state, kind, await read_json(request), field, errors)
    batch.add("0", errors)
    batch.raise_any()
    _write(state, field, sound)
    return hal(field_row(kind, field))


async def update_fields(request: Request) -> Response:
    """Change a batch of field definitions."""
    state, kind = state_of(request), kind_of(request)
    batch, work = BatchErrors(), []
    for index, item in enumerate(await read_array(request)):
        errors = Errors()
        field_id = item.get("id") if isinstance(item, dict) else None
        field = state.fields[kind].get(field_id) if isinstance(field_id, int) else None
        sound = _check_update(state, kind, item, field, errors)
        batch.add(request_id_of(item, index), errors)
        if field is not None:
            work.append((field, sound))
    batch.raise_any()
    for field, sound in work:
        _write(state, field, sound)
    return hal({"_embedded": {"custom_fields": [field_row(kind, field) for field, _ in work]}})


async def delete_field(request: Request, field_id: int) -> Response:
    """Delete a field definition and its values."""
    state, kind = state_of(request), kind_of(request)
    if _field(state, kind, field_id).is_predefined:
        raise ApiProblemError(422, "A predefined field cannot be deleted")
    state.delete_field(kind, field_id)
    return empty()


for _kind in KINDS:
    _path = f"/{_kind}/custom_fields"
    router.add_api_route(_path, list_fields, methods=["GET"])
    router.add_api_route(_path, create_fields, methods=["POST"])
    router.add_api_route(_path, update_fields, methods=["PATCH"])
    router.add_api_route(f"{_path}/{{field_id:int}}", get_field, methods=["GET"])
    router.add_api_route(f"{_path}/{{field_id:int}}", update_field, methods=["PATCH"])
    router.add_api_route(f"{_path}/{{field_id:int}}", delete_field, methods=["DELETE"])
