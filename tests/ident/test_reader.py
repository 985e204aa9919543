"""Windows, chains, what is still there."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tasks.frames import Entity
from tasks.ident import chains
from tasks.ident.marks import Window
from tasks.ident.reader import PAGES
from tests.support.small_clinic import NOW, SmallClinic

FUTURE = Window(start=NOW)


@pytest.fixture(params=["few", "many"], autouse=True)
def bulk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to close chains: list after list, and all links at once."""
    if request.param == "many":
        monkeypatch.setattr(chains, "MANY", 0)


@pytest.fixture
def chained(clinic: SmallClinic) -> SmallClinic:
    """Three chains: 201-202-203; 301, of which 302 and 303 came; 402 and 403 of a deleted 401."""
    clinic.now -= timedelta(days=1)
    for key, source, day in (
        (201, None, 1),
        (202, 201, 2),
        (203, 202, 30),
        (301, None, 3),
        (302, 301, 29),
        (303, 301, 4),
        (402, 401, 5),
        (403, 401, 28),
    ):
        start = datetime(2026, 3, day, 9)
        clinic.add(
            "Receptions",
            ID=key,
            ID_Patients=13,
            ID_ReceptionsTransferFrom=source,
            PlanStart=start,
            PlanEnd=start + timedelta(hours=1),
        )
    clinic.now = NOW
    return clinic


@pytest.mark.parametrize(
    ("given", "closed"),
    [
        ({201}, {201, 202, 203}),
        ({202}, {201, 202, 203}),
        ({203}, {201, 202, 203}),
        ({302}, {301, 302, 303}),
        ({402}, {402, 403}),
        ({401}, {402, 403}),
        ({101, 203}, {101, 201, 202, 203}),
        ({999}, set()),
        (set(), set()),
    ],
)
def test_chains_are_closed_in_both_directions(
    chained: SmallClinic, given: set[int], closed: set[int]
) -> None:
    assert chained.reader().chain(given) == closed


def test_a_ring_ends(chained: SmallClinic) -> None:
    chained.change("Receptions", 201, ID_ReceptionsTransferFrom=203)
    chained.change("Receptions", 101, ID_ReceptionsTransferFrom=101)
    assert chained.reader().chain({202}) == {201, 202, 203}
    assert chained.reader().chain({101}) == {101}


def test_a_window_keeps_a_chain_as_a_whole(chained: SmallClinic) -> None:
    reader = chained.reader()
    whole = {201, 202, 203, 301, 302, 303, 402, 403}
    assert reader.everything(FUTURE).appointments == {102, 103, 104, 106} | whole
    late = Window(start=datetime(2026, 3, 29))
    assert reader.everything(late).appointments == {201, 202, 203, 301, 302, 303}
    between = Window(start=datetime(2026, 3, 2), end=datetime(2026, 3, 2, 9))
    assert reader.everything(between).appointments == {201, 202, 203}
    assert reader.everything(Window(start=datetime(2027, 1, 1))).appointments == set()
    assert reader.everything(Window()).appointments == {*range(101, 107)} | whole


def test_an_appointment_without_a_start_is_in_every_window(chained: SmallClinic) -> None:
    """It has no deal; but somebody has to be told of it."""
    nowhere = Window(start=datetime(2027, 1, 1), end=datetime(2027, 1, 2))
    mark = chained.watermark()
    chained.now += timedelta(hours=3)
    chained.change("Receptions", 104, PlanStart=None)
    assert chained.reader().everything(nowhere).appointments == {104}, "103, which it replaced, stays outside"
    assert chained.changes(mark, nowhere).appointments == {104}


def test_a_row_without_a_start_ties_no_other_to_the_window(chained: SmallClinic) -> None:
    """Else its successor would become a deal that the operator left out."""
    nowhere = Window(start=datetime(2027, 1, 1))
    mark = chained.watermark()
    chained.now += timedelta(hours=3)
    chained.change("Receptions", 202, PlanStart=None)
    assert chained.reader().everything(nowhere).appointments == {202}
    assert chained.changes(mark, nowhere).appointments == {202}
    inside = Window(start=datetime(2026, 3, 29))
    assert chained.reader().everything(inside).appointments >= {201, 202, 203}, "another row of it is inside"


@pytest.mark.parametrize(
    ("changed", "window", "named"),
    [
        (201, Window(start=datetime(2026, 3, 29)), {201, 202, 203}),
        (303, Window(start=datetime(2026, 3, 29)), {301, 302, 303}),
        (402, Window(start=datetime(2026, 3, 28)), {402, 403}),
        (402, Window(start=datetime(2026, 3, 29)), set()),
        (101, FUTURE, set()),
        (203, Window(end=datetime(2026, 3, 1, 12)), {201, 202, 203}),
    ],
)
def test_an_increment_keeps_a_chain_as_a_whole(
    chained: SmallClinic, changed: int, window: Window, named: set[int]
) -> None:
    mark = chained.watermark()
    chained.now += timedelta(hours=3)
    chained.change("Receptions", changed, Comment="x")
    found = chained.changes(mark, window)
    assert found.appointments == named
    # Its patient is derived anew also when the appointment itself is not transferred.
    assert found.patients == {11 if changed == 101 else 13}


def test_appointments_of_a_patient(chained: SmallClinic) -> None:
    reader = chained.reader()
    assert reader.appointments_of({11}, Window()) == {101, 102}
    assert reader.appointments_of({11, 12}, FUTURE) == {102, 103, 104}
    assert reader.appointments_of({14, 999}, FUTURE) == set()
    assert reader.appointments_of(set(), FUTURE) == set()


def test_a_chain_that_changed_hands_is_everybodys(chained: SmallClinic) -> None:
    """The row in the window is another patient's by now: the chain is still one deal."""
    chained.change("Receptions", 203, ID_Patients=14)
    late = Window(start=datetime(2026, 3, 30))
    assert chained.reader().appointments_of({13}, late) == {201, 202, 203}
    assert chained.reader().appointments_of({14}, late) == {201, 202, 203}


def test_what_is_still_there_knows_no_window(chained: SmallClinic) -> None:
    reader = chained.reader()
    reader.everything(Window(start=datetime(2030, 1, 1)))
    assert reader.existing(Entity.APPOINTMENT, {101, 103, 203, 401, 999}) == {101, 103, 203}
    assert reader.existing(Entity.PATIENT, {1, 11, 14, 999}) == {11, 14}
    assert reader.existing(Entity.PATIENT, set()) == set()


def test_pages_hold_each_appointment_once(chained: SmallClinic) -> None:
    reader = chained.reader(page_size=1)
    everything = reader.everything(Window()).appointments
    pages = list(reader.appointments(everything | {999}))
    assert [key for page in pages for key in page["appointment_id"]] == sorted(everything)
    assert [len(page) for page in pages] == [PAGES, PAGES, 14 - 2 * PAGES]


def test_it_counts_and_tells_the_time(chained: SmallClinic) -> None:
    assert chained.reader().count() == {"patients": 4, "appointments": 14}
    assert chained.reader().now() == NOW
