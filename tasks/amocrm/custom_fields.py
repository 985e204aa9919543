"""Definitions of custom fields; paged, or fields would seem to vanish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.amocrm import entities
from tasks.amocrm.client import AmoClient
from tasks.records import CustomField, FieldEnum

__all__ = ["create_custom_fields", "read_custom_fields"]

KEY = "custom_fields"


def read_custom_fields(client: AmoClient, entity: str) -> list[CustomField]:
    """Read all custom fields of ``contacts`` or ``leads``."""
    path = f"{entity}/{KEY}"
    return [
        entities.parsed(row, _field, f"GET {path}")
        for row in entities.rows(client, path, KEY, {"limit": entities.PAGE})
    ]


def create_custom_fields(
    client: AmoClient, entity: str, definitions: Sequence[dict[str, Any]]
) -> list[CustomField]:
    """Create custom fields; read back, because only a read shows the ids of a select's options."""
    if not definitions:
        return []
    answer = client.post(f"{entity}/{KEY}", list(definitions))
    ids = {row["id"] for row in entities.acknowledged(answer, KEY)}
    codes = {definition["code"] for definition in definitions if definition.get("code")}
    return [field for field in read_custom_fields(client, entity) if field.id in ids or field.code in codes]


def _field(row: dict[str, Any]) -> CustomField:
    return CustomField(
        id=int(row["id"]),
        name=str(row["name"]),
        type=str(row["type"]),
        code=row.get("code") or None,
        is_api_only=bool(row.get("is_api_only")),
        sort=int(row.get("sort") or 0),
        enums=tuple(
            FieldEnum(int(enum["id"]), str(enum["value"]), int(enum.get("sort") or 0), enum.get("code"))
            for enum in row.get("enums") or ()
        ),
    )
