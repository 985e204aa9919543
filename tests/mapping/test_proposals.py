"""What autoconfiguration proposes and makes of accounts that are empty, half full, full, or any."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import MappingError
from tasks.mapping.autoconfigure import apply, propose
from tasks.mapping.catalogue import CONTACT_CARD, LEAD_CARD, SPECIAL, SPECIAL_NOTE, TYPE_NAMES
from tasks.mapping.model import Mapping as CardMapping
from tasks.mapping.model import Policy, StageKey
from tasks.mapping.proposal import Block, Decision, Proposal, decide
from tasks.mapping.proposal_forms import APPROVE, block_form, decisions, result_table
from tasks.mapping.rules import problems
from tasks.mapping.synonyms import CONTACT_NAMES, LEAD_NAMES, PIPELINE_NAMES, STAGE_NAMES
from tasks.records import CustomField, FieldEnum, Pipeline, Stage
from tests.mapping.test_stages_and_autoconfigure import ACCOUNT, Crm


def proposed(
    crm: Crm,
    current: CardMapping | None = None,
    blocks: Sequence[Block] | None = None,
    special: Collection[str] = SPECIAL,
) -> Proposal:
    chosen = blocks or ("pipelines", "contact", "lead")
    return propose(
        ACCOUNT,
        crm.pipelines,
        crm.fields["contacts"],
        crm.fields["leads"],
        current=current,
        blocks=chosen,
        special=special,
    )


def own_pipeline(crm: Crm, number: int, name: str, *stages: str) -> Pipeline:
    own = [Stage(number * 100 + at, title, at * 10, number) for at, title in enumerate(stages, start=2)]
    unsorted_stage = Stage(number * 100, "Неразобранное", 10, number, type=1)
    closing = [Stage(142, "Успешно реализовано", 10000, number), Stage(143, "Не реализовано", 11000, number)]
    pipeline = Pipeline(number, name, 1, False, False, (unsorted_stage, *own, *closing))
    crm.pipelines.append(pipeline)
    return pipeline


def half_full() -> Crm:
    crm = Crm()
    own_pipeline(crm, 5, "Первичные приёмы", "Новая заявка", "Записан на прием", "Пациент не пришел")
    own_pipeline(crm, 6, "Продажи", "Записан на прием")
    crm.fields["contacts"] += [
        CustomField(11, "День рождения", "birthday"),
        CustomField(12, "Пол", "numeric"),
        CustomField(13, "ГОРОДА", "text"),
        CustomField(14, "Долг пациента", "text"),
    ]
    crm.fields["leads"] += [
        CustomField(21, "Доктор", "select", enums=(FieldEnum(1, "Петров"),)),
        CustomField(22, "Статус записи", "select", enums=(FieldEnum(2, "отменен"), FieldEnum(3, "VIP"))),
        CustomField(23, "Дата приема", "text"),
        CustomField(24, "Врач", "checkbox"),
    ]
    return crm


def test_what_is_similar_is_reused_and_never_a_field_of_another_type() -> None:
    crm = half_full()
    found = {one.key: (one.action, one.found) for one in proposed(crm).elements}
    assert found["primary"] == ("reuse", 5)
    assert found["primary.planned"] == ("reuse", 503)
    assert found["primary.no_show"] == ("reuse", 504)
    assert found["primary.arrived"] == ("create", None)
    assert found["repeat"] == ("create", None)
    assert found["contact.birth_date"] == ("reuse", 11)
    assert found["contact.city"] == ("reuse", 13)
    assert found["contact.sex"] == ("create", None)
    assert found["contact.debt"] == ("create", None)
    assert found["lead.doctor"] == ("reuse", 21)
    assert found["lead.status"] == ("reuse", 22)
    assert found["lead.start_at"] == ("create", None)
    notes = {one.key: one.note for one in proposed(crm).elements}
    assert notes["contact.sex"] == f"поле «Пол» не подходит: {TYPE_NAMES['numeric']}"
    assert notes["lead.start_at"] == "поле «Дата приема» не подходит: текст"


def test_carried_out_the_account_keeps_what_it_had_and_a_second_time_makes_nothing() -> None:
    crm = half_full()
    mapping = apply(proposed(crm), crm)
    assert not problems(mapping)
    status = next(field for field in crm.fields["leads"] if field.id == 22)
    assert [one.value for one in status.enums][:2] == ["отменен", "VIP"]
    assert len(status.enums) == 7, "five of our six were added; «Отменён» is the one that was there"
    rule = next(rule for rule in mapping.lead if rule.datum == "status")
    assert rule.enums["Отменён"] == 2
    doctor = next(rule for rule in mapping.lead if rule.datum == "doctor")
    assert doctor.enums == {}, "options of such a field are those that it has when a run begins"
    stages = {stage.id: stage for stage in crm.pipelines[0].stages}
    order = [
        stages[number].sort
        for key in (StageKey.PLANNED, StageKey.ARRIVED, StageKey.IN_PROGRESS, StageKey.COMPLETED)
        if (number := mapping.primary.stages[key]) is not None
    ]
    assert order == sorted(order), "a deal moves forward through them"
    before = crm.created
    assert {one.action for one in proposed(crm, mapping).elements} == {"reuse"}
    assert {one.action for one in proposed(crm).elements} == {"reuse"}, "also when the ledger was lost"
    assert apply(proposed(crm, mapping), crm, mapping) == mapping
    assert crm.created == before


@pytest.mark.parametrize("stop", range(1, 18))
def test_a_crash_half_way_leaves_no_twins(stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = half_full()
    apply(proposed(whole), whole)
    crm = half_full()
    count = 0

    def dying(real: object) -> object:
        def call(*arguments: object) -> object:
            nonlocal count
            count += 1
            made = real(*arguments)  # type: ignore[operator]
            if count == stop:
                raise ConnectionError
            return made

        return call

    with monkeypatch.context() as patch:
        for name in ("create_pipeline", "create_stage", "create_custom_fields", "add_options"):
            patch.setattr(crm, name, dying(getattr(crm, name)))
        proposal = proposed(crm)
        try:
            apply(proposal, crm)
        except ConnectionError:
            pass
        else:
            assert count < stop
    apply(proposal, crm)
    assert sorted(one.name for one in crm.pipelines) == sorted(one.name for one in whole.pipelines)
    for mine, other in zip(crm.pipelines, whole.pipelines, strict=True):
        assert sorted(one.name for one in mine.stages) == sorted(one.name for one in other.stages)
    for entity in ("contacts", "leads"):
        names = [(one.name, len(one.enums)) for one in crm.fields[entity]]
        assert names == [(one.name, len(one.enums)) for one in whole.fields[entity]]


def test_a_person_may_choose_rename_and_leave_out() -> None:
    crm = half_full()
    crm.fields["contacts"].append(CustomField(15, "Населённый пункт", "text"))
    proposal = decide(
        proposed(crm),
        {
            "contact.city": Decision(action="reuse", found=15),
            "contact.comment": Decision(action="skip"),
            "lead.services": Decision(action="create", name="Что лечили"),
            "repeat": Decision(action="reuse", found=6),
            "repeat.rescheduled": Decision(action="skip"),
        },
    )
    mapping = apply(proposal, crm)
    contact = {rule.datum: rule for rule in mapping.contact}
    assert contact["city"].field_id == 15
    assert contact["comment"].policy is Policy.NEVER
    assert "Что лечили" in {field.name for field in crm.fields["leads"]}
    assert mapping.repeat.pipeline_id == 6
    assert mapping.repeat.stages[StageKey.PLANNED] == 602
    assert mapping.repeat.stages[StageKey.RESCHEDULED] is None
    before = crm.created
    again = proposed(crm, mapping, special=())
    assert {one.action for one in again.elements} == {"reuse", "skip"}
    assert apply(again, crm, mapping) == mapping
    assert crm.created == before


@pytest.mark.parametrize(
    ("key", "decision", "code"),
    [
        ("lead.start_at", Decision(action="skip"), "required_element"),
        ("contact.external_id", Decision(action="skip"), "required_element"),
        ("primary", Decision(action="skip"), "required_element"),
        ("contact.city", Decision(action="reuse", found=12), "unfit_choice"),
        ("contact.card_number", Decision(action="reuse", found=13), "shared_field"),
    ],
)
def test_what_cannot_be_is_refused(key: str, decision: Decision, code: str) -> None:
    with pytest.raises(MappingError) as refusal:
        decide(proposed(half_full()), {key: decision})
    assert refusal.value.code == code


def test_blocks_can_be_configured_alone_once_there_is_a_mapping() -> None:
    crm = half_full()
    with pytest.raises(MappingError) as refusal:
        apply(proposed(crm, blocks=["contact"]), crm)
    assert refusal.value.code == "blocks_needed"
    assert crm.created == 0
    mapping = apply(proposed(crm, blocks=["pipelines"]), crm)
    assert mapping.contact_external_field
    assert mapping.lead_external_field
    assert {rule.policy for rule in mapping.lead if rule.builtin is None} == {Policy.NEVER}
    lead = apply(
        propose(ACCOUNT, crm.pipelines, crm.fields["contacts"], crm.fields["leads"], blocks=["lead"]),
        crm,
        mapping,
    )
    assert lead.primary == mapping.primary
    assert {rule.policy for rule in lead.lead} != {Policy.NEVER}


@pytest.mark.parametrize("pipelines", [49, 50])
def test_more_than_amocrm_allows_is_refused_before_anything_is_made(pipelines: int) -> None:
    crm = Crm()
    for number in range(pipelines):
        own_pipeline(crm, number + 1, f"Склад {number}", "Этап")
    with pytest.raises(MappingError) as refusal:
        apply(proposed(crm), crm)
    assert refusal.value.code == "amocrm_limit"
    assert crm.created == 0


def test_a_hundred_stages_are_refused() -> None:
    crm = Crm()
    own_pipeline(crm, 1, "Первичный приём", *(f"Шаг {number}" for number in range(96)))
    with pytest.raises(MappingError) as refusal:
        apply(proposed(crm), crm)
    assert refusal.value.code == "amocrm_limit"


def test_a_code_that_a_field_of_another_type_holds_is_not_used_again() -> None:
    crm = Crm()
    crm.fields["leads"].append(CustomField(30, "IDENT: Врач", "numeric", "IDENT_APPOINTMENT_DOCTOR"))
    mapping = apply(proposed(crm), crm)
    codes = [field.code for field in crm.fields["leads"]]
    assert len(codes) == len(set(codes))
    assert "IDENT_APPOINTMENT_DOCTOR_2" in codes
    assert {one.action for one in proposed(crm).elements} == {"reuse"}
    assert apply(proposed(crm), crm) == mapping


def test_a_form_says_what_is_proposed_and_its_defaults_change_nothing() -> None:
    proposal = proposed(half_full())
    for block in proposal.blocks:
        form = block_form(proposal, block)
        answer = form.read({})
        assert answer[APPROVE] is False
        decided = decide(proposal, decisions(proposal, block, answer))
        assert decided == proposal
        for question in form.questions:
            labels = [option.label for option in question.options]
            assert len(labels) == len(set(labels))
    assert "♻️" in result_table(proposal)


NAMES = sorted(
    {
        *(name for names in (*CONTACT_NAMES.values(), *LEAD_NAMES.values()) for name in names),
        *(item.name for item in (*CONTACT_CARD, *LEAD_CARD)),
        *("Регион", "Полис", "Менеджер", "Сайт"),
    }
)
STAGES = sorted({name for names in STAGE_NAMES.values() for name in names} | {"Думает", "Новая заявка"})
PIPELINES = sorted(
    {name for names in PIPELINE_NAMES.values() for name in names} | {"Продажи", "Первичный приём"}
)
TYPES = ("text", "textarea", "numeric", "date", "date_time", "birthday", "checkbox", "select", "multiselect")

Spell = Callable[[str], str]
spelled: st.SearchStrategy[Spell] = st.sampled_from(
    [str, str.upper, lambda text: text.replace("ё", "е"), lambda text: f" {text}: "]
)
field_lists = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(TYPES), spelled), max_size=12)
pipeline_lists = st.lists(
    st.tuples(st.sampled_from(PIPELINES), st.lists(st.sampled_from(STAGES), max_size=6), spelled), max_size=4
)


@settings(max_examples=60, deadline=None)
@given(field_lists, field_lists, pipeline_lists)
def test_autoconfiguring_any_account_twice_is_the_same_as_once(
    contacts: list[tuple[str, str, Spell]],
    leads: list[tuple[str, str, Spell]],
    pipelines: list[tuple[str, list[str], Spell]],
) -> None:
    crm = Crm()
    for entity, described, base in (("contacts", contacts, 1000), ("leads", leads, 2000)):
        crm.fields[entity] += [
            CustomField(base + number, spell(name), kind)
            for number, (name, kind, spell) in enumerate(described)
        ]
    for number, (name, stages, spell) in enumerate(pipelines, start=1):
        own_pipeline(crm, 3000 + number, spell(name), *map(spell, stages))
    had = {entity: [replace(field, enums=()) for field in fields] for entity, fields in crm.fields.items()}
    crm._next = 10_000
    mapping = apply(proposed(crm), crm)
    assert not problems(mapping)
    assert all(
        next(one for one in crm.fields[entity] if one.id == rule.field_id).type == rule.field_type
        for entity, rules in (("contacts", mapping.contact), ("leads", mapping.lead))
        for rule in rules
        if rule.field_id is not None
    )
    created = crm.created
    for current in (mapping, None):
        again = proposed(crm, current)
        assert {one.action for one in again.elements} <= {"reuse"}
        assert apply(again, crm, current) == mapping
    assert crm.created == created
    for entity, fields in had.items():
        assert [replace(field, enums=()) for field in crm.fields[entity]][: len(fields)] == fields


# ---- data about health and treatment -----------------------------------------------------------------------


def transferred(mapping: CardMapping) -> set[str]:
    cards = {"contact": mapping.contact, "lead": mapping.lead}
    return {
        f"{card}.{rule.datum}"
        for card, rules in cards.items()
        for rule in rules
        if rule.policy is not Policy.NEVER
    }


def test_what_tells_of_health_is_off_until_it_is_chosen() -> None:
    assert {
        "contact.comment",
        "lead.cancel_comment",
        "lead.comment",
        "lead.services",
        "lead.speciality",
    } == SPECIAL
    crm = Crm()
    crm.fields["leads"].append(CustomField(31, "Услуги", "textarea"))
    proposal = proposed(crm, special=())
    off = [one for one in proposal.elements if one.action == "skip"]
    assert {one.key for one in off} == SPECIAL
    assert all(SPECIAL_NOTE in one.note for one in off)
    mapping = apply(proposal, crm)
    assert not transferred(mapping) & SPECIAL
    made = {field.code for card in crm.fields.values() for field in card}
    assert "IDENT_APPOINTMENT_SERVICES" not in made
    assert {"IDENT_APPOINTMENT_DOCTOR", "IDENT_APPOINTMENT_CANCEL_REASON"} <= made


def test_it_is_chosen_by_name_in_the_form_and_by_the_option() -> None:
    crm = Crm()
    by_option = apply(proposed(crm, special={"lead.services"}), crm)
    assert transferred(by_option) & SPECIAL == {"lead.services"}
    proposal = proposed(Crm(), special=())
    form = block_form(proposal, "lead")
    question = next(one for one in form.questions if one.name == "lead_services")
    assert question.default == "skip"
    assert SPECIAL_NOTE in question.hint
    assert SPECIAL_NOTE in form.text
    chosen = decide(proposal, {"lead.services": Decision(action="create")})
    assert transferred(apply(chosen, Crm())) & SPECIAL == {"lead.services"}


def test_what_a_saved_mapping_has_stays_chosen_and_what_it_leaves_out_stays_out() -> None:
    crm = Crm()
    before = apply(proposed(crm, special={"lead.services", "contact.comment"}), crm)
    assert transferred(apply(proposed(crm, before, special=()), crm, before)) == transferred(before)
    # Its field was deleted in amoCRM: it is still chosen, and gets a new one.
    crm.fields["leads"] = [one for one in crm.fields["leads"] if one.code != "IDENT_APPOINTMENT_SERVICES"]
    again = proposed(crm, before, special=())
    assert {one.key for one in again.elements if one.action == "create"} == {"lead.services"}
    # And chosen later, by its name, although the mapping left it out.
    more = apply(proposed(crm, before, special={"lead.comment"}), crm, before)
    assert transferred(more) & SPECIAL == {"contact.comment", "lead.comment", "lead.services"}
