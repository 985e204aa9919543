"""What people did to our cards meanwhile: merged, deleted; and that nothing of it is undone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest

from tasks.errors import AmoCrmUnavailableError
from tasks.records import MAYBE_REMOVED, Kind, OutcomeState
from tests.support.fake_amocrm import MARK, UID, FakeAmo, half, lost, mark, never_arrived
from tests.support.loading_room import CITY, PHONE, Room

FAR, MINUTE = 1_000_000.0, 60.0
APPLIED = (OutcomeState.APPLIED, "")


def managers_contact(room: Room) -> int:
    room.amo.store(Kind.CONTACT, [{"request_id": "0", "last_name": "Иванов", "custom_fields_values": []}])
    return room.amo.next_id


def city_of(room: Room, amo_id: int) -> str:
    values = room.amo.entities[Kind.CONTACT][amo_id]["custom_fields_values"]
    return str(next(item for item in values if item["field_id"] == CITY)["values"][0]["value"])


def test_a_merged_contact_goes_on_as_the_card_it_was_merged_into(room: Room) -> None:
    older = managers_contact(room)
    room.add(patients=12, appointments=1)  # "…-P-1" is a part of "…-P-10"
    room.run()
    room.amo.merge(older, room.amo.of(Kind.CONTACT, 1)["id"])
    room.patients[1]["city"] = "Тверь"
    assert room.run().states(Kind.CONTACT) == {1: APPLIED}
    assert city_of(room, older) == "Тверь"
    assert room.ledger.applied_rows(UID, Kind.CONTACT, [1])[1].amo_id == older
    room.appointments[2] = type(room.appointments[1])(1)
    room.run()
    assert room.amo.of(Kind.LEAD, 2)["_embedded"]["contacts"] == [{"id": older, "is_main": True}]
    assert room.run().rows == []


def test_a_deleted_contact_whose_number_begins_another_ones_is_not_mistaken_for_it(room: Room) -> None:
    room.add(patients=12)
    room.run()
    room.amo.delete(Kind.CONTACT, room.amo.of(Kind.CONTACT, 1)["id"])
    room.patients[1]["city"] = "Тверь"
    assert room.run().states(Kind.CONTACT) == {1: (OutcomeState.REJECTED, "not_in_amocrm")}
    assert city_of(room, room.amo.of(Kind.CONTACT, 10)["id"]) == "Москва"


def test_what_a_manager_deleted_before_it_was_found_again_is_not_made_again(room: Room) -> None:
    room.add(patients=1)
    room.amo.faults["create"] = [lost]
    room.run(now=FAR)
    room.amo.delete(Kind.CONTACT, room.amo.of(Kind.CONTACT, 1)["id"])
    room.run(now=FAR)
    room.run(now=FAR + MINUTE)
    assert room.amo.marks(Kind.CONTACT) == []
    assert [(row.source_id, row.reason) for _uid, row in room.ledger.rejects(UID)] == [(1, MAYBE_REMOVED)]
    assert room.ledger.open_attempts(UID) == []


def test_something_deleted_long_before_does_not_hold_a_lost_row_back(room: Room) -> None:
    room.add(patients=1)
    room.run()
    room.amo.delete(Kind.CONTACT, room.amo.of(Kind.CONTACT, 1)["id"])
    managers_contact(room)
    room.add(patients=2)
    room.amo.faults["create"] = [never_arrived]
    for moment in (FAR, FAR, FAR + MINUTE):
        room.run(now=moment)
    assert room.amo.marks(Kind.CONTACT) == ["", mark(Kind.CONTACT, 2)]


def test_what_a_manager_merged_before_it_was_found_again_is_adopted(room: Room) -> None:
    older = managers_contact(room)
    room.add(patients=1)
    room.amo.faults["create"] = [lost]
    room.run(now=FAR)
    room.amo.merge(older, room.amo.of(Kind.CONTACT, 1)["id"])
    room.run(now=FAR)
    room.run(now=FAR + MINUTE)
    assert list(room.amo.entities[Kind.CONTACT]) == [older]
    assert room.ledger.applied_rows(UID, Kind.CONTACT, [1])[1].amo_id == older
    assert room.run(now=FAR + MINUTE).rows == []


def test_what_was_found_again_is_not_compared_anew_in_every_run(room: Room) -> None:
    room.add(patients=4)
    room.amo.faults["create"] = [half]
    room.run(now=FAR)
    room.run(now=FAR)
    assert room.run(now=FAR).rows == []


def test_an_edit_before_a_lost_contact_is_found_again_is_no_persons(room: Room) -> None:
    room.add(patients=1)
    room.amo.faults["create"] = [lost]
    room.run(now=FAR)
    room.patients[1]["last_name"] = "Петрова"
    room.patients[1]["phone_mobile"] = "+79001112233"
    assert room.run(now=FAR).states(Kind.CONTACT) == {1: APPLIED}
    contact = room.amo.of(Kind.CONTACT, 1)
    assert contact["last_name"] == "Петрова"
    phones = next(item for item in contact["custom_fields_values"] if item["field_id"] == PHONE)
    assert [value["value"] for value in phones["values"]] == ["+79001112233"]


@pytest.mark.parametrize("name", ["Сидорова", "Иванов1"])
def test_an_edit_after_an_unanswered_update_is_no_persons(room: Room, name: str) -> None:
    """A value that left without an answer is ours, also when IDENT went back to the value before it."""
    room.add(patients=1)
    room.run()
    room.patients[1]["last_name"] = "Петрова"
    update = room.amo.update

    def written_without_answer(kind: Kind, payloads: Sequence[dict[str, Any]]) -> Collection[int]:
        update(kind, payloads)
        raise AmoCrmUnavailableError(problem="no answer", remedy="")

    room.amo.update = written_without_answer  # type: ignore[method-assign]
    assert room.run().stopped is not None
    assert room.amo.of(Kind.CONTACT, 1)["last_name"] == "Петрова"
    room.amo.update = update  # type: ignore[method-assign]
    room.patients[1]["last_name"] = name
    run = room.run()
    assert (run.states(Kind.CONTACT), run.load.overwritten) == ({1: APPLIED}, 0)
    assert room.amo.of(Kind.CONTACT, 1)["last_name"] == name
    assert room.run().rows == []


def test_what_a_person_typed_after_an_unanswered_update_is_a_persons(room: Room) -> None:
    room.add(patients=1)
    room.run()
    room.patients[1]["last_name"] = "Петрова"
    room.amo.faults["update"] = [AmoCrmUnavailableError(problem="no answer", remedy="")]
    room.run()
    room.amo.of(Kind.CONTACT, 1)["last_name"] = "Петрова-Водкина"
    room.patients[1]["last_name"] = "Водкина"
    assert room.run().load.overwritten == 1  # the policy of this field; it is counted


def test_one_unnamed_culprit_among_fifty_costs_thirteen_writes(room: Room) -> None:
    room.add(patients=50)
    room.amo.poison = {mark(Kind.CONTACT, 33)}
    run = room.run()
    assert sum(state is OutcomeState.APPLIED for state, _ in run.states(Kind.CONTACT).values()) == 49
    assert len(room.amo.sent("create", Kind.CONTACT)) <= 13


def test_a_twin_that_amocrm_shows_late_is_left_to_people(room: Room) -> None:
    room.add(patients=1)
    late: list[dict[str, Any]] = []

    def slow(amo: FakeAmo, kind: Kind, payloads: Sequence[dict[str, Any]]) -> Mapping[str, int]:
        late.extend(payloads)
        return never_arrived(amo, kind, payloads)

    room.amo.faults["create"] = [slow]
    for moment in (FAR, FAR, FAR + MINUTE):
        room.run(now=moment)
    room.amo.store(Kind.CONTACT, late)  # later than the promise allows
    assert room.run(now=FAR * 2).rows == []
    assert len(room.amo.marks(Kind.CONTACT)) == 2


def merge_under_the_others_mark(room: Room) -> int:
    """Merge the contacts of patients 1 and 2 as a person may: the first card with the second one's mark."""
    first, second = (room.amo.of(Kind.CONTACT, key)["id"] for key in (1, 2))
    room.amo.merge(first, second)
    room.amo.entities[Kind.CONTACT][first]["custom_fields_values"] = [
        {"field_id": MARK, "values": [{"value": mark(Kind.CONTACT, 2)}]}
    ]
    return int(first)


def test_two_of_our_contacts_merged_under_the_other_mark_stop_nobody_else(room: Room) -> None:
    room.add(patients=3)
    room.run()
    first = merge_under_the_others_mark(room)
    for key in room.patients:
        room.patients[key]["city"] = "Тверь"
    run = room.run()
    assert run.stopped is None
    assert run.states(Kind.CONTACT) == {
        1: APPLIED,
        2: (OutcomeState.REJECTED, "not_in_amocrm"),
        3: APPLIED,
    }
    assert room.ledger.applied_rows(UID, Kind.CONTACT, [1])[1].amo_id == first


def test_a_lost_contact_merged_into_another_of_ours_stops_nobody_else(room: Room) -> None:
    room.add(patients=1)
    room.run()
    room.add(patients=2)
    room.amo.faults["create"] = [lost]
    room.run(now=FAR)
    merge_under_the_others_mark(room)
    room.run(now=FAR)
    run = room.run(now=FAR + MINUTE)
    assert run.stopped is None
    assert room.ledger.open_attempts(UID) == []
    assert len(room.amo.entities[Kind.CONTACT]) == 1, "nothing is made again that a person merged"
    listed = [(row.source_id, row.reason) for _uid, row in room.ledger.rejects(UID)]
    assert listed == [(2, MAYBE_REMOVED)]
