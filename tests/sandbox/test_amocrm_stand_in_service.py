"""The stand-in amoCRM fails on demand, limits its callers and shows what it holds."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import requests

from deployments.sandbox.amocrm.server import StandIn
from tests.support.amocrm_caller import Caller, values_of


def test_search_learns_late(crm: StandIn, api: Caller) -> None:
    crm.admin("settings", {"index_lag": 3600})
    phone = [{"field_code": "PHONE", "values": [{"value": "+79161234567"}]}]
    api.contacts({"name": "Поздний", "custom_fields_values": phone})
    assert api.get("contacts?query=9161234567") is None
    assert api.get("contacts") is not None
    crm.admin("reset", {})
    crm.admin("settings", {"index_lag": 0})
    (contact,) = api.contacts({"name": "Быстрый", "custom_fields_values": phone})
    for query in ("9161234567", "%2B7%20916%20123-45-67", "быстр"):
        assert api.get(f"contacts?query={query}")["_embedded"]["contacts"][0]["id"] == contact
    assert api.get("contacts?query=нет") is None


def test_excess_is_429_then_a_block() -> None:
    with StandIn(limit=3) as crm:
        api = Caller(crm)
        crm.admin("settings", {"block_after": 5})
        answers = [api.call("GET", "account") for _ in range(12)]
        statuses = [answer.status_code for answer in answers]
        stats = crm.admin("stats")
        crm.admin("settings", {"block": False, "limit": None})
        after = api.call("GET", "account").status_code
        api.session.close()
    assert statuses[:4] == [200, 200, 200, 429]
    assert answers[3].json()["status"] == 429
    assert statuses[-1] == 403
    assert answers[-1].headers["Content-Type"].startswith("text/html")
    assert all("X-Request-Id" in answer.headers for answer in answers)
    assert after == 200
    assert stats["requests"] == 12
    assert stats["max_per_second"] <= 12


def test_token_and_payment(crm: StandIn, api: Caller) -> None:
    api.session.headers["Authorization"] = "Bearer wrong"
    answer = api.call("GET", "account")
    assert (answer.status_code, answer.headers["Content-Type"]) == (401, "application/problem+json")
    api.session.headers["Authorization"] = "Bearer t"
    crm.admin("settings", {"token_valid": False})
    assert api.call("GET", "account").status_code == 401
    crm.admin("settings", {"token_valid": True, "paid": False})
    assert api.call("GET", "account").status_code == 402
    crm.admin("settings", {"paid": True})
    answer = api.call("GET", "account")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/hal+json")
    assert api.call("GET", "nothing").json()["status"] == 404


def test_a_dropped_answer_may_have_written(crm: StandIn, api: Caller) -> None:
    crm.admin("faults", {"mode": "drop_after", "method": "POST", "path_prefix": "/api/v4/leads"})
    with pytest.raises(requests.ConnectionError):
        api.call("POST", "leads", [{"name": "Записана"}])
    crm.admin("faults", {"mode": "drop_before", "method": "POST"})
    with pytest.raises(requests.ConnectionError):
        api.call("POST", "leads", [{"name": "Не записана"}])
    crm.admin("faults", {"mode": "drop_after", "status": 504})
    assert api.call("POST", "leads", [{"name": "Тоже записана"}]).status_code == 504
    names = [row["name"] for row in api.get("leads")["_embedded"]["leads"]]
    assert names == ["Записана", "Тоже записана"]
    assert [entry["status"] for entry in crm.admin("stats")["log"]] == [0, 0, 504, 200]


def test_other_faults(crm: StandIn, api: Caller) -> None:
    crm.admin("faults", {"mode": "status", "status": 503, "count": 2})
    assert [api.call("GET", "account").status_code for _ in range(3)] == [503, 503, 200]
    crm.admin("faults", {"mode": "html", "status": 200, "when": "after"})
    assert "<html>" in api.call("POST", "leads", [{"name": "Записана"}]).text
    crm.admin("faults", {"mode": "truncate", "method": "GET"})
    cut = api.call("GET", "leads")
    assert cut.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        cut.json()
    crm.admin("faults", {"mode": "slow", "seconds": 0.01})
    assert len(crm.admin("faults")) == 1
    assert len(api.get("leads")["_embedded"]["leads"]) == 1
    crm.admin("faults", {"mode": "status", "count": 5})
    crm.admin("faults", method="DELETE")
    assert api.call("GET", "leads").status_code == 200


def test_hand_edits_and_dump(crm: StandIn, api: Caller) -> None:
    field = api.field("contacts", "text")["id"]
    one, two = api.contacts({"name": "Иван Орлов"}, {"name": "Дубль"})
    (lead,) = api.leads({"name": "А", "_embedded": {"contacts": [{"id": two}]}})
    row = crm.admin(
        "edit",
        {
            "entity": "contacts",
            "id": one,
            "changes": {"name": "Пётр Орлов", "fields": {str(field): "от руки"}},
        },
    )
    assert values_of(row)[field] == [{"value": "от руки"}]
    assert row["updated_by"] != row["created_by"]
    crm.admin("edit", {"entity": "leads", "id": lead, "changes": {"status_id": 143}})
    crm.admin("merge", {"id": one, "duplicates": [two]})
    dump = crm.admin("dump")
    assert [(contact["id"], contact["name"]) for contact in dump["contacts"]] == [(one, "Пётр Орлов")]
    assert dump["trash"]["contacts"] == [two]
    assert dump["leads"][0]["status_id"] == 143
    assert dump["leads"][0]["_embedded"]["contacts"] == [{"id": one, "is_main": True}]


def test_stats_count_api_requests_only(crm: StandIn, api: Caller) -> None:
    api.get("account")
    api.contacts({"name": "А"})
    crm.admin("dump")
    stats = crm.admin("stats")
    assert (stats["requests"], stats["writes"], stats["by_method"]) == (2, 1, {"GET": 1, "POST": 1})
    assert [(entry["n"], entry["path"], entry["status"]) for entry in stats["log"]] == [
        (1, "/api/v4/account", 200),
        (2, "/api/v4/contacts", 200),
    ]
    crm.admin("stats/reset", {})
    assert crm.admin("stats")["requests"] == 0


def test_board_escapes_and_counts(crm: StandIn, api: Caller) -> None:
    (contact,) = api.contacts({"name": "<script>alert(1)</script>"})
    leads = [{"name": f"Приём {number}", "price": 100} for number in range(15)]
    leads[-1]["_embedded"] = {"contacts": [{"id": contact}]}
    api.leads(*leads)
    page = requests.get(f"{crm.url}/board?refresh=5", timeout=10)
    assert page.headers["Content-Type"].startswith("text/html")
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text
    assert "ещё 3" in page.text
    assert "15 сделок" in page.text
    assert "ещё 11" in requests.get(f"{crm.url}/board?cards=4", timeout=10).text
    assert 'http-equiv="refresh" content="5"' in page.text
    assert requests.get(f"{crm.url}/", timeout=10).status_code == 200


def test_command_line(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    command = [
        sys.executable,
        "-m",
        "deployments.sandbox.amocrm",
        "--port",
        "0",
        "--token-file",
        str(token_file),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        announced = json.loads(process.stdout.readline())
        token = token_file.read_text(encoding="utf-8").strip()
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{announced['url']}/api/v4/account",
            headers={"Authorization": f"Bearer {token}"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            account = json.loads(answer.read())
        process.terminate()
        _, errors = process.communicate(timeout=10)
    assert account["subdomain"] == "sandbox"
    assert announced["admin"].endswith("/sandbox/admin")
    assert len(token.split(".")) == 3
    assert errors == ""
    if os.name == "posix":
        assert stat.S_IMODE(token_file.stat().st_mode) == 0o600


def test_an_expired_token_is_refused() -> None:
    import base64

    claims = (
        base64.urlsafe_b64encode(json.dumps({"exp": int(time.time()) - 10}).encode()).decode().rstrip("=")
    )
    with StandIn(token=f"e30.{claims}.x", limit=None) as crm:
        api = Caller(crm)
        status = api.call("GET", "account").status_code
        api.session.close()
    assert status == 401
