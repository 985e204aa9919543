"""Turns in the life of an appointment and of its deal that once went wrong."""

from __future__ import annotations

from deployments.sandbox.compare import CONTACT_MARK, LEAD_MARK
from tests.faults.judge import Verdict, look
from tests.faults.world import World


def test_deleting_the_first_row_of_a_chain_leaves_its_deal_alone(world: World) -> None:
    world.run()
    world.edit("booking")
    world.run()
    world.edit("latest_moved_to_new_row")
    world.run()
    world.edit("latest_chain_loses_its_first_row")
    assert world.settle() == Verdict()


def test_a_deal_handed_to_a_patient_who_is_kept_back_lets_the_transfer_rest(world: World) -> None:
    world.run()
    world.edit("booking")
    world.run()
    world.edit("broken_patient")
    world.edit("first_booking_handed_to_latest_patient")
    world.heal()
    assert world.problems == []


def test_an_adopted_deal_goes_to_the_stage_of_a_planned_appointment(world: World) -> None:
    world.run()
    world.edit("new_patient")
    patient = max(world.clinic.store.rows("Persons"), key=lambda row: int(row["ID"]))
    contact, deal = world.people.own_contact_with_deal(patient)
    world.people.names["leads", world.clinic.store.rows("Receptions")[-1]["ID"]] = "Звонок"
    assert world.settle() == Verdict()
    view, _notes = look(world.crm)
    (mine,) = (row for row in view.contacts if row["id"] == contact)
    (adopted,) = (row for row in view.leads if row["id"] == deal)
    assert view.mark(mine, CONTACT_MARK)
    assert view.mark(adopted, LEAD_MARK)


def test_what_a_manager_deleted_before_it_was_found_again_is_not_created_anew(world: World) -> None:
    from deployments.sandbox.amocrm.faults import Fault

    world.run()
    world.edit("new_patient")
    world.run(faults=[Fault(mode="drop_after", method="POST", path_prefix="/api/v4/contacts")])
    view, _notes = look(world.crm)
    latest = max(view.contacts, key=lambda row: int(row["id"]))
    patient = int(view.mark(latest, CONTACT_MARK).rsplit("-", 1)[-1])
    world.crm.admin("delete", {"entity": "contacts", "id": latest["id"]})
    world.people.removed["contacts"].add(patient)
    assert world.settle() == Verdict()
