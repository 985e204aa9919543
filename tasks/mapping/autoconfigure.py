"""Autoconfiguration: carrying out a proposal, so that nothing is ever created twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from tasks.errors import MappingError, UnexpectedAnswerError
from tasks.mapping.catalogue import (
    CONTACT_CARD,
    CONTACT_EXTERNAL,
    LEAD_CARD,
    LEAD_EXTERNAL,
    LOST_NAME,
    PIPELINES,
    STAGES,
    WON_NAME,
    DefaultStage,
    FieldDefault,
)
from tasks.mapping.drift import Drift, check
from tasks.mapping.model import FieldRule, PipelineRule, Policy, StageKey
from tasks.mapping.model import Mapping as CardMapping
from tasks.mapping.proposal import (
    CARDS,
    PREDEFINED,
    Block,
    Element,
    Proposal,
    candidates_of,
    match_stages,
    open_stages,
    propose,
)
from tasks.mapping.similarity import plain
from tasks.mapping.stages import LOST, WON
from tasks.records import CustomField, Pipeline, Stage

__all__ = [
    "Destination",
    "Drift",
    "Proposal",
    "apply",
    "check",
    "field_definition",
    "missing_options",
    "propose",
    "rule_of",
]

#: amoCRM's own limits, as its reference states them.
MOST_PIPELINES: Final = 50
MOST_STAGES: Final = 100
#: Stages that every pipeline gets besides its own: «Неразобранное» and the closing ones.
SYSTEM_STAGES: Final = 3
ENUM_TYPES: Final = frozenset({"select", "multiselect", "radiobutton"})
AGAIN: Final = "Run autoconfigure again: what exists is reused, nothing is created twice."


class Destination(Protocol):
    """What applying a proposal needs of amoCRM."""

    def read_pipelines(self) -> list[Pipeline]:
        """Read all pipelines."""

    def create_pipeline(
        self, name: str, stages: Sequence[tuple[str, int, str]], won_name: str, lost_name: str
    ) -> Pipeline:
        """Create a pipeline with its stages."""

    def create_stage(self, pipeline_id: int, name: str, sort: int, color: str) -> Stage:
        """Create a stage."""

    def read_custom_fields(self, entity: str) -> list[CustomField]:
        """Read all custom fields of ``contacts`` or ``leads``."""

    def create_custom_fields(self, entity: str, definitions: Sequence[dict[str, Any]]) -> list[CustomField]:
        """Create custom fields."""

    def add_options(self, entity: str, field_id: int, labels: Sequence[str]) -> CustomField:
        """Add options to a list field, without losing those it has."""


def apply(proposal: Proposal, destination: Destination, current: CardMapping | None = None) -> CardMapping:
    """Create what is missing and return the mapping.

    Everything is read again first: running it twice, also after it died half-way, creates nothing twice.

    Args:
        proposal: What was confirmed.
        destination: The account.
        current: The mapping in force; what the proposal does not touch stays as it is there.

    Raises:
        MappingError: When amoCRM's limits leave no room, what was chosen has vanished, or a first
            configuration leaves out the pipelines.
        UnexpectedAnswerError: When the account lacks one of amoCRM's own fields, PHONE or EMAIL.
    """
    if current is None and "pipelines" not in proposal.blocks:
        raise MappingError(
            problem="The first configuration cannot do without the pipelines: a deal must stand somewhere.",
            remedy="Configure all blocks at first; later each can be configured alone.",
            code="blocks_needed",
        )
    update: dict[str, object] = {}
    if "pipelines" in proposal.blocks:
        pipelines = destination.read_pipelines()
        _refuse_beyond_limits(proposal, pipelines)
        for side in ("primary", "repeat"):
            rule: PipelineRule | None = getattr(current, side) if current else None
            update[side] = _settle_pipeline(destination, pipelines, proposal, side, rule)
    for block, entity, card, mark in (
        ("contact", "contacts", CONTACT_CARD, CONTACT_EXTERNAL),
        ("lead", "leads", LEAD_CARD, LEAD_EXTERNAL),
    ):
        rules: list[FieldRule] = getattr(current, block) if current else []
        # The mark has its field from the start, whatever is configured: without it nothing is found again.
        if block in proposal.blocks or current is None:
            fields = _settle_fields(destination, entity, proposal, block)  # type: ignore[arg-type]
            known = {rule.datum: rule for rule in rules}
            update[block] = [
                rule_of(default, fields.get(default.datum), known.get(default.datum)) for default in card
            ]
            marked = fields[mark.datum]
            update[f"{block}_external_field"] = marked.id
    if current is not None:
        return current.model_copy(update={**update, "account_timezone": proposal.account.timezone})
    base = {"account_id": proposal.account.id, "account_timezone": proposal.account.timezone}
    return CardMapping.model_validate({**base, **update})


def _refuse_beyond_limits(proposal: Proposal, pipelines: Sequence[Pipeline]) -> None:
    """Refuse before anything is created what amoCRM would refuse half-way."""
    names = {plain(pipeline.name) for pipeline in pipelines if not pipeline.is_archive}
    new = [
        one
        for one in (proposal.element("primary"), proposal.element("repeat"))
        if one is not None and one.action == "create" and plain(one.name) not in names
    ]
    problem = ""
    if len(pipelines) + len(new) > MOST_PIPELINES:
        problem = f"The account has {len(pipelines)} pipelines; amoCRM allows {MOST_PIPELINES}."
    for side in ("primary", "repeat"):
        chosen = proposal.element(side)
        pipeline = next((one for one in pipelines if chosen and one.id == chosen.found), None)
        own = [one for one in proposal.of("pipelines") if one.key.startswith(f"{side}.")]
        more = sum(one.action == "create" for one in own)
        have = len(pipeline.stages) if pipeline else SYSTEM_STAGES
        if more and have + more > MOST_STAGES:
            problem = f"A pipeline has {have} stages; amoCRM allows {MOST_STAGES}."
    if problem:
        raise MappingError(
            problem=f"{problem} Nothing was created.",
            remedy="Delete what is not needed in amoCRM, or choose existing elements instead of new ones.",
            code="amocrm_limit",
        )


def _settle_pipeline(
    destination: Destination,
    pipelines: Sequence[Pipeline],
    proposal: Proposal,
    side: str,
    current: PipelineRule | None,
) -> PipelineRule:
    element = proposal.element(side)
    name = element.name if element else PIPELINES[side == "primary"]
    wanted = [
        (default, one)
        for default in STAGES
        if (one := proposal.element(f"{side}.{default.key.value}")) is not None
    ]
    live = [pipeline for pipeline in pipelines if not pipeline.is_archive]
    if element is not None and element.action == "reuse":
        pipeline = next((one for one in live if one.id == element.found), None)
        if pipeline is None:
            raise _vanished(name)
    else:
        # Of the same name: made by an earlier try whose end was never seen.
        pipeline = next((one for one in live if plain(one.name) == plain(name)), None)
    if pipeline is None:
        chosen = [(one.name, default.sort, default.color) for default, one in wanted if one.action != "skip"]
        pipeline = destination.create_pipeline(name, chosen, WON_NAME, LOST_NAME)
    stages = _settle_stages(destination, pipeline, wanted)
    same = current is not None and current.pipeline_id == pipeline.id
    kept = dict(current.stages) if current is not None and same else {}
    closing: dict[StageKey, int | None] = {
        StageKey.BILL_ISSUED: WON,
        StageKey.CANCELLED: LOST,
        StageKey.GONE: LOST,
    }
    known = {stage.id for stage in pipeline.stages}
    closing |= {
        key: kept[key] for key in closing if key in kept and (kept[key] is None or kept[key] in known)
    }
    exceptions = [one for one in current.exceptions if one in known] if current is not None and same else []
    return PipelineRule(pipeline_id=pipeline.id, stages={**closing, **stages}, exceptions=exceptions)


def _settle_stages(
    destination: Destination, pipeline: Pipeline, wanted: Sequence[tuple[DefaultStage, Element]]
) -> dict[StageKey, int | None]:
    """Return the stage of each key; what is missing is created where an appointment's life puts it."""
    by_id = {stage.id: stage for stage in pipeline.stages}
    by_name = {plain(stage.name): stage for stage in reversed(open_stages(pipeline))}
    elsewhere = [
        default.key
        for default, one in wanted
        if (one.action == "reuse" and one.found not in by_id)
        or (one.action == "create" and not one.candidates and one.name == one.new_name)
    ]
    # Another pipeline was chosen than the proposed one: its own stages are looked through.
    similar = match_stages(pipeline, elsewhere)
    stages: dict[StageKey, int | None] = {}
    last = 0
    for default, element in wanted:
        stage = by_id.get(element.found or 0)
        if element.action == "skip":
            stages[default.key] = None
            continue
        if stage is None:
            stage = by_name.get(plain(element.name)) or similar.get(default.key)
        if stage is None or (stage.id in stages.values() and element.action == "create"):
            sort = last + 1 if last else default.sort
            stage = destination.create_stage(pipeline.id, element.name, sort, default.color)
        stages[default.key] = stage.id
        last = max(last, stage.sort) if stage.id not in {WON, LOST} else last
    return stages


def _settle_fields(
    destination: Destination, entity: str, proposal: Proposal, block: Block
) -> dict[str, CustomField]:
    known = destination.read_custom_fields(entity)
    mark = CARDS[block][0]
    settled: dict[str, CustomField] = {}
    missing: list[tuple[FieldDefault, str]] = []
    for default in CARDS[block]:
        element = proposal.element(f"{block}.{default.datum}")
        if default.builtin is not None or (element is None and default is not mark):
            continue
        if element is not None and element.action == "skip":
            continue
        fitting = candidates_of(default, known)
        wanted = element.found if element is not None and element.action == "reuse" else None
        field = next(
            (one for one in fitting if (one.id == wanted if wanted else default.owns(one.code))), None
        )
        if field is None and wanted:
            raise _vanished(element.name if element else default.name)
        if field is None:
            missing.append((default, element.name if element else default.name))
        else:
            settled[default.datum] = field
    _refuse_without_predefined(missing)
    codes = {field.code for field in known}
    definitions = [field_definition(default, name, codes) for default, name in missing]
    if definitions:
        made = destination.create_custom_fields(entity, definitions)
        by_code = {field.code: field for field in made}
        for (default, _name), definition in zip(missing, definitions, strict=True):
            if definition["code"] in by_code:
                settled[default.datum] = by_code[definition["code"]]
    absent = [name for default, name in missing if default.datum not in settled]
    if absent:
        raise UnexpectedAnswerError(
            problem=f"amoCRM did not create these fields: {', '.join(absent)}.",
            remedy=AGAIN,
            code="field_not_created",
        )
    return {datum: _with_options(destination, entity, block, datum, one) for datum, one in settled.items()}


def _with_options(
    destination: Destination, entity: str, block: Block, datum: str, field: CustomField
) -> CustomField:
    """Add the options that a datum with fixed texts needs and the field lacks."""
    default = next(one for one in CARDS[block] if one.datum == datum)
    if field.type not in ENUM_TYPES:
        return field
    lacking = missing_options(default, field)
    return destination.add_options(entity, field.id, lacking) if lacking else field


def missing_options(default: FieldDefault, field: CustomField) -> list[str]:
    """Return the fixed texts of a datum for which a list field has no option, whatever its spelling."""
    have = {plain(enum.value) for enum in field.enums}
    return [label for label in default.options if plain(label) not in have]


def _refuse_without_predefined(missing: Sequence[tuple[FieldDefault, str]]) -> None:
    lost = sorted({default.code for default, _name in missing if default.code in PREDEFINED})
    if lost:
        raise UnexpectedAnswerError(
            problem=f"The account lacks {', '.join(lost)}, which amoCRM gives every account.",
            remedy="Check that the token belongs to an administrator of a complete account.",
            code="predefined_field",
        )


def _vanished(name: str) -> MappingError:
    return MappingError(
        problem=f"«{name}» was chosen, and does not exist in amoCRM any more.",
        remedy=AGAIN,
        code="choice_vanished",
    )


def field_definition(default: FieldDefault, name: str, codes: set[str | None]) -> dict[str, Any]:
    """Return the body that creates a field; always the same for the same account.

    Args:
        default: The datum.
        name: Name of the field.
        codes: Codes that are taken: a code is unique, and may be held by a field of another type.
    """
    code, number = default.code, 1
    while code in codes:
        number += 1
        code = f"{default.code}_{number}"
    definition: dict[str, Any] = {
        "name": name,
        "type": default.type,
        "code": code,
        "is_api_only": default.api_only,
        "request_id": code,
    }
    if default.options:
        definition["enums"] = [
            {"value": label, "sort": number * 10} for number, label in enumerate(default.options, start=1)
        ]
    if default.type == "birthday":
        definition["remind"] = "never"
    return definition


def rule_of(default: FieldDefault, found: CustomField | None, current: FieldRule | None = None) -> FieldRule:
    """Return the rule of a datum; «Не передавать» where there is no field for it.

    Args:
        default: The datum.
        found: The field it goes to.
        current: The rule in force: who wins stays as it was chosen there.
    """
    kept = current if current is not None and current.policy is not Policy.NEVER else None
    policy = kept.policy if kept else default.policy
    null_policy = kept.null_policy if kept else default.null_policy
    if default.builtin is not None:
        # An attribute of the card is always there: whether it is transferred stays as it was chosen.
        return FieldRule(
            datum=default.datum,
            builtin=default.builtin,
            field_type=default.type,
            field_name=default.name,
            policy=current.policy if current else policy,
            null_policy=null_policy,
        )
    if found is None:
        return FieldRule(datum=default.datum, field_type=default.type, policy=Policy.NEVER)
    labels: Mapping[str, int] = {plain(enum.value): enum.id for enum in found.enums}
    return FieldRule(
        datum=default.datum,
        field_id=found.id,
        field_type=found.type,
        field_name=found.name,
        policy=policy,
        null_policy=null_policy,
        enums={label: labels[plain(label)] for label in default.options if plain(label) in labels},
        enum_code=default.enum_code,
    )
