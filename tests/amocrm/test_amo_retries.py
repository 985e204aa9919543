from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import pytest
import responses

from tasks.amocrm.client import AmoClient
from tasks.errors import (
    AmbiguousWriteError,
    AmoCrmUnavailableError,
    AuthenticationError,
    BlockedError,
    ConfigurationError,
    IdentAmocrmError,
    PaymentRequiredError,
    RateLimitedError,
    UnexpectedAnswerError,
    ValidationRejectedError,
)

API = "https://clinic.example/api/v4/"
HTML = "<html><body>nginx</body></html>"
Connect = Callable[..., AmoClient]


def call(client: AmoClient, verb: str) -> Any:
    if verb == "GET":
        return client.get("contacts")
    return client.patch("contacts", []) if verb == "PATCH" else client.post("contacts", [])


@responses.activate
@pytest.mark.parametrize("verb", ["GET", "PATCH"])
@pytest.mark.parametrize(
    "broken", [{"status": 500, "body": HTML}, {"status": 504}, {"status": 429}, {"body": HTML}, {"body": '{"_embed'},
               {"status": 404, "body": HTML}]
)  # fmt: skip
def test_what_may_be_repeated_is_repeated(connect: Connect, verb: str, broken: dict[str, Any]) -> None:
    responses.add(verb, API + "contacts", **broken)
    responses.add(verb, API + "contacts", json={"id": 1})
    client = connect()
    assert call(client, verb) == {"id": 1}
    assert client.requests == 2
    assert client.writes == (0 if verb == "GET" else 2)


@responses.activate
@pytest.mark.parametrize(
    "broken",
    [{"status": 500, "body": HTML}, {"status": 504}, {"body": HTML}, {"body": '{"_embed'}, {"body": ""}],
)
def test_a_create_is_not_repeated(connect: Connect, broken: dict[str, Any]) -> None:
    responses.add("POST", API + "contacts", **broken)
    client = connect()
    with pytest.raises(AmbiguousWriteError) as caught:
        call(client, "POST")
    assert (client.requests, client.writes) == (1, 1)
    assert "POST contacts" in caught.value.problem


@responses.activate
@pytest.mark.parametrize("body", [HTML, '{"status": 429}'])
def test_a_create_is_repeated_after_429(connect: Connect, body: str) -> None:
    responses.add("POST", API + "contacts", status=429, body=body)
    responses.add("POST", API + "contacts", json={"id": 1})
    client = connect()
    assert call(client, "POST") == {"id": 1}
    assert client.requests == 2


@responses.activate
def test_linking_is_repeated_although_it_is_a_post(connect: Connect) -> None:
    responses.add("POST", API + "leads/link", status=502)
    responses.add("POST", API + "leads/link", json={})
    assert connect().post("leads/link", [], repeatable=True) == {}


@responses.activate
@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AuthenticationError), (402, PaymentRequiredError), (403, BlockedError), (302, ConfigurationError)],
)
def test_what_a_person_must_settle_is_not_repeated(
    connect: Connect, status: int, error: type[IdentAmocrmError]
) -> None:
    headers = {"X-Request-Id": "abc-123", "Location": "https://elsewhere.example/"}
    responses.add("GET", API + "contacts", status=status, json={"detail": "Петров"}, headers=headers)
    client = connect()
    with pytest.raises(error) as caught:
        call(client, "GET")
    assert client.requests == 1
    assert f"GET contacts: status {status}, X-Request-Id abc-123" in caught.value.problem
    assert "Петров" not in str(caught.value)
    if status == 401:
        command = "ident-amocrm connect-amocrm --base-url https://clinic.example --token-file"
        assert command in caught.value.remedy


@responses.activate
def test_pauses_grow_and_end(connect: Connect, clock: Any) -> None:
    responses.add("GET", API + "contacts", status=503, body=HTML)
    client = connect(retry_seconds=120)
    with pytest.raises(AmoCrmUnavailableError):
        call(client, "GET")
    pauses = [pause for pause in clock.slept if pause > 0.2]
    assert sum(pauses) <= 120
    assert client.requests > 5
    assert all(2.0**number / 2 <= pause <= 2.0**number for number, pause in enumerate(pauses[:5]))
    assert max(pauses) <= 30


@responses.activate
def test_every_repetition_is_paced(connect: Connect, clock: Any) -> None:
    moments: list[float] = []

    def answer(_request: object) -> tuple[int, dict[str, str], str]:
        moments.append(clock.now)
        return (500 if len(moments) % 2 else 200), {}, "{}"

    responses.add_callback("GET", API + "contacts", callback=answer)
    client = connect()
    for _ in range(5):
        call(client, "GET")
    assert min(later - earlier for earlier, later in pairwise(moments)) >= 0.2 - 1e-6


@responses.activate
@pytest.mark.parametrize("kind", ["seconds", "date"])
def test_retry_after_is_heeded(connect: Connect, clock: Any, kind: str) -> None:
    moment = datetime.now(tz=UTC) + timedelta(seconds=41)
    text = "40" if kind == "seconds" else format_datetime(moment, usegmt=True)
    responses.add("GET", API + "contacts", status=429, headers={"Retry-After": text})
    responses.add("GET", API + "contacts", json={})
    before = clock.now
    call(connect(), "GET")
    assert clock.now - before == pytest.approx(40, abs=2)


@responses.activate
@pytest.mark.parametrize("text", ["soon", "-5", "nan", "inf", "Tue, 24 Nov 2020 10:00:00 -0000"])
def test_a_senseless_retry_after_is_no_reason_to_fail(connect: Connect, clock: Any, text: str) -> None:
    responses.add("GET", API + "contacts", status=429, headers={"Retry-After": text})
    responses.add("GET", API + "contacts", json={})
    before = clock.now
    assert call(connect(), "GET") == {}
    assert clock.now - before >= 1


@responses.activate
def test_longer_than_our_patience_is_not_waited_for(connect: Connect) -> None:
    responses.add("POST", API + "contacts", status=429, headers={"Retry-After": "3600"})
    client = connect()
    with pytest.raises(RateLimitedError):
        call(client, "POST")
    assert client.requests == 1


@responses.activate
def test_an_address_that_never_answered_like_amocrm_is_given_up_soon(connect: Connect, clock: Any) -> None:
    responses.add("GET", API + "account", body=HTML)
    client, before = connect(), clock.now
    with pytest.raises(UnexpectedAnswerError) as caught:
        client.get("account")
    assert client.requests <= 3
    assert clock.now - before <= 3
    assert "address" in caught.value.remedy


def test_a_closed_port_is_given_up_soon_at_first_and_late_afterwards(
    connect: Connect, clock: Any, closed_port: int
) -> None:
    client, before = connect(f"http://127.0.0.1:{closed_port}"), clock.now
    with pytest.raises(AmoCrmUnavailableError) as caught:
        client.post("contacts", [])
    assert 2 <= client.requests <= 3
    assert clock.now - before <= 3
    assert f"127.0.0.1:{closed_port}" in caught.value.problem
    assert "proxy" in caught.value.remedy
    assert "Errno" not in str(caught.value)
    with responses.RequestsMock() as mock:
        mock.add("GET", f"http://127.0.0.1:{closed_port}/api/v4/account", json={})
        client.get("account")
    before, sent = clock.now, client.requests
    with pytest.raises(AmoCrmUnavailableError):
        client.post("contacts", [])
    assert client.requests - sent > 5
    assert clock.now - before > 60


@pytest.mark.parametrize("fault", ["reset", "truncated", "closed"])
def test_a_lost_answer(connect: Connect, serve: Any, steps: Any, fault: str) -> None:
    broken = {
        "reset": steps["reset"],
        "truncated": steps["reply"](200, b'{"_embedded": {', length=500),
        "closed": lambda _connection: None,
    }[fault]
    server = serve(steps["reply"](), broken, steps["reply"](200, b'{"id": 2}'))
    client = connect(server.url)
    client.get("account")
    assert client.get("contacts") == {"id": 2}
    assert len(server.seen) == 3
    server = serve(broken)
    client = connect(server.url)
    with pytest.raises(AmbiguousWriteError) as caught:
        client.post("contacts", [{"name": "Секретов"}])
    assert len(server.seen) == 1
    assert b"name" in server.bodies[0]
    assert "POST contacts" in caught.value.problem
    assert "Секретов" not in str(caught.value)


def test_a_silent_server(connect: Connect, serve: Any, steps: Any) -> None:
    server = serve(steps["reply"]())
    server.steps = [server.stall]
    client = connect(server.url, read_timeout=0.3)
    with pytest.raises(AmbiguousWriteError) as caught:
        client.post("contacts", [])
    assert "did not answer in time" in caught.value.problem
    server.steps = [server.stall, server.stall, steps["reply"](200, b'{"id": 3}')]
    assert client.get("contacts") == {"id": 3}


@responses.activate
def test_problems_of_a_batch_are_read_without_values(connect: Connect) -> None:
    body = {
        "validation-errors": [
            {"request_id": "17", "errors": [
                {"code": "NotSupportedChoice", "path": "custom_fields_values.6.values.0.value", "detail": "Петров"},
                {"code": "Bad Петров", "path": "имя", "detail": "x"}]},
            {"request_id": 3, "errors": [{"code": "InvalidType", "path": "price"}]},
            {"request_id": "9", "errors": None}, "junk",
        ],
        "title": "Bad Request", "status": 400, "detail": "+79990001122",
    }  # fmt: skip
    responses.add("POST", API + "contacts", status=400, json=body, headers={"X-Request-Id": "имя"})
    with pytest.raises(ValidationRejectedError) as caught:
        call(connect(), "POST")
    found = [(problem.request_id, problem.code, problem.path) for problem in caught.value.problems]
    assert found == [
        ("17", "NotSupportedChoice", "custom_fields_values.6.values.0.value"),
        ("17", "", ""),
        ("3", "InvalidType", "price"),
    ]
    assert "NotSupportedChoice at custom_fields_values.6.values.0.value" in str(caught.value)
    assert "Петров" not in str(caught.value)
    assert "7999" not in str(caught.value)


@responses.activate
@pytest.mark.parametrize("extra", [{}, {"validation-errors": None}, {"validation-errors": {"a": 1}}])
def test_a_refusal_without_names(connect: Connect, extra: dict[str, Any]) -> None:
    responses.add(
        "PATCH", API + "contacts", status=400, json={"title": "Bad Request", "status": 400, **extra}
    )
    with pytest.raises(ValidationRejectedError) as caught:
        call(connect(), "PATCH")
    assert caught.value.problems == ()


def test_logs_and_reprs_keep_secrets(
    connect: Connect, serve: Any, steps: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = serve(steps["reply"](200, json.dumps({"name": "Секретов"}).encode(), "X-Request-Id: r-1\r\n"))
    client = connect(server.url, "top-secret-token")
    client.get("contacts", {"query": "79990001122"})
    client.patch("contacts", [{"name": "Секретов"}])
    assert "79990001122" in server.seen[0]  # it was sent, and yet ...
    assert "GET contacts: 200, X-Request-Id r-1" in caplog.text
    for secret in ("79990001122", "Секретов", "top-secret-token"):
        assert secret not in caplog.text
        assert secret not in repr(client)
        assert secret not in repr(vars(client))
