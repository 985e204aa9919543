"""Routes of the account, its users and its pipelines."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from deployments.sandbox.amocrm.answers import (
    ApiProblemError,
    api_url,
    empty,
    hal,
    read_array,
    read_json,
    self_link,
)
from deployments.sandbox.amocrm.listing import Query, paged
from deployments.sandbox.amocrm.model import LOST, WON, Json, Pipeline, Status
from deployments.sandbox.amocrm.rows import pipeline_row, status_row, user_row
from deployments.sandbox.amocrm.sandbox import state_of
from deployments.sandbox.amocrm.state import ACCOUNT_ID, ADMIN_ID, State
from deployments.sandbox.amocrm.validation import BatchErrors, check_keys, request_id_of
from deployments.sandbox.amocrm.values import Errors

router = APIRouter()
MAX_PIPELINES = 50
MAX_STATUSES = 100
COLORS = frozenset(
    f"#{color}"
    for block in (
        "fffeb2 fffd7f fff000 ffeab2 ffdc7f ffce5a ffdbdb ffc8c8 ff8f92 d6eaff c1e0ff",
        "98cbff ebffb1 deff81 87f2c0 f9deff f3beff ccc8f9 eb93ff f2f3f4 e6e8ea",
    )
    for color in block.split()
)
_PIPELINE_KEYS = {
    "name": "string",
    "sort": "int",
    "is_main": "bool",
    "is_unsorted_on": "bool",
    "request_id": "string",
    "_embedded": "object",
}
_STATUS_KEYS = {"id": "int", "name": "string", "sort": "int", "color": "string", "request_id": "string"}
_NONE: frozenset[str] = frozenset()
_CREATED_AT = 1_735_722_000


@router.get("/account")
async def account(request: Request) -> Response:
    """Describe the account."""
    state, with_ = state_of(request), Query(request).with_
    body: Json = {
        "id": ACCOUNT_ID,
        "name": "Демонстрационная клиника",
        "subdomain": "sandbox",
        "created_at": _CREATED_AT,
        "created_by": ADMIN_ID,
        "updated_at": _CREATED_AT,
        "updated_by": ADMIN_ID,
        "current_user_id": ADMIN_ID,
        "country": "RU",
        "currency": "RUB",
        "currency_symbol": "₽",
        "customers_mode": "disabled",
        "is_unsorted_on": True,
        "mobile_feature_version": 0,
        "is_loss_reason_enabled": True,
        "is_helpbot_enabled": False,
        "is_technical_account": False,
        "contact_name_display_order": state.name_order,
        "_links": self_link(request, "account"),
    }
    optional = {"amojo_id": "0f6a4d1e-5c7b-4a52-9f61-2f3f1c1d9a77", "version": 15}
    optional["is_api_filter_enabled"] = state.api_filter
    body |= {key: value for key, value in optional.items() if key in with_}
    embedded = {key: value for key, value in _account_parts(state).items() if key in with_}
    return hal(body | ({"_embedded": embedded} if embedded else {}))


def _account_parts(state: State) -> Json:
    offset = datetime.now(state.zone).strftime("%z")
    return {
        "amojo_rights": {"can_direct": True, "can_create_groups": True},
        "users_groups": [{"id": 0, "name": "Отдел продаж", "uuid": None}],
        "task_types": [{"id": 1, "name": "Связаться", "color": None, "icon_id": None, "code": "FOLLOW_UP"}],
        "datetime_settings": {
            "date_pattern": "d.m.Y H:i",
            "short_date_pattern": "d.m.Y",
            "short_time_pattern": "H:i",
            "date_format": "d.m.Y",
            "time_format": "H:i:s",
            "timezone": state.timezone,
            "timezone_offset": f"{offset[:3]}:{offset[3:]}",
        },
    }


@router.get("/users")
async def users(request: Request) -> Response:
    """List users."""
    return paged(request, "users", "users", state_of(request).users, user_row, totals=True)


@router.get("/users/{user_id:int}")
async def user(request: Request, user_id: int) -> Response:
    """Read one user."""
    found = state_of(request).user(user_id)
    if found is None:
        raise ApiProblemError(404, "User not found")
    return hal(user_row(found))


def _pipeline(state: State, pipeline_id: int) -> Pipeline:
    pipeline = state.pipelines.get(pipeline_id)
    if pipeline is None:
        raise ApiProblemError(404, "Pipeline not found")
    return pipeline


def _refuse(path: str, request_id: str = "0") -> None:
    errors, batch = Errors(), BatchErrors()
    errors.add(path, "NotSupportedChoice")
    batch.add(request_id, errors)
    batch.raise_any()


def _pipelines_body(request: Request, rows: list[Json]) -> Json:
    links = {"self": {"href": api_url(request, "leads/pipelines")}}
    return {"_total_items": len(rows), "_links": links, "_embedded": {"pipelines": rows}}


@router.get("/leads/pipelines")
async def list_pipelines(request: Request) -> Response:
    """List all pipelines; this list has no pages."""
    found = sorted(state_of(request).pipelines.values(), key=lambda pipeline: (pipeline.sort, pipeline.id))
    return hal(_pipelines_body(request, [pipeline_row(pipeline) for pipeline in found]))


@router.post("/leads/pipelines")
async def create_pipelines(request: Request) -> Response:
    """Create pipelines, each with its stages."""
    state = state_of(request)
    items = await read_array(request, most=MAX_PIPELINES - len(state.pipelines))
    batch = BatchErrors()
    for index, item in enumerate(items):
        errors = Errors()
        sound = check_keys(item, _PIPELINE_KEYS, errors, _NONE)
        if not sound.get("name"):
            errors.add("name", "FieldMissing")
        _check_nested(sound.get("_embedded", {}).get("statuses", []), errors)
        batch.add(request_id_of(item, index), errors)
    batch.raise_any()
    rows = []
    for index, item in enumerate(items):
        pipeline = _create_pipeline(state, item)
        rows.append(pipeline_row(pipeline) | {"request_id": request_id_of(item, index)})
    return hal(_pipelines_body(request, rows))


def _check_nested(statuses: Any, errors: Errors) -> None:
    if not isinstance(statuses, list) or len(statuses) > MAX_STATUSES:
        errors.wrong_type("_embedded.statuses", "array")
        return
    for index, status in enumerate(statuses):
        nested = Errors()
        _check_status(status, nested)
        for error in nested.items:
            errors.items.append(error | {"path": f"_embedded.statuses.{index}.{error['path']}"})


def _check_status(item: Any, errors: Errors) -> None:
    sound = check_keys(item, _STATUS_KEYS, errors, _NONE)
    if not sound.get("name"):
        errors.add("name", "FieldMissing")
    if "color" in sound and sound["color"] not in COLORS and sound.get("id") not in {WON, LOST}:
        errors.add("color", "NotSupportedChoice")
    if "id" in sound and sound["id"] not in {WON, LOST}:
        errors.add("id", "NotSupportedChoice")


def _create_pipeline(state: State, item: Json) -> Pipeline:
    pipeline = state.add_pipeline(
        item["name"],
        sort=item.get("sort", (len(state.pipelines) + 1) * 10),
        is_main=item.get("is_main", False),
        is_unsorted_on=item.get("is_unsorted_on", True),
    )
    for number, status in enumerate(item.get("_embedded", {}).get("statuses", []), start=2):
        system = pipeline.status(status.get("id", 0))
        if system is not None:
            system.name = status["name"]
        else:
            state.add_status(pipeline, status["name"], status.get("sort", number * 10), status.get("color"))
    if not any(status.is_editable for status in pipeline.statuses):
        state.add_status(pipeline, "Новая", None, None)
    return pipeline


@router.get("/leads/pipelines/{pipeline_id:int}")
async def get_pipeline(request: Request, pipeline_id: int) -> Response:
    """Read one pipeline."""
    return hal(pipeline_row(_pipeline(state_of(request), pipeline_id)))


@router.patch("/leads/pipelines/{pipeline_id:int}")
async def update_pipeline(request: Request, pipeline_id: int) -> Response:
    """Rename or move a pipeline."""
    state = state_of(request)
    pipeline = _pipeline(state, pipeline_id)
    errors, batch = Errors(), BatchErrors()
    sound = check_keys(await read_json(request), _PIPELINE_KEYS, errors, _NONE)
    batch.add("0", errors)
    batch.raise_any()
    if sound.get("is_main"):
        state.main_pipeline().is_main = False
    for key in sound.keys() & {"name", "sort", "is_main", "is_unsorted_on"}:
        setattr(pipeline, key, sound[key])
    return hal(pipeline_row(pipeline))


@router.delete("/leads/pipelines/{pipeline_id:int}")
async def delete_pipeline(request: Request, pipeline_id: int) -> Response:
    """Delete an empty pipeline."""
    state = state_of(request)
    if pipeline_id not in state.pipelines:
        _refuse("id")
    leads = state.records["leads"].values()
    if state.pipelines[pipeline_id].is_main:
        raise ApiProblemError(422, "The main pipeline cannot be deleted")
    if any(lead.pipeline_id == pipeline_id and not lead.is_deleted for lead in leads):
        raise ApiProblemError(422, "The pipeline is not empty")
    del state.pipelines[pipeline_id]
    return empty()


def _statuses_body(rows: list[Json]) -> Json:
    return {"_total_items": len(rows), "_embedded": {"statuses": rows}}


@router.get("/leads/pipelines/{pipeline_id:int}/statuses")
async def list_statuses(request: Request, pipeline_id: int) -> Response:
    """List the stages of a pipeline."""
    pipeline = _pipeline(state_of(request), pipeline_id)
    return hal(_statuses_body([status_row(status) for status in pipeline.statuses]))


@router.post("/leads/pipelines/{pipeline_id:int}/statuses")
async def create_statuses(request: Request, pipeline_id: int) -> Response:
    """Add stages to a pipeline."""
    state = state_of(request)
    pipeline = _pipeline(state, pipeline_id)
    items = await read_array(request, most=MAX_STATUSES - len(pipeline.statuses))
    batch = BatchErrors()
    for index, item in enumerate(items):
        errors = Errors()
        _check_status(item, errors)
        if isinstance(item, dict) and "id" in item:
            errors.add("id", "FieldNotExpected")
        batch.add(request_id_of(item, index), errors)
    batch.raise_any()
    rows = []
    for index, item in enumerate(items):
        status = state.add_status(pipeline, item["name"], item.get("sort"), item.get("color"))
        rows.append(status_row(status) | {"request_id": request_id_of(item, index)})
    return hal(_statuses_body(rows))


def _status(pipeline: Pipeline, status_id: int) -> Status:
    status = pipeline.status(status_id)
    if status is None:
        raise ApiProblemError(404, "Status not found")
    return status


@router.patch("/leads/pipelines/{pipeline_id:int}/statuses/{status_id:int}")
async def update_status(request: Request, pipeline_id: int, status_id: int) -> Response:
    """Rename, move or recolour a stage."""
    pipeline = _pipeline(state_of(request), pipeline_id)
    status = _status(pipeline, status_id)
    errors, batch = Errors(), BatchErrors()
    sound = check_keys(await read_json(request), _STATUS_KEYS, errors, _NONE)
    if "color" in sound and sound["color"] not in COLORS:
        errors.add("color", "NotSupportedChoice")
    batch.add("0", errors)
    batch.raise_any()
    for key in sound.keys() & {"name", "sort", "color"}:
        setattr(status, key, sound[key])
    pipeline.statuses.sort(key=lambda one: one.sort)
    return hal(status_row(status))


@router.delete("/leads/pipelines/{pipeline_id:int}/statuses/{status_id:int}")
async def delete_status(request: Request, pipeline_id: int, status_id: int) -> Response:
    """Delete an empty stage."""
    state = state_of(request)
    pipeline = _pipeline(state, pipeline_id)
    status = _status(pipeline, status_id)
    leads = state.records["leads"].values()
    used = any(lead.pipeline_id == pipeline_id and lead.status_id == status_id for lead in leads)
    if used or not status.is_editable:
        raise ApiProblemError(422, "The status cannot be deleted")
    pipeline.statuses.remove(status)
    return empty()
