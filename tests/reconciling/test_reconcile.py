"""A clinic is transferred, people work in amoCRM, both drift: a reconciliation names it all and repairs what is ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import LeaseHeldError
from tasks.events import SAFE_TEXT
from tasks.mapping.model import StageKey
from tasks.records import AppliedRow, Kind
from tests.support.clinic_steps import UID, ClinicSteps, Reconciled, clinic_steps

CONTACT, LEAD = Kind.CONTACT, Kind.LEAD
HAND_MADE = "Рукописный"


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClinicSteps]:
    with clinic_steps(tmp_path, monkeypatch) as steps:
        steps.sync("full")
        yield steps


def keys(clinic: ClinicSteps, kind: Kind) -> list[int]:
    return [int(key) for key in clinic.ledger.applied_index(UID, kind).source_ids]


def unmark(clinic: ClinicSteps, kind: Kind, amo_id: int) -> None:
    values = [{"field_id": clinic.external_field(kind), "values": None}]
    path = "contacts" if kind is CONTACT else "leads"
    clinic.call("PATCH", f"{path}/{amo_id}", {"custom_fields_values": values})


def put_mark(clinic: ClinicSteps, key: int) -> int:
    """Create a contact by hand that carries a patient's mark."""
    mark = [{"value": f"IDENT-{UID}-P-{key}"}]
    values = [{"field_id": clinic.external_field(CONTACT), "values": mark}]
    body = [{"first_name": HAND_MADE, "custom_fields_values": values}]
    made: int = clinic.call("POST", "contacts", body)["_embedded"]["contacts"][0]["id"]
    return made


def place(clinic: ClinicSteps, key: int) -> tuple[int, int]:
    deal = clinic.crm.sandbox.state.records["leads"][clinic.amo_id(LEAD, key)]
    return deal.pipeline_id, deal.status_id


def stages_of(clinic: ClinicSteps, key: int) -> dict[StageKey, int | None]:
    rules = (clinic.mapping.primary, clinic.mapping.repeat)
    return next(rule.stages for rule in rules if rule.pipeline_id == place(clinic, key)[0])


def standing(clinic: ClinicSteps, stage: StageKey) -> list[int]:
    return [key for key in keys(clinic, LEAD) if place(clinic, key)[1] == stages_of(clinic, key)[stage]]


def write_ledger(clinic: ClinicSteps, *rows: AppliedRow) -> None:
    clinic.ledger.apply_local(UID, clinic.mapping.account_id, rows)


@dataclass
class Story:
    """What people did, and what two reconciliations said."""

    clinic: ClinicSteps
    expected: dict[tuple[str, str], list[int]]
    amo: dict[str, int]
    dry: Reconciled
    first: Reconciled
    second: Reconciled
    writes: tuple[int, int]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with (
        pytest.MonkeyPatch.context() as patch,
        clinic_steps(tmp_path_factory.mktemp("story"), patch, appointments=300) as clinic,
    ):
        clinic.sync("full")
        expected, amo = _people_at_work(clinic)
        dry = clinic.reconcile(dry_run=True)
        first = clinic.reconcile()
        before = clinic.crm.admin("stats")["writes"]
        second = clinic.reconcile()
        after = clinic.crm.admin("stats")["writes"]
        yield Story(clinic, expected, amo, dry, first, second, (before, after))


def _people_at_work(clinic: ClinicSteps) -> tuple[dict[tuple[str, str], list[int]], dict[str, int]]:
    known = ", ".join(str(key) for key in keys(clinic, LEAD))
    owners = {row[0] for row in _rows(clinic, f"SELECT ID_Patients FROM Receptions WHERE ID IN ({known})")}
    contacts = iter([key for key in keys(clinic, CONTACT) if key not in owners])
    planned, done = iter(standing(clinic, StageKey.PLANNED)), iter(standing(clinic, StageKey.BILL_ISSUED))
    named = {name: next(contacts) for name in ("edited", "deleted", "unmarked", "twin", "city", "phone")}
    named |= {name: next(contacts) for name in ("orphan", "moved_mark", "missing", "behind", "emptied")}
    amo = {name: clinic.amo_id(CONTACT, key) for name, key in named.items()}
    deals = {
        name: next(planned) for name in ("moved", "doctor", "time", "unmarked", "relinked", "gone", "orphan")
    }
    deals["unlinked"] = next(planned)
    deals["late"] = next(done)
    amo |= {f"deal_{name}": clinic.amo_id(LEAD, key) for name, key in deals.items()}

    clinic.edit(CONTACT, amo["edited"], last_name=HAND_MADE)
    clinic.edit(CONTACT, amo["emptied"], last_name="")
    clinic.delete(CONTACT, amo["deleted"])
    unmark(clinic, CONTACT, amo["unmarked"])
    amo["second_twin"] = put_mark(clinic, named["twin"])
    clinic.edit(CONTACT, amo["city"], fields={str(clinic.field_id(CONTACT, "city")): "Выдуманск"})
    clinic.edit(CONTACT, amo["phone"], fields={"PHONE": [{"value": "+79990001122", "enum_code": "WORK"}]})
    clinic.ledger.forget(UID, CONTACT, [named["orphan"]])
    unmark(clinic, CONTACT, amo["moved_mark"])
    amo["new_bearer"] = put_mark(clinic, named["moved_mark"])
    clinic.delete(CONTACT, amo["missing"])
    clinic.ledger.forget(UID, CONTACT, [named["missing"]])
    clinic.ident("UPDATE Persons SET City = 'Новгород' WHERE ID = ?", named["behind"])

    reached = stages_of(clinic, deals["moved"])[StageKey.COMPLETED]
    clinic.edit(LEAD, amo["deal_moved"], status_id=reached, pipeline_id=place(clinic, deals["moved"])[0])
    clinic.edit(LEAD, amo["deal_doctor"], fields={str(clinic.field_id(LEAD, "doctor")): HAND_MADE})
    clinic.edit(LEAD, amo["deal_time"], fields={str(clinic.field_id(LEAD, "start_at")): 1_700_000_000})
    unmark(clinic, LEAD, amo["deal_unmarked"])
    _relink(clinic, amo["deal_relinked"], amo["edited"])
    clinic.ledger.forget(UID, LEAD, [deals["orphan"]])
    link = clinic.ledger.applied_rows(UID, Kind.LINK, [deals["unlinked"]])[deals["unlinked"]]
    _relink(clinic, amo["deal_unlinked"], amo["city"])
    write_ledger(clinic, replace(link, amo_id=amo["city"]))
    # One visit less: the patient changes with it.
    [(bereft,)] = _rows(clinic, f"SELECT ID_Patients FROM Receptions WHERE ID = {deals['gone']}")
    clinic.ident("DELETE FROM Receptions WHERE ID = ?", deals["gone"])
    # Our own write of the stage was lost: the deal stands where we had put it before.
    late = clinic.ledger.applied_rows(UID, LEAD, [deals["late"]])[deals["late"]]
    arrived = stages_of(clinic, deals["late"])[StageKey.ARRIVED]
    clinic.edit(LEAD, amo["deal_late"], status_id=arrived, pipeline_id=late.pipeline_id)
    write_ledger(clinic, replace(late, status_id=arrived))
    expected = {
        ("deleted", "contact"): [named["deleted"]],
        ("twins", "contact"): [named["twin"]],
        ("missing", "contact"): [named["missing"]],
        ("behind", "contact"): sorted([named["behind"], bereft]),
        ("field", "contact"): sorted([named["city"], named["phone"]]),
        ("field", "lead"): sorted([deals["doctor"], deals["time"]]),
        ("stage_behind", "lead"): [deals["late"]],
        ("link_missing", "lead"): [deals["unlinked"]],
        ("mark_elsewhere", "contact"): [named["moved_mark"]],
        ("mark_emptied", "contact"): [named["unmarked"]],
        ("mark_emptied", "lead"): [deals["unmarked"]],
        ("orphan", "contact"): [named["orphan"]],
        ("orphan", "lead"): [deals["orphan"]],
        ("gone", "lead"): [deals["gone"]],
        ("edited", "contact"): sorted([named["edited"], named["emptied"]]),
        ("stage_left", "lead"): [deals["moved"]],
        ("link_changed", "lead"): [deals["relinked"]],
    }
    return expected, amo | {
        f"key_{name}": key for name, key in (named | {f"d_{k}": v for k, v in deals.items()}).items()
    }


def _rows(clinic: ClinicSteps, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(clinic.folder / "clinic.db") as database:
        rows = database.execute(query).fetchall()
    database.close()
    return rows


def _relink(clinic: ClinicSteps, deal: int, contact: int) -> None:
    """Attach another contact to a deal and detach the one it had."""
    [old] = clinic.entity(LEAD, deal)["_embedded"]["contacts"]
    body = [{"to_entity_id": contact, "to_entity_type": "contacts"}]
    clinic.call("POST", f"leads/{deal}/link", body)
    clinic.call("POST", f"leads/{deal}/unlink", [{"to_entity_id": old["id"], "to_entity_type": "contacts"}])


def _without_rejects(found: dict[tuple[str, str], list[int]]) -> dict[tuple[str, str], list[int]]:
    return {key: ids for key, ids in found.items() if key[0] != "kept_back"}


def test_after_a_transfer_nothing_differs(clinic: ClinicSteps) -> None:
    before = clinic.crm.admin("stats")["writes"]
    found = clinic.reconcile()
    assert _without_rejects(found.found) == {}
    assert found.report.is_settled
    assert clinic.crm.admin("stats")["writes"] == before
    assert found.report.compared["contacts"] == len(keys(clinic, CONTACT)) > 10


def test_the_table_names_exactly_what_happened(story: Story) -> None:
    assert _without_rejects(story.first.found) == story.expected
    assert story.first.found == story.dry.found


def test_a_dry_run_changes_nothing(story: Story) -> None:
    assert story.dry.report.repaired == story.dry.report.writes == 0
    assert story.dry.report.sync is None
    assert not story.dry.report.is_settled


def test_exactly_what_is_ours_is_repaired(story: Story) -> None:
    report = story.first.report
    open_lines = {(line.mismatch, line.entity) for line in report.differences if line.count != line.repaired}
    ours = {(line.mismatch, line.entity) for line in report.differences if line.handling == "repair"}
    assert open_lines & ours == set()
    assert report.unrepaired == 0
    assert report.for_a_person == 2  # the deleted contact and the twins
    assert report.waits == 1  # what vanished from IDENT has to be missed twice


def test_a_second_reconciliation_finds_nothing_to_repair_but_what_vanished_twice(story: Story) -> None:
    left = {
        key
        for key in story.expected
        if key[0] in {"deleted", "twins", "edited", "stage_left", "link_changed"}
    }
    vanished = ("gone", "lead")
    expected = {key: story.expected[key] for key in left | {vanished}}
    # The contact to which a mark was moved by hand keeps the name it was given there.
    expected["edited", "contact"] = sorted([*expected["edited", "contact"], story.amo["key_moved_mark"]])
    assert _without_rejects(story.second.found) == expected
    assert story.second.ours() == {vanished: story.expected[vanished]}
    assert story.writes[1] - story.writes[0] == 1  # the tag and the stage of the deal that vanished
    gone = story.expected[vanished][0]
    assert place(story.clinic, gone)[1] == stages_of(story.clinic, gone)[StageKey.GONE]


def test_a_persons_work_stands(story: Story) -> None:
    clinic, amo = story.clinic, story.amo
    assert clinic.entity(CONTACT, amo["edited"])["last_name"] == HAND_MADE
    assert not clinic.entity(CONTACT, amo["emptied"])["last_name"]
    assert clinic.entity(CONTACT, amo["second_twin"])["first_name"] == HAND_MADE
    assert clinic.entity(CONTACT, amo["new_bearer"])["first_name"] == HAND_MADE
    assert amo["deleted"] in clinic.dump()["trash"]["contacts"]
    assert clinic.amo_id(CONTACT, amo["key_deleted"]) == amo["deleted"], "never resurrected"
    moved = stages_of(clinic, amo["key_d_moved"])[StageKey.COMPLETED]
    assert place(clinic, amo["key_d_moved"])[1] == moved
    attached = clinic.entity(LEAD, amo["deal_relinked"])["_embedded"]["contacts"]
    assert [contact["id"] for contact in attached] == [amo["edited"]]
    listed = {(row.entity, row.source_id, row.reason) for _uid, row in clinic.ledger.rejects(UID)}
    assert ("contact", amo["key_deleted"], "not_in_amocrm") in listed


def test_what_was_ours_is_as_ident_says(story: Story) -> None:
    clinic, amo = story.clinic, story.amo
    for kind, name in ((CONTACT, "unmarked"), (LEAD, "deal_unmarked")):
        assert clinic.value(kind, amo[name], clinic.external_field(kind)).startswith(f"IDENT-{UID}-")
    assert clinic.value(CONTACT, amo["city"], clinic.field_id(CONTACT, "city")) != "Выдуманск"
    assert clinic.value(CONTACT, amo["behind"], clinic.field_id(CONTACT, "city")) == "Новгород"
    phones = clinic.entity(CONTACT, amo["phone"])["custom_fields_values"]
    numbers = {item["value"] for row in phones if row["field_code"] == "PHONE" for item in row["values"]}
    assert "+79990001122" in numbers, "a person's number stays beside ours"
    assert len(numbers) > 1
    assert clinic.value(LEAD, amo["deal_doctor"], clinic.field_id(LEAD, "doctor")) != HAND_MADE
    assert clinic.value(LEAD, amo["deal_time"], clinic.field_id(LEAD, "start_at")) != 1_700_000_000
    late = amo["key_d_late"]
    assert place(clinic, late)[1] == stages_of(clinic, late)[StageKey.BILL_ISSUED]
    assert clinic.amo_id(CONTACT, amo["key_moved_mark"]) == amo["new_bearer"]
    assert clinic.amo_id(CONTACT, amo["key_twin"]) == amo["twin"] < amo["second_twin"]
    assert clinic.amo_id(CONTACT, amo["key_orphan"]) == amo["orphan"]
    assert clinic.amo_id(LEAD, amo["key_d_orphan"]) == amo["deal_orphan"]


def test_a_time_changed_by_hand_is_no_reschedule(story: Story) -> None:
    key = story.amo["key_d_time"]
    assert place(story.clinic, key)[1] == stages_of(story.clinic, key)[StageKey.PLANNED]


def test_an_adopted_deal_stays_in_its_stage(story: Story) -> None:
    key = story.amo["key_d_orphan"]
    assert place(story.clinic, key)[1] == stages_of(story.clinic, key)[StageKey.PLANNED]


def test_nothing_personal_is_told(story: Story) -> None:
    told = "\n".join(
        f"{one.artifact}\n{one.report.as_dict()}" for one in (story.dry, story.first, story.second)
    )
    persons = _rows(story.clinic, "SELECT Surname, Name, Patronymic, Phone, MobilePhone, Email FROM Persons")
    values = {str(value) for row in persons for value in row if value and len(str(value)) > 3}
    assert len(values) > 100
    assert [value for value in {*values, HAND_MADE, "Выдуманск", "79990001122"} if value in told] == []
    for line in story.first.report.differences:
        assert SAFE_TEXT.fullmatch(line.mismatch)


def test_the_artifact_names_at_most_a_hundred_rows() -> None:
    from tasks.reconcile_report import Line, ReconcileReport, reconcile_markdown

    rows = tuple({"source_id": key, "amo_ids": [key], "fields": ["city"]} for key in range(90))
    lines = tuple(Line(name, "contact", "repair", 90, 90, rows) for name in ("field", "behind"))
    compared = dict.fromkeys(("patients", "appointments", "contacts", "leads"), 1)
    report = ReconcileReport("c", "r", False, compared, lines, 180, 0, 0, 0, 0, 1, 1, 1.0)
    text = reconcile_markdown(report, "https://x.amocrm.ru", {"contact.city": "Город"})
    assert text.count("/contacts/detail/") == 100
    assert "| Город |" in text


def test_an_empty_ledger_is_filled_again_without_a_write(clinic: ClinicSteps) -> None:
    known = {kind: keys(clinic, kind) for kind in (CONTACT, LEAD)}
    for kind in (CONTACT, LEAD, Kind.LINK):
        clinic.ledger.forget(UID, kind, keys(clinic, kind))
    before = clinic.crm.admin("stats")["writes"]
    found = clinic.reconcile()
    assert _without_rejects(found.found) == {("orphan", kind.value): known[kind] for kind in (CONTACT, LEAD)}
    assert found.report.is_settled
    posts = found.report.sync["applied"] if found.report.sync else {}
    assert posts["contacts"]["create"] == posts["leads"]["create"] == 0
    assert _without_rejects(clinic.reconcile().found) == {}
    assert clinic.crm.admin("stats")["writes"] == before + found.report.writes


def test_a_restored_contact_leaves_the_list(clinic: ClinicSteps) -> None:
    key = keys(clinic, CONTACT)[0]
    amo_id = clinic.amo_id(CONTACT, key)
    clinic.delete(CONTACT, amo_id)
    assert clinic.reconcile().report.for_a_person == 1
    clinic.crm.sandbox.state.records["contacts"][amo_id].is_deleted = False
    assert clinic.reconcile().report.for_a_person == 0
    assert [row for _uid, row in clinic.ledger.rejects(UID) if row.reason == "not_in_amocrm"] == []


def test_a_tick_in_progress_is_waited_for(clinic: ClinicSteps, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks import reconcile

    token = clinic.ledger.acquire_lease(UID, "tick", 60)
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        clinic.ledger.release_lease(UID, token)

    monkeypatch.setattr("tasks.reconcile.time.sleep", sleep)
    space = reconcile.wait_for_gate("turn", "clinic1", dry_run=True)
    assert len(naps) == 1
    with pytest.raises(LeaseHeldError):
        reconcile.wait_for_gate("another", "clinic1", dry_run=True, patience=0)
    space.release()


def test_only_a_scheduled_run_steps_aside(clinic: ClinicSteps, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.recording import not_its_turn

    token = clinic.ledger.acquire_lease(UID, "reconcile", 60)
    assert not_its_turn(clinic.ledger, "clinic1") is None, "a person is told, with the remedy"
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "a-deployment")
    skipped = not_its_turn(clinic.ledger, "clinic1")
    assert skipped is not None
    assert (skipped.name, skipped.type.value) == ("Skipped", "COMPLETED")
    clinic.ledger.release_lease(UID, token)
    assert not_its_turn(clinic.ledger, "clinic1") is None
