"""Where the parts meet: what one of them leaves in the ledger must not mislead another."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks import gate
from tasks.errors import BlockedError
from tasks.fingerprints import remember_highest
from tasks.planning.diff import GONE_HASH
from tasks.records import Action, Batch, Kind, Reject
from tests.support.clinic_steps import CLINIC, UID, ClinicSteps, clinic_steps

CONTACT, LEAD = Kind.CONTACT, Kind.LEAD


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClinicSteps]:
    with clinic_steps(tmp_path, monkeypatch) as steps:
        steps.sync("full")
        yield steps


def keys(clinic: ClinicSteps, kind: Kind) -> list[int]:
    return [int(key) for key in clinic.ledger.applied_index(UID, kind).source_ids]


def relink(clinic: ClinicSteps, deal: int, contact: int) -> None:
    [old] = clinic.entity(LEAD, deal)["_embedded"]["contacts"]
    clinic.call("POST", f"leads/{deal}/link", [{"to_entity_id": contact, "to_entity_type": "contacts"}])
    clinic.call("POST", f"leads/{deal}/unlink", [{"to_entity_id": old["id"], "to_entity_type": "contacts"}])


def rows_of(clinic: ClinicSteps, query: str) -> list[tuple[int, ...]]:
    with sqlite3.connect(clinic.folder / "clinic.db") as database:
        rows = database.execute(query).fetchall()
    database.close()
    return rows


def owner(clinic: ClinicSteps, key: int) -> int:
    [(patient,)] = rows_of(clinic, f"SELECT ID_Patients FROM Receptions WHERE ID = {key}")
    return patient


def test_a_repaired_field_leaves_a_changed_link_alone(clinic: ClinicSteps) -> None:
    key = keys(clinic, LEAD)[-1]
    deal = clinic.amo_id(LEAD, key)
    other = next(clinic.amo_id(CONTACT, one) for one in keys(clinic, CONTACT) if one != owner(clinic, key))
    relink(clinic, deal, other)
    clinic.edit(LEAD, deal, fields={str(clinic.field_id(LEAD, "doctor")): "Рукописный"})
    found = clinic.reconcile().found
    assert ("link_changed", "lead") in found
    assert found["field", "lead"] == [key]
    assert clinic.value(LEAD, deal, clinic.field_id(LEAD, "doctor")) != "Рукописный"
    assert [one["id"] for one in clinic.entity(LEAD, deal)["_embedded"]["contacts"]] == [other]


def test_what_was_closed_long_ago_does_not_count_as_missing(clinic: ClinicSteps) -> None:
    everything = keys(clinic, LEAD)
    few = int(len(everything) * clinic.settings.shrink_limit / 2)
    for start in range(0, 4 * few, few):
        for key in everything[start : start + few]:
            clinic.ident("DELETE FROM Receptions WHERE ID = ?", key)
        clinic.sync("full")
        clinic.sync("full")
    index = clinic.ledger.applied_index(UID, LEAD)
    assert int((index.row_hashes == GONE_HASH).sum()) >= 4 * few


def test_the_deal_of_an_old_appointment_that_the_ledger_does_not_know_is_adopted(clinic: ClinicSteps) -> None:
    """Its id is below the newest known one, so it is found by its mark among its contact's deals."""
    newest = max(clinic.amo_id(LEAD, key) for key in keys(clinic, LEAD))
    query = "SELECT ID FROM Receptions ORDER BY PlanStart"
    key = next(
        key
        for (key,) in rows_of(clinic, query)
        if key in keys(clinic, LEAD) and clinic.amo_id(LEAD, key) < newest
    )
    deal = clinic.amo_id(LEAD, key)
    clinic.ledger.forget(UID, LEAD, [key])
    clinic.ledger.forget(UID, Kind.LINK, [key])
    assert clinic.sync("full").applied["leads"]["create"] == 0
    assert clinic.amo_id(LEAD, key) == deal


def test_a_link_that_amocrm_refuses_is_listed_and_tried_again_on_a_persons_word(clinic: ClinicSteps) -> None:
    key = keys(clinic, LEAD)[-1]
    patient = next(one for one in keys(clinic, CONTACT) if one != owner(clinic, key))
    deal, contact = clinic.amo_id(LEAD, key), clinic.amo_id(CONTACT, patient)
    clinic.ident("UPDATE Receptions SET ID_Patients = ? WHERE ID = ?", patient, key)
    clinic.delete(CONTACT, contact)
    clinic.sync("full")
    listed = [(row.entity, row.source_id, row.field) for _uid, row in clinic.ledger.rejects(UID)]
    assert ("lead", key, "patient_id") in listed
    clinic.crm.sandbox.state.records["contacts"][contact].is_deleted = False
    assert clinic.sync().planned["links"] == 0
    clinic.ledger.release(UID, "lead", [key])
    assert clinic.sync().applied["links"] == 1
    assert [one["id"] for one in clinic.entity(LEAD, deal)["_embedded"]["contacts"]] == [contact]
    assert [row for _uid, row in clinic.ledger.rejects(UID) if row.entity == "lead"] == []


def test_what_went_back_to_what_amocrm_has_leaves_the_list(clinic: ClinicSteps) -> None:
    key, other = keys(clinic, CONTACT)[:2]
    refused = [Reject("contact", one, "validation_rejected", "city", 5) for one in (key, other)]
    clinic.ledger.add_rejects(UID, refused)
    clinic.ident("UPDATE Persons SET City = 'Новгород' WHERE ID = ?", other)
    clinic.sync("full")
    assert [row for _uid, row in clinic.ledger.rejects(UID) if row.entity == "contact"] == []


def test_a_deleted_card_is_looked_for_once_when_a_person_asks(clinic: ClinicSteps) -> None:
    key = keys(clinic, CONTACT)[0]
    amo_id = clinic.amo_id(CONTACT, key)
    clinic.delete(CONTACT, amo_id)
    clinic.reconcile()
    for is_deleted, left in ((True, ["not_in_amocrm"]), (False, [])):
        clinic.crm.sandbox.state.records["contacts"][amo_id].is_deleted = is_deleted
        clinic.ledger.release(UID, "contact", [key])
        clinic.sync()
        assert clinic.ledger.released_keys(UID) == {}, "it is not read again in every run"
        assert [row.reason for _uid, row in clinic.ledger.rejects(UID) if row.entity == "contact"] == left


def other_mapping(clinic: ClinicSteps) -> None:
    clinic.save_mapping(clinic.mapping.model_copy(update={"contact_tag": "Другая"}))


def test_a_dry_run_plans_what_a_changed_mapping_lets_go(clinic: ClinicSteps) -> None:
    key = keys(clinic, CONTACT)[0]
    clinic.ident("UPDATE Persons SET City = 'Новгород' WHERE ID = ?", key)
    planned = next(row for row in clinic.dry_run("full").plan if row["source_id"] == key)
    refused = Reject("contact", key, "validation_rejected", "city", clinic.row_hash(CONTACT, key))
    clinic.ledger.add_rejects(UID, [refused])
    assert clinic.dry_run("full").plan == ()
    other_mapping(clinic)
    before = clinic.ledger.rejects(UID), clinic.ledger.released_keys(UID)
    leftover = clinic.settings.home / "dry-run-killed"
    leftover.mkdir()
    os.utime(leftover, (1.0, 1.0))
    assert planned in clinic.dry_run("full").plan
    assert (clinic.ledger.rejects(UID), clinic.ledger.released_keys(UID)) == before
    assert list(clinic.settings.home.glob("dry-run-*")) == [], "also of runs that were killed"
    assert clinic.sync("full").applied["contacts"]["update"] == 1


def test_a_changed_mapping_is_no_persons_word(clinic: ClinicSteps) -> None:
    refused = [Reject("contact", 4711, reason) for reason in ("validation_rejected", "maybe_removed")]
    clinic.ledger.add_rejects(UID, refused)
    other_mapping(clinic)
    clinic.sync()
    held = clinic.ledger.held_rows(UID, ["contact"], [4711])
    assert {(row.reject.reason, row.released) for row in held} == {
        ("validation_rejected", True),
        ("maybe_removed", False),
    }


def rows_in(counts: dict[str, Any]) -> int:
    nested = [*counts["contacts"].values(), *counts["leads"].values()]
    return int(sum(nested) + counts["links"] + counts["notes"])


def test_what_an_earlier_run_lost_is_told_apart_from_this_runs_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with clinic_steps(tmp_path, monkeypatch) as clinic:
        fault = {"mode": "drop_before", "method": "POST", "path_prefix": "/api/v4/contacts"}
        clinic.crm.admin("faults", fault)
        reports = [clinic.sync("full"), clinic.sync()]
        for report in reports:
            ended = report.rejected + report.deferred + report.ambiguous
            assert rows_in(report.planned) == rows_in(report.applied) + ended
        assert (reports[0].unsettled, reports[1].ambiguous) == (0, 0)
        assert reports[0].ambiguous == reports[1].unsettled > 0
        assert reports[1].has_rejects


def test_a_clinic_disconnected_during_its_run_stays_so(clinic: ClinicSteps) -> None:
    record = clinic.ledger.connection(CLINIC)
    clinic.ledger.remove_connection(CLINIC)
    remember_highest(record, clinic.reader(), clinic.ledger)
    assert clinic.ledger.connections() == []
    clinic.ledger.save_connection(replace(record, timezone="Asia/Omsk"))
    remember_highest(record, clinic.reader(), clinic.ledger)
    known = clinic.ledger.connection(CLINIC)
    assert known.timezone == "Asia/Omsk"
    assert known.fingerprint["highest"] == clinic.reader().highest()


def cancel_old(clinic: ClinicSteps, number: int) -> list[int]:
    """Cancel so many appointments long over, as IDENT's vendor does months later."""
    long_ago = (clinic.today - timedelta(days=clinic.settings.past_move_days + 1)).strftime("%Y-%m-%d")
    query = (
        f"SELECT ID FROM Receptions WHERE PlanStart < '{long_ago}' AND ReceptionCanceled IS NULL "
        "AND ID_ReceptionCancelReasons IS NULL AND ID_ReceptionsTransferFrom IS NULL"
    )
    chosen = [key for (key,) in rows_of(clinic, query) if key in keys(clinic, LEAD)][:number]
    assert len(chosen) == number
    for key in chosen:
        clinic.ident("UPDATE Receptions SET ReceptionCanceled = PlanStart WHERE ID = ?", key)
    return chosen


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClinicSteps]:
    """A clinic that may move two deals long over a day."""
    with clinic_steps(tmp_path, monkeypatch, appointments=200) as steps:
        settings = steps.settings.model_copy(update={"past_move_limit": 2})
        monkeypatch.setattr(gate, "load_settings", lambda: settings)
        steps.sync("full")
        yield steps


def held_moves(clinic: ClinicSteps) -> list[int]:
    return [row.source_id for _uid, row in clinic.ledger.rejects(UID) if row.reason == "many_past_moves"]


def test_many_moves_of_the_past_wait_for_a_persons_word(busy: ClinicSteps) -> None:
    chosen = cancel_old(busy, 3)
    report = busy.sync("full")
    assert (report.applied["leads"]["move"], held_moves(busy)) == (0, sorted(chosen))
    assert busy.sync("full").applied["leads"]["move"] == 0
    busy.ledger.release(UID, "lead", None, "many_past_moves")
    assert busy.sync().applied["leads"]["move"] == len(chosen)
    assert held_moves(busy) == []


def test_a_move_of_the_past_that_does_not_get_through_counts_once(busy: ClinicSteps) -> None:
    cancel_old(busy, 2)
    fault = {"mode": "status", "status": 403, "method": "PATCH", "path_prefix": "/api/v4/leads", "count": 3}
    busy.crm.admin("faults", fault)
    for mode in ("full", "incremental", "incremental"):
        with pytest.raises(BlockedError):
            busy.sync(mode)
    assert held_moves(busy) == []
    assert busy.sync().applied["leads"]["move"] == 2


def test_a_repair_forgets_nothing_that_left_without_an_answer(clinic: ClinicSteps) -> None:
    """The name in amoCRM is our own of yesterday, whose receipt was lost; a person changed the city."""
    key = keys(clinic, CONTACT)[0]
    amo_id, city = clinic.amo_id(CONTACT, key), clinic.field_id(CONTACT, "city")
    clinic.ident("UPDATE Persons SET Surname = 'Вчерашняя', City = 'Новгород' WHERE ID = ?", key)
    clinic.sync("full")
    yesterday = clinic.ledger.applied_rows(UID, CONTACT, [key])[key]
    clinic.ident("UPDATE Persons SET Surname = 'Позавчерашняя' WHERE ID = ?", key)
    clinic.sync("full")
    batch = Batch(CONTACT, Action.UPDATE, (key,), 1, 0, (yesterday,))
    attempt = clinic.ledger.begin_attempt("lost", UID, clinic.mapping.account_id, batch)
    clinic.ledger.close_attempt(attempt.id, [], maybe_written=True)
    clinic.edit(CONTACT, amo_id, last_name="Вчерашняя")
    clinic.edit(CONTACT, amo_id, fields={str(city): "Рукописный"})
    clinic.ident("UPDATE Persons SET Surname = 'Сегодняшняя' WHERE ID = ?", key)
    found = clinic.reconcile().found
    assert found["field", "contact"] == [key]
    assert ("edited", "contact") not in found
    assert clinic.entity(CONTACT, amo_id)["last_name"] == "Сегодняшняя"
    assert clinic.value(CONTACT, amo_id, city) == "Новгород"
