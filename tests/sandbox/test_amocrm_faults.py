"""The stand-in misleads on demand: silence, shuffled answers, a late index, filters that nobody heard."""

from __future__ import annotations

import pytest
import requests

from deployments.sandbox.amocrm.server import StandIn
from tests.support.amocrm_caller import Caller

PHONE = [{"field_code": "PHONE", "values": [{"value": "+79161234567"}]}]


def created(api: Caller, *names: str) -> list[dict[str, object]]:
    items = [{"name": name, "request_id": name} for name in names]
    answer = api.call("POST", "contacts", items)
    rows: list[dict[str, object]] = answer.json()["_embedded"]["contacts"]
    return rows


def test_rows_come_back_in_another_order(crm: StandIn, api: Caller) -> None:
    crm.admin("faults", {"mode": "reorder", "method": "POST"})
    assert [row["request_id"] for row in created(api, "a", "b", "c")] == ["c", "b", "a"]


def test_rows_come_back_without_their_request_ids(crm: StandIn, api: Caller) -> None:
    crm.admin("faults", {"mode": "no_request_id", "method": "POST"})
    rows = created(api, "a", "b")
    assert all("request_id" not in row and row["id"] for row in rows)
    assert len(rows) == len(crm.admin("dump")["contacts"]) == 2


def test_a_late_index_finds_nothing_once(crm: StandIn, api: Caller) -> None:
    api.contacts({"name": "Искомый", "custom_fields_values": PHONE})
    crm.admin("faults", {"mode": "stale_index"})
    assert api.get("contacts?query=9161234567") is None
    assert api.get("contacts?query=9161234567") is not None


def test_a_filter_that_nobody_heard_lets_all_rows_through(crm: StandIn, api: Caller) -> None:
    one, _two = api.contacts({"name": "Один"}, {"name": "Два"})
    crm.admin("faults", {"mode": "ignored_filter"})
    counts = [
        len(api.get(f"contacts?filter[id][]={one}")["_embedded"]["contacts"]) for _ in ("misheard", "heard")
    ]
    assert counts == [2, 1]


@pytest.mark.parametrize(("when", "written"), [("before", 0), ("after", 1)])
def test_silence_lasts_until_the_client_gives_up(crm: StandIn, api: Caller, when: str, written: int) -> None:
    crm.admin("faults", {"mode": "hang", "seconds": 60, "when": when})
    with pytest.raises(requests.ReadTimeout):
        api.session.post(f"{crm.url}/api/v4/contacts", json=[{"name": "Никто"}], timeout=(5, 0.3))
    assert len(crm.admin("dump")["contacts"]) == written


def test_silence_ends_by_itself(crm: StandIn, api: Caller) -> None:
    crm.admin("faults", {"mode": "hang", "seconds": 0.05})
    with pytest.raises(requests.ConnectionError):
        api.call("GET", "account")
    assert api.call("GET", "account").status_code == 200


def test_a_failure_may_hit_each_so_many_th_request_only(crm: StandIn, api: Caller) -> None:
    crm.admin("faults", {"mode": "status", "status": 503, "method": "GET", "every": 3, "count": 2})
    assert [api.call("GET", "account").status_code for _ in range(8)] == [
        *(503, 200, 200),
        *(503, 200, 200, 200, 200),
    ]
