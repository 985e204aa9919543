"""Every end state has its verdict, its remedy and its next try, in two languages."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from expectations.suites import load_rules
from tasks.explaining import phrases, remedies
from tasks.explaining.facts import (
    AppliedFacts,
    AttemptFacts,
    Facts,
    HeldFacts,
    PatientFacts,
    PlanFacts,
    RemoteFacts,
    RunFacts,
    SourceFacts,
)
from tasks.explaining.reasons import REASONS
from tasks.explaining.story import Language, tell
from tasks.explaining.verdict import Verdict, judge
from tasks.frames import Entity
from tasks.records import Action, OutcomeState

ZONE = ZoneInfo("Europe/Moscow")
NOW = datetime(2026, 3, 12, 10, 0, tzinfo=ZONE)
EARLIER = NOW - timedelta(hours=1)

PATIENT = Facts(
    clinic="Север 1",
    clinic_uid="abcdefgh",
    timezone="Europe/Moscow",
    entity=Entity.PATIENT,
    source_id=17,
    root_id=17,
    mark="IDENT-abcdefgh-P-17",
    started=True,
    started_at=EARLIER,
    window=(date(2026, 3, 1), None),
    watermark_at=NOW,
    full_due_at=NOW + timedelta(hours=17),
    last_run=RunFacts("run-9", "completed", EARLIER, NOW),
    source=SourceFacts(exists=True, changed_at=EARLIER),
)
VISIT = replace(
    PATIENT,
    entity=Entity.APPOINTMENT,
    source_id=41,
    root_id=41,
    mark="IDENT-abcdefgh-A-41",
    source=SourceFacts(
        exists=True,
        changed_at=EARLIER,
        status="planned",
        start_at=NOW,
        patient_id=17,
        chain=(41,),
        current_id=41,
    ),
    patient=PatientFacts(17, amo_id=500),
)
APPLIED = AppliedFacts(900, EARLIER, 1, 2, "primary: planned", is_primary=True)
THERE = RemoteFacts(exists=True, ours=True, pipeline_id=1, status_id=2, stage="primary: planned", linked=True)
HERE: dict[str, Any] = {
    "applied": APPLIED,
    "remote": THERE,
    "card_url": "https://north.amocrm.ru/leads/detail/900",
}


def planned(state: OutcomeState | None, reason: str = "", **more: Any) -> dict[str, Any]:
    return {"plans": (PlanFacts("run-9", Action.CREATE, (), EARLIER, state, reason, ended_at=NOW, **more),)}


def held(entity: str, reason: str, source_id: int = 17, **more: Any) -> HeldFacts:
    return HeldFacts(entity, source_id, reason, "phone_mobile", EARLIER, NOW, **more)


def visit(**changes: Any) -> SourceFacts:
    assert VISIT.source is not None
    return replace(VISIT.source, **changes)


BROKEN = held("patient", "name_present", severity="error")
WITHHELD = held("patient", "phone_mobile_e164", severity="error", withheld=True)
LATE = held("appointment", "end_not_before_start", 42)
ATTEMPT = AttemptFacts("run-9", EARLIER, 1, NOW)
MISSING = SourceFacts(exists=False)
LINKLESS = replace(THERE, linked=False)

#: Facts -> verdict, remedy, next try, exit code.
CASES: dict[str, tuple[Facts, Verdict, str, str, int]] = {
    "transferred": (replace(VISIT, **HERE), Verdict.TRANSFERRED, "nothing", "next_change", 0),
    "transferred, IDENT away": (
        replace(VISIT, source=None, source_error="database_unavailable", patient=None, **HERE),
        Verdict.TRANSFERRED,
        "nothing",
        "next_change",
        0,
    ),
    "transferred, amoCRM away": (
        replace(VISIT, **HERE | {"remote": RemoteFacts(error="amocrm_unavailable")}),
        Verdict.TRANSFERRED,
        "nothing",
        "next_change",
        0,
    ),
    "transferred, stopped since": (
        replace(VISIT, started=False, **HERE),
        Verdict.TRANSFERRED,
        "nothing",
        "next_change_stopped",
        0,
    ),
    "changed in IDENT": (
        replace(VISIT, source=visit(differs=("start_at",)), **HERE),
        Verdict.UPDATE_WAITING,
        "wait",
        "next_tick",
        0,
    ),
    "update deferred": (
        replace(VISIT, waiting_since=EARLIER, **HERE, **planned(OutcomeState.DEFERRED, "note_pending")),
        Verdict.UPDATE_WAITING,
        "wait",
        "next_tick",
        0,
    ),
    "link waits": (
        replace(VISIT, link_waiting=True, **HERE | {"remote": LINKLESS}),
        Verdict.UPDATE_WAITING,
        "wait",
        "next_tick",
        0,
    ),
    "found again, content unknown": (
        replace(VISIT, **HERE | {"applied": replace(APPLIED, confirmed=False)}),
        Verdict.UPDATE_WAITING,
        "wait",
        "next_tick",
        0,
    ),
    "changed while stopped": (
        replace(VISIT, started=False, source=visit(differs=("doctor",)), **HERE),
        Verdict.UPDATE_WAITING,
        "start",
        "next_tick_stopped",
        0,
    ),
    "a value is withheld": (
        replace(PATIENT, held=(WITHHELD,), **HERE),
        Verdict.TRANSFERRED,
        "nothing",
        "next_change",
        0,
    ),
    "a value of its patient is withheld": (
        replace(VISIT, patient=PatientFacts(17, amo_id=500, held=(WITHHELD,)), **HERE),
        Verdict.TRANSFERRED,
        "nothing",
        "next_change",
        0,
    ),
    "expectation": (
        replace(PATIENT, held=(BROKEN,)),
        Verdict.KEPT_BACK,
        "correct_in_ident",
        "next_change",
        2,
    ),
    "expectation, corrected since": (
        replace(PATIENT, held=(replace(BROKEN, data_changed=True),)),
        Verdict.KEPT_BACK,
        "correct_in_ident",
        "next_tick",
        2,
    ),
    "expectation, older copy in amoCRM": (
        replace(PATIENT, held=(BROKEN,), **HERE),
        Verdict.KEPT_BACK,
        "correct_in_ident",
        "next_change",
        2,
    ),
    "expectation, IDENT away": (
        replace(PATIENT, held=(BROKEN,), source=None, source_error="authentication"),
        Verdict.KEPT_BACK,
        "correct_in_ident",
        "next_change",
        2,
    ),
    "patient back": (
        replace(
            VISIT,
            patient=PatientFacts(17, held=(BROKEN,)),
            held=(held("appointment", "patient_kept_back", 41),),
        ),
        Verdict.PATIENT_KEPT_BACK,
        "explain_patient",
        "next_patient",
        2,
    ),
    "patient back, not listed yet": (
        replace(VISIT, patient=PatientFacts(17, held=(held("contact", "several_candidates"),))),
        Verdict.PATIENT_KEPT_BACK,
        "explain_patient",
        "next_patient",
        2,
    ),
    "chain": (
        replace(
            VISIT,
            source=visit(chain=(41, 42), holders=(42,), current_id=42),
            held=(LATE, held("appointment", "chain_held_back", 41)),
        ),
        Verdict.CHAIN_HELD_BACK,
        "correct_chain",
        "next_change",
        2,
    ),
    "chain, IDENT away": (
        replace(VISIT, source=None, patient=None, held=(held("appointment", "chain_held_back", 41),)),
        Verdict.CHAIN_HELD_BACK,
        "correct_chain",
        "next_change",
        2,
    ),
    "a replaced row failed, the deal goes on": (
        replace(VISIT, source=visit(chain=(40, 41)), held=(replace(LATE, source_id=40),), **HERE),
        Verdict.TRANSFERRED,
        "nothing",
        "next_change",
        0,
    ),
    "refused": (
        replace(
            PATIENT, held=(held("contact", "NotSupportedChoice"),), **planned(OutcomeState.REJECTED, "X")
        ),
        Verdict.REFUSED,
        "correct_and_retry",
        "next_parked",
        2,
    ),
    "refused, released": (
        replace(PATIENT, held=(held("contact", "NotSupportedChoice", released=True),)),
        Verdict.REFUSED,
        "correct_and_retry",
        "next_tick",
        2,
    ),
    "update refused": (
        replace(VISIT, held=(held("lead", "InvalidType", 41),), **HERE),
        Verdict.REFUSED,
        "correct_and_retry",
        "next_parked",
        2,
    ),
    "several candidates": (
        replace(PATIENT, held=(held("contact", "several_candidates"),)),
        Verdict.SEVERAL_CANDIDATES,
        "choose_candidate",
        "next_parked",
        2,
    ),
    "maybe removed": (
        replace(PATIENT, held=(held("contact", "maybe_removed"),)),
        Verdict.MAYBE_REMOVED,
        "decide_removed",
        "next_word",
        2,
    ),
    "many past moves": (
        replace(VISIT, held=(held("lead", "many_past_moves", 41),), **HERE),
        Verdict.MANY_PAST_MOVES,
        "confirm_moves",
        "next_word",
        2,
    ),
    "many past moves, confirmed": (
        replace(VISIT, held=(held("lead", "many_past_moves", 41, released=True),), **HERE),
        Verdict.MANY_PAST_MOVES,
        "confirm_moves",
        "next_tick",
        2,
    ),
    "merged by hand, found by its mark": (
        replace(VISIT, **HERE | {"remote": replace(THERE, amo_id=901)}),
        Verdict.TRANSFERRED,
        "nothing",
        "next_change",
        0,
    ),
    "gone, replaced by another appointment": (
        replace(VISIT, source=replace(MISSING, chain=(42,), current_id=42), **HERE),
        Verdict.GONE,
        "gone_replaced",
        "next_change",
        2,
    ),
    "deleted by hand, parked": (
        replace(
            VISIT, held=(held("lead", "not_in_amocrm", 41),), **HERE | {"remote": RemoteFacts(exists=False)}
        ),
        Verdict.NOT_IN_AMOCRM,
        "restore_and_retry",
        "next_parked",
        2,
    ),
    "deleted by hand, not noticed yet": (
        replace(VISIT, **HERE | {"remote": RemoteFacts(exists=False)}),
        Verdict.NOT_IN_AMOCRM,
        "restore_card",
        "next_change",
        2,
    ),
    "deleted by hand, restored": (
        replace(VISIT, held=(held("lead", "not_in_amocrm", 41),), **HERE),
        Verdict.NOT_IN_AMOCRM,
        "card_restored",
        "next_parked",
        2,
    ),
    "deferred": (
        replace(VISIT, waiting_since=EARLIER, **planned(OutcomeState.DEFERRED, "waits_for_patient")),
        Verdict.DEFERRED,
        "wait",
        "next_tick",
        2,
    ),
    "run died": (
        replace(VISIT, waiting_since=EARLIER, **planned(None)),
        Verdict.DEFERRED,
        "wait",
        "next_tick",
        2,
    ),
    "run is at it": (
        replace(VISIT, waiting_since=NOW, last_run=RunFacts("run-9", "running", NOW), **planned(None)),
        Verdict.DEFERRED,
        "wait",
        "next_tick",
        2,
    ),
    "deferred, runs fail": (
        replace(
            VISIT,
            waiting_since=EARLIER,
            last_run=RunFacts("run-9", "failed", EARLIER, NOW, "payment_required"),
            **planned(OutcomeState.DEFERRED, "payment_required"),
        ),
        Verdict.DEFERRED,
        "repair_runs",
        "next_tick",
        2,
    ),
    "stage": (
        replace(VISIT, held=(held("lead", "stage_not_mapped", 41),)),
        Verdict.STAGE_NOT_MAPPED,
        "map_stage",
        "next_parked",
        2,
    ),
    "answer lost": (
        replace(
            VISIT, attempt=ATTEMPT, waiting_since=EARLIER, **planned(OutcomeState.AMBIGUOUS, "answer_lost")
        ),
        Verdict.ANSWER_LOST,
        "wait_for_proof",
        "next_tick",
        2,
    ),
    "process died after sending": (
        replace(VISIT, attempt=ATTEMPT, waiting_since=EARLIER, **planned(None)),
        Verdict.ANSWER_LOST,
        "wait_for_proof",
        "next_tick",
        2,
    ),
    "outside the window": (
        replace(VISIT, source=visit(inside_window=False)),
        Verdict.OUTSIDE_WINDOW,
        "widen_window",
        "next_window",
        2,
    ),
    "kept out by a filter": (
        replace(VISIT, source=visit(passes_filters=False)),
        Verdict.FILTERED,
        "widen_filter",
        "never",
        2,
    ),
    "patients only": (
        replace(VISIT, source=visit(wants_deals=False)),
        Verdict.PATIENTS_ONLY,
        "want_deals",
        "never",
        2,
    ),
    "outside the window, older copy": (
        replace(VISIT, source=visit(inside_window=False, differs=("debt",)), **HERE),
        Verdict.OUTSIDE_WINDOW,
        "window_update",
        "next_window",
        2,
    ),
    "outside the window, up to date": (
        replace(VISIT, source=visit(inside_window=False), **HERE),
        Verdict.TRANSFERRED,
        "nothing",
        "next_change",
        0,
    ),
    "slot": (
        replace(
            VISIT, source=visit(patient_id=None), patient=None, held=(held("appointment", "no_patient", 41),)
        ),
        Verdict.NO_PATIENT,
        "fill_in_patient",
        "next_change",
        2,
    ),
    "slot, IDENT away": (
        replace(VISIT, source=None, patient=None, held=(held("appointment", "no_patient", 41),)),
        Verdict.NO_PATIENT,
        "fill_in_patient",
        "next_change",
        2,
    ),
    "gone, open": (
        replace(PATIENT, source=MISSING, gone_once=True, **HERE),
        Verdict.GONE,
        "gone_open",
        "next_full",
        2,
    ),
    "gone, closed": (
        replace(PATIENT, source=MISSING, **HERE | {"applied": replace(APPLIED, closed=True)}),
        Verdict.GONE,
        "gone_closed",
        "never",
        2,
    ),
    "gone before": (
        replace(PATIENT, source=MISSING, held=(BROKEN,)),
        Verdict.GONE,
        "gone_before",
        "never",
        2,
    ),
    "unknown": (replace(PATIENT, source=MISSING), Verdict.UNKNOWN_ID, "check_id", "never", 1),
    "nothing known": (
        replace(PATIENT, source=None, source_error="database_unavailable"),
        Verdict.UNDETERMINED,
        "source_unreachable",
        "unknown",
        1,
    ),
    "forgotten by the ledger": (
        replace(PATIENT, source=None, source_error="x", **planned(OutcomeState.APPLIED)),
        Verdict.UNDETERMINED,
        "source_unreachable",
        "unknown",
        1,
    ),
    "never started": (
        replace(PATIENT, started=None, last_run=None, watermark_at=None, window=None),
        Verdict.NEVER_STARTED,
        "start",
        "next_start",
        2,
    ),
    "stopped": (replace(PATIENT, started=False), Verdict.STOPPED, "start", "next_start", 2),
    "runs fail": (
        replace(PATIENT, last_run=RunFacts("run-9", "failed", EARLIER, NOW, "mapping_drift")),
        Verdict.RUNS_FAIL,
        "repair_runs",
        "next_tick",
        2,
    ),
    "not read yet": (PATIENT, Verdict.NOT_READ_YET, "sync_full", "next_tick", 2),
    "erased": (replace(PATIENT, erased=True), Verdict.ERASED, "admit", "never", 2),
}


@pytest.mark.parametrize("name", CASES)
def test_each_end_state_has_its_verdict(name: str) -> None:
    facts, verdict, remedy, next_try, code = CASES[name]
    found = judge(facts)
    assert (found.verdict, found.remedy, found.next_try) == (verdict, remedy, next_try)
    assert found.exit_code == code
    assert found.is_transferred is (code == 0)


def test_every_verdict_remedy_and_next_try_is_reached() -> None:
    found = [judge(facts) for facts, *_rest in CASES.values()]
    assert {one.verdict for one in found} == set(Verdict)
    assert set(phrases.VERDICTS) == set(Verdict)
    assert set(remedies.REMEDIES) == {one.remedy for one in found}


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_every_story_can_be_told_in_both_languages(name: str, started: bool) -> None:
    facts = CASES[name][0]
    story = tell(replace(facts, started=started if facts.started is not None else None))
    for language in Language:
        told = [line.text(language) for line in story.lines]
        told += [story.verdict(language), story.remedy(language), story.next_try(language)]
        assert all(text.strip() and "{" not in text for text in told)
    russian = [story.verdict(Language.RUSSIAN), story.remedy(Language.RUSSIAN)]
    assert all(any("а" <= letter <= "я" for letter in text) for text in russian)


def test_every_sentence_and_next_try_is_used() -> None:
    stories = [
        tell(replace(facts, started=started) if facts.started is not None else facts)
        for facts, *_rest in CASES.values()
        for started in (True, False)
    ]
    extra = [
        replace(VISIT, patient=PatientFacts(17, exists=False, answer_lost=True)),
        replace(VISIT, watermark_at=EARLIER - timedelta(hours=1)),
        replace(VISIT, **HERE | {"applied": replace(APPLIED, is_primary=False)}),
        replace(VISIT, **HERE | {"remote": replace(THERE, ours=False, status_id=143)}),
        replace(VISIT, window=None),
        replace(VISIT, plans=(PlanFacts("run-9", Action.MOVE, ("start_at", "stage"), EARLIER),)),
    ]
    stories += [tell(facts) for facts in extra]
    assert {line.code for story in stories for line in story.lines} == set(phrases.SENTENCES)
    assert {line.section for story in stories for line in story.lines} == set(phrases.SECTIONS)
    assert {story.judgement.next_try for story in stories} == set(remedies.NEXT)


def test_the_story_follows_the_row_on_its_way() -> None:
    sections = list(dict.fromkeys(line.section for line in tell(CASES["chain"][0]).lines))
    assert sections == list(phrases.SECTIONS)


def test_commands_are_ready_to_be_pasted() -> None:
    refused = tell(CASES["refused"][0])
    command = "ident-amocrm rejects retry 'Север 1' --entity contact --id 17"
    assert refused.remedy(Language.ENGLISH).endswith(command)
    assert refused.remedy(Language.RUSSIAN).endswith(command)
    patient = tell(CASES["patient back"][0])
    assert "ident-amocrm explain patient 17 --clinic 'Север 1'" in patient.remedy(Language.ENGLISH)


def test_the_verdict_names_what_a_person_must_look_at() -> None:
    assert "name_present" in tell(CASES["expectation"][0]).verdict(Language.ENGLISH)
    assert "Row 42" in tell(CASES["chain"][0]).verdict(Language.ENGLISH)
    assert "2026-03-01" in tell(CASES["outside the window"][0]).verdict(Language.RUSSIAN)
    assert "start_at" in tell(CASES["changed in IDENT"][0]).verdict(Language.ENGLISH)
    assert "NotSupportedChoice" in tell(CASES["refused"][0]).verdict(Language.ENGLISH)


def test_json_has_stable_keys() -> None:
    data = tell(CASES["transferred"][0]).as_dict()
    assert list(data) == [
        "clinic",
        "clinic_uid",
        "entity",
        "source_id",
        "root_id",
        "external_id",
        "amo_id",
        "card",
        "transferred",
        "verdict",
        "explanation",
        "remedy",
        "next_try",
        "values",
        "unreachable",
        "story",
    ]
    assert (data["transferred"], data["verdict"], data["amo_id"]) == (True, "transferred", 900)
    assert {key for line in data["story"] for key in line} == {"section", "heading", "code", "text", "values"}
    assert data["values"]["at"] == EARLIER.isoformat()


def test_every_rule_about_a_row_is_put_into_words() -> None:
    codes = {
        rule.code
        for entity in Entity
        for rule in load_rules(entity)
        if rule.action in {"quarantine", "withhold", "skip"}
    }
    assert codes <= set(REASONS)
