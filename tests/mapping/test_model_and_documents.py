"""The mapping itself: what is refused, what an older version stored, what a clinic does otherwise, the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from pydantic import ValidationError

from tasks.errors import MappingError
from tasks.frames import Status
from tasks.mapping.cards import lead_payload
from tasks.mapping.difference import differences, redirected
from tasks.mapping.document import read_document, write_document
from tasks.mapping.model import ClinicOverride, FieldRule, Filters, NullPolicy, PipelineRule, Policy, StageKey
from tasks.mapping.model import Mapping as CardMapping
from tasks.mapping.overrides import with_choice
from tasks.mapping.rules import problems, refuse_unsound
from tasks.mapping.texts import lead_texts
from tasks.mapping.values import from_amo, to_amo
from tests.mapping.test_stages_and_autoconfigure import Crm, configured
from tests.mapping.test_texts_and_values import deals

CRM = Crm()
MAPPING = configured(CRM)


def changed(datum: str, **update: Any) -> CardMapping:
    for card in ("contact", "lead"):
        rules = [
            rule.model_copy(update=update) if rule.datum == datum else rule for rule in getattr(MAPPING, card)
        ]
        if rules != getattr(MAPPING, card):
            return MAPPING.model_copy(update={card: rules})
    raise AssertionError(datum)


def field_of(datum: str) -> int | None:
    return next(rule.field_id for rule in (*MAPPING.contact, *MAPPING.lead) if rule.datum == datum)


def test_what_an_earlier_version_stored_still_loads() -> None:
    stored = MAPPING.model_dump(mode="json")
    for later in ("responsible", "deal_name", "filters", "clinics"):
        del stored[later]
    assert CardMapping.model_validate(stored) == MAPPING


@pytest.mark.parametrize("place", [(), ("primary",), ("filters",), ("contact", 0)])
def test_an_unknown_key_is_refused(place: tuple[Any, ...]) -> None:
    stored = MAPPING.model_dump(mode="json")
    at: Any = stored
    for step in place:
        at = at[step]
    at["polcy"] = "never"
    with pytest.raises(ValidationError):
        CardMapping.model_validate(stored)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda: changed("start_at", policy=Policy.NEVER), "«Начало приёма» * нельзя не передавать"),
        (lambda: changed("city", field_type="numeric"), "«Город» нельзя передать в поле типа numeric"),
        (
            lambda: changed("city", field_id=field_of("card_number")),
            "одно поле выбрано для «Номер карты», «Город»",
        ),
        (lambda: changed("city", field_id=MAPPING.contact_external_field), "занято номером IDENT"),
        (lambda: changed("city", field_id=None), "не выбрано поле"),
        (lambda: MAPPING.model_copy(update={"deal_name": "{patient}"}), "неизвестно patient"),
        (
            lambda: MAPPING.model_copy(
                update={"primary": PipelineRule(pipeline_id=1, stages=dict.fromkeys(StageKey))}
            ),
            "не выбран ни один этап",
        ),
        (
            lambda: MAPPING.model_copy(update={"contact": [*MAPPING.contact, FieldRule(datum="shoe_size")]}),
            "неизвестные данные «shoe_size»",
        ),
    ],
)
def test_an_unsound_mapping_is_refused_with_every_reason(
    broken: Callable[[], CardMapping], said: str
) -> None:
    assert any(said in one for one in problems(broken()))
    with pytest.raises(MappingError) as refusal:
        refuse_unsound(broken())
    assert refusal.value.code == "mapping_unsound"


def test_both_phones_share_their_field() -> None:
    assert field_of("phone_mobile") == field_of("phone_other")
    assert problems(MAPPING) == []


def test_a_file_says_the_same_as_the_mapping() -> None:
    mapping = MAPPING.model_copy(
        update={
            "filters": Filters(branches=["Филиал «Центр»"], statuses=[Status.PLANNED], days_ahead=30),
            "clinics": {"abc": ClinicOverride(deal_name="{date}")},
        }
    )
    text = write_document(mapping)
    assert "Филиал «Центр»" in text
    assert read_document(text) == mapping


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "a: [", "account_id: 1", write_document(MAPPING) + "surprise: true\n"]
)
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(MappingError) as refusal:
        read_document(text)
    assert refusal.value.code == "mapping_document"


def test_a_clinic_may_do_otherwise() -> None:
    chosen = changed("city", policy=Policy.NEVER).model_copy(
        update={"deal_name": "{date}", "filters": Filters(days_back=3)}
    )
    mapping = with_choice(MAPPING, "abc", chosen)
    assert mapping.model_copy(update={"clinics": {}}) == MAPPING
    assert mapping.for_clinic("abc").model_copy(update={"clinics": {}}) == chosen
    assert mapping.for_clinic("other") == mapping
    assert [rule.datum for rule in mapping.clinics["abc"].contact] == ["city"]
    assert with_choice(mapping, "abc", MAPPING).clinics == {}
    assert with_choice(MAPPING, "", chosen) == chosen
    assert problems(mapping) == []


def test_a_difference_is_told_in_words() -> None:
    after = changed("city", policy=Policy.NEVER).model_copy(
        update={
            "deal_name": "{date}",
            "filters": Filters(doctors=["Петров"]),
            "primary": MAPPING.primary.model_copy(
                update={"stages": {**MAPPING.primary.stages, StageKey.ARRIVED: None}}
            ),
        }
    )
    lines = differences(MAPPING, after, CRM.pipelines)
    assert lines == [
        "Первичный приём / Пациент пришёл: «Пациент пришёл» → не менять",
        "Контакт / Город: «IDENT: Город» → не передавать",
        "Название сделки: Приём {start} · {doctor} → {date}",
        "Фильтр «Врачи»: — → Петров",
    ]
    assert differences(MAPPING, MAPPING) == []
    nulls = changed("city", null_policy=NullPolicy.KEEP)
    assert differences(MAPPING, nulls) == ["Контакт / Город, если в IDENT пусто: очищать → оставлять"]


def test_only_data_that_go_elsewhere_are_due_again() -> None:
    assert redirected(MAPPING, changed("city", policy=Policy.NEVER)) == {}
    assert redirected(changed("city", policy=Policy.NEVER), MAPPING) == {"contact": frozenset({"city"})}
    assert redirected(MAPPING, changed("doctor", field_id=77)) == {"lead": frozenset({"doctor"})}
    assert redirected(MAPPING, changed("doctor", policy=Policy.CREATE_ONLY)) == {}


@pytest.mark.parametrize(
    ("kind", "datum", "text", "values"),
    [
        ("select", "doctor", "Петров", [{"enum_id": 5}]),
        ("select", "doctor", "Новый", [{"value": "Новый"}]),
        ("multiselect", "speciality", "Терапевт, Хирург", [{"enum_id": 6}, {"enum_id": 7}]),
        ("multiselect", "doctor", "Петров", [{"enum_id": 5}]),
        ("radiobutton", "doctor", "Петров", [{"enum_id": 5}]),
    ],
)
def test_list_fields(kind: str, datum: str, text: str, values: list[dict[str, Any]]) -> None:
    rule = FieldRule(
        datum=datum, field_id=1, field_type=kind, enums={"Петров": 5, "Терапевт": 6, "Хирург": 7}
    )
    assert to_amo(rule, text, "Europe/Moscow") == values
    if text != "Новый":
        assert from_amo(rule, [*reversed(values)], "Europe/Moscow") == text


@pytest.mark.parametrize(
    ("deal_name", "with_doctor", "without"),
    [
        ("Приём {start} · {doctor}", "Приём 12.03.2026 10:00 · Петров П. П.", "Приём 12.03.2026 10:00"),
        ("{doctor} · {date} · {kind}", "Петров П. П. · 12.03.2026 · Первичный", "12.03.2026 · Первичный"),
        ("Запись на {time}", "Запись на 10:00", "Запись на 10:00"),
    ],
)
def test_a_deal_is_called_as_chosen(deal_name: str, with_doctor: str, without: str) -> None:
    frame = pd.concat([deals(), deals(doctor=None)], ignore_index=True)
    names = lead_texts(frame, ZoneInfo("Europe/Moscow"), deal_name)["name"].tolist()
    assert names == [with_doctor, without]


def test_the_first_rule_that_fits_names_the_responsible_user() -> None:
    mapping = MAPPING.model_copy(
        update={
            "responsible_user_id": 1,
            "responsible": CardMapping.model_validate(
                MAPPING.model_dump()
                | {
                    "responsible": [
                        {"datum": "doctor", "value": "Петров", "user_id": 2},
                        {"datum": "branch", "value": "Центр", "user_id": 3},
                    ]
                }
            ).responsible,
        }
    )

    def responsible(**values: str) -> Any:
        texts: dict[str, str | None] = dict.fromkeys((rule.datum for rule in MAPPING.lead), None) | values
        change = lead_payload(
            mapping,
            texts,
            external_id="A",
            create=True,
            changed=(),
            remote=None,
            sent=lambda _datum, _text: False,
        )
        return change.payload["responsible_user_id"]

    assert responsible(doctor="Петров", branch="Центр") == 2
    assert responsible(doctor="Иванов", branch="Центр") == 3
    assert responsible() == 1
