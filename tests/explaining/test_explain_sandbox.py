"""Real states of a real transfer, explained by the step, the command and the flow."""

from __future__ import annotations

import json
from zoneinfo import ZoneInfo

import pytest

from deployments.cli.main import app
from tasks.errors import ConfigurationError, NotConnectedError
from tasks.explain import chosen_clinic
from tasks.explaining.verdict import Verdict
from tasks.ledger.store import ConnectionRecord, Ledger
from tests.e2e.traces import Traces
from tests.explaining.conftest import CLINIC, TIMEZONE, Scene

pytestmark = pytest.mark.server

VERDICTS = {
    "never started": Verdict.NEVER_STARTED,
    "transferred appointment": Verdict.TRANSFERRED,
    "transferred patient": Verdict.TRANSFERRED,
    "kept back": Verdict.KEPT_BACK,
    "patient kept back": Verdict.PATIENT_KEPT_BACK,
    "chain held back": Verdict.CHAIN_HELD_BACK,
    "holder of the chain": Verdict.KEPT_BACK,
    "slot": Verdict.NO_PATIENT,
    "outside the window": Verdict.OUTSIDE_WINDOW,
    "unknown": Verdict.UNKNOWN_ID,
    "changed": Verdict.UPDATE_WAITING,
    "refused": Verdict.REFUSED,
    "not read yet": Verdict.NOT_READ_YET,
    "answer lost": Verdict.ANSWER_LOST,
    "waits for its patient": Verdict.DEFERRED,
    "found again": Verdict.TRANSFERRED,
    "deleted by hand": Verdict.NOT_IN_AMOCRM,
    "deleted by hand, parked": Verdict.NOT_IN_AMOCRM,
    "merged by hand": Verdict.REFUSED,  # the update that amoCRM refused before still waits
    "gone": Verdict.GONE,
    "rescheduled": Verdict.TRANSFERRED,
    "successor": Verdict.TRANSFERRED,
    "stopped": Verdict.STOPPED,
    "runs fail": Verdict.RUNS_FAIL,
    "amoCRM away": Verdict.TRANSFERRED,
    "IDENT away": Verdict.TRANSFERRED,
    "IDENT away, kept back": Verdict.KEPT_BACK,
    "IDENT away, unknown": Verdict.UNDETERMINED,
}


def test_every_state_is_recognised(told: Scene) -> None:
    assert {name: story.judgement.verdict for name, story in told.stories.items()} == VERDICTS


def values(told: Scene, name: str) -> dict[str, object]:
    return dict(told.stories[name].judgement.values)


def codes(told: Scene, name: str) -> set[str]:
    return {line.code for line in told.stories[name].lines}


def test_a_transferred_row_names_its_card(told: Scene) -> None:
    facts = told.stories["transferred appointment"].facts
    assert facts.applied is not None
    dump = told.crm.admin("dump")
    assert facts.applied.amo_id in {row["id"] for row in dump["leads"]}
    assert facts.card_url == f"{told.crm.url}/leads/detail/{facts.applied.amo_id}"
    assert facts.applied.stage.endswith(": planned")
    assert {"remote_ours", "remote_stage", "outcome_applied", "same", "window_inside"} <= codes(
        told, "transferred appointment"
    )
    assert told.stories["transferred patient"].facts.card_url.startswith(f"{told.crm.url}/contacts/detail/")


def test_an_expectation_is_named_with_its_field_and_severity(told: Scene) -> None:
    assert values(told, "kept back") | {"field": "last_name"} == values(told, "kept back")
    (held,) = told.stories["kept back"].facts.held
    assert (held.reason, held.severity) == ("name_present", "error")
    assert values(told, "patient kept back")["patient_id"] == told.ids["broken patient"]
    assert values(told, "patient kept back")["reason"] == "name_present"
    assert values(told, "chain held back")["row"] == told.ids["late"]


def test_what_amocrm_did_is_told(told: Scene) -> None:
    assert values(told, "changed")["fields"] == ("city",)
    assert values(told, "refused")["reason"] == "validation_rejected"
    assert "attempt" in codes(told, "answer lost")
    assert values(told, "waits for its patient")["reason"] == "waits_for_patient"
    assert "remote_missing" in codes(told, "deleted by hand")
    assert told.stories["deleted by hand, parked"].judgement.remedy == "restore_and_retry"
    assert told.errors == {"unpaid": "payment_required"}
    assert values(told, "runs fail")["code"] == "payment_required"


def test_a_merged_card_is_found_by_its_mark(told: Scene) -> None:
    story = told.stories["merged by hand"]
    assert "remote_merged" in codes(told, "merged by hand")
    assert story.facts.amo_id == told.ids["survivor"]
    assert story.facts.card_url == f"{told.crm.url}/contacts/detail/{told.ids['survivor']}"


def test_a_reschedule_is_one_deal(told: Scene) -> None:
    old, new = told.stories["rescheduled"].facts, told.stories["successor"].facts
    assert old.root_id == new.root_id == told.ids["root of moved"]
    assert old.source is not None
    assert old.source.current_id == told.ids["successor"]
    assert old.card_url == new.card_url
    assert "chain" in codes(told, "successor")


def test_an_end_out_of_reach_is_named_and_the_rest_is_told(told: Scene) -> None:
    away = told.stories["IDENT away"]
    assert (away.facts.source, away.facts.source_error) == (None, "database_missing")
    assert {"ident_unreachable", "outcome_applied", "remote_ours"} <= codes(told, "IDENT away")
    assert {"remote_unreachable", "same"} <= codes(told, "amoCRM away")
    remote = told.stories["amoCRM away"].facts.remote
    assert remote is not None
    assert remote.error == "payment_required"


def test_the_command_exits_by_the_verdict(told: Scene) -> None:
    visit, broken = str(told.ids["plain"]), str(told.ids["broken patient"])
    assert told.run("appointment", visit).exit_code == 0
    assert told.run("patient", broken).exit_code == 2
    assert told.run("patient", "999999").exit_code == 1
    assert told.run("doctor", "1").exit_code == 2  # Typer's own: no such argument


def test_the_command_prints_a_story_and_json(told: Scene) -> None:
    visit = str(told.ids["plain"])
    text = told.run("appointment", visit).stdout
    assert text.index("Clinic") < text.index("In IDENT now") < text.index("In amoCRM now")
    assert f"appointment {visit}: transferred" in text
    data = json.loads(told.run("appointment", visit, "--output", "json").stdout)
    assert (data["clinic"], data["entity"], data["source_id"]) == (CLINIC, "appointment", told.ids["plain"])
    assert (data["verdict"], data["transferred"]) == ("transferred", True)


def test_the_form_publishes_the_page(told: Scene) -> None:
    page = told.outputs["artifact"]
    assert f"## Приём {told.ids['plain']} («{CLINIC}»)" in page
    assert "✅ **Передано в amoCRM" in page
    assert "### В IDENT сейчас" in page
    assert f"[Открыть карточку в amoCRM]({told.crm.url}/leads/detail/" in page
    assert f"explain-{CLINIC}-appointment-{told.ids['plain']}" in told.outputs["artifact keys"]
    assert told.outputs["state"].startswith("Передано в amoCRM")


def test_nothing_of_a_person_is_ever_shown(told: Scene) -> None:
    traces = Traces.of(told.store.rows("Persons"), ZoneInfo(TIMEZONE))
    comments = {row["Comment"] for row in told.store.rows("Receptions")} - {None, ""}
    assert len(told.outputs) > 2 * len(VERDICTS)
    leaks = {
        name: sorted(leak)[:3]
        for name, text in told.outputs.items()
        if (leak := traces.in_bytes(text.encode()))
    }
    assert leaks == {}
    assert [name for name, text in told.outputs.items() if any(words in text for words in comments)] == []


def test_the_traces_looked_for_are_those_of_this_clinic(told: Scene) -> None:
    person = next(row for row in told.store.rows("Persons") if len(row["Surname"] or "") > 5)
    traces = Traces.of([person], ZoneInfo(TIMEZONE))
    assert traces.in_bytes(f"Приём: {person['Surname']}".encode())


def test_a_clinic_must_be_named_where_there_are_several() -> None:
    ledger = Ledger("sqlite://")
    ledger.open()
    with pytest.raises(NotConnectedError):
        chosen_clinic(ledger, None)
    for number, name in enumerate(("north", "south"), 1):
        ledger.save_connection(ConnectionRecord(name, f"uid{number}", name, TIMEZONE))
        if number == 1:
            assert chosen_clinic(ledger, None).name == "north"
    with pytest.raises(ConfigurationError) as refusal:
        chosen_clinic(ledger, None)
    assert refusal.value.code == "clinic_needed"
    assert chosen_clinic(ledger, "south").clinic_uid == "uid2"
    ledger.close()


def test_the_command_is_listed() -> None:
    assert "explain" in {command.name for command in app.registered_commands}
