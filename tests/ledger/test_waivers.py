"""Waivers in both databases: valid, replaced, revoked, expired, and each noticed once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from tasks.ledger.store import Ledger
from tasks.ledger.tables import metadata
from tasks.records import Reject, Waiver

UID, OTHER = "u", "v"
DAY = 86_400.0
RULE = "phone_mobile_e164"


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "sqlite":
        found = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").open()
    else:
        found = Ledger(request.getfixturevalue("postgresql")).open()
        with found.database.write() as connection:
            for table in metadata.sorted_tables:
                connection.execute(sa.delete(table))
    yield found
    found.close()


def waiver(source_id: int | None = 7, *, days: float = 90, note: str = "Согласовано") -> Waiver:
    now = time.time()
    return Waiver("patient", source_id, RULE, note, "Аналитик", now + days * DAY, now)


def test_a_row_and_a_whole_rule_are_two_waivers(ledger: Ledger) -> None:
    row, rule = waiver(7), waiver(None)
    ledger.waive(UID, [row, rule])
    ledger.waive(OTHER, [waiver(8)])
    assert ledger.waivers(UID) == [row, rule]
    assert ledger.waivers(UID, now=row.until) == [rule] * (rule.until > row.until)
    assert [one.taken_at for one in ledger.open_waivers(UID)] == [None, None]


def test_given_again_it_replaces_the_one_before_and_both_are_kept(ledger: Ledger) -> None:
    first, second = waiver(days=1), replace(waiver(days=9), waived_by="Руководитель")
    ledger.waive(UID, [first])
    [before] = ledger.open_waivers(UID)
    ledger.settle_waivers([before.id], [])
    ledger.waive(UID, [second])
    assert ledger.waivers(UID) == [second]
    old, new = ledger.waiver_history(UID)
    assert (old.waiver, old.revoked_by) == (first, "Руководитель")
    assert old.taken_at is not None
    assert old.ended_at is not None
    assert (new.taken_at, new.ended_at) == (None, None), "its row is judged again with it"


def test_a_revoked_one_ends_once_a_run_has_judged_without_it(ledger: Ledger) -> None:
    ledger.waive(UID, [waiver(7), waiver(8), waiver(None)])
    assert ledger.revoke_waiver(UID, "patient", RULE, [7, 9], by="Аналитик") == 1
    assert ledger.revoke_waiver(UID, "patient", RULE, [7], by="Аналитик") == 0
    assert ledger.revoke_waiver(OTHER, "patient", RULE, None, by="Аналитик") == 0
    assert [one.source_id for one in ledger.waivers(UID)] == [8, None]
    revoked = next(one for one in ledger.open_waivers(UID) if one.revoked_at is not None)
    assert (revoked.waiver.source_id, revoked.revoked_by) == (7, "Аналитик")
    ledger.settle_waivers([], [revoked.id])
    assert [one.waiver.source_id for one in ledger.open_waivers(UID)] == [8, None]
    assert len(ledger.waiver_history(UID)) == 3
    assert ledger.revoke_waiver(UID, "patient", RULE, None, by="Аналитик") == 1
    assert [one.source_id for one in ledger.waivers(UID)] == [8]


def test_an_expired_one_is_open_until_a_run_noticed(ledger: Ledger) -> None:
    over = waiver(days=-1)
    ledger.waive(UID, [over])
    assert ledger.waivers(UID) == []
    assert ledger.waivers(UID, now=over.until - 1) == [over]
    [record] = ledger.open_waivers(UID)
    assert not record.is_valid(time.time())
    ledger.waive(UID, [waiver(days=5)])  # in force again before any run came by
    old, _new = ledger.waiver_history(UID)
    assert old.revoked_at is None, "it expired, nobody took it back"
    assert old.ended_at is not None


def test_the_first_notice_counts(ledger: Ledger) -> None:
    ledger.waive(UID, [waiver()])
    [record] = ledger.open_waivers(UID)
    ledger.settle_waivers([record.id], [])
    [taken] = ledger.open_waivers(UID)
    ledger.settle_waivers([record.id], [])
    assert ledger.open_waivers(UID) == [taken]


def test_the_history_of_a_row_has_what_was_said_of_every_row(ledger: Ledger) -> None:
    ledger.waive(UID, [waiver(7), waiver(8), waiver(None), replace(waiver(7), entity="appointment")])
    found = ledger.waiver_history(UID, "patient", [7])
    assert [one.waiver.source_id for one in found] == [7, None]


def test_many_rows_at_once(ledger: Ledger) -> None:
    keys = list(range(1, 1203))
    ledger.waive(UID, [waiver(key) for key in keys])
    assert len(ledger.waivers(UID)) == len(keys)
    assert ledger.revoke_waiver(UID, "patient", RULE, keys, by="a") == len(keys)
    ledger.settle_waivers([], [one.id for one in ledger.open_waivers(UID)])
    assert ledger.open_waivers(UID) == []


def test_a_note_is_not_in_what_is_printed_of_a_waiver() -> None:
    assert "Согласовано" not in repr(waiver())


def test_a_reject_names_the_row_that_holds_it(ledger: Ledger) -> None:
    ledger.add_rejects(UID, [Reject("appointment", 5, "patient_kept_back", "patient_id", held_by=7)])
    ledger.add_rejects(UID, [Reject("appointment", 5, "patient_kept_back", "patient_id", held_by=9)])
    [(_uid, found)] = ledger.rejects(UID)
    assert found.held_by == 9
    [held] = ledger.held_rows(UID, ["appointment"], [5])
    assert held.reject.held_by == 9
