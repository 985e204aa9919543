"""Routes of links between leads and contacts, and of notes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from deployments.sandbox.amocrm.answers import ApiProblemError, api_url, empty, hal, read_array
from deployments.sandbox.amocrm.listing import Query, paged
from deployments.sandbox.amocrm.model import KINDS, Json, Kind, Note, Record
from deployments.sandbox.amocrm.rows import note_row
from deployments.sandbox.amocrm.sandbox import kind_of, state_of
from deployments.sandbox.amocrm.state import ADMIN_ID, State
from deployments.sandbox.amocrm.validation import BatchErrors, check_keys, request_id_of
from deployments.sandbox.amocrm.values import Errors, is_type

_LINK_KEYS = {
    "entity_id": "int",
    "entity_type": "string",
    "to_entity_id": "int",
    "to_entity_type": "string",
    "metadata": "object",
    "request_id": "string",
}
_NOTE_KEYS = {
    "entity_id": "int",
    "note_type": "string",
    "params": "object",
    "created_by": "int",
    "created_at": "int",
    "responsible_user_id": "int",
    "is_need_to_trigger_digital_pipeline": "bool",
    "request_id": "string",
}
_NOTE_TYPES = frozenset({"common", "service_message", "extended_service_message"})
_NONE: frozenset[str] = frozenset()


def _card(state: State, kind: Kind, card_id: int) -> Record:
    record = state.find(kind, card_id)
    if record is None:
        raise ApiProblemError(404, "Entity not found")
    return record


def _link_row(record: Record, other_id: int) -> Json:
    to_type = "leads" if record.kind == "contacts" else "contacts"
    metadata: Json | None = None
    if record.kind == "leads":
        metadata = {"main_contact": record.links[other_id]}
    return {"entity_id": record.id, "entity_type": record.kind} | {
        "to_entity_id": other_id,
        "to_entity_type": to_type,
        "metadata": metadata,
    }


def _links_answer(request: Request, path: str, rows: list[Json]) -> Response:
    links = {"self": {"href": api_url(request, path)}}
    return hal({"_total_items": len(rows), "_links": links, "_embedded": {"links": rows}})


async def list_links(request: Request, card_id: int) -> Response:
    """List what a card is linked to."""
    record = _card(state_of(request), kind_of(request), card_id)
    rows = [_link_row(record, other) for other in record.links]
    return _links_answer(request, f"{record.kind}/{card_id}/links", rows)


async def list_many_links(request: Request) -> Response:
    """List the links of several cards: `filter[entity_id][]`."""
    state, kind = state_of(request), kind_of(request)
    found = (state.find(kind, one) for one in Query(request).ints("filter", "entity_id"))
    rows = [_link_row(record, other) for record in found if record for other in record.links]
    return _links_answer(request, f"{kind}/links", rows)


def _check_link(
    state: State, item: Any, card_id: int | None, errors: Errors
) -> tuple[Record, Record, bool] | None:
    sound = check_keys(item, _LINK_KEYS, errors, frozenset({"metadata"}))
    lead_id = card_id or sound.get("entity_id")
    if sound.get("to_entity_type") != "contacts":
        errors.add("to_entity_type", "NotSupportedChoice" if "to_entity_type" in sound else "FieldMissing")
    lead, contact = None, None
    if lead_id is None:
        errors.add("entity_id", "FieldMissing")
    else:
        lead = state.find("leads", lead_id)
        if lead is None:
            errors.add("entity_id", "NotSupportedChoice")
    if "to_entity_id" not in sound:
        errors.add("to_entity_id", "FieldMissing")
    else:
        contact = state.find("contacts", sound["to_entity_id"])
        if contact is None:
            errors.add("to_entity_id", "NotSupportedChoice")
    is_main = (sound.get("metadata") or {}).get("is_main", False)
    if not is_type(is_main, "bool"):
        errors.wrong_type("metadata.is_main", "bool")
    return (lead, contact, is_main) if lead and contact and not errors.items else None


async def _read_links(request: Request, card_id: int | None) -> list[tuple[Record, Record, bool]]:
    state = state_of(request)
    if card_id is not None:
        _card(state, "leads", card_id)
    batch, pairs = BatchErrors(), []
    for index, item in enumerate(await read_array(request)):
        errors = Errors()
        pair = _check_link(state, item, card_id, errors)
        batch.add(request_id_of(item, index), errors)
        if pair is not None:
            pairs.append(pair)
    batch.raise_any()
    return pairs


async def _link(request: Request, card_id: int | None, path: str) -> Response:
    pairs = await _read_links(request, card_id)
    state = state_of(request)
    for lead, contact, is_main in pairs:
        state.link(lead, contact, is_main=is_main)
        state.touch(lead, ADMIN_ID)
        state.touch(contact, ADMIN_ID)
    return _links_answer(request, path, [_link_row(lead, contact.id) for lead, contact, _ in pairs])


async def _unlink(request: Request, card_id: int | None) -> Response:
    pairs = await _read_links(request, card_id)
    state = state_of(request)
    for lead, contact, _ in pairs:
        state.unlink(lead, contact)
        state.touch(lead, ADMIN_ID)
        state.touch(contact, ADMIN_ID)
    return empty()


async def link_one(request: Request, card_id: int) -> Response:
    """Link contacts to one lead."""
    return await _link(request, card_id, f"leads/{card_id}/links")


async def link_many(request: Request) -> Response:
    """Link contacts to several leads."""
    return await _link(request, None, "leads/links")


async def unlink_one(request: Request, card_id: int) -> Response:
    """Unlink contacts from one lead."""
    return await _unlink(request, card_id)


async def unlink_many(request: Request) -> Response:
    """Unlink contacts from several leads."""
    return await _unlink(request, None)


def _check_note(state: State, kind: Kind, item: Any, card_id: int | None, errors: Errors) -> Record | None:
    sound = check_keys(item, _NOTE_KEYS, errors, _NONE)
    entity_id = card_id or sound.get("entity_id")
    record = state.find(kind, entity_id) if entity_id is not None else None
    if entity_id is None:
        errors.add("entity_id", "FieldMissing")
    elif record is None:
        errors.add("entity_id", "NotSupportedChoice")
    if sound.get("note_type") not in _NOTE_TYPES:
        errors.add("note_type", "NotSupportedChoice" if "note_type" in sound else "FieldMissing")
    params = sound.get("params", {})
    if "text" not in params:
        errors.add("params.text", "FieldMissing")
    elif not is_type(params["text"], "string"):
        errors.wrong_type("params.text", "string")
    elif not params["text"]:
        errors.add("params.text", "NotBlank")
    return record


async def _add_notes(request: Request, card_id: int | None) -> Response:
    state, kind = state_of(request), kind_of(request)
    if card_id is not None:
        _card(state, kind, card_id)
    items = await read_array(request)
    batch, records = BatchErrors(), []
    for index, item in enumerate(items):
        errors = Errors()
        record = _check_note(state, kind, item, card_id, errors)
        batch.add(request_id_of(item, index), errors)
        if record is not None:
            records.append(record)
    batch.raise_any()
    rows = []
    for index, (item, record) in enumerate(zip(items, records, strict=True)):
        note = state.add_note(record, item["note_type"], item["params"], ADMIN_ID)
        rows.append({"id": note.id, "entity_id": record.id, "request_id": request_id_of(item, index)})
    return hal({"_embedded": {"notes": rows}})


async def add_notes(request: Request) -> Response:
    """Add notes to several cards."""
    return await _add_notes(request, None)


async def add_card_notes(request: Request, card_id: int) -> Response:
    """Add notes to one card."""
    return await _add_notes(request, card_id)


def _checked_edit(state: State, kind: Kind, item: Any, errors: Errors) -> Note | None:
    """Find the note of an edit; ``entity_id`` and ``params`` are wanted beside its id."""
    sound = check_keys(item, {**_NOTE_KEYS, "id": "int"}, errors, _NONE)
    _check_note(state, kind, {name: value for name, value in item.items() if name != "id"}, None, errors)
    known = state.notes[kind].get(sound.get("entity_id", 0), [])
    note = next((one for one in known if one.id == sound.get("id")), None)
    if note is None:
        errors.add("id", "NotSupportedChoice" if "id" in sound else "FieldMissing")
    return note


async def edit_notes(request: Request) -> Response:
    """Change the texts of notes; what kind of note it is cannot be changed."""
    state, kind = state_of(request), kind_of(request)
    items = await read_array(request)
    batch, found = BatchErrors(), []
    for index, item in enumerate(items):
        errors = Errors()
        note = _checked_edit(state, kind, item, errors)
        batch.add(request_id_of(item, index), errors)
        if note is not None:
            found.append(note)
    batch.raise_any()
    for item, note in zip(items, found, strict=True):
        note.params = item["params"]
        state.touch(state.records[kind][note.entity_id], ADMIN_ID)
    rows = [{"id": note.id, "entity_id": note.entity_id} for note in found]
    return hal({"_embedded": {"notes": rows}})


def _notes_page(request: Request, path: str, notes: list[Note]) -> Response:
    query = Query(request)
    types, ids = query.all("filter", "note_type"), query.ints("filter", "id")
    found = [note for note in notes if (not types or note.note_type in types) and (not ids or note.id in ids)]
    found.sort(key=lambda note: note.id, reverse=query.first("order", "id") == "desc")
    return paged(request, path, "notes", found, note_row)


async def list_card_notes(request: Request, card_id: int) -> Response:
    """List a card's notes; 204 when there are none."""
    state, kind = state_of(request), kind_of(request)
    _card(state, kind, card_id)
    return _notes_page(request, f"{kind}/{card_id}/notes", state.notes[kind].get(card_id, []))


async def list_notes(request: Request) -> Response:
    """List the notes of all cards."""
    kind = kind_of(request)
    every = [note for notes in state_of(request).notes[kind].values() for note in notes]
    return _notes_page(request, f"{kind}/notes", every)


def build_router() -> APIRouter:
    """Put these routes together."""
    router = APIRouter()
    router.add_api_route("/leads/link", link_many, methods=["POST"])
    router.add_api_route("/leads/unlink", unlink_many, methods=["POST"])
    router.add_api_route("/leads/{card_id:int}/link", link_one, methods=["POST"])
    router.add_api_route("/leads/{card_id:int}/unlink", unlink_one, methods=["POST"])
    for kind in KINDS:
        router.add_api_route(f"/{kind}/links", list_many_links, methods=["GET"])
        router.add_api_route(f"/{kind}/{{card_id:int}}/links", list_links, methods=["GET"])
        router.add_api_route(f"/{kind}/notes", add_notes, methods=["POST"])
        router.add_api_route(f"/{kind}/notes", edit_notes, methods=["PATCH"])
        router.add_api_route(f"/{kind}/notes", list_notes, methods=["GET"])
        router.add_api_route(f"/{kind}/{{card_id:int}}/notes", add_card_notes, methods=["POST"])
        router.add_api_route(f"/{kind}/{{card_id:int}}/notes", list_card_notes, methods=["GET"])
    return router
