"""What becomes of a card whose creation got no usable answer."""

from __future__ import annotations

import pytest

from deployments.sandbox.amocrm.faults import Fault
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
