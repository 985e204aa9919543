"""Controls for demo and tests under /sandbox/admin: no token, no limit, not counted."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from deployments.sandbox.amocrm.answers import ApiProblemError
from deployments.sandbox.amocrm.faults import Fault
from deployments.sandbox.amocrm.limits import Stats
from deployments.sandbox.amocrm.model import KINDS, Json, Kind, Record
from deployments.sandbox.amocrm.rows import field_row, note_row, pipeline_row, record_row
from deployments.sandbox.amocrm.sandbox import Sandbox, sandbox_of, state_of
from deployments.sandbox.amocrm.state import ACCOUNT_ID, MANAGER_ID, State
from deployments.sandbox.amocrm.validation import validate_batch

router = APIRouter(prefix="/sandbox/admin")


class Edit(BaseModel):
    """A manager's hand edit: keys of a PATCH, and `fields` as a short form by field id or code."""

    model_config = ConfigDict(extra="forbid")
    entity: Kind
    id: int
    changes: dict[str, Any]


class Delete(BaseModel):
    """A card to move to the trash."""

    model_config = ConfigDict(extra="forbid")
    entity: Kind
    id: int


class Merge(BaseModel):
    """Contacts merged by hand: `id` survives."""

    model_config = ConfigDict(extra="forbid")
    entity: Literal["contacts"] = "contacts"
    id: int
    duplicates: list[int]


class Settings(BaseModel):
    """Switches of the stand-in; only those sent are changed."""

    model_config = ConfigDict(extra="forbid")
    latency_ms: int = Field(default=0, ge=0)
    limit: int | None = Field(default=None, ge=1)
    index_lag: float = Field(default=0, ge=0)
    paid: bool = True
    token_valid: bool = True
    api_filter: bool = False
    block: bool = False
    block_after: int = Field(default=20, ge=0)


@router.get("/dump")
async def dump(request: Request) -> JSONResponse:
    """Show everything the account holds."""
    state = state_of(request)
    body: Json = {
        "account": {"id": ACCOUNT_ID, "timezone": state.timezone},
        "pipelines": [pipeline_row(pipeline) for pipeline in state.pipelines.values()],
        "fields": {kind: [field_row(kind, one) for one in state.fields[kind].values()] for kind in KINDS},
        "tags": {
            kind: [{"id": one, "name": name} for name, one in state.tags[kind].items()] for kind in KINDS
        },
        "notes": [note_row(n) for kind in KINDS for notes in state.notes[kind].values() for n in notes],
        "trash": {kind: [one.id for one in state.records[kind].values() if one.is_deleted] for kind in KINDS},
    }
    for kind in KINDS:
        alive = (record for record in state.records[kind].values() if not record.is_deleted)
        body[kind] = [record_row(state, record, links=True) for record in alive]
    return JSONResponse(body)


@router.get("/stats")
async def stats(request: Request) -> JSONResponse:
    """Show what was asked of the API."""
    return JSONResponse(sandbox_of(request).stats.report())


@router.post("/stats/reset")
async def reset_stats(request: Request) -> JSONResponse:
    """Start counting anew."""
    sandbox_of(request).stats = Stats()
    return _done()


@router.post("/reset")
async def reset(request: Request) -> JSONResponse:
    """Empty the account."""
    sandbox_of(request).reset()
    return _done()


@router.get("/faults")
async def list_faults(request: Request) -> JSONResponse:
    """List failures still to come."""
    return JSONResponse([fault.model_dump() for fault in sandbox_of(request).faults.pending])


@router.post("/faults")
async def add_fault(request: Request, fault: Fault) -> JSONResponse:
    """Ask for a failure."""
    sandbox_of(request).faults.pending.append(fault)
    return _done()


@router.delete("/faults")
async def delete_faults(request: Request) -> JSONResponse:
    """Call the failures off."""
    sandbox_of(request).faults.pending.clear()
    return _done()


@router.post("/edit")
async def edit(request: Request, body: Edit) -> JSONResponse:
    """Edit a card as a manager would."""
    state = state_of(request)
    changes = dict(body.changes)
    fields = changes.pop("fields", {})
    items = changes.pop("custom_fields_values", [])
    items = [*items, *(_field_item(key, value) for key, value in fields.items())]
    record = _record(state, body.entity, body.id)
    (change,) = validate_batch(
        state,
        body.entity,
        [changes | {"id": body.id, "custom_fields_values": items}],
        create=False,
    )
    state.apply(record, change, MANAGER_ID)
    return JSONResponse(record_row(state, record, links=True))


def _field_item(key: str, value: Any) -> Json:
    field: Json = {"field_id": int(key)} if key.isdigit() else {"field_code": key}
    if value is None:
        return field | {"values": None}
    values = value if isinstance(value, list) else [value]
    return field | {"values": [one if isinstance(one, dict) else {"value": one} for one in values]}


@router.post("/delete")
async def delete(request: Request, body: Delete) -> JSONResponse:
    """Move a card to the trash."""
    state = state_of(request)
    state.trash(_record(state, body.entity, body.id), MANAGER_ID)
    return _done()


@router.post("/merge")
async def merge(request: Request, body: Merge) -> JSONResponse:
    """Merge contacts."""
    state = state_of(request)
    survivor = _record(state, "contacts", body.id)
    for duplicate in body.duplicates:
        state.merge(survivor, _record(state, "contacts", duplicate), MANAGER_ID)
    return _done()


@router.get("/settings")
async def get_settings(request: Request) -> JSONResponse:
    """Show the switches."""
    return JSONResponse(_switches(sandbox_of(request)))


@router.post("/settings")
async def put_settings(request: Request, body: Settings) -> JSONResponse:
    """Turn switches."""
    sandbox = sandbox_of(request)
    sent = body.model_fields_set
    for name in sent & {"latency_ms", "index_lag", "paid", "token_valid"}:
        setattr(sandbox, name, getattr(body, name))
    sandbox.state.index.lag = sandbox.index_lag
    if "api_filter" in sent:
        sandbox.state.api_filter = body.api_filter
    if "limit" in sent:
        sandbox.limiter.limit = body.limit
    if "block_after" in sent:
        sandbox.limiter.block_after = body.block_after
    if "block" in sent:
        sandbox.limiter.unblock()
        sandbox.limiter.blocked = body.block
    return JSONResponse(_switches(sandbox))


def _switches(sandbox: Sandbox) -> Json:
    return {
        "latency_ms": sandbox.latency_ms,
        "limit": sandbox.limiter.limit,
        "index_lag": sandbox.index_lag,
        "paid": sandbox.paid,
        "token_valid": sandbox.token_valid,
        "api_filter": sandbox.state.api_filter,
        "block": sandbox.limiter.blocked,
        "block_after": sandbox.limiter.block_after,
    }


def _record(state: State, kind: Kind, record_id: int) -> Record:
    record = state.find(kind, record_id)
    if record is None:
        raise ApiProblemError(404, "Entity not found")
    return record


def _done() -> JSONResponse:
    return JSONResponse({"ok": True})
