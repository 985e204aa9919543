"""Drift: what the mapping names and the account no longer has, and what can still be transferred then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tasks.mapping.catalogue import OPEN_DATA, PIPELINES, STATUS_NAMES, TYPE_NAMES
from tasks.mapping.model import FieldRule, PipelineRule, Policy, StageKey
from tasks.mapping.model import Mapping as CardMapping
from tasks.mapping.stages import LOST, WON
from tasks.records import CustomField, Pipeline

__all__ = ["Drift", "check", "usable"]

ENUM_TYPES: Final = frozenset({"select", "multiselect", "radiobutton"})
CARD_FIELDS: Final = {"contact": "поле контакта", "lead": "поле сделки"}


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing that the mapping names and the account lacks; names are settings, never a person's.

    Attributes:
        what: Kind of the thing, in Russian.
        name: Its name, as people know it.
        cause: What happened to it.
        datum: Card and datum that cannot be transferred, such as ``lead.doctor``.
        places: First or repeat visit, and state, for which a deal has no stage.
        is_vital: Whether nothing can be transferred without it.
    """

    what: str
    name: str
    cause: str
    datum: str = ""
    places: frozenset[tuple[bool, StageKey]] = frozenset()
    is_vital: bool = False

    def __str__(self) -> str:
        """Return cause and remedy as an operator reads them."""
        what = f"{self.what[0].upper()}{self.what[1:]} „{self.name}“ {self.cause}"
        return f"{what}: запустите autoconfigure или выберите другое"

    @property
    def code(self) -> str:
        """What drifted, without free text: for settings and events."""
        if self.datum:
            return self.datum
        sides = {True: "primary", False: "repeat"}
        return ",".join(sorted(f"{sides[primary]}.{key.value}" for primary, key in self.places))


def check(
    mapping: CardMapping,
    pipelines: Sequence[Pipeline],
    contact_fields: Sequence[CustomField],
    lead_fields: Sequence[CustomField],
) -> list[Drift]:
    """List what the mapping names and the account no longer has."""
    drifts: list[Drift] = []
    for primary, rule in ((True, mapping.primary), (False, mapping.repeat)):
        drifts += _pipeline_drifts(primary, rule, pipelines)
    cards: tuple[tuple[Literal["contact", "lead"], Sequence[CustomField], int], ...] = (
        ("contact", contact_fields, mapping.contact_external_field),
        ("lead", lead_fields, mapping.lead_external_field),
    )
    for card, fields, external in cards:
        known = {field.id: field for field in fields}
        what = CARD_FIELDS[card]
        if external not in known:
            datum = f"{card}.external_id"
            drifts.append(Drift(what, "ID из IDENT", "удалено в amoCRM", datum, is_vital=True))
        for one in getattr(mapping, card):
            cause = _field_cause(one, known)
            if cause:
                name = known[one.field_id].name if one.field_id in known else one.field_name
                drifts.append(Drift(what, name or one.datum, cause, f"{card}.{one.datum}"))
    return drifts


def _pipeline_drifts(primary: bool, rule: PipelineRule, pipelines: Sequence[Pipeline]) -> list[Drift]:  # noqa: FBT001 - which of the two
    pipeline = next((pipeline for pipeline in pipelines if pipeline.id == rule.pipeline_id), None)
    everything = frozenset((primary, key) for key, stage in rule.stages.items() if stage is not None)
    if pipeline is None:
        return [Drift("воронка", PIPELINES[primary], "удалена в amoCRM", places=everything)]
    if pipeline.is_archive:
        return [Drift("воронка", pipeline.name, "перенесена в архив", places=everything)]
    known = {stage.id for stage in pipeline.stages} | {WON, LOST}
    # A deleted stage's own name is gone with it: what it stood for is what people know.
    return [
        Drift(
            "этап",
            f"{pipeline.name} / {STATUS_NAMES[key]}",
            "удалён в amoCRM",
            places=frozenset({(primary, key)}),
        )
        for key, stage in rule.stages.items()
        if stage is not None and stage not in known
    ]


def _field_cause(rule: FieldRule, known: dict[int, CustomField]) -> str:
    if rule.field_id is None or rule.policy is Policy.NEVER:
        return ""
    field = known.get(rule.field_id)
    if field is None:
        return "удалено в amoCRM"
    if field.type != rule.field_type:
        now, then = (TYPE_NAMES.get(kind, kind) for kind in (field.type, rule.field_type))
        return f"сменило тип ({now} вместо «{then}»)"
    options = {enum.id for enum in field.enums}
    gone = [label for label, enum_id in rule.enums.items() if enum_id not in options]
    return f"потеряло варианты ({', '.join(gone)})" if gone and rule.datum not in OPEN_DATA else ""


def usable(
    mapping: CardMapping,
    drifts: Sequence[Drift],
    contact_fields: Sequence[CustomField],
    lead_fields: Sequence[CustomField],
) -> CardMapping:
    """Return the mapping without what drifted, and with the options that list fields have now.

    A datum without its field has no rule: nothing is sent for it, and its hash must not move. A stage that is
    gone leaves its deals where they stand.
    """
    lost = {drift.datum for drift in drifts if drift.datum}
    places = {place for drift in drifts for place in drift.places}
    update: dict[str, object] = {}
    for side, primary in (("primary", True), ("repeat", False)):
        rule: PipelineRule = getattr(mapping, side)
        stages = {key: None if (primary, key) in places else stage for key, stage in rule.stages.items()}
        update[side] = rule.model_copy(update={"stages": stages})
    for card, fields in (("contact", contact_fields), ("lead", lead_fields)):
        known = {field.id: field for field in fields}
        rules: Sequence[FieldRule] = getattr(mapping, card)
        update[card] = [
            _with_live_options(rule, known) for rule in rules if f"{card}.{rule.datum}" not in lost
        ]
    return mapping.model_copy(update=update)


def _with_live_options(rule: FieldRule, known: dict[int, CustomField]) -> FieldRule:
    field = known.get(rule.field_id or 0)
    if field is None or rule.field_type not in ENUM_TYPES or rule.datum not in OPEN_DATA:
        return rule
    return rule.model_copy(update={"enums": {enum.value: enum.id for enum in field.enums}})
