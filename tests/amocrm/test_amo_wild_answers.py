"""Whatever answers in amoCRM's place: only our own errors come out, and nothing counts as written that is not.

The ordinary suite plays some hundred answers; ``pytest -m soak`` plays ten thousand to the client, and some
thousands to loads with a ledger behind them.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path
from random import Random
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from tasks.amocrm import account, contacts, custom_fields, leads, links, notes, pipelines
from tasks.amocrm.answers import moment
from tasks.amocrm.client import AmoClient
from tasks.amocrm.pacing import Pacer
from tasks.destination import AmoDestination
from tasks.errors import (
    AmbiguousWriteError,
    FieldProblem,
    IdentAmocrmError,
    RateLimitedError,
    UnexpectedAnswerError,
    ValidationRejectedError,
)
from tasks.ledger.store import Ledger
from tasks.mapping.model import FieldRule
from tasks.mapping.values import from_amo
from tasks.records import Kind
from tasks.settings import Settings
from tests.amocrm.conftest import BASE, TOKEN, Clock
from tests.support.fake_amocrm import UID, FakeAmo
from tests.support.loading_room import Appointment, Room, Run
from tests.support.wild_amocrm import HEADERS, MAIL, PERSONAL, PHONE, Exchange, WildAmo

SOAK = 10_000
IMPATIENT = Settings(retry_seconds=4.0)
#: Without shrinking: it would take minutes, and the first failure says enough.
QUICK: dict[str, Any] = {
    "phases": [Phase.generate],
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
    "database": None,
}
SEEDED = st.randoms(use_true_random=True)  # one draw for each example: the seed
ROW = [{"request_id": "1", "name": "x"}, {"request_id": "2", "name": "y"}]

#: Every call of the client that reads an answer.
CALLS: dict[str, Callable[[AmoClient], object]] = {
    "account": account.read_account,
    "users": account.read_users,
    "pipelines": pipelines.read_pipelines,
    "create_pipeline": lambda client: pipelines.create_pipeline(client, "x", [("a", 1, "#fff")], "да", "нет"),
    "create_stage": lambda client: pipelines.create_stage(client, 100, "x", 1, "#fff"),
    "fields": lambda client: custom_fields.read_custom_fields(client, "contacts"),
    "create_fields": lambda client: custom_fields.create_custom_fields(
        client, "leads", [{"name": "x", "code": "X"}]
    ),
    "add_options": lambda client: custom_fields.add_options(client, "leads", 5, ["a", "b"]),
    "read_contacts": lambda client: contacts.read_contacts(client, [7, 8]),
    "all_contacts": lambda client: list(contacts.iterate_contacts(client)),
    "new_contacts": lambda client: list(contacts.latest_contacts_down_to(client, 7)),
    "recent_contacts": lambda client: list(contacts.recently_updated_contacts(client, 5)),
    "search_contacts": lambda client: list(contacts.search_contacts(client, "x")),
    "trashed_contacts": lambda client: contacts.trashed_contacts_above(client, 7),
    "highest_contact": contacts.highest_contact_id,
    "leads_by_contact": lambda client: contacts.leads_by_contact(client, [7, 8]),
    "read_leads": lambda client: leads.read_leads(client, [7, 8]),
    "all_leads": lambda client: list(leads.iterate_leads(client, newest_first=True)),
    "leads_of_contacts": lambda client: leads.leads_of_contacts(client, [7, 8]),
    "search_leads": lambda client: list(leads.search_leads(client, "x")),
    "notes": lambda client: notes.read_notes(client, 7),
    "add_notes": lambda client: notes.add_notes(client, [(7, "x")]),
    "link": lambda client: links.link_contacts(client, [(8, 7, True)]),
    "unlink": lambda client: links.unlink_contacts(client, [(8, 7)]),
}


class Said(logging.Handler):
    """Keeps what was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@pytest.fixture(scope="module")
def said() -> Iterator[list[str]]:
    handler, logger = Said(), logging.getLogger("tasks.amocrm")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler.texts
    logger.removeHandler(handler)
    logger.setLevel(before)


def wild_client(random: Random, monkeypatch: pytest.MonkeyPatch) -> tuple[AmoClient, WildAmo]:
    """A client whose requests all go to the wild account; its pauses cost no time."""
    wild, clock = WildAmo(random), Clock()

    def session(*, verify: object) -> requests.Session:
        found = requests.Session()
        found.trust_env = False
        found.mount("https://", wild)
        return found

    monkeypatch.setattr("tasks.amocrm.requester.new_session", session)
    pacer = Pacer(5, clock=clock, sleep=clock.sleep)
    client = AmoClient(
        BASE, SecretStr(TOKEN), settings=IMPATIENT, pacer=pacer, sleep=clock.sleep, clock=clock
    )
    return client, wild


def silent_about_persons(texts: list[str]) -> None:
    assert [word for word in PERSONAL for text in texts if word in text] == []
    texts.clear()


def call_everything(random: Random, said: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Make one call; the number of answers it took."""
    client, wild = wild_client(random, monkeypatch)
    name = random.choice([*CALLS, *("create", "update") * 3])
    try:
        if name == "create":
            created = contacts.create_contacts(client, ROW)
            assert created.items() <= acknowledged_creates(wild.exchanges, "contacts").items()
        elif name == "update":
            updated = leads.update_leads(client, [{"id": 7}, {"id": 8}])
            assert updated <= acknowledged_ids(wild.exchanges, "leads") & {7, 8}
        else:
            repr(CALLS[name](client))
    except IdentAmocrmError as error:
        said += [str(error), repr(error)]
    silent_about_persons(said)
    return len(wild.exchanges)


def acknowledged_creates(exchanges: list[Exchange], key: str) -> dict[str, int]:
    """What answers to creations named, without the ids and request ids that they named in two ways."""
    named: set[tuple[str, int]] = set()
    for exchange in exchanges:
        if exchange.verb == "POST" and exchange.path == key:
            sent = {str(row["request_id"]) for row in exchange.sent}
            named |= {
                (str(row["request_id"]), row["id"])
                for row in exchange.named(key)
                if type(row["id"]) is int and str(row.get("request_id")) in sent
            }
    requests_, ids = [one for one, _id in named], [number for _one, number in named]
    return {one: number for one, number in named if requests_.count(one) == ids.count(number) == 1}


def acknowledged_ids(exchanges: list[Exchange], key: str) -> set[int]:
    """What answers to updates named."""
    return {
        row["id"]
        for exchange in exchanges
        if exchange.verb == "PATCH" and exchange.path == key
        for row in exchange.named(key)
        if type(row["id"]) is int
    }


@settings(max_examples=150, **QUICK)
@given(random=SEEDED)
def test_a_call_ends_well_or_with_our_own_error(random: Random, said: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        call_everything(random, said, patch)


@pytest.mark.soak
def test_ten_thousand_answers_to_calls(said: list[str]) -> None:
    played = 0

    @settings(max_examples=SOAK, **QUICK)
    @given(random=SEEDED)
    def play(random: Random) -> None:
        nonlocal played
        with pytest.MonkeyPatch.context() as patch:
            played += call_everything(random, said, patch)

    play()
    assert played >= SOAK


# ---- what the wild answers brought to light, one by one ----------------------------------------------------


def answering(
    monkeypatch: pytest.MonkeyPatch, *bodies: object, headers: dict[str, str] | None = None
) -> AmoClient:
    """A client whose account answers just this."""
    client, wild = wild_client(Random(0), monkeypatch)
    left = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]

    def send(request: requests.PreparedRequest, **_options: object) -> requests.Response:
        status = 200 if headers is None else 429
        return wild.response(request, status, headers or {}, left.pop(0) if len(left) > 1 else left[0])

    monkeypatch.setattr(wild, "send", send)
    return client


def rows(key: str, *found: Any) -> dict[str, Any]:
    return {"_embedded": {key: list(found)}}


def test_a_row_named_twice_counts_as_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    named = [{"id": 5, "request_id": "1"}, {"id": 6, "request_id": "1"}, {"id": 7, "request_id": "2"}]
    assert contacts.create_contacts(answering(monkeypatch, rows("contacts", *named)), ROW) == {"2": 7}
    again = [{"id": 7, "request_id": "1"}, {"id": 7, "request_id": "2"}]
    assert contacts.create_contacts(answering(monkeypatch, rows("contacts", *again)), ROW) == {}
    same = [{"id": 5, "request_id": "1"}, {"id": 5, "request_id": 1}]
    assert contacts.create_contacts(answering(monkeypatch, rows("contacts", *same)), ROW) == {"1": 5}


@pytest.mark.parametrize("number", [True, 0, -1, 1.0, "5", 2**63, None])
def test_what_is_no_id_acknowledges_nothing(number: object, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = rows("contacts", {"id": number, "request_id": "1"})
    assert contacts.create_contacts(answering(monkeypatch, answer), ROW) == {}


def test_a_note_and_a_link_that_are_not_named_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AmbiguousWriteError):
        notes.add_notes(answering(monkeypatch, {}), [(7, "x")])
    assert not links.link_contacts(answering(monkeypatch, {}), [(8, 7, True)])
    other = rows("links", {"entity_id": 8, "to_entity_id": 6})
    assert not links.link_contacts(answering(monkeypatch, other), [(8, 7, True)])
    elsewhere = rows("links", {"entity_id": 9, "to_entity_id": 7})
    assert not links.link_contacts(answering(monkeypatch, elsewhere), [(8, 7, True)])


def test_a_link_counts_that_names_no_deal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The documented parameters of the answer are the contact's; only the example has the deal."""
    bare = rows(
        "links", {"to_entity_id": 7, "to_entity_type": "contacts", "metadata": {"main_contact": True}}
    )
    assert links.link_contacts(answering(monkeypatch, bare), [(8, 7, True)])


def test_half_a_character_becomes_a_mark_that_can_be_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"_embedded":{"contacts":[{"id":7,"name":"a\\ud83d \\ud83d\\ude00"}]}}'
    [contact] = contacts.iterate_contacts(answering(monkeypatch, body))
    assert contact.name == "a? \U0001f600"


@pytest.mark.parametrize(
    "row",
    [
        {"id": float("inf")},
        {"id": 10**300},
        {"id": 7, "name": ["x"]},
        {"id": 7, "custom_fields_values": [{"field_id": 1, "values": ["x"]}]},
        {"id": 7, "custom_fields_values": [{"field_id": float("inf"), "values": []}]},
        {"id": 7, "_embedded": {"tags": [{"name": []}]}},
    ],
)
def test_a_row_of_a_strange_shape_is_our_error(row: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnexpectedAnswerError, match="unknown shape"):
        list(contacts.iterate_contacts(answering(monkeypatch, rows("contacts", row))))


@pytest.mark.parametrize(
    "problem",
    [
        {"code": PHONE, "path": "x"},
        {"code": "x", "path": f"a.{PHONE}.b"},
        {"code": "8-916-123-45-67", "path": PHONE},
    ],
)
def test_a_complaint_that_echoes_a_phone_keeps_it_to_itself(
    problem: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    complaint = {"validation-errors": [{"request_id": PHONE[1:], "errors": [problem]}]}
    client, wild = wild_client(Random(0), monkeypatch)
    monkeypatch.setattr(
        wild, "send", lambda request, **_: wild.response(request, 400, {}, json.dumps(complaint).encode())
    )
    with pytest.raises(ValidationRejectedError) as caught:
        contacts.update_contacts(client, [{"id": 7}])
    assert PHONE[1:] not in f"{caught.value!s}{caught.value.problems!r}"


def test_a_complaint_is_told_as_far_as_it_is_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    code, path = "c1051bb4-d103-4f74-8988-acbcafc7fdc3", "_embedded.contacts.12.id"
    errors = [{"code": code, "path": path}, {"code": MAIL, "path": MAIL}]
    complaint = {"validation-errors": [{"request_id": "7", "errors": errors}]}
    client, wild = wild_client(Random(0), monkeypatch)
    monkeypatch.setattr(
        wild, "send", lambda request, **_: wild.response(request, 400, {}, json.dumps(complaint).encode())
    )
    with pytest.raises(ValidationRejectedError) as caught:
        contacts.update_contacts(client, [{"id": 7}])
    assert caught.value.problems == (
        FieldProblem("7", code, path),
        FieldProblem("7", "", ""),
    )


@pytest.mark.parametrize(
    ("kind", "raw", "told"),
    [
        ("date", "soon", "soon"),
        ("date_time", 1e300, "1e+300"),
        ("birthday", 10**18, "1000000000000000000"),
        ("date", float("nan"), "nan"),
        ("numeric", "1e999999", "1e999999"),
        ("select", "x", "x"),
    ],
)
def test_a_value_of_a_strange_shape_is_a_text_of_its_own(kind: str, raw: object, told: str) -> None:
    rule = FieldRule(datum="start_at", field_id=4, field_type=kind)
    assert from_amo(rule, [{"value": raw, "enum_id": []}], "Europe/Moscow") == told


@pytest.mark.parametrize("zone", ["Mars/Phobos", "Europe", "", None, "../x"])
def test_an_account_in_an_unknown_zone_is_no_account(zone: object, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"id": 1, "subdomain": "x", "name": "x", "current_user_id": 2}
    answer |= {"_embedded": {"datetime_settings": {"timezone": zone}}}
    with pytest.raises(UnexpectedAnswerError, match="not as an amoCRM account"):
        account.read_account(answering(monkeypatch, answer))


@pytest.mark.parametrize("text", [head["Retry-After"] for head in HEADERS if "Retry-After" in head])
def test_no_date_of_a_header_breaks_a_request(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RateLimitedError):
        account.read_account(answering(monkeypatch, {}, headers={"Retry-After": text}))
    told = moment(text)
    assert told is None or told.tzinfo is UTC


# ---- the loader: what becomes of such answers in the ledger ------------------------------------------------


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger after a first good run, with one batch whose answer was lost; each example gets a copy."""
    path = tmp_path_factory.mktemp("wild") / "ledger.db"
    room = grown(Room(Ledger(f"sqlite:///{path}").open(), None))  # type: ignore[arg-type]
    room.amo = FakeAmo(room.ledger, next_id=7000)
    room.run()
    with room.ledger.database.engine.connect() as link:
        link.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    room.ledger.close()
    return path


def grown(room: Room) -> Room:
    room.add(patients=3, appointments=3)
    return room


def load_wildly(random: Random, said: list[str], loaded: Path) -> int:
    """Load a clinic's changes into the wild account, twice: the second run settles what the first left open."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        shutil.copy(loaded, Path(folder) / "ledger.db")
        ledger = Ledger(f"sqlite:///{folder}/ledger.db").open()
        client, wild = wild_client(random, patch)
        room = grown(Room(ledger, AmoDestination(client)))  # type: ignore[arg-type]
        room.runs = 1
        room.add(patients=5, appointments=5)
        room.patients[1]["city"] = room.patients[2]["phone_mobile"] = "+79000009999"
        room.appointments[1] = Appointment(1, start_at="2026-03-19T07:00:00Z")
        room.appointments[2] = Appointment(3, doctor="Другой Врач")
        before = {kind: ledger.applied_rows(UID, kind, range(9)) for kind in Kind}
        for now in (0.0, 100.0):
            try:
                judged(room.run(now), said)
            except IdentAmocrmError as error:  # recovery comes before the plan
                said += [str(error), repr(error)]
            silent_about_persons(said)
            nothing_is_made_up(ledger, before, wild.exchanges)
        ledger.close()
        return len(wild.exchanges)


def judged(run: Run, said: list[str]) -> None:
    """Every planned row ended in one way; what stopped the run names nobody."""
    said += [str(run.stopped), repr(run.stopped)]
    assert set(run.ended) == {(row.kind, row.source_id) for row in run.rows}
    assert {len(rows) for rows in run.ended.values()} <= {1}
    said += [f"{one.reason} {one.field}" for rows in run.ended.values() for one in rows]


def nothing_is_made_up(ledger: Ledger, before: dict[Kind, dict[int, Any]], exchanges: list[Exchange]) -> None:
    """Every receipt in the ledger stands on an answer that named just this row and this id."""
    read = {
        row["id"]
        for exchange in exchanges
        if exchange.verb == "GET"
        for key in ("contacts", "leads")
        for row in exchange.named(key)
        if isinstance(row["id"], int | float | str)
    }
    for kind, key in ((Kind.CONTACT, "contacts"), (Kind.LEAD, "leads")):
        created, updated = acknowledged_creates(exchanges, key), acknowledged_ids(exchanges, key)
        for source_id, row in ledger.applied_rows(UID, kind, range(9)).items():
            known = before[kind].get(source_id)
            if known is None:
                assert created.get(str(source_id)) == row.amo_id or row.amo_id in read, "created by nobody"
            elif row.row_hash != known.row_hash:
                assert row.amo_id in updated, "updated by nobody"
    linked = {
        (item["entity_id"], item["to_entity_id"])
        for exchange in exchanges
        if exchange.path == "leads/link" and 200 <= exchange.status < 300
        for item in exchange.sent
    }
    for source_id, row in ledger.applied_rows(UID, Kind.LINK, range(9)).items():
        known = before[Kind.LINK].get(source_id)
        if known is not None and known.amo_id != row.amo_id:
            assert row.amo_id in {contact for _lead, contact in linked}, "linked by nobody"


@settings(max_examples=6, **QUICK)
@given(random=SEEDED)
def test_a_load_records_only_what_was_acknowledged(random: Random, said: list[str], loaded: Path) -> None:
    load_wildly(random, said, loaded)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_thousands_of_answers_to_loads(said: list[str], loaded: Path) -> None:
    played = 0

    @settings(max_examples=400, **QUICK)
    @given(random=SEEDED)
    def play(random: Random) -> None:
        nonlocal played
        played += load_wildly(random, said, loaded)

    play()
    assert played >= 2_000
