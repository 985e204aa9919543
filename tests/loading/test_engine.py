"""The order of a load, what stops it, and that every planned row ends in exactly one outcome."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.errors import (
    AmoCrmUnavailableError,
    BlockedError,
    IdentAmocrmError,
    LeaseHeldError,
    StopRunError,
    ValidationRejectedError,
)
from tasks.records import AppliedRow, Kind, OutcomeState
from tests.loading.conftest import room_on
from tests.support.fake_amocrm import UID, Fault, half, lost, mark, never_arrived, silent_about_first
from tests.support.loading_room import Appointment, Room

APPLIED = (OutcomeState.APPLIED, "")
DEFERRED = OutcomeState.DEFERRED


def test_contacts_are_there_before_the_first_deal_leaves(room: Room) -> None:
    room.add(patients=5, appointments=7)
    room.batch_size, room.workers = 2, 4
    run = room.run()
    assert [kind for _what, kind, _about in room.amo.log] == [Kind.CONTACT] * 3 + [Kind.LEAD] * 4
    assert run.stopped is None
    assert {rows[0].state for rows in run.ended.values()} == {OutcomeState.APPLIED}
    deal = room.amo.of(Kind.LEAD, 6)
    contact = room.amo.of(Kind.CONTACT, 1)
    assert deal["_embedded"]["contacts"] == [{"id": contact["id"], "is_main": True}]
    assert room.run().rows == []


def test_creates_go_before_updates(room: Room) -> None:
    room.add(patients=1)
    room.run()
    room.add(patients=2)
    room.patients[1]["city"] = "Тверь"
    room.amo.log.clear()
    room.run()
    assert [(what, about) for what, _kind, about in room.amo.log] == [
        ("create", (mark(Kind.CONTACT, 2),)),
        ("update", (mark(Kind.CONTACT, 1),)),
    ]


def test_a_stop_in_the_middle_defers_everything_left(room: Room) -> None:
    room.add(patients=6, appointments=2)
    room.batch_size = 2
    room.amo.faults["create"] = [None, BlockedError(problem="403", remedy="")]
    run = room.run()
    assert isinstance(run.stopped, StopRunError)
    assert run.states(Kind.CONTACT) == {
        **dict.fromkeys((1, 2), APPLIED),
        **dict.fromkeys((3, 4), (DEFERRED, "blocked")),
        **dict.fromkeys((5, 6), (DEFERRED, "run_stopped")),
    }
    assert set(run.states(Kind.LEAD).values()) == {(DEFERRED, "run_stopped")}
    assert set(run.states(Kind.LINK).values()) == {(DEFERRED, "run_stopped")}
    assert len(room.amo.sent("create", Kind.CONTACT)) == 2
    assert room.ledger.open_attempts(UID) == []
    room.run()
    assert room.amo.marks(Kind.CONTACT) == [mark(Kind.CONTACT, key) for key in range(1, 7)]
    assert room.run().rows == []


def test_what_is_left_is_looked_up_once_however_much_it_is(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.add(patients=30, appointments=10)
    room.batch_size = 2
    room.amo.faults["create"] = [None, BlockedError(problem="403", remedy="")]
    asked: list[object] = []
    settled = room.ledger.settled

    def counted(_self: object, run_id: str) -> object:
        asked.append(run_id)
        return settled(run_id)

    monkeypatch.setattr(type(room.ledger), "settled", counted)
    run = room.run()
    assert len(run.states(Kind.CONTACT)) == 30
    assert len(asked) <= 2, "a run that stops looks it up once, not once a row"


def test_a_read_that_fails_before_the_first_batch_defers_the_plan_too(room: Room) -> None:
    room.add(patients=1, appointments=1)
    room.amo.faults["highest"] = [AmoCrmUnavailableError(problem="502", remedy="")]
    run = room.run()
    assert isinstance(run.stopped, AmoCrmUnavailableError)
    assert set(run.ended) == {(row.kind, row.source_id) for row in run.rows}
    assert {rows[0].state for rows in run.ended.values()} == {DEFERRED}
    assert room.run().stopped is None


def test_a_lost_lease_sends_nothing_more(room: Room) -> None:
    room.add(patients=4)
    room.batch_size = 2
    calls = iter([None, LeaseHeldError(problem="slept", remedy="", code="lease_lost")])

    def guard() -> None:
        if error := next(calls):
            raise error

    room.guard = guard
    run = room.run()
    assert isinstance(run.stopped, LeaseHeldError)
    assert room.amo.marks(Kind.CONTACT) == [mark(Kind.CONTACT, 1), mark(Kind.CONTACT, 2)]
    assert run.states(Kind.CONTACT)[3] == (DEFERRED, "run_stopped")


def test_another_patient_gets_the_deal_and_the_old_one_is_detached(room: Room) -> None:
    room.add(patients=2, appointments=1)
    room.run()
    room.appointments[1] = Appointment(patient_id=2)
    run = room.run()
    assert run.states(Kind.LINK) == {1: APPLIED}
    second = room.amo.of(Kind.CONTACT, 2)["id"]
    assert [item["id"] for item in room.amo.of(Kind.LEAD, 1)["_embedded"]["contacts"]] == [second]
    link = room.ledger.applied_rows(UID, Kind.LINK, [1])[1]
    assert link == AppliedRow(Kind.LINK, 1, second, second, {})
    assert room.run().rows == []


def test_a_refused_link_is_told_and_the_others_go_on(room: Room) -> None:
    room.add(patients=2, appointments=2)
    room.run()
    room.appointments = {1: Appointment(patient_id=2), 2: Appointment(patient_id=1)}
    room.amo.faults["link"] = [ValidationRejectedError(problem="400", remedy="")]
    run = room.run()
    assert run.states(Kind.LINK) == {1: (OutcomeState.REJECTED, "validation_rejected"), 2: APPLIED}
    [(_uid, listed)] = room.ledger.rejects(UID)
    assert (listed.entity, listed.source_id, listed.field) == ("lead", 1, "patient_id")


FAULTS: dict[str, Fault | IdentAmocrmError | None] = {
    "none": None,
    "lost": lost,
    "never arrived": never_arrived,
    "half": half,
    "silent": silent_about_first,
    "stop": BlockedError(problem="403", remedy=""),
    "down": AmoCrmUnavailableError(problem="502", remedy=""),
}
WRITES = st.lists(st.sampled_from(sorted(FAULTS)), max_size=4)
READS = st.lists(st.sampled_from(["none", "down"]), max_size=2)


@pytest.mark.parametrize("workers", [1, 3])
@given(
    plans=st.lists(
        st.fixed_dictionaries({"create": WRITES, "update": READS, "highest": READS, "link": READS}),
        min_size=1,
        max_size=3,
    ),
    patients=st.integers(1, 5),
    poison=st.sets(st.integers(1, 5), max_size=2),
)
@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_planned_row_ends_once_and_everything_arrives_once(
    empty_ledger: Path, workers: int, plans: list[dict[str, list[str]]], patients: int, poison: set[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        room = room_on(empty_ledger, Path(folder) / "ledger.db")
        room.add(patients, patients + 1)
        room.batch_size, room.workers = 2, workers
        for number, faults in enumerate(plans):
            room.amo.faults = {what: [FAULTS[name] for name in names] for what, names in faults.items()}
            room.amo.poison = {mark(Kind.CONTACT, key) for key in poison}
            room.patients[1]["city"] = f"Город {number}"
            run = room.run(now=100.0 * number)
            assert set(run.ended) == {(row.kind, row.source_id) for row in run.rows}
            assert {len(rows) for rows in run.ended.values()} <= {1}
        room.amo.faults, room.amo.poison = {}, set()
        for number in range(len(plans), len(plans) + 4):
            assert room.run(now=100.0 * number).stopped is None
        assert room.run(now=1000.0).rows == []
        assert room.ledger.open_attempts(UID) == []
        assert room.ledger.open_keys(UID) == {}
        for kind, keys in ((Kind.CONTACT, room.patients), (Kind.LEAD, room.appointments)):
            assert Counter(room.amo.marks(kind)) == Counter(mark(kind, key) for key in keys)
        for key, appointment in room.appointments.items():
            owner = room.amo.of(Kind.CONTACT, appointment.patient_id)["id"]
            assert [item["id"] for item in room.amo.of(Kind.LEAD, key)["_embedded"]["contacts"]] == [owner]
        room.ledger.close()


def test_a_link_that_amocrm_does_not_name_waits_for_the_next_run(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.add(patients=2, appointments=1)
    room.run()
    before = room.ledger.applied_rows(UID, Kind.LINK, [1])[1]
    room.appointments[1] = Appointment(patient_id=2)
    with monkeypatch.context() as patch:
        patch.setattr(room.amo, "link", lambda _lead, _contact: False)
        assert room.run().states(Kind.LINK) == {1: (DEFERRED, "not_acknowledged")}
    assert room.ledger.applied_rows(UID, Kind.LINK, [1])[1] == before
    assert room.run().states(Kind.LINK) == {1: APPLIED}


def test_a_complaint_without_a_code_still_has_a_reason(room: Room) -> None:
    room.add(patients=1)
    room.amo.bad = {mark(Kind.CONTACT, 1): ("", "")}
    assert room.run().states(Kind.CONTACT) == {1: (OutcomeState.REJECTED, "validation_rejected")}
