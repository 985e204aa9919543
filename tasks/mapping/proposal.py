"""What autoconfiguration would do in an account: reuse what is similar, create what is missing, skip."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from tasks.errors import MappingError
from tasks.mapping.catalogue import (
    CONTACT_CARD,
    CONTACT_EXTERNAL,
    LEAD_CARD,
    LEAD_EXTERNAL,
    PIPELINES,
    SHARING,
    SPECIAL_NOTE,
    STAGES,
    TYPE_NAMES,
    FieldDefault,
)
from tasks.mapping.kept import candidates_of, kept, without_special
from tasks.mapping.model import Mapping as CardMapping
from tasks.mapping.model import PipelineRule, StageKey
from tasks.mapping.similarity import ALIKE, assign, likeness
from tasks.mapping.stages import LOST, UNSORTED, WON
from tasks.mapping.synonyms import CONTACT_NAMES, LEAD_NAMES, PIPELINE_NAMES, STAGE_NAMES
from tasks.records import Account, CustomField, Pipeline, Stage

__all__ = [
    "BLOCKS",
    "CARDS",
    "PREDEFINED",
    "Block",
    "Candidate",
    "Decision",
    "Element",
    "Proposal",
    "candidates_of",
    "decide",
    "match_stages",
    "open_stages",
    "propose",
]

Block = Literal["pipelines", "contact", "lead"]
Action = Literal["create", "reuse", "skip"]
BLOCKS: Final[tuple[Block, ...]] = ("pipelines", "contact", "lead")
PREDEFINED: Final = frozenset({"PHONE", "EMAIL"})
#: What each card is made of: the field of the mark, then the data.
CARDS: Final[dict[str, tuple[FieldDefault, ...]]] = {
    "contact": (CONTACT_EXTERNAL, *CONTACT_CARD),
    "lead": (LEAD_EXTERNAL, *LEAD_CARD),
}
#: How the keys of the pipelines' elements begin.
SIDES: Final[dict[str, bool]] = {"primary": True, "repeat": False}
OURS: Final = "IDENT_"


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Candidate(_Stored):
    """An element of the account that may be chosen."""

    id: int
    name: str
    type: str = ""


class Element(_Stored):
    """One pipeline, stage or field of the proposal.

    Attributes:
        block: Block it is confirmed with.
        key: What it is for, such as ``primary``, ``primary.planned`` or ``lead.doctor``.
        title: What it is for, as an operator reads it.
        name: Its name in amoCRM: of what is reused, or of what is to be created.
        action: What is proposed.
        found: Id of what is reused.
        new_name: Name under which it would be created.
        type: amoCRM's type of the field that would be created.
        required: Whether it cannot be left out.
        note: Why nothing fits, where something nearly does.
        candidates: What may be reused instead.
    """

    block: Block
    key: str
    title: str
    name: str
    action: Action
    found: int | None = None
    new_name: str = ""
    type: str = ""
    required: bool = False
    note: str = ""
    candidates: tuple[Candidate, ...] = ()


class Decision(_Stored):
    """What a person decided about one element."""

    action: Action
    found: int | None = None
    name: str = ""


class Proposal(_Stored):
    """What autoconfiguration would create, reuse and skip."""

    account: Account
    elements: tuple[Element, ...]
    blocks: tuple[Block, ...] = BLOCKS

    def of(self, block: Block) -> tuple[Element, ...]:
        """Return the elements of one block."""
        return tuple(element for element in self.elements if element.block == block)

    def element(self, key: str) -> Element | None:
        """Return the element of a key."""
        return next((element for element in self.elements if element.key == key), None)


def propose(
    account: Account,
    pipelines: Sequence[Pipeline],
    contact_fields: Sequence[CustomField],
    lead_fields: Sequence[CustomField],
    *,
    current: CardMapping | None = None,
    blocks: Sequence[Block] = BLOCKS,
    special: Collection[str] = (),
) -> Proposal:
    """Compare what the transfer needs with what an account has.

    Data about health and treatment are proposed to be left out, unless the mapping in force has them.

    Args:
        account: The account.
        pipelines: All its pipelines.
        contact_fields: All fields of its contacts.
        lead_fields: All fields of its deals.
        current: The mapping in force: what it chose and still exists is proposed again.
        blocks: Which blocks.
        special: Keys of ``SPECIAL`` that a person chose nevertheless.
    """
    elements: list[Element] = []
    if "pipelines" in blocks:
        elements += _pipelines(pipelines, current)
    for block, fields in (("contact", contact_fields), ("lead", lead_fields)):
        if block in blocks:
            elements += _fields(block, fields, current, special)  # type: ignore[arg-type]
    return Proposal(account=account, elements=tuple(elements), blocks=tuple(blocks))


def decide(proposal: Proposal, decisions: Mapping[str, Decision]) -> Proposal:
    """Return the proposal as a person changed it.

    Raises:
        MappingError: When a choice cannot be: a field of another kind, one field for two data, nothing for
            what is required.
    """
    elements = [
        _decided(element, decisions[element.key]) if element.key in decisions else element
        for element in proposal.elements
    ]
    for block in ("contact", "lead"):
        refuse_shared([(item.key, item.found) for item in elements if item.block == block and item.found])
    return proposal.model_copy(update={"elements": tuple(elements)})


def refuse_shared(chosen: Iterable[tuple[str, int | None]]) -> None:
    """Refuse one field for two data, except where their values stand side by side in it.

    Raises:
        MappingError: With the data.
    """
    users: dict[int | None, set[str]] = {}
    for key, field_id in chosen:
        users.setdefault(field_id, set()).add(key.rpartition(".")[2])
    for field_id, data in users.items():
        if len(data) > 1 and not any(data <= group for group in SHARING):
            raise MappingError(
                problem=f"Field {field_id} was chosen for several data: {', '.join(sorted(data))}.",
                remedy="Choose another field, or a new one, for all but one of them.",
                code="shared_field",
            )


def _decided(element: Element, decision: Decision) -> Element:
    if decision.action == "skip" and element.required:
        raise MappingError(
            problem=f"{element.key} must have its place in amoCRM.",
            remedy="Choose an existing element, or let one be created.",
            code="required_element",
        )
    if decision.action == "create":
        name = decision.name.strip() or element.new_name
        return element.model_copy(update={"action": "create", "found": None, "name": name})
    if decision.action == "skip":
        return element.model_copy(update={"action": "skip", "found": None})
    chosen = next((one for one in element.candidates if one.id == decision.found), None)
    if chosen is None:
        raise MappingError(
            problem=f"What was chosen for {element.key} is not among what fits.",
            remedy="Start the configuration again: the account has changed meanwhile.",
            code="unfit_choice",
        )
    return element.model_copy(update={"action": "reuse", "found": chosen.id, "name": chosen.name})


# ---- pipelines and stages ----------------------------------------------------------------------------------


def open_stages(pipeline: Pipeline) -> list[Stage]:
    """Return the stages that are a pipeline's own: without «Неразобранное» and the closing ones."""
    return [stage for stage in pipeline.stages if stage.type != UNSORTED and stage.id not in {WON, LOST}]


def match_stages(pipeline: Pipeline, keys: Iterable[StageKey]) -> dict[StageKey, Stage]:
    """Return the stages of a pipeline that mean what ours do."""
    names = {item.key: (item.name, *STAGE_NAMES[item.key]) for item in STAGES}

    def score(key: StageKey, stage: Stage) -> float:
        return max(likeness(stage.name, name) for name in names[key])

    found = assign(list(keys), open_stages(pipeline), score)
    return {key: stage for key, (stage, _score) in found.items()}


def _pipelines(pipelines: Sequence[Pipeline], current: CardMapping | None) -> list[Element]:
    live = [pipeline for pipeline in pipelines if not pipeline.is_archive]
    chosen: dict[bool, Pipeline] = {}
    rules = {True: current.primary, False: current.repeat} if current else {}
    for primary, rule in rules.items():
        known = next((one for one in live if one.id == rule.pipeline_id), None)
        if known is not None:
            chosen[primary] = known
    taken = {pipeline.id for pipeline in chosen.values()}

    def score(primary: bool, pipeline: Pipeline) -> float:  # noqa: FBT001 - the key of the pipelines
        names = (PIPELINES[primary], *PIPELINE_NAMES[primary])
        return max(likeness(pipeline.name, name) for name in names)

    wanted = [primary for primary in PIPELINES if primary not in chosen]
    free = [pipeline for pipeline in live if pipeline.id not in taken]
    chosen |= {primary: found for primary, (found, _score) in assign(wanted, free, score).items()}
    elements: list[Element] = []
    for side, primary in SIDES.items():
        pipeline = chosen.get(primary)
        elements.append(
            Element(
                block="pipelines",
                key=side,
                title=PIPELINES[primary],
                name=pipeline.name if pipeline else PIPELINES[primary],
                action="reuse" if pipeline else "create",
                found=pipeline.id if pipeline else None,
                new_name=PIPELINES[primary],
                required=True,
                candidates=tuple(Candidate(id=one.id, name=one.name) for one in live),
            )
        )
        elements += _stages(side, pipeline, rules.get(primary))
    return elements


def _stages(side: str, pipeline: Pipeline | None, rule: PipelineRule | None) -> list[Element]:
    own = [*open_stages(pipeline), *_closing(pipeline)] if pipeline else []
    candidates = tuple(Candidate(id=stage.id, name=stage.name) for stage in own)
    known = {stage.id: stage for stage in pipeline.stages} if pipeline else {}
    kept = {key: known[stage] for key, stage in (rule.stages if rule else {}).items() if stage in known}
    skipped = {key for key, stage in (rule.stages if rule else {}).items() if stage is None}
    wanted = [item.key for item in STAGES if item.key not in kept and item.key not in skipped]
    free = pipeline and _without(pipeline, {stage.id for stage in kept.values()})
    chosen = kept | (match_stages(free, wanted) if free else {})
    return [
        Element(
            block="pipelines",
            key=f"{side}.{item.key.value}",
            title=f"{PIPELINES[SIDES[side]]}: {item.name}",
            name=chosen[item.key].name if item.key in chosen else item.name,
            action="reuse" if item.key in chosen else "skip" if item.key in skipped else "create",
            found=chosen[item.key].id if item.key in chosen else None,
            new_name=item.name,
            candidates=candidates,
        )
        for item in STAGES
    ]


def _closing(pipeline: Pipeline) -> list[Stage]:
    return [stage for stage in pipeline.stages if stage.id in {WON, LOST}]


def _without(pipeline: Pipeline, taken: set[int]) -> Pipeline:
    stages = tuple(stage for stage in pipeline.stages if stage.id not in taken)
    return Pipeline(pipeline.id, pipeline.name, pipeline.sort, pipeline.is_main, pipeline.is_archive, stages)


# ---- fields ------------------------------------------------------------------------------------------------


def _fields(
    block: Block, fields: Sequence[CustomField], current: CardMapping | None, special: Collection[str]
) -> list[Element]:
    defaults = [default for default in CARDS[block] if default.builtin is None]
    chosen, skipped = kept(block, defaults, fields, current)
    skipped = without_special(block, defaults, current, special, skipped)
    taken = {field.id for field in chosen.values()}
    for default in defaults:
        if default.datum not in chosen and default.datum not in skipped:
            coded = [one for one in candidates_of(default, fields) if default.owns(one.code)]
            if coded and (coded[0].id not in taken or default.type == "multitext"):
                chosen[default.datum] = coded[0]
                taken.add(coded[0].id)
    names = CONTACT_NAMES if block == "contact" else LEAD_NAMES
    by_datum = {default.datum: default for default in defaults if default.datum in names}
    free = [
        field
        for field in fields
        if field.id not in taken and not field.is_api_only and not (field.code or "").startswith(OURS)
    ]

    def alike(datum: str, field: CustomField) -> float:
        return max(likeness(field.name, name) for name in (by_datum[datum].name, *names[datum]))

    def score(datum: str, field: CustomField) -> float:
        return alike(datum, field) if field.type in by_datum[datum].fitting else 0.0

    wanted = [datum for datum in by_datum if datum not in chosen and datum not in skipped]
    chosen |= {datum: found for datum, (found, _score) in assign(wanted, free, score).items()}
    elements = []
    for default in defaults:
        found, note = chosen.get(default.datum), ""
        if found is None and default.datum not in skipped and default.datum in by_datum:
            unfit = max(free, key=lambda field: alike(default.datum, field), default=None)
            if unfit is not None and alike(default.datum, unfit) >= ALIKE:
                kind = TYPE_NAMES.get(unfit.type, unfit.type)
                note = f"поле «{unfit.name}» не подходит: {kind}"
        if default.special:
            note = "; ".join(filter(None, (note, SPECIAL_NOTE)))
        elements.append(_field_element(block, default, fields, found, default.datum in skipped, note))
    return elements


def _field_element(
    block: Block,
    default: FieldDefault,
    fields: Sequence[CustomField],
    found: CustomField | None,
    skipped: bool,  # noqa: FBT001 - one of the three states
    note: str,
) -> Element:
    return Element(
        block=block,
        key=f"{block}.{default.datum}",
        title=default.title,
        name=found.name if found else default.name,
        action="reuse" if found else "skip" if skipped else "create",
        found=found.id if found else None,
        new_name=default.name,
        type=default.type,
        required=default.required or default.api_only,
        note=note,
        candidates=tuple(
            Candidate(id=one.id, name=one.name, type=one.type) for one in candidates_of(default, fields)
        ),
    )
