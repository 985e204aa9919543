"""Definitions of custom fields; paged, or fields would seem to vanish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.amocrm import entities
from tasks.amocrm.client import AmoClient
from tasks.errors import UnexpectedAnswerError
from tasks.records import CustomField, FieldEnum

__all__ = ["add_options", "create_custom_fields", "read_custom_fields"]

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


def add_options(client: AmoClient, entity: str, field_id: int, labels: Sequence[str]) -> CustomField:
    """Add options to a list field and return the field as it is then.

    amoCRM replaces the list as a whole: an option that is not sent along is deleted, and with it the value in
    every card. So the list is read right before, whatever the caller has seen, and sent back with its ids.

    Raises:
        UnexpectedAnswerError: When the field is gone, or an option does not appear.
    """
    field = _read(client, entity, field_id)
    have = {enum.value for enum in field.enums}
    more = [label for label in dict.fromkeys(labels) if label not in have]
    if not more:
        return field
    enums: list[dict[str, Any]] = [
        {"id": enum.id, "value": enum.value, "sort": enum.sort} | ({"code": enum.code} if enum.code else {})
        for enum in field.enums
    ]
    last = max((enum.sort for enum in field.enums), default=0)
    enums += [{"value": label, "sort": last + number * 10} for number, label in enumerate(more, start=1)]
    client.patch(f"{entity}/{KEY}/{field_id}", {"enums": enums})
    after = _read(client, entity, field_id)
    if not have | set(more) <= {enum.value for enum in after.enums}:
        raise UnexpectedAnswerError(
            problem=f"amoCRM did not add all options to field {field_id}.",
            remedy="Look at the options of this field in amoCRM; the next run tries again.",
            code="option_not_created",
        )
    return after


def _read(client: AmoClient, entity: str, field_id: int) -> CustomField:
    path = f"{entity}/{KEY}/{field_id}"
    row = client.get(path)
    if row is None:
        raise UnexpectedAnswerError(
            problem=f"Field {field_id} of {entity} does not exist in amoCRM any more.",
            remedy="Run autoconfigure, or choose another field.",
            code="field_vanished",
        )
    return entities.parsed(row, _field, f"GET {entity}/{KEY}")


def _field(row: dict[str, Any]) -> CustomField:
    return CustomField(
        id=entities.row_id(row),
        name=entities.text(row["name"]),
        type=entities.text(row["type"]),
        code=entities.text(row.get("code")) or None,
        is_api_only=bool(row.get("is_api_only")),
        sort=entities.whole(row.get("sort")),
        enums=tuple(_enum(enum) for enum in row.get("enums") or ()),
    )


def _enum(row: dict[str, Any]) -> FieldEnum:
    code = entities.text(row.get("code")) or None
    return FieldEnum(entities.row_id(row), entities.text(row["value"]), entities.whole(row.get("sort")), code)
