"""The tests can fail: each defect that others ship turns a scenario red that is green without it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deployments.sandbox.amocrm.faults import Fault
from tests.faults.crash import Crash, Point
from tests.faults.judge import Verdict
from tests.faults.mutations import MUTATIONS
from tests.faults.world import World


def answer_dies_with_the_process(world: World) -> Verdict:
    """Only the attempt knows: the search index is late, and what was written stopped being recent."""
    world.run()
    world.crm.sandbox.state.index.lag = 10**6
    world.edit("new_patient")
    world.run(crash=Crash(Point("request POST contacts", "after")))
    return world.settle()


def answer_is_lost(world: World) -> Verdict:
    world.run(faults=[Fault(mode="drop_after", method="POST", path_prefix="/api/v4/contacts")])
    return world.settle()


def plan_is_lost(world: World) -> Verdict:
    world.run()
    world.edit("new_patient")
    world.clock.sleep(20 * 60)  # longer than an increment reads back before the last one
    world.run(crash=Crash(Point("commit Journal.save_plan", "before")))
    return world.settle()


def update_is_lost(world: World) -> Verdict:
    world.run()
    world.clinic.city_of_latest("Суздаль")
    world.run(crash=Crash(Point("request PATCH contacts", "before")))
    return world.settle()


WITNESSES: dict[str, Callable[[World], Verdict]] = {
    "send before the attempt": answer_dies_with_the_process,
    "resend an ambiguous create": answer_is_lost,
    "watermark before the plan": plan_is_lost,
    "snapshot without acknowledgement": update_is_lost,
}


def test_every_mutation_has_a_witness() -> None:
    assert WITNESSES.keys() == MUTATIONS.keys()


@pytest.mark.parametrize("name", WITNESSES)
def test_without_a_defect_the_witness_is_content(name: str, world: World) -> None:
    assert WITNESSES[name](world) == Verdict()


@pytest.mark.parametrize("name", WITNESSES)
def test_a_defect_turns_red(name: str, world: World) -> None:
    world.mutation = name
    verdict = WITNESSES[name](world)
    assert verdict.duplicates or verdict.lost or verdict.unexplained
