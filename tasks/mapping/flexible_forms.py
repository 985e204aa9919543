"""The forms of the flexible configuration, built from the account's own pipelines, stages, fields and users.

Each block has a form and the way back: what its answers make of a mapping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tasks.mapping.catalogue import PIPELINES, SPECIAL_NOTE, STATUS_LABELS, STATUS_NAMES, TYPE_NAMES
from tasks.mapping.difference import NULL_NAMES, POLICY_NAMES
from tasks.mapping.model import (
    DEAL_NAME_PARTS,
    FieldRule,
    Filters,
    NullPolicy,
    PipelineRule,
    Policy,
    ResponsibleRule,
    StageKey,
)
from tasks.mapping.model import Mapping as CardMapping
from tasks.mapping.proposal import CARDS, candidates_of, match_stages
from tasks.mapping.questions import Form, Question, choice
from tasks.mapping.stages import UNSORTED
from tasks.records import CustomField, Pipeline, User

__all__ = [
    "CARDS",
    "CREATE",
    "KEEP",
    "NEVER",
    "card_form",
    "exceptions_form",
    "filters_form",
    "owners_form",
    "policies_form",
    "read_exceptions",
    "read_filters",
    "read_owners",
    "read_policies",
    "read_stages",
    "stages_form",
]

CREATE: Final = "create"
KEEP: Final = "keep"
NEVER: Final = "never"
NO_STAGE: Final = "none"
NOBODY: Final = "none"
SIDES: Final = {"primary": True, "repeat": False}
#: Rules of responsibility that the form has room for.
OWNER_RULES: Final = 5


def _live(pipelines: Sequence[Pipeline]) -> list[Pipeline]:
    return [pipeline for pipeline in pipelines if not pipeline.is_archive]


def _stage_pairs(pipeline: Pipeline | None) -> list[tuple[str, str]]:
    stages = pipeline.stages if pipeline else ()
    return [(stage.name, str(stage.id)) for stage in stages if stage.type != UNSORTED]


def _by_id(pipelines: Sequence[Pipeline], pipeline_id: int) -> Pipeline | None:
    return next((one for one in _live(pipelines) if one.id == pipeline_id), None)


# ---- pipelines and stages ----------------------------------------------------------------------------------


def stages_form(mapping: CardMapping, pipelines: Sequence[Pipeline]) -> Form:
    """Return the form that chooses pipelines and, for every status, their stage."""
    asked: list[Question] = []
    live = [(pipeline.name, str(pipeline.id)) for pipeline in _live(pipelines)]
    for side, primary in SIDES.items():
        rule: PipelineRule = getattr(mapping, side)
        pipeline = _by_id(pipelines, rule.pipeline_id)
        title = PIPELINES[primary]
        asked.append(choice(f"{side}_pipeline", f"{title}: воронка *", live, str(rule.pipeline_id)))
        # The stages of another pipeline are asked for in a second form.
        stages = [("Не менять", NO_STAGE), *_stage_pairs(pipeline)]
        asked += [
            choice(
                f"{side}_{key.value}",
                f"{title} / {status}",
                stages,
                str(rule.stages.get(key) or NO_STAGE),
            )
            for key, status in STATUS_NAMES.items()
        ]
    text = (
        "## Воронки и этапы\n\nДля каждого статуса приёма выберите этап. Если выбрать другую воронку, "
        "её этапы откроются в следующей форме."
    )
    return Form(title="Воронки и этапы", text=text, questions=tuple(asked))


def read_stages(
    mapping: CardMapping, answer: Mapping[str, Any], pipelines: Sequence[Pipeline]
) -> tuple[CardMapping, bool]:
    """Return the mapping with the chosen stages, and whether another pipeline asks for another form.

    Stages of a newly chosen pipeline are preselected by their names.
    """
    update: dict[str, object] = {}
    changed = False
    for side in SIDES:
        rule: PipelineRule = getattr(mapping, side)
        chosen = int(answer[f"{side}_pipeline"])
        stages = {
            key: None if answer[f"{side}_{key.value}"] == NO_STAGE else int(answer[f"{side}_{key.value}"])
            for key in STATUS_NAMES
        }
        if chosen == rule.pipeline_id:
            update[side] = rule.model_copy(update={"stages": stages})
            continue
        pipeline = _by_id(pipelines, chosen)
        known = {stage.id for stage in pipeline.stages} if pipeline else set()
        if known >= set(stages.values()) - {None}:
            # The second form: it offered the stages of this pipeline.
            update[side] = PipelineRule(pipeline_id=chosen, stages=stages)
        else:
            changed = True
            update[side] = _preselected(rule, chosen, pipelines)
    return mapping.model_copy(update=update), changed


def _preselected(rule: PipelineRule, pipeline_id: int, pipelines: Sequence[Pipeline]) -> PipelineRule:
    pipeline = _by_id(pipelines, pipeline_id)
    similar = match_stages(pipeline, _MATCHED) if pipeline else {}
    closing = {key: stage for key, stage in rule.stages.items() if stage in {142, 143}}
    stages: dict[StageKey, int | None] = {
        key: similar[key].id if key in similar else closing.get(key) for key in STATUS_NAMES
    }
    return PipelineRule(pipeline_id=pipeline_id, stages=stages)


_MATCHED: Final = (
    StageKey.PLANNED,
    StageKey.RESCHEDULED,
    StageKey.ARRIVED,
    StageKey.IN_PROGRESS,
    StageKey.COMPLETED,
    StageKey.NO_SHOW,
)


def exceptions_form(mapping: CardMapping, pipelines: Sequence[Pipeline]) -> Form:
    """Return the form that chooses the stages whose deals are never moved."""
    asked = []
    for side, primary in SIDES.items():
        rule: PipelineRule = getattr(mapping, side)
        question = choice(
            f"{side}_exceptions", PIPELINES[primary], _stage_pairs(_by_id(pipelines, rule.pipeline_id)), ""
        )
        chosen = [str(stage) for stage in rule.exceptions]
        asked.append(question.model_copy(update={"kind": "many", "default": chosen}))
    text = "## Исключения\n\nСделки на этих этапах передача не двигает, только обновляет данные."
    return Form(title="Исключения", text=text, questions=tuple(asked))


def read_exceptions(mapping: CardMapping, answer: Mapping[str, Any]) -> CardMapping:
    """Return the mapping with the chosen exceptions."""
    update = {
        side: getattr(mapping, side).model_copy(
            update={"exceptions": [int(one) for one in answer[f"{side}_exceptions"]]}
        )
        for side in SIDES
    }
    return mapping.model_copy(update=update)


# ---- cards -------------------------------------------------------------------------------------------------


def card_form(mapping: CardMapping, card: str, fields: Sequence[CustomField]) -> Form:
    """Return the form that chooses a field for every datum of a card."""
    rules: dict[str, FieldRule] = {rule.datum: rule for rule in getattr(mapping, card)}
    asked = []
    for default in CARDS[card]:
        if default.api_only:
            continue
        rule = rules.get(default.datum)
        never = rule is None or rule.policy is Policy.NEVER
        pairs = [] if default.required else [("Не передавать", NEVER)]
        if default.builtin is not None:
            pairs.append((f"В поле карточки «{default.name}»", KEEP))
            chosen = NEVER if never else KEEP
        else:
            if default.type != "multitext":
                pairs.append((f"Создать новое поле: «{default.name}»", CREATE))
            fitting = candidates_of(default, fields)
            pairs += [(f"{one.name} ({TYPE_NAMES.get(one.type, one.type)})", str(one.id)) for one in fitting]
            chosen = NEVER if never or rule is None else str(rule.field_id)
            if chosen not in {value for _label, value in pairs}:
                # Its field is gone: an answer must be given that changes nothing by itself.
                pairs.insert(0, ("Поле удалено в amoCRM — выберите другое", KEEP))
                chosen = KEEP
        if len(pairs) == 1:
            continue  # what leaves no choice is not asked about, and stays
        kinds = " / ".join(TYPE_NAMES.get(kind, kind) for kind in default.fitting)
        title = f"{default.title}{' *' if default.required else ''} — тип поля: {kinds}"
        hint = f"Внимание: {SPECIAL_NOTE}." if default.special else ""
        asked.append(choice(default.datum, title, pairs, chosen, hint))
    name = {"contact": "Карточка контакта", "lead": "Карточка сделки"}[card]
    text = f"## {name}\n\nДля каждых данных IDENT выберите поле amoCRM подходящего типа. * — обязательно."
    return Form(title=name, text=text, questions=tuple(asked))


def policies_form(mapping: CardMapping, card: str) -> Form:
    """Return the form that says who wins, and what becomes of a value that vanished in IDENT."""
    titles = {default.datum: default.title for default in CARDS[card]}
    winners = [(name, policy.value) for policy, name in POLICY_NAMES.items() if policy is not Policy.NEVER]
    nulls = [(name, policy.value) for policy, name in NULL_NAMES.items()]
    asked: list[Question] = []
    for rule in getattr(mapping, card):
        if rule.policy is Policy.NEVER:
            continue
        title = titles.get(rule.datum, rule.datum)
        asked.append(choice(f"{rule.datum}_policy", title, winners, rule.policy.value))
        empty = f"{title}: если в IDENT пусто, в amoCRM"
        asked.append(choice(f"{rule.datum}_null", empty, nulls, rule.null_policy.value))
    name = {"contact": "Правила записи: контакт", "lead": "Правила записи: сделка"}[card]
    text = f"## {name}\n\nЧто делать, если значение в amoCRM исправил человек, и если в IDENT его не стало."
    return Form(title=name, text=text, questions=tuple(asked))


def read_policies(mapping: CardMapping, card: str, answer: Mapping[str, Any]) -> CardMapping:
    """Return the mapping with the chosen policies."""
    rules = [
        rule
        if rule.policy is Policy.NEVER
        else rule.model_copy(
            update={
                "policy": Policy(answer[f"{rule.datum}_policy"]),
                "null_policy": NullPolicy(answer[f"{rule.datum}_null"]),
            }
        )
        for rule in getattr(mapping, card)
    ]
    return mapping.model_copy(update={card: rules})


# ---- filters, name, responsible ----------------------------------------------------------------------------


def filters_form(mapping: CardMapping, branches: Sequence[str], doctors: Sequence[str]) -> Form:
    """Return the form that chooses which appointments get a deal."""
    filters = mapping.filters
    statuses = [(label, value) for value, label in STATUS_LABELS.items()]
    known = (
        ("branches", "Только филиалы", sorted({*branches, *filters.branches})),
        ("doctors", "Только врачи", sorted({*doctors, *filters.doctors})),
    )
    asked = [
        choice(name, title, [(one, one) for one in names], "").model_copy(
            update={"kind": "many", "default": list(getattr(filters, name)), "hint": "Пусто — все."}
        )
        for name, title, names in known
    ]
    asked.append(
        choice("statuses", "Только статусы", statuses, "").model_copy(
            update={"kind": "many", "default": list(filters.statuses), "hint": "Пусто — все."}
        )
    )
    for name, title in (("days_back", "Дней назад"), ("days_ahead", "Дней вперёд")):
        days = getattr(filters, name)
        asked.append(
            Question(
                name=name,
                title=title,
                kind="number",
                default=-1 if days is None else days,
                hint="-1 — без ограничения.",
            )
        )
    text = "## Фильтры\n\nДля каких приёмов создавать сделки. Переданные сделки обновляются и дальше."
    return Form(title="Фильтры", text=text, questions=tuple(asked))


def read_filters(mapping: CardMapping, answer: Mapping[str, Any]) -> CardMapping:
    """Return the mapping with the chosen filters."""
    days = {name: None if answer[name] < 0 else answer[name] for name in ("days_back", "days_ahead")}
    chosen = {name: answer[name] for name in ("branches", "doctors", "statuses")}
    return mapping.model_copy(update={"filters": Filters.model_validate({**chosen, **days})})


def owners_form(
    mapping: CardMapping, users: Sequence[User], branches: Sequence[str], doctors: Sequence[str]
) -> Form:
    """Return the form of a deal's name and of who is responsible for new cards."""
    people = [("Как решит amoCRM", NOBODY), *((user.name, str(user.id)) for user in users)]
    subjects = [("—", "")]
    subjects += [(f"Врач: {name}", f"doctor:{name}") for name in doctors]
    subjects += [(f"Филиал: {name}", f"branch:{name}") for name in branches]
    offered = {value for _label, value in subjects}
    rules = [rule for rule in mapping.responsible if f"{rule.datum}:{rule.value}" in offered]
    name = Question(
        name="deal_name",
        title="Название сделки *",
        kind="text",
        default=mapping.deal_name,
        hint="Можно: "
        + ", ".join(f"{{{part}}}" for part in DEAL_NAME_PARTS)
        + f". {{speciality}} — {SPECIAL_NOTE}.",
    )
    everyone = choice("responsible", "Ответственный", people, str(mapping.responsible_user_id or NOBODY))
    asked = [name, everyone]
    for number in range(1, OWNER_RULES + 1):
        rule = rules[number - 1] if number <= len(rules) else None
        subject = f"{rule.datum}:{rule.value}" if rule else ""
        user = str(rule.user_id) if rule else NOBODY
        asked.append(choice(f"rule_{number}", f"Правило {number}: кто записан", subjects, subject))
        asked.append(choice(f"rule_{number}_user", f"Правило {number}: ответственный", people, user))
    text = (
        "## Название сделки и ответственный\n\nПравила смотрятся по порядку; если ни одно не подошло — "
        "общий ответственный. Назначается только новым карточкам."
    )
    return Form(title="Название и ответственный", text=text, questions=tuple(asked))


def read_owners(mapping: CardMapping, answer: Mapping[str, Any]) -> CardMapping:
    """Return the mapping with the chosen name and responsible users."""
    rules = []
    for number in range(1, OWNER_RULES + 1):
        datum, _colon, value = str(answer[f"rule_{number}"]).partition(":")
        user = answer[f"rule_{number}_user"]
        if value and user != NOBODY:
            rules.append(
                ResponsibleRule.model_validate({"datum": datum, "value": value, "user_id": int(user)})
            )
    everyone = answer["responsible"]
    return mapping.model_copy(
        update={
            "deal_name": str(answer["deal_name"]).strip(),
            "responsible_user_id": None if everyone == NOBODY else int(everyone),
            "responsible": rules,
        }
    )
