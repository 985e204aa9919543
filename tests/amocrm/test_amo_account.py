from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import responses
from pydantic import SecretStr

from tasks.amocrm.account import read_account, read_users
from tasks.amocrm.client import AmoClient
from tasks.amocrm.custom_fields import create_custom_fields, read_custom_fields
from tasks.amocrm.pipelines import create_pipeline, create_stage, read_pipelines
from tasks.amocrm.token import token_expiry
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


def test_the_account(connect: Connect, mock: responses.RequestsMock) -> None:
    zone = {"datetime_settings": {"timezone": "Europe/Samara"}}
    body = {"id": 5, "subdomain": "clinic", "name": "Клиника", "current_user_id": 3, "_embedded": zone}
    mock.get(API + "account", json={**body, "contact_name_display_order": 2})
    account = read_account(connect())
    assert (account.id, account.timezone, account.name_order) == (5, "Europe/Samara", 2)
    assert asked(mock)["with"] == ["datetime_settings"]


@pytest.mark.parametrize("answer", [{"json": {"status": "ok"}}, {"status": 204}, {"json": {"id": "x"}}])
def test_something_else_than_an_account(connect: Connect, mock: responses.RequestsMock, answer: Any) -> None:
    mock.get(API + "account", **answer)
    with pytest.raises(UnexpectedAnswerError, match="address"):
        read_account(connect())


def test_users(connect: Connect, mock: responses.RequestsMock) -> None:
    rights = {"is_active": True, "is_admin": False}
    mock.get(API + "users", json=listing("users", [{"id": 1, "name": "А", "rights": rights}], more=True))
    mock.get(API + "users", json=listing("users", [{"id": 2, "name": "Б", "rights": None}]))
    found = read_users(connect())
    assert [(user.id, user.is_active, user.is_admin) for user in found] == [
        (1, True, False),
        (2, False, False),
    ]


STATUSES = [
    {"id": 142, "name": "Счёт выдан", "sort": 10000},
    {"id": 71, "name": "Запланирован", "sort": 20, "color": "#fffeb2", "pipeline_id": 10},
    {"id": 70, "name": "Неразобранное", "sort": 10, "type": 1},
]


def pipeline(number: int, name: str) -> dict[str, Any]:
    return {
        "id": number,
        "name": name,
        "sort": 1,
        "is_main": True,
        "is_archive": False,
        "_embedded": {"statuses": STATUSES},
    }


def test_pipelines(connect: Connect, mock: responses.RequestsMock) -> None:
    mock.get(API + "leads/pipelines", json=listing("pipelines", [pipeline(10, "Первичный")]))
    (found,) = read_pipelines(connect())
    assert [(stage.id, stage.pipeline_id, stage.type) for stage in found.stages] == [
        (70, 10, 1),
        (71, 10, 0),
        (142, 10, 0),
    ]


def test_a_new_pipeline_is_the_one_amocrm_names(connect: Connect, mock: responses.RequestsMock) -> None:
    mock.post(API + "leads/pipelines", json=listing("pipelines", ids(12)))
    rows = [pipeline(number, "Первичный") for number in (10, 12, 13)]
    mock.get(API + "leads/pipelines", json=listing("pipelines", rows))
    made = create_pipeline(connect(), "Первичный", [("Запланирован", 20, "#fffeb2")], "Счёт выдан", "Отменён")
    assert made.id == 12
    (body,) = sent(mock, 0)
    assert body["_embedded"]["statuses"] == [
        {"name": "Запланирован", "sort": 20, "color": "#fffeb2"},
        {"id": 142, "name": "Счёт выдан"},
        {"id": 143, "name": "Отменён"},
    ]


def test_a_new_pipeline_or_stage_that_nobody_names(connect: Connect, mock: responses.RequestsMock) -> None:
    mock.post(API + "leads/pipelines", json={})
    mock.get(API + "leads/pipelines", json=listing("pipelines", [pipeline(10, "Первичный")]))
    mock.post(API + "leads/pipelines/10/statuses", json={})
    with pytest.raises(UnexpectedAnswerError, match="autoconfigure"):
        create_pipeline(connect(), "Первичный", [], "а", "б")
    with pytest.raises(UnexpectedAnswerError, match="autoconfigure"):
        create_stage(connect(), 10, "Перенесён", 30, "#fffeb2")


def test_a_new_stage(connect: Connect, mock: responses.RequestsMock) -> None:
    mock.post(API + "leads/pipelines/10/statuses", json=listing("statuses", ids(77)))
    stage = create_stage(connect(), 10, "Перенесён", 30, "#fffeb2")
    assert (stage.id, stage.pipeline_id, stage.name, stage.sort) == (77, 10, "Перенесён", 30)


def test_fields_are_read_from_all_pages(connect: Connect, mock: responses.RequestsMock) -> None:
    enums = [{"id": 1, "value": "Да", "sort": 500}]
    path = API + "contacts/custom_fields"
    mock.get(
        path,
        json=listing("custom_fields", [{"id": 1, "name": "А", "type": "select", "enums": enums}], more=True),
    )
    mock.get(
        path,
        json=listing("custom_fields", [{"id": 2, "name": "Б", "type": "text", "code": "B", "enums": None}]),
    )
    first, second = read_custom_fields(connect(), "contacts")
    assert (first.enums[0].id, first.enums[0].value, first.code) == (1, "Да", None)
    assert (second.code, second.enums) == ("B", ())


def test_new_fields_are_read_back(connect: Connect, mock: responses.RequestsMock) -> None:
    path = API + "leads/custom_fields"
    mock.post(path, json=listing("custom_fields", ids(2)), status=201)
    rows = [{"id": number, "name": str(number), "type": "text", "code": f"C{number}"} for number in (1, 2, 3)]
    mock.get(path, json=listing("custom_fields", rows))
    made = create_custom_fields(connect(), "leads", [{"name": "2"}, {"name": "3", "code": "C3"}])
    assert [field.id for field in made] == [2, 3]


def jwt(claims: object) -> SecretStr:
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return SecretStr(f"head.{middle}.sign")


def test_the_tokens_expiry() -> None:
    assert token_expiry(jwt({"exp": 1_800_000_000})) == datetime.fromtimestamp(1_800_000_000, tz=UTC)


@pytest.mark.parametrize(
    "token",
    [
        *map(jwt, ({}, [], {"exp": None}, {"exp": 1e300})),
        SecretStr("opaque"),
        SecretStr("a.%%%.c"),
        SecretStr(""),
    ],
)
def test_a_token_that_does_not_say(token: SecretStr) -> None:
    assert token_expiry(token) is None
