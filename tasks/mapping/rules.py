"""What makes a mapping sound, beyond its shape: found when it is saved, imported or checked."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from tasks.errors import MappingError
from tasks.mapping.catalogue import CONTACT_CARD, LEAD_CARD, PIPELINES, SHARING, FieldDefault
from tasks.mapping.model import DEAL_NAME_PARTS, ClinicOverride, FieldRule, Policy
from tasks.mapping.model import Mapping as CardMapping

__all__ = ["problems", "refuse_unsound"]

CARDS: Final[dict[str, dict[str, FieldDefault]]] = {
    "contact": {default.datum: default for default in CONTACT_CARD},
    "lead": {default.datum: default for default in LEAD_CARD},
}
CARD_NAMES: Final = {"contact": "карточка контакта", "lead": "карточка сделки"}


def problems(mapping: CardMapping) -> list[str]:
    """Return what is wrong with a mapping, in Russian; an empty list when it is sound."""
    found = [*_card(mapping, "contact"), *_card(mapping, "lead"), *_name(mapping.deal_name)]
    found += _stages(mapping)
    for uid, own in mapping.clinics.items():
        effective = mapping.for_clinic(uid)
        theirs = [*_override(own), *_card(effective, "contact"), *_card(effective, "lead")]
        theirs += [*_name(effective.deal_name), *_stages(effective)]
        found += [f"Клиника {uid}: {text}" for text in theirs if text not in found]
    return found


def refuse_unsound(mapping: CardMapping) -> None:
    """Refuse a mapping that cannot work.

    Raises:
        MappingError: With everything that is wrong.
    """
    found = problems(mapping)
    if found:
        raise MappingError(
            problem=f"The mapping is not sound: {' '.join(found)}",
            remedy="Correct what is named and save it again; the mapping in force was not changed.",
            code="mapping_unsound",
        )


def _card(mapping: CardMapping, card: str) -> Iterator[str]:
    rules: Sequence[FieldRule] = getattr(mapping, card)
    known, where = CARDS[card], CARD_NAMES[card]
    marked = mapping.contact_external_field if card == "contact" else mapping.lead_external_field
    users: dict[int, set[str]] = defaultdict(set)
    seen: set[str] = set()
    yield from (f"{where}: неизвестные данные «{rule.datum}»." for rule in rules if rule.datum not in known)
    for rule in rules:
        default = known.get(rule.datum)
        if default is None:
            continue
        if rule.datum in seen:
            yield f"{where}: «{default.title}» указано дважды."
        seen.add(rule.datum)
        if rule.policy is Policy.NEVER:
            if default.required:
                yield f"{where}: «{default.title}» * нельзя не передавать."
            continue
        yield from (f"{where}: {text}" for text in _field(rule, default, marked))
        if rule.field_id is not None:
            users[rule.field_id].add(rule.datum)
    absent = [default.title for datum, default in known.items() if default.required and datum not in seen]
    yield from (f"{where}: не выбрано поле для «{title}» *." for title in absent)
    for data in users.values():
        if len(data) > 1 and not any(data <= group for group in SHARING):
            titles = ", ".join(f"«{known[datum].title}»" for datum in sorted(data))
            yield f"{where}: одно поле выбрано для {titles}."


def _field(rule: FieldRule, default: FieldDefault, marked: int) -> Iterator[str]:
    if default.builtin is not None:
        if rule.builtin != default.builtin:
            yield f"«{default.title}» — часть самой карточки, поле для него не выбирают."
        return
    if rule.builtin is not None or rule.field_id is None:
        yield f"для «{default.title}» не выбрано поле."
    elif rule.field_id == marked:
        yield f"поле «{default.title}» занято номером IDENT."
    elif rule.field_type not in default.fitting:
        yield f"«{default.title}» нельзя передать в поле типа {rule.field_type}."


def _name(deal_name: str) -> Iterator[str]:
    unknown = [name for name in re.findall(r"\{([^}]*)\}", deal_name) if name not in DEAL_NAME_PARTS]
    if unknown:
        allowed = ", ".join(f"{{{name}}}" for name in DEAL_NAME_PARTS)
        yield f"Название сделки: неизвестно {', '.join(unknown)}; можно {allowed}."
    if not deal_name.strip():
        yield "Название сделки пусто."


def _stages(mapping: CardMapping) -> Iterator[str]:
    for primary, rule in ((True, mapping.primary), (False, mapping.repeat)):
        if all(stage is None for stage in rule.stages.values()):
            yield f"{PIPELINES[primary]}: не выбран ни один этап."


def _override(own: ClinicOverride) -> Iterator[str]:
    for card in ("contact", "lead"):
        data = [rule.datum for rule in getattr(own, card)]
        if len(set(data)) != len(data):
            yield f"{CARD_NAMES[card]}: данные указаны дважды."
