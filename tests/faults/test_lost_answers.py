"""What becomes of a card whose creation got no usable answer."""

from __future__ import annotations

import pytest

from deployments.sandbox.amocrm.faults import Fault
from tests.faults.crash import Crash, Point
from tests.faults.judge import Verdict
from tests.faults.world import World


def lose(world: World, path: str, mode: str = "drop_after") -> None:
    """Let the next run lose the answer to every creation of this kind."""
    fault = Fault.model_validate({"mode": mode, "method": "POST", "path_prefix": path, "count": 9})
    world.run(faults=[fault])


@pytest.mark.parametrize("mode", ["drop_after", "truncate", "no_request_id", "html"])
def test_a_deal_found_again_stands_where_it_was_created(world: World, mode: str) -> None:
    world.run()
    world.edit("new_patient")
    world.edit("booking")
    lose(world, "/api/v4/leads", mode)
    assert world.settle() == Verdict()


def test_a_deal_found_again_takes_the_time_of_an_edit_meanwhile(world: World) -> None:
    world.run()
    world.edit("booking")
    lose(world, "/api/v4/leads")
    world.edit("reschedule_latest")
    assert world.settle() == Verdict()


def test_a_contact_found_again_takes_the_name_and_phone_of_an_edit_meanwhile(world: World) -> None:
    world.run()
    world.edit("new_patient")
    lose(world, "/api/v4/contacts")
    world.edit("latest_patient_corrected")
    assert world.settle() == Verdict()


def test_an_update_that_arrived_unacknowledged_is_undone_when_ident_goes_back(world: World) -> None:
    """A, B sent and lost, A again: the snapshot says A all the time, amoCRM says B."""
    world.run()
    person = world.clinic.store.rows("Persons")[-1]
    world.clinic.city(person, "Суздаль")
    world.run(crash=Crash(Point("request PATCH contacts", "after")))
    world.clinic.city(person, person["City"])
    assert world.settle() == Verdict()


def test_an_unavailable_amocrm_that_did_take_the_update_is_no_different(world: World) -> None:
    world.run()
    person = world.clinic.store.rows("Persons")[-1]
    world.clinic.city(person, "Суздаль")
    world.run(faults=[Fault(mode="status", status=500, when="after", method="PATCH", count=99)])
    world.clinic.city(person, person["City"])
    assert world.settle() == Verdict()
