"""A process dies at a commit or a request; the next one picks everything up."""

from __future__ import annotations

import pytest

from deployments.sandbox.amocrm.server import StandIn
from tests.faults.crash import Point, commit_points
from tests.faults.judge import Verdict
from tests.faults.points import STRETCHES, Points
from tests.faults.world import Template

#: Some of the points that ``make faults`` kills at one by one.
SLICE = [
    ("first load", Point("commit Journal.save_plan", "after")),
    ("first load", Point("request POST contacts", "after")),
    ("changes", Point("commit Journal.acknowledge", "before")),
    ("changes", Point("request POST leads/notes", "after")),
    ("recovery of a lost answer", Point("commit Journal.acknowledge", "before")),
    ("restoring", Point("commit restore_backup", "after")),
    ("adoption", Point("commit Journal.begin_attempt", "after", 2)),
]


@pytest.fixture(scope="module")
def points(origin: Template, crm: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Points:
    return Points(origin, crm, tmp_path_factory.mktemp("points"))


@pytest.mark.parametrize(("name", "point"), SLICE, ids=str)
def test_a_killed_run_is_picked_up(name: str, point: Point, points: Points) -> None:
    _world, verdict = points.crash(name, point)
    assert verdict == Verdict()


def test_every_commit_of_the_ledger_is_a_crash_point(points: Points) -> None:
    passed = {
        point.name for name in STRETCHES for point in points.of(name) if point.name.startswith("commit")
    }
    assert commit_points() - passed == set()
    assert passed - commit_points() == set()
