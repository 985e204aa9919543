"""The policies, case by case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tasks.frames import CONTACT_DATA, LEAD_DATA
from tasks.mapping.cards import CardChange, contact_payload, lead_payload
from tasks.mapping.model import FieldRule, NullPolicy, PipelineRule, Policy
from tasks.mapping.model import Mapping as CardMapping
from tasks.records import RemoteContact, RemoteLead

PHONE, MAIL, CITY, MARK = 1, 2, 3, 9
PIPELINE = PipelineRule(pipeline_id=1, stages={})


def mapping(policy: Policy = Policy.OVERWRITE, null_policy: NullPolicy = NullPolicy.CLEAR) -> CardMapping:
    return CardMapping(
        account_id=1,
        account_timezone="Europe/Moscow",
        contact=[
            FieldRule(datum="last_name", builtin="last_name", policy=policy, null_policy=null_policy),
            FieldRule(datum="phone_mobile", field_id=PHONE, field_type="multitext", enum_code="MOB"),
            FieldRule(datum="phone_other", field_id=PHONE, field_type="multitext", enum_code="OTHER"),
            FieldRule(datum="email", field_id=MAIL, field_type="multitext", enum_code="WORK"),
            FieldRule(datum="city", field_id=CITY, policy=policy, null_policy=null_policy),
        ],
        lead=[FieldRule(datum="price", builtin="price", null_policy=NullPolicy.KEEP)],
        primary=PIPELINE,
        repeat=PIPELINE,
        contact_external_field=MARK,
        lead_external_field=MARK,
    )


def texts(**values: str) -> dict[str, str | None]:
    return dict.fromkeys(CONTACT_DATA, None) | values


def contact(
    values: Mapping[int, tuple[Mapping[str, Any], ...]] | None = None, last_name: str = ""
) -> RemoteContact:
    marked = {MARK: ({"value": "IDENT-x-P-1"},)} | dict(values or {})
    return RemoteContact(7, "", "", last_name, 1, 1, marked, frozenset({"IDENT"}))


def sent(*pairs: tuple[str, str]) -> Callable[[str, str], bool]:
    return lambda datum, text: (datum, text) in pairs


def change(
    card: CardMapping,
    values: dict[str, str | None],
    changed: tuple[str, ...],
    remote: RemoteContact | None,
    *ours: tuple[str, str],
) -> CardChange:
    return contact_payload(
        card,
        values,
        external_id="IDENT-x-P-1",
        create=remote is None,
        changed=changed,
        remote=remote,
        sent=sent(*ours),
    )


def field(decided: CardChange, field_id: int) -> Any:
    items = {item["field_id"]: item["values"] for item in decided.payload.get("custom_fields_values", [])}
    return items[field_id]


def test_a_new_contact_carries_its_mark_its_tag_and_what_is_known() -> None:
    decided = change(
        mapping(), texts(last_name="Иванова", phone_mobile="+79160000001", city="Тверь"), (), None
    )
    assert decided.payload["last_name"] == "Иванова"
    assert decided.payload["tags_to_add"] == [{"name": "IDENT"}]
    assert field(decided, MARK) == [{"value": "IDENT-x-P-1"}]
    assert field(decided, PHONE) == [{"value": "+79160000001", "enum_code": "MOB"}]
    assert field(decided, CITY) == [{"value": "Тверь"}]
    assert MAIL not in {item["field_id"] for item in decided.payload["custom_fields_values"]}


def test_only_what_changed_in_ident_is_sent() -> None:
    decided = change(
        mapping(),
        texts(last_name="Новая", city="Тверь"),
        ("city",),
        contact(last_name="Старая"),
        ("city", ""),
    )
    assert "last_name" not in decided.payload
    assert decided.written == ("city",)


def test_a_value_that_stands_there_already_is_not_written() -> None:
    remote = contact({CITY: ({"value": "Тверь"},)})
    assert not change(mapping(), texts(city="Тверь"), ("city",), remote).payload


@pytest.mark.parametrize(
    ("policy", "written", "yielded", "overwritten"),
    [
        (Policy.OVERWRITE, ("city",), (), ("city",)),
        (Policy.OVERWRITE_UNLESS_EDITED, (), ("city",), ()),
        (Policy.FILL_EMPTY, (), (), ()),
        (Policy.CREATE_ONLY, (), (), ()),
        (Policy.NEVER, (), (), ()),
    ],
)
def test_a_hand_made_value_is_treated_by_policy(
    policy: Policy, written: tuple[str, ...], yielded: tuple[str, ...], overwritten: tuple[str, ...]
) -> None:
    remote = contact({CITY: ({"value": "Рука"},)})
    decided = change(mapping(policy), texts(city="Тверь"), ("city",), remote, ("city", "Старый"))
    assert (decided.written, decided.yielded, decided.overwritten) == (written, yielded, overwritten)


def test_our_own_last_value_is_replaced_without_counting() -> None:
    remote = contact({CITY: ({"value": "Старый"},)})
    decided = change(
        mapping(Policy.OVERWRITE_UNLESS_EDITED), texts(city="Тверь"), ("city",), remote, ("city", "Старый")
    )
    assert decided.written == ("city",)
    assert decided.overwritten == ()


@pytest.mark.parametrize(("null_policy", "values"), [(NullPolicy.CLEAR, None), (NullPolicy.KEEP, "kept")])
def test_an_emptied_value_follows_the_null_policy(null_policy: NullPolicy, values: object) -> None:
    remote = contact({CITY: ({"value": "Тверь"},)})
    decided = change(mapping(null_policy=null_policy), texts(), ("city",), remote, ("city", "Тверь"))
    if values is None:
        assert field(decided, CITY) is None
    else:
        assert not decided.payload


def test_a_phone_typed_by_a_manager_survives_the_change_of_ours() -> None:
    remote = contact(
        {
            PHONE: (
                {"value": "8 (999) 111-22-33", "enum_id": 5, "enum_code": "WORK"},
                {"value": "+79160000001", "enum_id": 6, "enum_code": "MOB"},
            )
        }
    )
    decided = change(
        mapping(),
        texts(phone_mobile="+79160000002"),
        ("phone_mobile",),
        remote,
        ("phone_mobile", "+79160000001"),
    )
    assert field(decided, PHONE) == [
        {"value": "8 (999) 111-22-33", "enum_id": 5},
        {"value": "+79160000002", "enum_code": "MOB"},
    ]


def test_the_same_number_in_another_spelling_is_no_second_phone() -> None:
    remote = contact({PHONE: ({"value": "8 916 000-00-02", "enum_id": 5},)})
    assert not change(mapping(), texts(phone_mobile="+79160000002"), ("phone_mobile",), remote).payload


def test_a_number_that_stands_in_both_data_stays_when_one_of_them_changes() -> None:
    remote = contact({PHONE: ({"value": "+79160000001", "enum_id": 6},)})
    decided = change(
        mapping(),
        texts(phone_mobile="+79160000001", phone_other="+79160000005"),
        ("phone_other",),
        remote,
        ("phone_mobile", "+79160000001"),
        ("phone_other", "+79160000001"),
    )
    assert {item["value"] for item in field(decided, PHONE)} == {"+79160000001", "+79160000005"}


def test_a_phone_that_a_manager_deleted_does_not_come_back_with_another_one() -> None:
    remote = contact({PHONE: ()})
    decided = change(
        mapping(),
        texts(phone_mobile="+79160000001", phone_other="+79160000005"),
        ("phone_other",),
        remote,
        ("phone_mobile", "+79160000001"),
    )
    assert [item["value"] for item in field(decided, PHONE)] == ["+79160000005"]


def test_an_adopted_card_gets_our_mark_and_tag_and_keeps_its_name() -> None:
    remote = RemoteContact(7, "", "", "Как у менеджера", 1, 1, {}, frozenset({"VIP"}))
    decided = change(
        mapping(Policy.OVERWRITE_UNLESS_EDITED), texts(last_name="Иванова"), ("last_name",), remote
    )
    assert "last_name" not in decided.payload
    assert field(decided, MARK) == [{"value": "IDENT-x-P-1"}]
    assert decided.payload["tags_to_add"] == [{"name": "IDENT"}]


def test_a_tag_that_a_manager_removed_does_not_come_back() -> None:
    remote = RemoteContact(7, "", "", "", 1, 1, {MARK: ({"value": "IDENT-x-P-1"},)}, frozenset())
    assert "tags_to_add" not in change(mapping(), texts(city="Тверь"), ("city",), remote).payload


@pytest.mark.parametrize(
    ("text", "price", "payload"),
    [("1500.50", 1501, {}), ("1500.50", 1500, {"price": 1501}), (None, 1500, {})],
)
def test_a_budget_is_whole_roubles(text: str | None, price: int, payload: dict[str, int]) -> None:
    values: dict[str, str | None] = dict.fromkeys(LEAD_DATA, None) | {"price": text}
    remote = RemoteLead(1, "", price, 1, 1, 1, 1, {MARK: ({"value": "A"},)})
    decided = lead_payload(
        mapping(), values, external_id="A", create=False, changed=("price",), remote=remote, sent=sent()
    )
    assert decided.payload == payload
