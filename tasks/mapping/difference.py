"""What changed between two mappings, as an operator reads it, and which data it makes due again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tasks.mapping.catalogue import CONTACT_CARD, LEAD_CARD, PIPELINES, STATUS_NAMES
from tasks.mapping.model import ClinicOverride, FieldRule, Filters, NullPolicy, PipelineRule, Policy
from tasks.mapping.model import Mapping as CardMapping
from tasks.records import Pipeline

__all__ = ["NULL_NAMES", "POLICY_NAMES", "differences", "redirected"]

TITLES: Final = {
    "contact": {default.datum: default.title for default in CONTACT_CARD},
    "lead": {default.datum: default.title for default in LEAD_CARD},
}
CARD_NAMES: Final = {"contact": "Контакт", "lead": "Сделка"}
POLICY_NAMES: Final = {
    Policy.OVERWRITE: "IDENT главнее",
    Policy.OVERWRITE_UNLESS_EDITED: "не трогать исправленное вручную",
    Policy.FILL_EMPTY: "заполнять только пустое",
    Policy.CREATE_ONLY: "только при создании карточки",
    Policy.NEVER: "не передавать",
}
NULL_NAMES: Final = {NullPolicy.CLEAR: "очищать", NullPolicy.KEEP: "оставлять"}
#: Fields of a mapping that are told by name and value.
PLAIN: Final = {
    "deal_name": "Название сделки",
    "contact_tag": "Тег контакта",
    "lead_tag": "Тег сделки",
    "gone_tag": "Тег удалённого в IDENT",
    "responsible_user_id": "Ответственный",
    "contact_external_field": "Контакт: поле номера IDENT",
    "lead_external_field": "Сделка: поле номера IDENT",
}
FILTER_NAMES: Final = {
    "branches": "Филиалы",
    "doctors": "Врачи",
    "statuses": "Статусы",
    "days_back": "Дней назад",
    "days_ahead": "Дней вперёд",
}


def differences(
    before: CardMapping | None, after: CardMapping, pipelines: Sequence[Pipeline] = ()
) -> list[str]:
    """Return one line for each difference.

    Args:
        before: The mapping that was in force; ``None`` when there was none.
        after: The mapping now.
        pipelines: The account's pipelines, for the names of stages.
    """
    if before is None:
        return ["Настройка создана."]
    names = {(one.id, stage.id): stage.name for one in pipelines for stage in one.stages}
    lines = [*_sides(before, after, {one.id: one.name for one in pipelines}, names)]
    for card in ("contact", "lead"):
        lines += _card(card, getattr(before, card), getattr(after, card))
    for name, title in PLAIN.items():
        was, now = getattr(before, name), getattr(after, name)
        if was != now:
            lines.append(f"{title}: {_shown(was)} → {_shown(now)}")
    if before.responsible != after.responsible:
        lines.append(f"Правила ответственных: {len(before.responsible)} → {len(after.responsible)}")
    lines += _filters(before.filters, after.filters)
    for uid in sorted({*before.clinics, *after.clinics}):
        was_own, own = before.clinics.get(uid, ClinicOverride()), after.clinics.get(uid, ClinicOverride())
        if was_own != own:
            theirs = differences(_of_clinic(before, uid), _of_clinic(after, uid), pipelines)
            lines += [f"Клиника {uid}: {line}" for line in theirs if line not in lines]
    return lines


def _of_clinic(mapping: CardMapping, uid: str) -> CardMapping:
    return mapping.for_clinic(uid).model_copy(update={"clinics": {}})


def redirected(before: CardMapping | None, after: CardMapping) -> dict[str, frozenset[str]]:
    """Return the data, by card, that go to another field than before: what was sent stands elsewhere."""
    if before is None:
        return {}
    found: dict[str, set[str]] = {"contact": set(), "lead": set()}
    for uid in ("", *{*before.clinics, *after.clinics}):
        was_map, now_map = before.for_clinic(uid), after.for_clinic(uid)
        for card, data in found.items():
            was = {rule.datum: _place(rule) for rule in getattr(was_map, card)}
            for rule in getattr(now_map, card):
                place = _place(rule)
                if place is not None and place != was.get(rule.datum):
                    data.add(rule.datum)
    return {card: frozenset(data) for card, data in found.items() if data}


def _place(rule: FieldRule) -> tuple[str | None, int | None] | None:
    return None if rule.policy is Policy.NEVER else (rule.builtin, rule.field_id)


def _sides(
    before: CardMapping,
    after: CardMapping,
    pipelines: Mapping[int, str],
    names: Mapping[tuple[int, int], str],
) -> Iterator[str]:
    for side, primary in (("primary", True), ("repeat", False)):
        was: PipelineRule = getattr(before, side)
        now: PipelineRule = getattr(after, side)
        title = PIPELINES[primary]
        if was.pipeline_id != now.pipeline_id:
            there = [pipelines.get(rule.pipeline_id, str(rule.pipeline_id)) for rule in (was, now)]
            yield f"{title}: воронка «{there[0]}» → «{there[1]}»"
        for key, status in STATUS_NAMES.items():
            stages = [_stage(rule, key, names) for rule in (was, now)]
            if (was.pipeline_id, was.stages.get(key)) != (now.pipeline_id, now.stages.get(key)):
                yield f"{title} / {status}: {stages[0]} → {stages[1]}"
        if set(was.exceptions) != set(now.exceptions):
            listed = [
                ", ".join(f"«{names.get((rule.pipeline_id, one), one)}»" for one in rule.exceptions) or "нет"
                for rule in (was, now)
            ]
            yield f"{title}, исключения: {listed[0]} → {listed[1]}"


def _stage(rule: PipelineRule, key: Any, names: Mapping[tuple[int, int], str]) -> str:
    stage = rule.stages.get(key)
    return "не менять" if stage is None else f"«{names.get((rule.pipeline_id, stage), stage)}»"


def _card(card: str, before: Sequence[FieldRule], after: Sequence[FieldRule]) -> Iterator[str]:
    was = {rule.datum: rule for rule in before}
    now = {rule.datum: rule for rule in after}
    for datum in dict.fromkeys([*was, *now]):
        title = f"{CARD_NAMES[card]} / {TITLES[card].get(datum, datum)}"
        old, new = was.get(datum), now.get(datum)
        if _target(old) != _target(new):
            yield f"{title}: {_target(old)} → {_target(new)}"
        elif old and new and old.field_id != new.field_id:
            yield f"{title}: другое поле с тем же именем {_target(new)}"
        if not old or not new or Policy.NEVER in {old.policy, new.policy}:
            continue
        if old.policy != new.policy:
            yield f"{title}: {POLICY_NAMES[old.policy]} → {POLICY_NAMES[new.policy]}"
        if old.null_policy != new.null_policy:
            yield (
                f"{title}, если в IDENT пусто: {NULL_NAMES[old.null_policy]} → {NULL_NAMES[new.null_policy]}"
            )


def _target(rule: FieldRule | None) -> str:
    return "не передавать" if rule is None or rule.policy is Policy.NEVER else f"«{rule.field_name}»"


def _filters(before: Filters, after: Filters) -> Iterator[str]:
    for name, title in FILTER_NAMES.items():
        was, now = getattr(before, name), getattr(after, name)
        if was != now:
            yield f"Фильтр «{title}»: {_shown(was)} → {_shown(now)}"


def _shown(value: object) -> str:
    if value is None or value in ([], ""):
        return "—"
    return ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)
