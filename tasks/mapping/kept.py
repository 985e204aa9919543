"""What stays as it was chosen when a card is proposed again, and what is left out until it is chosen."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tasks.mapping.catalogue import SPECIAL, FieldDefault
from tasks.mapping.model import FieldRule, Policy
from tasks.mapping.model import Mapping as CardMapping
from tasks.records import CustomField

__all__ = ["candidates_of", "kept", "special_chosen", "without_special"]


def candidates_of(default: FieldDefault, fields: Sequence[CustomField]) -> list[CustomField]:
    """Return the fields of an account that can hold a datum: of a fitting type, and open to people."""
    own = [field for field in fields if default.owns(field.code)]
    if default.type == "multitext" or default.api_only:
        # A field that people may edit is no place for our mark, whatever it is called.
        return [field for field in own if field.type == default.type]
    others = [field for field in fields if not field.is_api_only and field not in own]
    return [field for field in (*own, *others) if field.type in default.fitting]


def kept(
    block: str, defaults: Sequence[FieldDefault], fields: Sequence[CustomField], current: CardMapping | None
) -> tuple[dict[str, CustomField], set[str]]:
    """Return what the mapping in force chose and still fits, and what it leaves out."""
    if current is None:
        return {}, set()
    rules: dict[str, FieldRule] = {rule.datum: rule for rule in getattr(current, block)}
    chosen: dict[str, CustomField] = {}
    skipped: set[str] = set()
    for default in defaults:
        rule = rules.get(default.datum)
        if default.api_only:
            ids = {current.contact_external_field if block == "contact" else current.lead_external_field}
        elif rule is None:
            continue
        elif rule.policy is Policy.NEVER:
            skipped.add(default.datum)
            continue
        else:
            ids = {rule.field_id} - {None}  # type: ignore[assignment]
        found = [field for field in candidates_of(default, fields) if field.id in ids]
        if found:
            chosen[default.datum] = found[0]
    return chosen, skipped


def without_special(
    block: str,
    defaults: Sequence[FieldDefault],
    current: CardMapping | None,
    special: Collection[str],
    skipped: set[str],
) -> set[str]:
    """Return what is left out: of special categories all that neither the mapping nor a person chose."""
    rules: Sequence[FieldRule] = getattr(current, block) if current else ()
    decided = {rule.datum for rule in rules}
    keys = {default.datum: f"{block}.{default.datum}" for default in defaults}
    asked = {datum for datum, key in keys.items() if key in SPECIAL and key in special}
    left_out = {datum for datum, key in keys.items() if key in SPECIAL and datum not in decided}
    return (skipped | left_out) - asked


def special_chosen(mapping: CardMapping | None) -> list[str]:
    """Return the keys of the data of special categories that a mapping transfers."""
    cards = {"contact": mapping.contact, "lead": mapping.lead} if mapping else {}
    chosen = {
        f"{card}.{rule.datum}"
        for card, rules in cards.items()
        for rule in rules
        if rule.policy is not Policy.NEVER
    }
    return sorted(chosen & SPECIAL)
