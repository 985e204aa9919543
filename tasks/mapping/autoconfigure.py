"""Autoconfiguration and drift: what the default mapping needs in an account, and what the account lacks."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tasks.errors import UnexpectedAnswerError
from tasks.mapping.catalogue import (
    CONTACT_CARD,
    CONTACT_EXTERNAL,
    LEAD_CARD,
    LEAD_EXTERNAL,
    LOST_NAME,
    PIPELINES,
    STAGES,
    WON_NAME,
    FieldDefault,
)
from tasks.mapping.model import FieldRule, PipelineRule, Policy, StageKey
from tasks.mapping.model import Mapping as CardMapping
from tasks.mapping.stages import LOST, UNSORTED, WON
from tasks.records import Account, CustomField, Pipeline, Stage

__all__ = ["Drift", "Element", "Proposal", "apply", "check", "propose"]

Block = Literal["pipelines", "contact", "lead"]
PREDEFINED = frozenset({"PHONE", "EMAIL"})


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


@dataclass(frozen=True, slots=True)
class Element:
    """One pipeline, stage or field of the proposal."""

    block: Block
    name: str
    action: Literal["create", "reuse"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What autoconfiguration would create and what it would reuse."""

    account: Account
    elements: tuple[Element, ...]


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing that the mapping names and the account lacks; names are settings, never a person's."""

    what: str
    name: str
    cause: str


def propose(
    account: Account,
    pipelines: Sequence[Pipeline],
    contact_fields: Sequence[CustomField],
    lead_fields: Sequence[CustomField],
) -> Proposal:
    """Compare the default mapping with an account."""
    elements: list[Element] = []

    def add(block: Block, name: str, found: object) -> None:
        elements.append(Element(block, name, "create" if found is None else "reuse"))

    for name in PIPELINES.values():
        pipeline = _pipeline(pipelines, name)
        add("pipelines", name, pipeline)
        for stage in STAGES:
            add("pipelines", f"{name} / {stage.name}", _stage(pipeline, stage.name) if pipeline else None)
    for default in (CONTACT_EXTERNAL, *CONTACT_CARD):
        if default.builtin is None:
            add("contact", default.name, _field(contact_fields, default))
    for default in (LEAD_EXTERNAL, *LEAD_CARD):
        if default.builtin is None:
            add("lead", default.name, _field(lead_fields, default))
    return Proposal(account, tuple(elements))


def apply(proposal: Proposal, destination: Destination) -> CardMapping:
    """Create what is missing and return the mapping.

    Everything is read again first: running it twice, also after it died half-way, creates nothing twice.

    Raises:
        UnexpectedAnswerError: When the account lacks one of amoCRM's own fields, PHONE or EMAIL.
    """
    pipelines = destination.read_pipelines()
    rules = {primary: _settle_pipeline(destination, pipelines, name) for primary, name in PIPELINES.items()}
    contact_fields = _settle_fields(destination, "contacts", (CONTACT_EXTERNAL, *CONTACT_CARD))
    lead_fields = _settle_fields(destination, "leads", (LEAD_EXTERNAL, *LEAD_CARD))
    return CardMapping(
        account_id=proposal.account.id,
        account_timezone=proposal.account.timezone,
        contact=[_rule(default, contact_fields) for default in CONTACT_CARD],
        lead=[_rule(default, lead_fields) for default in LEAD_CARD],
        primary=rules[True],
        repeat=rules[False],
        contact_external_field=contact_fields[CONTACT_EXTERNAL.datum].id,
        lead_external_field=lead_fields[LEAD_EXTERNAL.datum].id,
    )


def _settle_pipeline(destination: Destination, pipelines: Sequence[Pipeline], name: str) -> PipelineRule:
    pipeline = _pipeline(pipelines, name)
    if pipeline is None:
        wanted = [(stage.name, stage.sort, stage.color) for stage in STAGES]
        pipeline = destination.create_pipeline(name, wanted, WON_NAME, LOST_NAME)
    stages: dict[StageKey, int | None] = {
        StageKey.BILL_ISSUED: WON,
        StageKey.CANCELLED: LOST,
        StageKey.GONE: LOST,
    }
    for default in STAGES:
        stage = _stage(pipeline, default.name)
        if stage is None:
            stage = destination.create_stage(pipeline.id, default.name, default.sort, default.color)
        stages[default.key] = stage.id
    return PipelineRule(pipeline_id=pipeline.id, stages=stages)


def _settle_fields(
    destination: Destination, entity: str, defaults: Sequence[FieldDefault]
) -> dict[str, CustomField]:
    known = destination.read_custom_fields(entity)
    wanted = [default for default in defaults if default.builtin is None]
    missing = [default for default in wanted if _field(known, default) is None]
    lost = [default.code for default in missing if default.code in PREDEFINED]
    if lost:
        raise UnexpectedAnswerError(
            problem=f"The account lacks {', '.join(sorted(set(lost)))}, which amoCRM gives every account.",
            remedy="Check that the token belongs to an administrator of a complete account.",
            code="predefined_field",
        )
    if missing:
        known = [*known, *destination.create_custom_fields(entity, [_definition(item) for item in missing])]
    settled = {default.datum: _field(known, default) for default in wanted}
    absent = [default.name for default in wanted if settled[default.datum] is None]
    if absent:
        raise UnexpectedAnswerError(
            problem=f"amoCRM did not create these fields: {', '.join(absent)}.",
            remedy="Run ident-amocrm autoconfigure --yes again; what was created is reused.",
            code="field_not_created",
        )
    return {datum: found for datum, found in settled.items() if found is not None}


def _definition(default: FieldDefault) -> dict[str, Any]:
    definition: dict[str, Any] = {
        "name": default.name,
        "type": default.type,
        "code": default.code,
        "is_api_only": default.api_only,
        "request_id": default.code,
    }
    if default.options:
        definition["enums"] = [
            {"value": label, "sort": number * 10} for number, label in enumerate(default.options, start=1)
        ]
    if default.type == "birthday":
        definition["remind"] = "never"
    return definition


def _rule(default: FieldDefault, fields: dict[str, CustomField]) -> FieldRule:
    if default.builtin is not None:
        return FieldRule(
            datum=default.datum,
            builtin=default.builtin,
            field_type=default.type,
            field_name=default.name,
            policy=default.policy,
            null_policy=default.null_policy,
        )
    found = fields[default.datum]
    return FieldRule(
        datum=default.datum,
        field_id=found.id,
        field_type=found.type,
        field_name=found.name,
        policy=default.policy,
        null_policy=default.null_policy,
        enums={enum.value: enum.id for enum in found.enums if enum.value in default.options},
        enum_code=default.enum_code,
    )


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().replace("ё", "е").split())


def _pipeline(pipelines: Iterable[Pipeline], name: str) -> Pipeline | None:
    live = [pipeline for pipeline in pipelines if not pipeline.is_archive]
    return next((pipeline for pipeline in live if _normal(pipeline.name) == _normal(name)), None)


def _stage(pipeline: Pipeline, name: str) -> Stage | None:
    open_stages = [
        stage for stage in pipeline.stages if stage.type != UNSORTED and stage.id not in {WON, LOST}
    ]
    return next((stage for stage in open_stages if _normal(stage.name) == _normal(name)), None)


def _field(fields: Iterable[CustomField], default: FieldDefault) -> CustomField | None:
    """Find the field of a datum: by code, else by name; of the right type and with every option."""
    fitting = [
        field
        for field in fields
        if field.type == default.type and set(default.options) <= {enum.value for enum in field.enums}
    ]
    by_code = [field for field in fitting if field.code == default.code]
    # A field that people may edit is no place for our mark, whatever it is called.
    by_name = [
        field for field in fitting if _normal(field.name) == _normal(default.name) and not default.api_only
    ]
    return next(iter([*by_code, *by_name]), None)


def check(
    mapping: CardMapping,
    pipelines: Sequence[Pipeline],
    contact_fields: Sequence[CustomField],
    lead_fields: Sequence[CustomField],
) -> list[Drift]:
    """List what the mapping names and the account no longer has."""
    drifts: list[Drift] = []
    for name, rule in zip(PIPELINES.values(), (mapping.primary, mapping.repeat), strict=True):
        drifts += _pipeline_drifts(name, rule, pipelines)
    for what, rules, fields, external in (
        ("поле контакта", mapping.contact, contact_fields, mapping.contact_external_field),
        ("поле сделки", mapping.lead, lead_fields, mapping.lead_external_field),
    ):
        known = {field.id: field for field in fields}
        if external not in known:
            drifts.append(Drift(what, "ID из IDENT", "удалено в amoCRM"))
        drifts += [drift for rule in rules if (drift := _field_drift(what, rule, known))]
    return drifts


def _pipeline_drifts(name: str, rule: PipelineRule, pipelines: Sequence[Pipeline]) -> list[Drift]:
    pipeline = next((pipeline for pipeline in pipelines if pipeline.id == rule.pipeline_id), None)
    if pipeline is None:
        return [Drift("воронка", name, "удалена в amoCRM")]
    if pipeline.is_archive:
        return [Drift("воронка", pipeline.name, "перенесена в архив")]
    known = {stage.id for stage in pipeline.stages} | {WON, LOST}
    # A deleted stage's own name is gone with it: the one that autoconfigure gave is what people know.
    names = {default.key: default.name for default in STAGES}
    return [
        Drift("этап", f"{pipeline.name} / {names.get(key, key.value)}", "удалён в amoCRM")
        for key, stage in rule.stages.items()
        if stage is not None and stage not in known
    ]


def _field_drift(what: str, rule: FieldRule, known: dict[int, CustomField]) -> Drift | None:
    if rule.field_id is None or rule.policy is Policy.NEVER:
        return None
    field = known.get(rule.field_id)
    if field is None:
        return Drift(what, rule.field_name, "удалено в amoCRM")
    if field.type != rule.field_type:
        return Drift(what, field.name, f"другой тип: {field.type} вместо {rule.field_type}")
    options = {enum.id for enum in field.enums}
    gone = [label for label, enum_id in rule.enums.items() if enum_id not in options]
    return Drift(what, field.name, f"нет вариантов: {', '.join(gone)}") if gone else None
