from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import responses

from tasks.amocrm import contacts, leads, links, notes
from tasks.amocrm.client import AmoClient
from tasks.errors import UnexpectedAnswerError

API = "https://clinic.example/api/v4/"
Connect = Callable[..., AmoClient]


@pytest.fixture(autouse=True)
def mock() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as started:
        yield started


def listing(key: str, rows: list[Any], *, more: bool = False) -> dict[str, Any]:
    following = {"next": {"href": "https://clinic.example/next"}} if more else {}
    return {"_page": 1, "_links": following, "_embedded": {key: rows}}


def ids(*numbers: int, **values: Any) -> list[dict[str, Any]]:
    return [{"id": number, **values} for number in numbers]


def asked(mock: responses.RequestsMock, number: int = -1) -> dict[str, list[str]]:
    return parse_qs(urlsplit(str(mock.calls[number].request.url)).query)


def sent(mock: responses.RequestsMock, number: int = -1) -> Any:
    return json.loads(mock.calls[number].request.body or "null")


# ---- pages


def test_a_list_ends_when_no_next_page_is_named(connect: Connect, mock: responses.RequestsMock) -> None:
    mock.get(API + "contacts", json=listing("contacts", ids(1, 2), more=True))
    mock.get(API + "contacts", json=listing("contacts", ids(2, 3)))
    assert [contact.id for contact in contacts.iterate_contacts(connect(read_page_size=2))] == [1, 2, 3]
    assert [asked(mock, number)["page"] for number in (0, 1)] == [["1"], ["2"]]
    assert asked(mock)["limit"] == ["2"]
    assert asked(mock)["order[id]"] == ["asc"]


def test_a_list_ends_with_204(connect: Connect, mock: responses.RequestsMock) -> None:
    mock.get(API + "leads", json=listing("leads", ids(9), more=True))
    mock.get(API + "leads", status=204)
    assert [lead.id for lead in leads.iterate_leads(connect(), newest_first=True)] == [9]
    assert asked(mock)["order[id]"] == ["desc"]
    assert asked(mock)["with"] == ["contacts"]


def test_a_list_ends_with_an_empty_page(connect: Connect, mock: responses.RequestsMock) -> None:
    mock.get(API + "contacts", json=listing("contacts", [], more=True))
    assert list(contacts.iterate_contacts(connect())) == []
    assert len(mock.calls) == 1


def test_an_ignored_page_number_does_not_go_on_for_ever(
    connect: Connect, mock: responses.RequestsMock
) -> None:
    mock.get(API + "contacts", json=listing("contacts", ids(1, 2), more=True))
    with pytest.raises(UnexpectedAnswerError) as caught:
        list(contacts.iterate_contacts(connect()))
    assert caught.value.code == "page_ignored"


@pytest.mark.parametrize(
    "body",
    [{}, {"_embedded": None}, {"_embedded": {}}, {"_embedded": {"contacts": {}}}, listing("contacts", [1])],
)
def test_something_else_than_a_list(connect: Connect, mock: responses.RequestsMock, body: Any) -> None:
    mock.get(API + "contacts", json=body)
    client = connect()
    for read in (
        lambda: list(contacts.iterate_contacts(client)),
        lambda: contacts.read_contacts(client, [1]),
        lambda: contacts.highest_contact_id(client),
        lambda: list(contacts.latest_contacts_down_to(client, 1)),
    ):
        with pytest.raises(UnexpectedAnswerError):
            read()


@pytest.mark.parametrize("row", [{}, {"id": "Петров"}, {"id": 1, "custom_fields_values": "Петров"}])
def test_a_row_of_a_strange_shape(connect: Connect, mock: responses.RequestsMock, row: Any) -> None:
    mock.get(API + "contacts", json=listing("contacts", [row]))
    with pytest.raises(UnexpectedAnswerError) as caught:
        list(contacts.iterate_contacts(connect()))
    assert "Петров" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# ---- by id


def test_ids_are_read_in_chunks(connect: Connect, mock: responses.RequestsMock) -> None:
    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        chunk = [int(number) for number in parse_qs(urlsplit(request.url).query)["filter[id][]"]]
        return 200, {}, json.dumps(listing("contacts", ids(*chunk[1:], 999_999)))

    mock.add_callback("GET", API + "contacts", callback=answer)
    found = contacts.read_contacts(connect(), [*range(1, 121), 5, 7])
    assert [len(asked(mock, number)["filter[id][]"]) for number in range(3)] == [50, 50, 20]
    assert asked(mock)["limit"] == ["250"]
    assert sorted(found) == sorted(
        set(range(1, 121)) - {1, 51, 101}
    )  # absent ones and strangers are not there


def test_no_ids_no_request(connect: Connect, mock: responses.RequestsMock) -> None:
    client = connect()
    assert contacts.read_contacts(client, []) == {}
    assert leads.leads_of_contacts(client, []) == {}
    assert contacts.create_contacts(client, []) == {}
    assert contacts.update_contacts(client, []) == frozenset()
    assert client.requests == 0


def test_an_ignored_filter_is_noticed(connect: Connect, mock: responses.RequestsMock) -> None:
    mock.get(API + "leads", json=listing("leads", ids(1, 2, 3)))
    with pytest.raises(UnexpectedAnswerError) as caught:
        leads.read_leads(connect(), [7, 8])
    assert caught.value.code == "filter_ignored"


def test_nothing_found_is_no_error(connect: Connect, mock: responses.RequestsMock) -> None:
    mock.get(API + "leads", status=204)
    assert leads.read_leads(connect(), [7]) == {}


# ---- newest first


def down_to(client: AmoClient, amo_id: int) -> list[int]:
    return [contact.id for contact in contacts.latest_contacts_down_to(client, amo_id)]


def test_reading_stops_at_the_known_id(connect: Connect, mock: responses.RequestsMock) -> None:
    mock.get(API + "contacts", json=listing("contacts", ids(9, 8, 6), more=True))
    mock.get(API + "contacts", json=listing("contacts", ids(5, 3, 2), more=True))
    assert down_to(connect(), 3) == [9, 8, 6, 5]
    assert len(mock.calls) == 2
    assert asked(mock)["order[id]"] == ["desc"]


def test_rows_pushed_to_the_next_page_are_met_twice_and_told_once(
    connect: Connect, mock: responses.RequestsMock
) -> None:
    mock.get(API + "contacts", json=listing("contacts", ids(9, 8, 7), more=True))
    mock.get(API + "contacts", json=listing("contacts", ids(8, 7, 6)))
    assert down_to(connect(), 0) == [9, 8, 7, 6]


@pytest.mark.parametrize("first", [[1, 2, 9], [9, 1, 8]])
def test_an_ignored_order_is_noticed_although_the_known_id_came_first(
    connect: Connect, mock: responses.RequestsMock, first: list[int]
) -> None:
    mock.get(API + "contacts", json=listing("contacts", ids(*first), more=True))
    with pytest.raises(UnexpectedAnswerError) as caught:
        down_to(connect(), 5)
    assert caught.value.code == "order_ignored"


def test_an_order_ignored_between_pages_is_noticed(connect: Connect, mock: responses.RequestsMock) -> None:
    mock.get(API + "leads", json=listing("leads", ids(9, 8), more=True))
    mock.get(API + "leads", json=listing("leads", ids(12, 11)))
    with pytest.raises(UnexpectedAnswerError):
        list(leads.latest_leads_down_to(connect(), 1))


def test_the_highest_id(connect: Connect, mock: responses.RequestsMock) -> None:
    mock.get(API + "contacts", json=listing("contacts", ids(41)))
    mock.get(API + "leads", status=204)
    assert contacts.highest_contact_id(connect()) == 41
    assert leads.highest_lead_id(connect()) == 0


def test_recently_updated_stops_at_what_is_older(connect: Connect, mock: responses.RequestsMock) -> None:
    rows = [{"id": 1, "updated_at": 200}, {"id": 2, "updated_at": 99}, {"id": 3, "updated_at": 300}]
    mock.get(API + "contacts", json=listing("contacts", rows, more=True))
    assert [contact.id for contact in contacts.recently_updated_contacts(connect(), 100)] == [1]
    assert asked(mock)["filter[updated_at][from]"] == ["100"]


def test_search(connect: Connect, mock: responses.RequestsMock) -> None:
    mock.get(API + "contacts", json=listing("contacts", ids(3)))
    assert [contact.id for contact in contacts.search_contacts(connect(), "9990001122")] == [3]
    assert asked(mock)["query"] == ["9990001122"]


# ---- rows


def test_a_contact(connect: Connect, mock: responses.RequestsMock) -> None:
    row = {
        "id": 7, "name": "Анна Тестова", "first_name": "Анна", "last_name": None, "responsible_user_id": 4,
        "updated_at": 1700000000, "is_deleted": False,
        "custom_fields_values": [
            {"field_id": 11, "field_code": "PHONE", "values": [{"value": "+7", "enum_code": "WORK"}]},
            {"field_id": 12, "values": None},
        ],
        "_embedded": {"tags": [{"id": 1, "name": "IDENT"}], "companies": []},
    }  # fmt: skip
    mock.get(API + "contacts", json=listing("contacts", [row, {"id": 8, "custom_fields_values": None}]))
    found = contacts.read_contacts(connect(), [7, 8])
    assert (found[7].first_name, found[7].last_name, found[7].responsible_user_id) == ("Анна", "", 4)
    assert found[7].values == {11: ({"value": "+7", "enum_code": "WORK"},), 12: ()}
    assert found[7].tags == frozenset({"IDENT"})
    assert found[8].values == {}
    assert "Анна" not in repr(found)


def test_a_deal_names_its_main_contact_first(connect: Connect, mock: responses.RequestsMock) -> None:
    linked = [{"id": 5, "is_main": False}, {"id": 6, "is_main": True}, {"id": 4, "is_main": False}]
    row = {
        "id": 1,
        "price": None,
        "pipeline_id": 10,
        "status_id": 142,
        "_embedded": {"contacts": linked, "tags": None},
    }
    mock.get(API + "leads", json=listing("leads", [row]))
    lead = leads.read_leads(connect(), [1])[1]
    assert lead.contact_ids == (6, 5, 4)
    assert (lead.price, lead.pipeline_id, lead.status_id, lead.tags) == (0, 10, 142, frozenset())


def test_the_deals_of_contacts(connect: Connect, mock: responses.RequestsMock) -> None:
    rows = [
        {"id": 1, "_embedded": {"leads": [{"id": 30}, {"id": 20}]}},
        {"id": 2, "_embedded": {"leads": [{"id": 20}, {"id": 99}]}},
        {"id": 3, "_embedded": {}},
    ]
    mock.get(API + "contacts", json=listing("contacts", rows))
    mock.get(API + "leads", json=listing("leads", ids(20, 30)))
    found = leads.leads_of_contacts(connect(), {1, 2, 3})
    assert {key: [lead.id for lead in deals] for key, deals in found.items()} == {1: [20, 30], 2: [20], 3: []}
    assert asked(mock, 0)["with"] == ["leads"]
    assert asked(mock, 1)["filter[id][]"] == ["20", "30", "99"]


# ---- writes


def test_created_ids_are_matched_by_request_id(connect: Connect, mock: responses.RequestsMock) -> None:
    rows = [
        {"id": 51, "request_id": "b"},
        {"id": 50, "request_id": "a"},
        {"id": 52, "request_id": "stranger"},
        {"id": 53},
        {"request_id": "c"},
        {"id": "54", "request_id": "c"},
        None,
    ]
    mock.post(API + "contacts", json=listing("contacts", rows))
    payloads = [{"request_id": key} for key in "abc"]
    assert contacts.create_contacts(connect(), payloads) == {"a": 50, "b": 51}
    assert sent(mock) == payloads


@pytest.mark.parametrize("body", [{}, {"_embedded": []}, {"_embedded": {"leads": None}}])
def test_a_create_without_names_names_nobody(
    connect: Connect, mock: responses.RequestsMock, body: Any
) -> None:
    mock.post(API + "leads", json=body)
    assert leads.create_leads(connect(), [{"request_id": "a"}]) == {}


def test_only_what_was_sent_is_acknowledged(connect: Connect, mock: responses.RequestsMock) -> None:
    mock.patch(API + "leads", json=listing("leads", ids(2, 9)))
    assert leads.update_leads(connect(), ids(1, 2)) == frozenset({2})


def test_links(connect: Connect, mock: responses.RequestsMock) -> None:
    mock.post(API + "leads/link", json=listing("links", []))
    mock.post(API + "leads/unlink", status=204)
    links.link_contacts(connect(), [(1, 2, True)])
    link = {"entity_id": 1, "to_entity_id": 2, "to_entity_type": "contacts"}
    assert sent(mock) == [{**link, "metadata": {"is_main": True}}]
    links.unlink_contacts(connect(), [(1, 2)])
    assert sent(mock) == [link]


def test_notes(connect: Connect, mock: responses.RequestsMock) -> None:
    rows = [
        {"id": 1, "note_type": "common", "params": {"text": "раз"}},
        {"id": 2, "note_type": "call_in", "params": {"phone": "+7"}},
        {"id": 3, "note_type": "common", "params": None},
    ]
    mock.get(API + "leads/8/notes", json=listing("notes", rows))
    mock.get(API + "leads/9/notes", status=204)
    mock.post(API + "leads/notes", json=listing("notes", ids(4)))
    client = connect()
    assert notes.read_notes(client, 8) == [(1, "раз"), (3, "")]
    assert notes.read_notes(client, 9) == []
    assert notes.add_notes(client, [(8, "два")]) == [4]
    assert sent(mock) == [{"entity_id": 8, "note_type": "common", "params": {"text": "два"}}]
