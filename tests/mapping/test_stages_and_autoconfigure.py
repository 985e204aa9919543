"""Where deals may be moved; what autoconfiguration makes and what drift is noticed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tasks.frames import CONTACT_DATA, LEAD_DATA
from tasks.mapping.autoconfigure import apply, check, propose
from tasks.mapping.catalogue import SPECIAL
from tasks.mapping.model import Mapping as CardMapping
from tasks.mapping.model import StageKey
from tasks.mapping.stages import LOST, WON, may_move, target
from tasks.records import Account, CustomField, FieldEnum, Pipeline, Stage

ACCOUNT = Account(1, "demo", "Demo", 1, "Europe/Moscow", 1)
PREDEFINED = [CustomField(1, "Телефон", "multitext", "PHONE"), CustomField(2, "Email", "multitext", "EMAIL")]


class Crm:
    """An account in memory."""

    def __init__(self) -> None:
        self.pipelines: list[Pipeline] = []
        self.fields: dict[str, list[CustomField]] = {"contacts": list(PREDEFINED), "leads": []}
        self.created = 0
        self._next = 100

    def _id(self) -> int:
        self._next += 1
        return self._next

    def read_pipelines(self) -> list[Pipeline]:
        return list(self.pipelines)

    def create_pipeline(
        self, name: str, stages: Sequence[tuple[str, int, str]], won_name: str, lost_name: str
    ) -> Pipeline:
        number = self._id()
        own = [Stage(self._id(), title, sort, number) for title, sort, _color in stages]
        closing = [Stage(WON, won_name, 10000, number), Stage(LOST, lost_name, 11000, number)]
        unsorted_stage = Stage(self._id(), "Неразобранное", 10, number, type=1)
        pipeline = Pipeline(number, name, 1, False, False, (unsorted_stage, *own, *closing))
        self.pipelines.append(pipeline)
        self.created += 1
        return pipeline

    def create_stage(self, pipeline_id: int, name: str, sort: int, color: str) -> Stage:
        assert color.startswith("#")
        stage = Stage(self._id(), name, sort, pipeline_id)
        self.pipelines = [
            replace(known, stages=(*known.stages, stage)) if known.id == pipeline_id else known
            for known in self.pipelines
        ]
        self.created += 1
        return stage

    def read_custom_fields(self, entity: str) -> list[CustomField]:
        return list(self.fields[entity])

    def create_custom_fields(self, entity: str, definitions: Sequence[dict[str, Any]]) -> list[CustomField]:
        made = [
            CustomField(
                self._id(),
                item["name"],
                item["type"],
                item["code"],
                item["is_api_only"],
                0,
                tuple(FieldEnum(self._id(), enum["value"]) for enum in item.get("enums", ())),
            )
            for item in definitions
        ]
        self.fields[entity] += made
        self.created += len(made)
        return made

    def add_options(self, entity: str, field_id: int, labels: Sequence[str]) -> CustomField:
        (known,) = [one for one in self.fields[entity] if one.id == field_id]
        more = tuple(FieldEnum(self._id(), label) for label in labels)
        changed = replace(known, enums=(*known.enums, *more))
        self.fields[entity] = [changed if one.id == field_id else one for one in self.fields[entity]]
        self.created += len(labels)
        return changed


def configured(crm: Crm) -> CardMapping:
    proposal = propose(ACCOUNT, crm.pipelines, crm.fields["contacts"], crm.fields["leads"], special=SPECIAL)
    return apply(proposal, crm)


def test_an_empty_account_gets_everything_and_every_datum_has_its_place() -> None:
    crm = Crm()
    mapping = configured(crm)
    assert {pipeline.name for pipeline in crm.pipelines} == {"Первичный приём", "Повторный приём"}
    assert {rule.datum for rule in mapping.contact} == set(CONTACT_DATA)
    assert {rule.datum for rule in mapping.lead} == set(LEAD_DATA) - {"patient_id", "stage"}
    assert all(set(rule.stages) == set(StageKey) for rule in (mapping.primary, mapping.repeat))
    assert not check(mapping, crm.pipelines, crm.fields["contacts"], crm.fields["leads"])
    assert CardMapping.model_validate(mapping.model_dump(mode="json")) == mapping


def test_a_second_time_everything_is_reused() -> None:
    crm = Crm()
    first = configured(crm)
    created = crm.created
    proposal = propose(ACCOUNT, crm.pipelines, crm.fields["contacts"], crm.fields["leads"], special=SPECIAL)
    assert {element.action for element in proposal.elements} == {"reuse"}
    assert apply(proposal, crm) == first
    assert crm.created == created


def test_a_missing_stage_is_added_and_a_field_of_another_type_is_not_taken() -> None:
    crm = Crm()
    configured(crm)
    pipeline = crm.pipelines[0]
    crm.pipelines[0] = replace(pipeline, stages=tuple(s for s in pipeline.stages if s.name != "Не пришёл"))
    crm.fields["leads"] = [
        replace(known, type="numeric") if known.code == "IDENT_APPOINTMENT_DOCTOR" else known
        for known in crm.fields["leads"]
    ]
    before = crm.created
    mapping = configured(crm)
    assert crm.created == before + 2
    doctor = next(rule for rule in mapping.lead if rule.datum == "doctor")
    assert doctor.field_type == "text"


def test_drift_is_named() -> None:
    crm = Crm()
    mapping = configured(crm)
    lead_fields = [known for known in crm.fields["leads"] if known.code != "IDENT_APPOINTMENT_DOCTOR"]
    pipelines = [
        replace(crm.pipelines[0], stages=crm.pipelines[0].stages[:2]),
        replace(crm.pipelines[1], is_archive=True),
    ]
    drifts = check(mapping, pipelines, crm.fields["contacts"], lead_fields)
    assert {drift.what for drift in drifts} == {"воронка", "этап", "поле сделки"}
    assert any(drift.name == "IDENT: Врач" for drift in drifts)


CRM = Crm()
MAPPING = configured(CRM)
PRIMARY = MAPPING.primary.pipeline_id


def place(key: StageKey) -> tuple[int, int]:
    found = target(MAPPING, True, key)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("current", "last", "key", "allowed"),
    [
        (StageKey.PLANNED, StageKey.PLANNED, StageKey.ARRIVED, True),
        (StageKey.PLANNED, None, StageKey.ARRIVED, True),
        (StageKey.COMPLETED, StageKey.COMPLETED, StageKey.ARRIVED, False),
        (StageKey.COMPLETED, StageKey.COMPLETED, StageKey.BILL_ISSUED, True),
        (StageKey.COMPLETED, StageKey.COMPLETED, StageKey.RESCHEDULED, True),
        (StageKey.IN_PROGRESS, StageKey.PLANNED, StageKey.CANCELLED, True),
        (StageKey.BILL_ISSUED, StageKey.PLANNED, StageKey.CANCELLED, False),
        (StageKey.BILL_ISSUED, StageKey.BILL_ISSUED, StageKey.CANCELLED, True),
        (StageKey.BILL_ISSUED, StageKey.BILL_ISSUED, StageKey.COMPLETED, False),
        (StageKey.CANCELLED, StageKey.CANCELLED, StageKey.PLANNED, True),
        (StageKey.CANCELLED, StageKey.PLANNED, StageKey.PLANNED, False),
        (StageKey.NO_SHOW, StageKey.NO_SHOW, StageKey.ARRIVED, True),
        (StageKey.NO_SHOW, StageKey.PLANNED, StageKey.ARRIVED, False),
    ],
)
def test_moves(current: StageKey, last: StageKey | None, key: StageKey, allowed: bool) -> None:
    last_sent = place(last) if last else None
    assert may_move(CRM.pipelines, MAPPING, place(current), last_sent, place(key), key) is allowed


def test_a_deal_that_a_person_put_elsewhere_stays_there() -> None:
    key = StageKey.CANCELLED
    assert not may_move(CRM.pipelines, MAPPING, None, None, place(key), key)
    assert not may_move(CRM.pipelines, MAPPING, (999, 1), None, place(key), key)
    other = (MAPPING.repeat.pipeline_id, 1)
    assert not may_move(CRM.pipelines, MAPPING, other, None, place(key), key)
    unsorted_stage = (PRIMARY, CRM.pipelines[0].stages[0].id)
    assert not may_move(CRM.pipelines, MAPPING, unsorted_stage, None, place(key), key)
    held = MAPPING.model_copy(
        update={"primary": MAPPING.primary.model_copy(update={"exceptions": [place(StageKey.PLANNED)[1]]})}
    )
    assert not may_move(CRM.pipelines, held, place(StageKey.PLANNED), None, place(key), key)
