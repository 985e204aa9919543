"""How far a load is and how long it takes: the arithmetic, and that it agrees with a load that really ran."""

from __future__ import annotations

from collections import Counter

import pytest

from tasks.loading.progress import Gauge, LoadCounts, Progress
from tasks.records import Action, Kind
from tests.support.loading_room import Appointment, Room

CREATE, UPDATE, MOVE = Action.CREATE, Action.UPDATE, Action.MOVE
FIRST_LOAD = {(Kind.CONTACT, CREATE): 100, (Kind.LEAD, CREATE): 210, (Kind.LINK, CREATE): 210}
CHANGES = {
    (Kind.CONTACT, UPDATE): 60,
    (Kind.LEAD, CREATE): 50,
    (Kind.LEAD, UPDATE): 10,
    (Kind.LEAD, MOVE): 41,
    (Kind.LINK, CREATE): 50,
    (Kind.LINK, UPDATE): 3,
    (Kind.NOTE, CREATE): 4,
}


@pytest.mark.parametrize(
    ("planned", "ended", "requests", "left"),
    [
        (FIRST_LOAD, {}, 7, 7),
        (FIRST_LOAD, {Kind.CONTACT: 50}, 7, 6),
        (FIRST_LOAD, {Kind.CONTACT: 100, Kind.LEAD: 200, Kind.LINK: 200}, 7, 1),
        (FIRST_LOAD, {Kind.CONTACT: 100, Kind.LEAD: 210, Kind.LINK: 210}, 7, 0),
        # Two batches of contacts read and written; one created; two read and written; 3 links; 4 notes.
        (CHANGES, {}, 4 + 1 + 4 + 3 + 8, 20),
        (CHANGES, {Kind.CONTACT: 50}, 20, 18),
        # What was created is through: the link of each was created with it, the other three are left.
        (CHANGES, {Kind.CONTACT: 60, Kind.LEAD: 50, Kind.LINK: 50}, 20, 15),
        (CHANGES, {Kind.CONTACT: 60, Kind.LEAD: 100, Kind.LINK: 52, Kind.NOTE: 4}, 20, 3),
        ({}, {}, 0, 0),
    ],
)
def test_work_is_counted_in_requests(
    planned: dict[tuple[Kind, Action], int], ended: dict[Kind, int], requests: int, left: int
) -> None:
    counts = LoadCounts(planned, ended, 50)
    assert (counts.requests, counts.requests_left) == (requests, left)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_time_left_follows_the_configured_rate_then_the_speed_that_was_measured() -> None:
    clock = Clock()
    gauge = Gauge(5.0, clock)
    planned = {(Kind.CONTACT, CREATE): 5000, (Kind.LEAD, CREATE): 5000}

    def read(contacts: int, deals: int) -> Progress:
        return gauge.read(LoadCounts(planned, {Kind.CONTACT: contacts, Kind.LEAD: deals}, 50))

    assert read(0, 0) == Progress(0.0, (0, 5000), (0, 5000), None, None, 40)
    clock.now += 1
    assert read(250, 0) == Progress(2.5, (250, 5000), (0, 5000), None, None, 39)
    clock.now += 19
    half_as_fast = Progress(25.0, (2500, 5000), (0, 5000), 125.0, 0.5, 60)
    assert read(2500, 0) == half_as_fast
    clock.now += 1000
    assert read(2500, 0) == half_as_fast, "a wait for the plan of the deals is no speed of amoCRM"
    assert read(5000, 4999).percent == 99.5
    assert (read(5000, 5000).percent, read(5000, 5000).seconds_left) == (100.0, 0)


def test_a_load_that_began_earlier_is_measured_from_the_first_look_on() -> None:
    clock = Clock()
    gauge = Gauge(5.0, clock)
    planned = {(Kind.CONTACT, CREATE): 5000}
    assert gauge.read(LoadCounts(planned, {Kind.CONTACT: 2500}, 50)).cards_per_second is None
    clock.now += 10
    found = gauge.read(LoadCounts(planned, {Kind.CONTACT: 3500}, 50))
    assert (found.cards_per_second, found.share_of_ceiling) == (100.0, 0.4)


def test_the_ledger_counts_what_a_load_planned_and_ended(room: Room) -> None:
    room.add(patients=5, appointments=7)
    room.run()
    room.add(patients=6, appointments=7)
    room.patients[1]["city"] = "Тверь"
    room.appointments[1] = Appointment(2, start_at="2026-03-13T07:00:00Z")
    run = room.run()
    run_id = f"r{room.runs}"
    planned, ended = room.ledger.plan_counts(run_id), room.ledger.ended_counts(run_id)
    assert planned == Counter((row.kind, row.action) for row in run.rows)
    assert ended == Counter(row.kind for row in run.rows)
    assert set(ended) == set(Kind)
    assert LoadCounts(planned, ended, room.batch_size).requests_left == 0
    assert (room.ledger.plan_counts("another"), room.ledger.ended_counts("another")) == ({}, {})
