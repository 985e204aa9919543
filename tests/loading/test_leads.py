"""Deals: what they wait for, the note about a changed time, and what a person's hand decides."""

from __future__ import annotations

import pytest

from tasks.errors import AmoCrmUnavailableError, BlockedError, ValidationRejectedError
from tasks.records import AppliedRow, Kind, OutcomeState
from tests.support.fake_amocrm import UID, mark, never_arrived, silent_about_first
from tests.support.loading_room import (
    ACCOUNT,
    CAME,
    DOCTOR,
    DONE,
    LOST,
    NEW,
    PIPELINE,
    RESCHEDULED,
    START,
    Room,
)

APPLIED = (OutcomeState.APPLIED, "")
NOTE = f"Приём перенесён: было 12.03.2026 10:00, стало 13.03.2026 11:30. [{mark(Kind.LEAD, 1)}]"
NEW_TIME = "2026-03-13T08:30:00Z"


@pytest.fixture
def transferred(room: Room) -> Room:
    """One patient with one appointment, both in amoCRM."""
    room.add(patients=1, appointments=1)
    room.run()
    room.amo.log.clear()
    return room


def place(room: Room) -> tuple[int, int]:
    deal = room.amo.of(Kind.LEAD, 1)
    return deal["pipeline_id"], deal["status_id"]


def value(room: Room, field_id: int) -> object:
    fields = {item["field_id"]: item["values"] for item in room.amo.of(Kind.LEAD, 1)["custom_fields_values"]}
    return fields[field_id][0]["value"]


# ---- waiting -----------------------------------------------------------------------------------------


def test_a_deal_waits_for_a_refused_contact_and_comes_with_it(room: Room) -> None:
    room.add(patients=2, appointments=2)
    room.amo.bad[mark(Kind.CONTACT, 1)] = ("InvalidType", "last_name")
    run = room.run()
    waits = (OutcomeState.DEFERRED, "waits_for_patient")
    assert run.states(Kind.LEAD) == {1: waits, 2: APPLIED}
    assert run.states(Kind.LINK) == {1: waits, 2: APPLIED}
    assert room.ledger.open_keys(UID) == {Kind.LEAD: frozenset({1}), Kind.LINK: frozenset({1})}
    room.amo.bad.clear()
    room.run()
    assert room.amo.marks(Kind.LEAD) == [mark(Kind.LEAD, 1), mark(Kind.LEAD, 2)]
    assert room.ledger.open_keys(UID) == {}


def test_a_deal_waits_for_a_contact_whose_answer_was_lost(room: Room) -> None:
    room.add(patients=1, appointments=1)
    room.amo.faults["create"] = [never_arrived]
    for moment in (0.0, 0.0):
        assert room.run(now=moment).states(Kind.LEAD) == {1: (OutcomeState.DEFERRED, "waits_for_patient")}
    assert room.run(now=100.0).states(Kind.LEAD) == {1: APPLIED}


def test_a_deal_without_a_stage_is_listed_until_one_is_mapped(room: Room) -> None:
    room.add(patients=1, appointments=1)
    room.appointments[1].stage_key = "in_progress"
    run = room.run()
    parked = (OutcomeState.REJECTED, "stage_not_mapped")
    assert (run.states(Kind.LEAD), run.states(Kind.LINK)) == ({1: parked}, {1: parked})
    assert room.amo.marks(Kind.LEAD) == []
    assert room.ledger.open_keys(UID) == {}, "it is not tried in every run"
    assert [(row.source_id, row.reason) for _uid, row in room.ledger.rejects(UID)] == [
        (1, "stage_not_mapped")
    ]


def test_a_refused_deal_takes_its_link_with_it(room: Room) -> None:
    room.add(patients=1, appointments=1)
    room.amo.bad[mark(Kind.LEAD, 1)] = ("InvalidType", "custom_fields_values.1.values.0.value")
    run = room.run()
    assert run.states(Kind.LEAD) == run.states(Kind.LINK) == {1: (OutcomeState.REJECTED, "InvalidType")}
    assert run.ended[Kind.LEAD, 1][0].field == "Врач"


# ---- the note ----------------------------------------------------------------------------------------


def test_the_note_is_written_before_the_new_time_and_once(transferred: Room) -> None:
    transferred.appointments[1].start_at = NEW_TIME
    run = transferred.run()
    assert run.states(Kind.NOTE) == run.states(Kind.LEAD) == {1: APPLIED}
    assert [what for what, _kind, _about in transferred.amo.log] == ["note", "update"]
    assert list(transferred.amo.notes_of.values()) == [[NOTE]]
    assert place(transferred) == (PIPELINE, RESCHEDULED)
    assert transferred.run().rows == []


def test_a_note_whose_run_died_before_the_new_time_is_not_repeated(transferred: Room) -> None:
    transferred.appointments[1].start_at = NEW_TIME
    transferred.amo.faults["update"] = [BlockedError(problem="403", remedy="")]
    run = transferred.run()
    assert run.states(Kind.NOTE) == {1: APPLIED}
    assert run.states(Kind.LEAD) == {1: (OutcomeState.DEFERRED, "blocked")}
    assert transferred.run().states(Kind.NOTE) == {1: APPLIED}
    assert list(transferred.amo.notes_of.values()) == [[NOTE]]
    assert transferred.run().rows == []


def test_a_note_whose_answer_was_lost_holds_the_new_time_back_and_is_not_repeated(transferred: Room) -> None:
    old = value(transferred, START)
    transferred.appointments[1].start_at = NEW_TIME
    transferred.amo.faults["note"] = [silent_about_first]  # written; its answer is lost
    run = transferred.run()
    assert run.states(Kind.NOTE)[1][0] is OutcomeState.DEFERRED
    assert run.states(Kind.LEAD) == {1: (OutcomeState.DEFERRED, "note_pending")}
    assert value(transferred, START) == old
    transferred.run()
    assert list(transferred.amo.notes_of.values()) == [[NOTE]]
    assert value(transferred, START) != old
    assert transferred.run().rows == []


def test_a_refused_note_parks_its_deal_instead_of_being_tried_in_every_run(transferred: Room) -> None:
    old = value(transferred, START)
    transferred.appointments[1].start_at = NEW_TIME
    transferred.amo.faults["note"] = [ValidationRejectedError(problem="400", remedy="")]
    run = transferred.run()
    assert run.states(Kind.NOTE) == {1: (OutcomeState.REJECTED, "validation_rejected")}
    assert run.states(Kind.LEAD) == {1: (OutcomeState.REJECTED, "note_refused")}
    assert value(transferred, START) == old
    assert transferred.ledger.open_keys(UID) == {}
    assert [row.reason for _uid, row in transferred.ledger.rejects(UID)] == ["note_refused"]


def test_a_note_that_stops_the_run_leaves_the_old_time(transferred: Room) -> None:
    old = value(transferred, START)
    transferred.appointments[1].start_at = NEW_TIME
    transferred.amo.faults["note"] = [AmoCrmUnavailableError(problem="502", remedy="")]
    run = transferred.run()
    assert run.states(Kind.NOTE) == {1: (OutcomeState.DEFERRED, "amocrm_unavailable")}
    assert run.states(Kind.LEAD) == {1: (OutcomeState.DEFERRED, "run_stopped")}
    assert value(transferred, START) == old
    transferred.run()
    assert list(transferred.amo.notes_of.values()) == [[NOTE]]


def test_a_second_change_gets_a_second_note_and_a_change_back_a_third(transferred: Room) -> None:
    for moment in (NEW_TIME, "2026-03-12T07:00:00Z", NEW_TIME):
        transferred.appointments[1].start_at = moment
        transferred.run()
    [notes] = transferred.amo.notes_of.values()
    assert len(notes) == 3
    assert notes[0] == notes[2] == NOTE


def test_a_deal_whose_time_was_never_sent_is_not_taken_for_a_rescheduled_one(transferred: Room) -> None:
    known = transferred.ledger.applied_rows(UID, Kind.LEAD, [1])[1]
    claimed = AppliedRow(Kind.LEAD, 1, known.amo_id, 0, {}, PIPELINE, NEW, is_primary=True)
    transferred.ledger.apply_local(UID, ACCOUNT, [claimed])
    assert transferred.run().states(Kind.LEAD) == {1: APPLIED}
    assert place(transferred) == (PIPELINE, NEW)
    assert transferred.amo.notes_of == {}


# ---- a person's hand ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [LOST, DONE])
def test_a_deal_moved_or_closed_by_hand_gets_data_only(transferred: Room, stage: int) -> None:
    transferred.amo.of(Kind.LEAD, 1)["status_id"] = stage
    transferred.appointments[1].stage_key = "arrived"
    transferred.appointments[1].doctor = "Сидоров Сидор"
    assert transferred.run().states(Kind.LEAD) == {1: APPLIED}
    assert place(transferred) == (PIPELINE, stage)
    assert value(transferred, DOCTOR) == "Сидоров Сидор"
    known = transferred.ledger.applied_rows(UID, Kind.LEAD, [1])[1]
    assert (known.pipeline_id, known.status_id) == (PIPELINE, NEW)  # where we put it last
    assert transferred.run().rows == []


def test_a_deal_in_another_pipeline_stays_there(transferred: Room) -> None:
    deal = transferred.amo.of(Kind.LEAD, 1)
    deal["pipeline_id"], deal["status_id"] = 777, 778
    transferred.appointments[1].stage_key = "arrived"
    assert transferred.run().states(Kind.LEAD) == {1: APPLIED}
    assert place(transferred) == (777, 778)


def test_an_untouched_deal_moves_forward(transferred: Room) -> None:
    transferred.appointments[1].stage_key = "arrived"
    transferred.run()
    assert place(transferred) == (PIPELINE, CAME)
    assert transferred.ledger.applied_rows(UID, Kind.LEAD, [1])[1].status_id == CAME


def test_a_deal_that_is_gone_from_amocrm_is_told_with_its_note(transferred: Room) -> None:
    transferred.amo.entities[Kind.LEAD].clear()
    transferred.appointments[1].start_at = NEW_TIME
    run = transferred.run()
    assert run.states(Kind.LEAD) == {1: (OutcomeState.REJECTED, "not_in_amocrm")}
    assert run.states(Kind.NOTE) == {1: (OutcomeState.DEFERRED, "not_in_amocrm")}
    assert transferred.amo.notes_of == {}
