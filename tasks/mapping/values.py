"""Canonical text to amoCRM's ``values`` and back.

Types and shapes as observed in the API (numbers are read back as strings, dates as midnights of the account's
zone, birthdays must be written with an offset because years before 1970 are negative epochs).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, Final
from zoneinfo import ZoneInfo

from tasks.mapping.catalogue import LIST_DATA, LIST_SEPARATOR
from tasks.mapping.model import FieldRule

__all__ = ["MONEY", "digits", "from_amo", "local_time", "parts", "price", "to_amo"]

Values = list[dict[str, Any]]

#: Data that are money; other numbers are counts.
MONEY: Final = frozenset({"price", "amount", "paid", "debt"})
PHONE_DIGITS: Final = 10
LONGEST_NUMBER: Final = 30


def to_amo(rule: FieldRule, text: str | None, timezone: str) -> Values | None:  # noqa: PLR0911 - one answer per type
    """Return the ``values`` of a field, ``None`` to clear it."""
    if text is None:
        return None
    match rule.field_type:
        case "checkbox":
            return [{"value": text == "1"}]
        case "select" | "radiobutton":
            return [_option(rule, text)]
        case "multiselect":
            return [_option(rule, part) for part in parts(rule, text)]
        case "date_time":
            return [{"value": int(_instant(text).timestamp())}]
        case "date":
            return [{"value": int(_midnight(text, timezone).timestamp())}]
        case "birthday":
            return [{"value": _midnight(text, timezone).isoformat()}]
        case "multitext":
            return [{"value": text, "enum_code": rule.enum_code}]
        case _:
            return [{"value": text}]


def from_amo(rule: FieldRule, values: Iterable[Mapping[str, Any]], timezone: str) -> str | None:  # noqa: PLR0911 - one answer per type
    """Return the canonical text of what amoCRM holds, ``None`` when it holds nothing.

    A value that a person typed in a shape of their own is returned as it is: it differs from ours, which is
    all that matters.
    """
    items = list(values)
    if not items:
        return None
    first = items[0]
    raw = first.get("value")
    if rule.field_type in {"select", "radiobutton"}:
        return _label(rule, first)
    if rule.field_type == "multiselect":
        labels = [label for item in items if (label := _label(rule, item))]
        return LIST_SEPARATOR.join(sorted(labels)) or None
    if raw is None or raw == "":
        return None
    match rule.field_type:
        case "checkbox":
            return "1" if raw is True or str(raw).casefold() in {"1", "true"} else "0"
        case "numeric" | "monetary":
            return number(str(raw), money=rule.datum in MONEY)
        case "date_time":
            return _told(raw, UTC, "%Y-%m-%dT%H:%M:%SZ")
        case "date" | "birthday":
            return _told(raw, ZoneInfo(timezone), "%Y-%m-%d")
        case _:
            return str(raw).strip()


def parts(rule: FieldRule, text: str) -> list[str]:
    """Return the options that a text stands for in a list field."""
    listed = rule.field_type == "multiselect" and rule.datum in LIST_DATA
    return sorted(part for part in text.split(LIST_SEPARATOR) if part) if listed else [text]


def _option(rule: FieldRule, label: str) -> dict[str, Any]:
    # An option that is not known yet is named; whoever sends adds it first.
    return {"enum_id": rule.enums[label]} if label in rule.enums else {"value": label}


def _label(rule: FieldRule, item: Mapping[str, Any]) -> str | None:
    named = {enum_id: label for label, enum_id in rule.enums.items()}
    raw = item.get("value")
    chosen = item.get("enum_id")
    return (named.get(chosen) if isinstance(chosen, int) else None) or (None if raw is None else str(raw))


def number(text: str, *, money: bool) -> str:
    """Return a number as canonical text."""
    try:
        value = Decimal(text.replace(",", ".").replace(" ", ""))
        if value.is_finite() and value.adjusted() > LONGEST_NUMBER:
            return text  # written out it would fill the memory
        if money:
            return str(value.quantize(Decimal("0.01"), ROUND_HALF_UP))
        return str(int(value)) if value == value.to_integral_value() else str(value.normalize())
    except (InvalidOperation, OverflowError, ValueError):
        return text


def price(text: str) -> int:
    """Return a deal's budget: amoCRM takes whole roubles; the exact sum stands in its own field."""
    return int(Decimal(text).quantize(Decimal(1), ROUND_HALF_UP))


def digits(phone: str) -> str:
    """Return what two spellings of one phone have in common: the last ten digits."""
    return "".join(character for character in phone if character.isdigit())[-PHONE_DIGITS:]


def local_time(text: str, timezone: str) -> str:
    """Return an instant as a clinic's people write it, «12.03.2026 10:00»."""
    return _instant(text).astimezone(ZoneInfo(timezone)).strftime("%d.%m.%Y %H:%M")


def _instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _midnight(text: str, timezone: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=ZoneInfo(timezone))


def _told(raw: object, zone: tzinfo, form: str) -> str:
    """Return a moment as canonical text; what is none, or lies beyond the calendar, as it is."""
    try:
        return _moment(raw).astimezone(zone).strftime(form)
    except (OSError, OverflowError, ValueError):
        return str(raw).strip()


def _moment(raw: object) -> datetime:
    if isinstance(raw, (int, float)):
        return datetime.fromtimestamp(raw, tz=UTC)
    text = str(raw)
    if text.lstrip("-").isdigit():
        return datetime.fromtimestamp(int(text), tz=UTC)
    return datetime.fromisoformat(text)
