"""The protocol of one batch: attempt, request, receipt; what becomes of refused rows and of lost answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from tasks.ledger.tables import attempt
from tasks.records import Kind, OutcomeState
from tests.support.fake_amocrm import UID, FakeAmo, half, lost, mark, never_arrived, silent_about_first
from tests.support.loading_room import CITY, Room

APPLIED = (OutcomeState.APPLIED, "")
FAR = 600.0
MINUTE = 60.0


def marks(*keys: int, kind: Kind = Kind.CONTACT) -> tuple[str, ...]:
    return tuple(mark(kind, key) for key in keys)


# ---- receipts ----------------------------------------------------------------------------------------


def test_the_attempt_is_committed_before_the_request_and_closed_by_the_receipt(room: Room) -> None:
    room.add(patients=2, appointments=1)
    seen: list[tuple[int, ...]] = []

    def look(amo: FakeAmo, kind: Kind, payloads: Sequence[dict[str, Any]]) -> Mapping[str, int]:
        assert room.ledger.applied_count(UID, kind) == 0  # the snapshot waits for the receipt
        seen.extend(row.source_ids for row in room.ledger.open_attempts(UID))
        return amo.store(kind, payloads)

    room.amo.faults["create"] = [look, look]
    room.run()
    assert seen == [(1, 2), (1,)]
    assert room.ledger.open_attempts(UID) == []
    assert room.ledger.applied_count(UID, Kind.CONTACT) == 2
    assert room.ledger.applied_count(UID, Kind.LINK) == 1


def test_only_acknowledged_rows_move_in_the_snapshot(room: Room) -> None:
    room.add(patients=3)
    room.amo.faults["create"] = [silent_about_first]
    run = room.run()
    assert run.states(Kind.CONTACT) == {1: (OutcomeState.AMBIGUOUS, "not_named"), 2: APPLIED, 3: APPLIED}
    assert set(room.ledger.applied_rows(UID, Kind.CONTACT, [1, 2, 3])) == {2, 3}
    assert [row.source_ids for row in room.ledger.open_attempts(UID)] == [(1,)]
    assert room.ledger.open_keys(UID) == {Kind.CONTACT: frozenset({1})}
    room.run()
    assert room.amo.marks(Kind.CONTACT) == sorted(marks(1, 2, 3))
    assert room.run().rows == []


def test_an_unnamed_row_is_looked_for_below_what_other_threads_created_meanwhile(room: Room) -> None:
    room.add(patients=2)

    def meanwhile(amo: FakeAmo, kind: Kind, payloads: Sequence[dict[str, Any]]) -> Mapping[str, int]:
        answer = silent_about_first(amo, kind, payloads)
        assert room.current is not None
        room.current.highest[kind] = amo.next_id + 50
        return answer

    room.amo.faults["create"] = [meanwhile]
    room.run()
    [left] = room.ledger.open_attempts(UID)
    assert left.highest_amo_id < room.amo.of(Kind.CONTACT, 1)["id"]


# ---- refusals ----------------------------------------------------------------------------------------


def test_named_rows_are_parked_with_the_name_of_the_field_and_the_rest_is_sent(room: Room) -> None:
    room.add(patients=4)
    room.amo.bad[mark(Kind.CONTACT, 2)] = ("NotSupportedChoice", "custom_fields_values.0.values.0.value")
    room.amo.bad[mark(Kind.CONTACT, 3)] = ("InvalidType", "last_name")
    run = room.run()
    assert [len(about) for about in room.amo.sent("create", Kind.CONTACT)] == [4, 2]
    ended = {key: (rows[0].state, rows[0].reason, rows[0].field) for (_kind, key), rows in run.ended.items()}
    assert ended == {
        1: (OutcomeState.APPLIED, "", ""),
        2: (OutcomeState.REJECTED, "NotSupportedChoice", "Город"),
        3: (OutcomeState.REJECTED, "InvalidType", "last_name"),
        4: (OutcomeState.APPLIED, "", ""),
    }
    parked = {reject.source_id: (reject.reason, reject.field) for _uid, reject in room.ledger.rejects(UID)}
    assert parked == {2: ("NotSupportedChoice", "Город"), 3: ("InvalidType", "last_name")}
    assert room.ledger.open_attempts(UID) == []
    assert room.ledger.open_keys(UID) == {}


def test_a_refusal_that_names_nobody_is_bisected_down_to_the_culprit(room: Room) -> None:
    room.add(patients=8)
    room.amo.poison = {mark(Kind.CONTACT, 6)}
    run = room.run()
    assert [len(about) for about in room.amo.sent("create", Kind.CONTACT)] == [8, 4, 4, 2, 1, 1, 2]
    states = run.states(Kind.CONTACT)
    assert states.pop(6) == (OutcomeState.REJECTED, "validation_rejected")
    assert set(states.values()) == {APPLIED}
    assert room.amo.marks(Kind.CONTACT) == sorted(marks(1, 2, 3, 4, 5, 7, 8))


@pytest.mark.parametrize("named", [True, False])
def test_a_refused_update_keeps_its_old_snapshot_and_spares_the_others(room: Room, named: bool) -> None:
    room.add(patients=3)
    room.run()
    before = room.ledger.applied_rows(UID, Kind.CONTACT, [2])
    for key in room.patients:
        room.patients[key]["city"] = "Тверь"
    culprit = mark(Kind.CONTACT, 2)
    if named:
        room.amo.bad[culprit] = ("NotSupportedChoice", "custom_fields_values.0.values.0.value")
    else:
        room.amo.poison = {culprit}
    run = room.run()
    [outcome] = run.ended[Kind.CONTACT, 2]
    assert (outcome.state, outcome.field) == (OutcomeState.REJECTED, "Город" if named else "")
    assert (run.states(Kind.CONTACT)[1], run.states(Kind.CONTACT)[3]) == (APPLIED, APPLIED)
    assert room.ledger.applied_rows(UID, Kind.CONTACT, [2]) == before
    assert room.ledger.open_attempts(UID) == []


# ---- updates -----------------------------------------------------------------------------------------


def city_of(room: Room, key: int) -> str:
    fields = {
        item["field_id"]: item["values"] for item in room.amo.of(Kind.CONTACT, key)["custom_fields_values"]
    }
    return str(fields[CITY][0]["value"])


def test_an_update_without_a_receipt_is_sent_again_and_changes_nothing_more(room: Room) -> None:
    room.add(patients=1)
    room.run()
    room.patients[1]["city"] = "Тверь"
    room.amo.faults["update"] = [silent_about_first]  # written, but not acknowledged
    assert room.run().states(Kind.CONTACT) == {1: (OutcomeState.DEFERRED, "not_acknowledged")}
    assert city_of(room, 1) == "Тверь"
    held = room.amo.of(Kind.CONTACT, 1) | {}
    assert room.run().states(Kind.CONTACT) == {1: APPLIED}
    assert room.amo.of(Kind.CONTACT, 1) == held
    assert room.run().rows == []


def test_an_interrupted_update_is_simply_due_again(room: Room) -> None:
    room.add(patients=1)
    room.run()
    room.patients[1]["city"] = "Тверь"
    with room.ledger.database.write() as connection:  # a process that died between request and receipt
        values = {
            "run_id": "dead", "clinic_uid": UID, "account_id": 1, "kind": "contact", "action": "update",
            "source_ids": "1", "request_hash": 1, "highest_amo_id": 0, "started_at": 0.0, "scans": 0,
        }  # fmt: skip
        connection.execute(sa.insert(attempt).values(values))
    assert room.run().states(Kind.CONTACT) == {1: APPLIED}
    assert room.ledger.open_attempts(UID) == []
    assert city_of(room, 1) == "Тверь"


def test_a_contact_that_is_gone_from_amocrm_is_never_made_again(room: Room) -> None:
    room.add(patients=1)
    room.run()
    room.amo.entities[Kind.CONTACT].clear()
    room.patients[1]["city"] = "Тверь"
    assert room.run().states(Kind.CONTACT) == {1: (OutcomeState.REJECTED, "not_in_amocrm")}
    assert room.amo.marks(Kind.CONTACT) == []


# ---- lost answers ------------------------------------------------------------------------------------


def test_a_lost_answer_is_found_again_by_external_id_reading_ids_downwards(room: Room) -> None:
    room.add(patients=2)
    room.run()
    highest = room.amo.next_id
    room.add(patients=4)
    room.amo.faults["create"] = [lost]
    run = room.run()
    assert run.states(Kind.CONTACT) == dict.fromkeys((3, 4), (OutcomeState.AMBIGUOUS, "answer_lost"))
    assert len(room.ledger.open_attempts(UID)) == 1
    assert room.ledger.applied_count(UID, Kind.CONTACT) == 2
    room.amo.log.clear()
    room.run()
    assert room.amo.read_down_to == [highest]
    assert room.amo.sent("create", Kind.CONTACT) == []
    assert room.amo.marks(Kind.CONTACT) == sorted(marks(1, 2, 3, 4))
    assert room.ledger.open_attempts(UID) == []
    assert room.ledger.open_keys(UID) == {}
    assert room.run().rows == []


def test_a_lost_deal_is_adopted_with_its_link(room: Room) -> None:
    room.add(patients=1, appointments=1)
    room.amo.faults["create"] = [None, lost]
    run = room.run()
    unknown = (OutcomeState.AMBIGUOUS, "answer_lost")
    assert (run.states(Kind.LEAD), run.states(Kind.LINK)) == ({1: unknown}, {1: unknown})
    room.run()
    assert room.amo.marks(Kind.LEAD) == [mark(Kind.LEAD, 1)]
    contact = room.amo.of(Kind.CONTACT, 1)["id"]
    assert room.ledger.applied_rows(UID, Kind.LINK, [1])[1].amo_id == contact
    assert room.amo.notes_of == {}
    assert room.run().rows == []


def test_nothing_is_sent_again_before_two_scans_a_minute_apart(room: Room) -> None:
    room.add(patients=1)
    room.amo.faults["create"] = [never_arrived]
    room.run(now=FAR)
    for moment in (FAR, FAR + MINUTE - 1):
        assert room.run(now=moment).rows == []
        assert room.amo.marks(Kind.CONTACT) == []
    assert room.ledger.open_keys(UID) == {Kind.CONTACT: frozenset({1})}
    run = room.run(now=FAR + MINUTE)
    assert run.states(Kind.CONTACT) == {1: APPLIED}
    assert room.amo.marks(Kind.CONTACT) == [mark(Kind.CONTACT, 1)]


def test_a_late_write_is_found_by_the_second_scan(room: Room) -> None:
    room.add(patients=1)
    late: list[dict[str, Any]] = []

    def slow(_amo: FakeAmo, kind: Kind, payloads: Sequence[dict[str, Any]]) -> Mapping[str, int]:
        late.extend(payloads)
        return never_arrived(_amo, kind, payloads)

    room.amo.faults["create"] = [slow]
    room.run(now=FAR)
    room.run(now=FAR)
    room.amo.store(Kind.CONTACT, late)
    room.run(now=FAR + MINUTE)
    assert room.amo.marks(Kind.CONTACT) == [mark(Kind.CONTACT, 1)]
    assert len(room.amo.sent("create", Kind.CONTACT)) == 1


def test_half_a_batch_is_adopted_at_once_and_the_other_half_waits_for_its_proof(room: Room) -> None:
    room.add(patients=4)
    room.amo.faults["create"] = [half]
    room.run(now=FAR)
    room.run(now=FAR)
    assert set(room.ledger.applied_rows(UID, Kind.CONTACT, [1, 2, 3, 4])) == {1, 2}
    assert room.amo.marks(Kind.CONTACT) == sorted(marks(1, 2))
    room.run(now=FAR + MINUTE)
    assert room.amo.marks(Kind.CONTACT) == sorted(marks(1, 2, 3, 4))
    assert room.run(now=FAR * 2).rows == []
