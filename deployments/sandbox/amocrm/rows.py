"""Rows of the API: how each thing reads."""

from __future__ import annotations

from deployments.sandbox.amocrm.model import (
    CustomField,
    Json,
    Kind,
    Note,
    Pipeline,
    Record,
    Status,
    User,
)
from deployments.sandbox.amocrm.state import ACCOUNT_ID, State
from deployments.sandbox.amocrm.values import read_value


def custom_values(state: State, record: Record) -> list[Json] | None:
    """Render a card's custom fields; null, not an empty list, when there are none."""
    rows = []
    for field_id, stored in record.values.items():
        field = state.fields[record.kind][field_id]
        values = [value for value in (read_value(field, one) for one in stored) if value is not None]
        if values:
            rows.append(
                {
                    "field_id": field.id,
                    "field_name": field.name,
                    "field_code": field.code,
                    "field_type": field.type,
                    "values": values,
                },
            )
    return rows or None


def record_row(state: State, record: Record, *, links: bool = False) -> Json:
    """Render a contact or a lead; `links` is `with=leads` or `with=contacts`."""
    row: Json = {"id": record.id, "name": record.name}
    if record.kind == "contacts":
        row |= {"first_name": record.first_name, "last_name": record.last_name, "is_unsorted": False}
    else:
        row |= {
            "price": record.price,
            "status_id": record.status_id,
            "pipeline_id": record.pipeline_id,
            "loss_reason_id": None,
            "closed_at": record.closed_at,
            "score": None,
            "labor_cost": None,
        }
    embedded: Json = {
        "tags": [{"id": tag_id, "name": name, "color": None} for tag_id, name in record.tags.items()],
        "companies": [],
    }
    if links and record.kind == "contacts":
        embedded["leads"] = [{"id": lead_id} for lead_id in record.links]
    elif links:
        embedded["contacts"] = [{"id": one, "is_main": is_main} for one, is_main in record.links.items()]
    return row | {
        "responsible_user_id": record.responsible_user_id,
        "group_id": 0,
        "created_by": record.created_by,
        "updated_by": record.updated_by,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "closest_task_at": None,
        "is_deleted": record.is_deleted,
        "custom_fields_values": custom_values(state, record),
        "account_id": ACCOUNT_ID,
        "_embedded": embedded,
    }


def trash_row(state: State, record: Record) -> Json:
    """Render a row of `with=only_deleted`: id and time survive, contacts do not even admit deletion."""
    row: Json = dict.fromkeys(record_row(state, record))
    is_deleted = record.kind == "leads"
    return row | {"id": record.id, "updated_at": record.updated_at, "is_deleted": is_deleted, "_embedded": {}}


def status_row(status: Status) -> Json:
    """Render a stage."""
    return {
        "id": status.id,
        "name": status.name,
        "sort": status.sort,
        "is_editable": status.is_editable,
        "pipeline_id": status.pipeline_id,
        "color": status.color,
        "type": status.type,
        "account_id": ACCOUNT_ID,
    }


def pipeline_row(pipeline: Pipeline) -> Json:
    """Render a pipeline with its stages."""
    return {
        "id": pipeline.id,
        "name": pipeline.name,
        "sort": pipeline.sort,
        "is_main": pipeline.is_main,
        "is_unsorted_on": pipeline.is_unsorted_on,
        "is_archive": pipeline.is_archive,
        "account_id": ACCOUNT_ID,
        "_embedded": {"statuses": [status_row(status) for status in pipeline.statuses]},
    }


def field_row(kind: Kind, field: CustomField) -> Json:
    """Render a field definition."""
    enums = None
    if field.enums is not None:
        enums = [
            {"id": one.id, "value": one.value, "sort": one.sort, "code": one.code}
            for one in sorted(field.enums.values(), key=lambda option: option.sort)
        ]
    return {
        "id": field.id,
        "name": field.name,
        "type": field.type,
        "account_id": ACCOUNT_ID,
        "code": field.code,
        "sort": field.sort,
        "is_api_only": field.is_api_only,
        "enums": enums,
        "group_id": field.group_id,
        "required_statuses": field.extra.get("required_statuses"),
        "is_deletable": not field.is_predefined,
        "is_predefined": field.is_predefined,
        "entity_type": kind,
        "tracking_callback": None,
        "remind": field.extra.get("remind"),
        "triggers": [],
        "currency": field.extra.get("currency"),
    }


def note_row(note: Note) -> Json:
    """Render a note."""
    return {
        "id": note.id,
        "entity_id": note.entity_id,
        "created_by": note.created_by,
        "updated_by": note.created_by,
        "created_at": note.created_at,
        "updated_at": note.created_at,
        "responsible_user_id": note.created_by,
        "group_id": 0,
        "note_type": note.note_type,
        "params": note.params,
        "account_id": ACCOUNT_ID,
    }


def user_row(user: User) -> Json:
    """Render a user."""
    rights = dict.fromkeys(("view", "edit", "add", "delete", "export"), "A")
    return {
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "lang": "ru",
        "rights": {
            "leads": rights,
            "contacts": rights,
            "companies": rights,
            "tasks": {"edit": "A", "delete": "A"},
            "mail_access": False,
            "catalog_access": False,
            "is_admin": user.is_admin,
            "is_free": False,
            "is_active": user.is_active,
            "group_id": None,
            "role_id": None,
            "status_rights": [],
        },
    }
