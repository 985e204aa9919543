from __future__ import annotations

import pytest

from tasks.planning.identity import (
    ContactIndex,
    external_id,
    name_key,
    open_deal_of,
    parse_external_id,
    phone_key,
)
from tasks.records import RemoteContact, RemoteLead

EXTERNAL, PHONE = 1, 2


def contact(
    amo_id: int, name: str, phone: str = "", mark: str = "", *, deleted: bool = False
) -> RemoteContact:
    values = {PHONE: ({"value": phone},)} if phone else {}
    if mark:
        values[EXTERNAL] = ({"value": mark},)
    return RemoteContact(amo_id, name, "", "", 1, 0, values, is_deleted=deleted)


def index(*contacts: RemoteContact) -> ContactIndex:
    result = ContactIndex(EXTERNAL, frozenset({PHONE}))
    result.add(contacts)
    return result


ANNA = {
    "last_name": "Тестова",
    "first_name": "Анна Петровна",
    "phone_mobile": "+79000000001",
    "phone_other": None,
}


@pytest.mark.parametrize(
    ("contacts", "amo_id", "candidates"),
    [
        ([], None, ()),
        ([contact(5, "Анна Тестова", "8 (900) 000-00-01")], 5, ()),
        ([contact(5, "Тестова Анна Петровна", "+7 900 000 00 01")], 5, ()),
        ([contact(5, "Тестов Пётр", "+79000000001")], None, ()),  # a family phone is not an identity
        ([contact(5, "Анна Тестова", "+79000000002")], None, ()),
        ([contact(5, "Анна Тестова", "+79000000001", deleted=True)], None, ()),
        ([contact(5, "Анна Тестова", "+79000000001", mark="IDENT-x-P-9")], None, ()),  # somebody else's
        (
            [contact(5, "Анна Тестова", "+79000000001"), contact(6, "Тестова Анна", "89000000001")],
            None,
            (5, 6),
        ),
        ([contact(5, "Другая", mark="IDENT-u-P-1"), contact(6, "Анна Тестова", "+79000000001")], 5, ()),
    ],
)
def test_a_contact_is_found_by_mark_then_by_phone_and_name(
    contacts: list[RemoteContact], amo_id: int | None, candidates: tuple[int, ...]
) -> None:
    match = index(*contacts).find("IDENT-u-P-1", ANNA)
    assert (match.amo_id, match.candidates) == (amo_id, candidates)


def test_twins_with_our_mark_keep_the_lowest_id() -> None:
    match = index(contact(9, "А", mark="IDENT-u-P-1"), contact(4, "А", mark="IDENT-u-P-1")).find(
        "IDENT-u-P-1", {}
    )
    assert (match.amo_id, match.twins) == (4, (9,))


def test_a_claimed_contact_is_not_found_twice() -> None:
    found = index(contact(5, "Анна Тестова", "+79000000001"))
    assert found.find("IDENT-u-P-1", ANNA).amo_id == 5
    found.taken(5)
    assert found.find("IDENT-u-P-2", ANNA).amo_id is None


def test_a_claimed_contact_is_found_by_none_of_its_phones() -> None:
    two = RemoteContact(
        5, "Анна Тестова", "", "", 1, 0, {PHONE: ({"value": "+79000000001"}, {"value": "+79000000002"})}
    )
    found = index(two, contact(6, "Тестова Анна", "+79000000002"))
    found.taken(5)
    assert found.find("IDENT-u-P-2", ANNA).amo_id is None
    assert found.find("IDENT-u-P-3", {**ANNA, "phone_other": "+79000000002"}).amo_id == 6


def test_an_index_tells_whether_there_is_anything_to_find() -> None:
    assert not index()
    assert not index(contact(5, "Без телефона"))
    assert index(contact(5, "Анна Тестова", "+79000000001"))
    assert index(contact(5, "Другая", mark="IDENT-u-P-1"))


def test_external_ids_round_trip_and_foreign_ones_do_not() -> None:
    assert parse_external_id(external_id("u", "P", 17), "u", "P") == 17
    assert parse_external_id(external_id("v", "P", 17), "u", "P") is None
    assert parse_external_id("IDENT-u-P-17x", "u", "P") is None


@pytest.mark.parametrize(
    ("text", "key"), [("8 916 000-00-00", "9160000000"), ("+995 555 00 00 00", "5555000000")]
)
def test_phone_key(text: str, key: str) -> None:
    assert phone_key(text) == key


def test_names_are_compared_as_words() -> None:
    assert name_key("Алёна", "ИВАНОВА") == name_key("иванова алена")


def lead(amo_id: int, status: int = 11, pipeline: int = 1, mark: str = "") -> RemoteLead:
    values = {EXTERNAL: ({"value": mark},)} if mark else {}
    return RemoteLead(amo_id, "", 0, pipeline, status, 1, 0, values)


@pytest.mark.parametrize(
    ("leads", "amo_id", "candidates"),
    [
        ([lead(5)], 5, ()),
        ([lead(5, status=142)], None, ()),  # closed
        ([lead(5, pipeline=9)], None, ()),  # not a mapped pipeline
        ([lead(5), lead(6)], None, (5, 6)),
        ([lead(5, mark="IDENT-u-A-2")], None, ()),
        ([lead(5, status=143, mark="IDENT-u-A-1"), lead(6)], 5, ()),
    ],
)
def test_a_managers_deal_is_adopted_only_when_it_is_the_only_one(
    leads: list[RemoteLead], amo_id: int | None, candidates: tuple[int, ...]
) -> None:
    match = open_deal_of(leads, mark="IDENT-u-A-1", external_field=EXTERNAL, places={1: frozenset({11})})
    assert (match.amo_id, match.candidates) == (amo_id, candidates)
