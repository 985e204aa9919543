"""Custom field values: what may be written, how it is stored, how it reads back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from deployments.sandbox.amocrm.model import DATE_TYPES, SELECT_TYPES, CustomField, Json

TEXT_LIMITS = {"text": 255, "url": 2000, "textarea": 65_535, "streetaddress": 65_535}
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Years 1 and 9999 are out: their midnight in the account's zone may not exist as a datetime.
_EPOCH_RANGE = range(-62_000_000_000, 253_300_000_000)
_DETAILS = {
    "NotSupportedChoice": "The value you selected is not a valid choice.",
    "FieldNotExpected": "This field was not expected.",
    "FieldMissing": "This field is missing.",
    "InvalidFormat": "This value is not valid.",
    "InvalidCount": "This collection should contain exactly 1 element.",
    "NotBlank": "This value should not be blank.",
}


class Errors:
    """Validation errors of one item, as `{code, path, detail}`."""

    def __init__(self) -> None:
        self.items: list[Json] = []

    def add(self, path: str, code: str) -> None:
        """Note an error whose text follows from its code."""
        self.items.append({"code": code, "path": path, "detail": _DETAILS[code]})

    def wrong_type(self, path: str, expected: str) -> None:
        """Note a value of the wrong JSON type."""
        detail = f"This value should be of type {expected}."
        self.items.append({"code": "InvalidType", "path": path, "detail": detail})

    def too_long(self, path: str, limit: int) -> None:
        """Note a text over its limit."""
        detail = f"This value is too long. It should have {limit} characters or less."
        self.items.append({"code": "TooLong", "path": path, "detail": detail})


def is_type(value: object, expected: str) -> bool:
    """Tell whether a JSON value has the named type; a bool is not an int here."""
    if expected == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    types: dict[str, type] = {"string": str, "bool": bool, "array": list, "object": dict}
    return isinstance(value, types[expected])


class ValueParser:
    """Turns the `values` of one field into their stored form, collecting errors."""

    def __init__(self, zone: ZoneInfo, errors: Errors) -> None:
        self._zone = zone
        self._errors = errors

    def parse(self, field: CustomField, values: Any, path: str) -> list[Json] | None:
        """Return the stored values; None when the field stays as it is or something is wrong."""
        if not is_type(values, "array"):
            self._errors.wrong_type(path, "array")
            return None
        if not values:
            self._errors.add(path, "NotBlank")
            return None
        if len(values) > 1 and field.type not in {"multitext", "multiselect"}:
            self._errors.add(path, "InvalidCount")
            return None
        if all(isinstance(value, dict) and value.get("value") == "" for value in values):
            return None  # an empty text changes nothing; only null clears
        stored = [self._one(field, value, f"{path}.{index}") for index, value in enumerate(values)]
        return [value for value in stored if value is not None]

    def _one(self, field: CustomField, item: Any, path: str) -> Json | None:
        if not is_type(item, "object"):
            self._errors.wrong_type(path, "object")
            return None
        allowed = {"value"}
        if field.type in SELECT_TYPES:
            allowed = {"value", "enum_id"}
        elif field.type == "multitext":
            allowed = {"value", "enum_id", "enum_code"}
        for key in item:
            if key not in allowed:
                self._errors.add(f"{path}.{key}", "FieldNotExpected")
        if field.type in SELECT_TYPES:
            return self._choice(field, item, path)
        if "value" not in item:
            self._errors.add(f"{path}.value", "FieldMissing")
            return None
        if field.type == "multitext":
            return self._multitext(field, item, path)
        value = self._scalar(field, item["value"], f"{path}.value")
        return None if value is None else {"value": value}

    def _choice(self, field: CustomField, item: Json, path: str) -> Json | None:
        key = "enum_id" if item.get("enum_id") is not None else "value"
        if item.get(key) is None:
            self._errors.add(f"{path}.value", "FieldMissing")
            return None
        sent = item[key]
        expected = "int" if key == "enum_id" else "string"
        if not is_type(sent, expected):
            self._errors.wrong_type(f"{path}.{key}", expected)
            return None
        option = (field.enums or {}).get(sent) if key == "enum_id" else field.enum_by_value(sent)
        if option is None:
            self._errors.add(f"{path}.{key}", "NotSupportedChoice")
            return None
        return {"enum_id": option.id}

    def _multitext(self, field: CustomField, item: Json, path: str) -> Json | None:
        value = self._text(item["value"], TEXT_LIMITS["text"], f"{path}.value")
        if value is None:
            return None
        if item.get("enum_id") is not None:
            sent = item["enum_id"]
            option = (field.enums or {}).get(sent) if is_type(sent, "int") else None
            key = "enum_id"
        else:
            option = field.enum_by_code(str(item.get("enum_code") or "WORK"))
            key = "enum_code"
        if option is None:
            self._errors.add(f"{path}.{key}", "NotSupportedChoice")
            return None
        return {"value": value, "enum_id": option.id}

    def _scalar(self, field: CustomField, value: Any, path: str) -> Any:
        if field.type in DATE_TYPES or field.type == "date_time":
            return self._date(field, value, path)
        if field.type in {"numeric", "monetary"}:
            return self._number(value, path)
        if field.type == "checkbox":
            if is_type(value, "bool"):
                return value
            self._errors.wrong_type(path, "bool")
            return None
        return self._text(value, TEXT_LIMITS.get(field.type, TEXT_LIMITS["text"]), path)

    def _text(self, value: Any, limit: int, path: str) -> str | None:
        if not isinstance(value, str):
            self._errors.wrong_type(path, "string")
        elif len(value) > limit:
            self._errors.too_long(path, limit)
        else:
            return value
        return None

    def _number(self, value: Any, path: str) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            self._errors.wrong_type(path, "numeric")
            return None
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite():
            self._errors.wrong_type(path, "numeric")
            return None
        text = f"{number:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text

    def _date(self, field: CustomField, value: Any, path: str) -> int | None:
        if is_type(value, "int") and value in _EPOCH_RANGE:
            epoch = int(value)
        elif isinstance(value, str) and _RFC3339.fullmatch(value):
            try:
                epoch = int((datetime.fromisoformat(value) - _EPOCH).total_seconds())
            except ValueError:
                self._errors.add(path, "InvalidFormat")
                return None
        else:
            self._errors.wrong_type(path, "int")
            return None
        if field.type == "date_time":
            return epoch
        return midnight(epoch, self._zone)


def midnight(epoch: int, zone: ZoneInfo) -> int:
    """Cut an instant to the start of its day in the account's zone, as amoCRM stores dates."""
    moment = (_EPOCH + timedelta(seconds=epoch)).astimezone(zone)  # fromtimestamp refuses 1969 on Windows
    return int(moment.replace(hour=0, minute=0, second=0, microsecond=0).timestamp())


def read_value(field: CustomField, stored: Json) -> Json | None:
    """Render one stored value the way the API reads it back; None for a choice deleted since."""
    if "enum_id" not in stored:
        return stored
    option = (field.enums or {}).get(stored["enum_id"])
    if option is None:
        return None
    code = option.value if field.type == "multitext" else option.code
    value = stored["value"] if field.type == "multitext" else option.value
    return {"value": value, "enum_id": option.id, "enum_code": code}
