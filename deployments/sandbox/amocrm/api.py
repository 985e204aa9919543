"""Routes of contacts and leads, and the router of the whole API v4."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from deployments.sandbox.amocrm import api_account, api_feed, api_fields
from deployments.sandbox.amocrm.answers import (
    ApiProblemError,
    api_url,
    empty,
    hal,
    read_array,
    read_json,
    self_link,
)
from deployments.sandbox.amocrm.listing import Query, list_records, paged
from deployments.sandbox.amocrm.model import KINDS, Change, Json, Kind, Record
from deployments.sandbox.amocrm.rows import record_row
from deployments.sandbox.amocrm.sandbox import kind_of, state_of
from deployments.sandbox.amocrm.state import ADMIN_ID, State
from deployments.sandbox.amocrm.validation import validate_batch


async def list_cards(request: Request) -> Response:
    """List contacts or leads."""
    return list_records(request, state_of(request), kind_of(request))


async def get_card(request: Request, card_id: int) -> Response:
    """Read one contact or lead; 204 when there is none."""
    state, kind = state_of(request), kind_of(request)
    record = state.find(kind, card_id)
    if record is None:
        return empty()
    links = ("leads" if kind == "contacts" else "contacts") in Query(request).with_
    row = record_row(state, record, links=links)
    return hal(row | {"_links": self_link(request, f"{kind}/{card_id}")})


async def create_cards(request: Request) -> Response:
    """Create a batch; only ids come back."""
    state, kind = state_of(request), kind_of(request)
    changes = validate_batch(state, kind, await read_array(request), create=True)
    rows = []
    for change in changes:
        record = state.create(kind, change, ADMIN_ID)
        row: Json = {"id": record.id}
        if kind == "contacts":
            row |= {"is_deleted": False, "is_unsorted": False}
        row |= {"request_id": change.request_id, "_links": self_link(request, f"{kind}/{record.id}")}
        rows.append(row)
    return hal({"_links": {"self": {"href": api_url(request, kind)}}, "_embedded": {kind: rows}})


def _update(request: Request, state: State, kind: Kind, change: Change) -> Json:
    record: Record = state.records[kind][change.record_id or 0]
    state.apply(record, change, ADMIN_ID)
    row: Json = {"id": record.id, "name": record.name, "updated_at": record.updated_at}
    return row | {"_links": self_link(request, f"{kind}/{record.id}")}


async def update_cards(request: Request) -> Response:
    """Update a batch; each item needs its id."""
    state, kind = state_of(request), kind_of(request)
    items = await read_array(request)
    changes = validate_batch(state, kind, items, create=False)
    rows = []
    for item, change in zip(items, changes, strict=True):
        row = _update(request, state, kind, change)
        rows.append(row | ({"request_id": change.request_id} if "request_id" in item else {}))
    return hal({"_links": {"self": {"href": api_url(request, kind)}}, "_embedded": {kind: rows}})


async def update_card(request: Request, card_id: int) -> Response:
    """Update one card; this address wants an object."""
    state, kind = state_of(request), kind_of(request)
    body = await read_json(request)
    if not isinstance(body, dict):
        raise ApiProblemError(405, "An array is not accepted at the address of one entity")
    if state.find(kind, card_id) is None:
        raise ApiProblemError(404, "Entity not found")
    (change,) = validate_batch(state, kind, [body | {"id": card_id}], create=False)
    return hal(_update(request, state, kind, change))


async def list_tags(request: Request) -> Response:
    """List tags of contacts or of leads."""
    state, kind = state_of(request), kind_of(request)
    query = Query(request)
    part = (query.first("query") or "").casefold()
    names = query.all("filter", "name")
    rows: list[Json] = [
        {"id": tag_id, "name": name, "color": None}
        for name, tag_id in state.tags[kind].items()
        if part in name.casefold() and (not names or name in names)
    ]
    return paged(request, f"{kind}/tags", "tags", rows, lambda row: row)


def build_router() -> APIRouter:
    """Put the routes of API v4 together."""
    router = APIRouter(prefix="/api/v4")
    for routes in (api_account.router, api_fields.router, api_feed.build_router()):
        router.include_router(routes)
    for kind in KINDS:
        router.add_api_route(f"/{kind}", list_cards, methods=["GET"])
        router.add_api_route(f"/{kind}", create_cards, methods=["POST"])
        router.add_api_route(f"/{kind}", update_cards, methods=["PATCH"])
        router.add_api_route(f"/{kind}/tags", list_tags, methods=["GET"])
        router.add_api_route(f"/{kind}/{{card_id:int}}", get_card, methods=["GET"])
        router.add_api_route(f"/{kind}/{{card_id:int}}", update_card, methods=["PATCH"])
    return router
