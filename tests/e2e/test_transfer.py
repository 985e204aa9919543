"""The whole road on a T-SQL database, through the command line alone, judged by reading both sides again."""

from __future__ import annotations

import re
from typing import Any

import pytest
import requests

from deployments.sandbox.compare import differences
from tests.e2e.conftest import CLINIC, SIZES, Journey, of_the_last_journey

pytestmark = pytest.mark.odbc

ACTIONS = {"contacts": {"create", "update"}, "leads": {"create", "update", "move"}}


def test_connecting_counts_what_is_there(journey: Journey) -> None:
    patients, appointments = SIZES[journey.kind]
    found = journey.answers["connect-database"]
    assert (found["clinic"], found["patients"], found["appointments"]) == (CLINIC, patients, appointments)
    assert found["warnings"] == []


def test_autoconfigure_makes_pipelines_and_fields(journey: Journey) -> None:
    found = journey.answers["autoconfigure"]
    assert found["configured"]
    assert {element["action"] for element in found["elements"]} == {"create", "reuse"}


def test_start_says_from_when_on(journey: Journey) -> None:
    found = journey.answers["start"]
    assert found == {"clinic": CLINIC, "started": True, "from_day": None, "scheduled": False}


def test_amocrm_holds_everything_field_by_field(journey: Journey) -> None:
    view = journey.views["first"]
    assert [str(found) for found in differences(view.wanted, view.crm)] == []
    patients, appointments = SIZES[journey.kind]
    # An unreadable phone keeps nobody back; several rows of one reschedule chain are one deal.
    assert (len(view.wanted.contacts), view.wanted.invalid_patients) == (patients, set())
    assert appointments * 0.8 < len(view.wanted.deals) < appointments


@pytest.mark.parametrize("step", ["first", "second", "hour"])
def test_a_sync_reports_in_the_promised_shape(journey: Journey, step: str) -> None:
    found: dict[str, Any] = journey.answers[step]
    assert found["clinic"] == CLINIC
    assert re.fullmatch(r"[0-9a-f-]{36}", found["run_id"])
    assert found["mode"] == ("full" if step == "first" else "incremental")
    assert set(found["extracted"]) == {"patients", "appointments"}
    for part in ("planned", "applied"):
        assert {"contacts", "leads", "links"} <= set(found[part])
        assert {kind: set(found[part][kind]) for kind in ACTIONS} == ACTIONS
        assert isinstance(found[part]["links"], int)
    for name in ("invalid", "incomplete", "rejected", "deferred", "ambiguous", "requests"):
        assert isinstance(found[name], int), name
    assert found["seconds"] > 0
    assert (found["rejected"], found["ambiguous"], found["deferred"]) == (0, 0, 0)


def test_the_first_sync_creates_each_card_once(journey: Journey) -> None:
    found, view = journey.answers["first"], journey.views["first"]
    assert found["planned"] == found["applied"]
    assert found["applied"]["contacts"] == {"create": len(view.wanted.contacts), "update": 0}
    assert found["applied"]["leads"] == {"create": len(view.wanted.deals), "update": 0, "move": 0}
    assert found["incomplete"] >= len(view.wanted.incomplete_patients) > 0


def test_a_long_first_load_tells_how_far_it_is_in_one_artifact(journey: Journey) -> None:
    body = {"artifacts": {"key": {"any_": [f"load-{CLINIC}"]}}}
    with requests.Session() as session:
        session.trust_env = False
        api = journey.installation.extra["PREFECT_API_URL"]
        found = session.post(f"{api}/artifacts/filter", json=body, timeout=60).json()
    first = journey.answers["first"]
    if sum(first["applied"][kind]["create"] for kind in ACTIONS) < 20 * 50:
        assert found == [], "a short one is over before anybody looks"
        return
    (artifact,) = found
    assert (artifact["type"], artifact["data"]) == ("progress", 100)
    assert artifact["flow_run_id"] == first["run_id"], "it is pruned with its run"
    assert "завершена" in artifact["description"]


def test_a_second_sync_writes_nothing(journey: Journey) -> None:
    assert journey.answers["second"]["writes"] == 0
    proof = journey.witness.untouched(journey.views["first"], journey.views["second"])
    assert proof.holds, proof.detail


def test_an_hour_of_work_follows_exactly(journey: Journey) -> None:
    before, after = journey.views["second"], journey.views["hour"]
    assert {change.kind for change in journey.changes} >= {"new_patient", "completion", "reschedule_new_row"}
    for proof in (journey.witness.exactly(before, after), journey.witness.complete(after)):
        assert proof.holds, proof.detail
    assert journey.answers["hour"]["planned"] == journey.answers["hour"]["applied"]


@of_the_last_journey
def test_what_a_troubled_run_owed_follows_in_the_next(journey: Journey) -> None:
    journey.go_through_trouble()
    assert journey.faults_left == 0
    proof = journey.witness.complete(journey.views["after trouble"])
    assert proof.holds, proof.detail


def test_what_was_kept_back_is_listed(journey: Journey) -> None:
    rows = journey.answers["rejects"]
    assert all({"clinic", "entity", "source_id", "reason", "field"} <= set(row) for row in rows)
    assert {row["clinic"] for row in rows} == {CLINIC}
    listed = {row["source_id"] for row in rows if row["entity"] == "patient"}
    assert listed == journey.views["hour"].wanted.listed_patients


def test_status_counts_what_amocrm_holds(journey: Journey) -> None:
    (found,) = journey.answers["status"]["clinics"]
    view = journey.views["hour"]
    assert (found["clinic"], found["started"], found["last_run_state"]) == (CLINIC, True, "completed")
    assert (found["contacts"], found["leads"]) == (len(view.wanted.contacts), len(view.wanted.deals))


def test_exit_codes_tell_that_there_is_something_to_look_at(journey: Journey) -> None:
    assert {step: journey.codes[step] for step in ("first", "second", "hour")} == {
        "first": 2,
        "second": 0,
        "hour": 2,
    }


def test_only_reading_statements_were_sent(journey: Journey) -> None:
    if journey.kind == "server":
        pytest.skip("a real server keeps no log for us")
    begun = {re.split(r"\W", sql.strip(), maxsplit=1)[0].upper() for sql in journey.clinic.log}
    assert begun == {"SELECT", "SET"}
