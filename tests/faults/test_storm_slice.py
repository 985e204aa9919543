"""A slice of ``make faults``: a few scenarios, the large load in small, and no trace of a person."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.sandbox.amocrm.server import StandIn
from tests.faults.big import big
from tests.faults.judge import Verdict
from tests.faults.leaks import leaks
from tests.faults.scenario import play
from tests.faults.tally import Tally
from tests.faults.world import Template, World


@pytest.mark.parametrize("number", range(1, 6))
def test_a_scenario_ends_well(number: int, origin: Template, crm: StandIn, tmp_path: Path) -> None:
    world, verdict = play(origin, crm, tmp_path / "world", number)
    assert verdict == Verdict(), "\n".join(world.diary)
    assert leaks(world) == []


def test_the_same_number_tells_the_same_story(origin: Template, crm: StandIn, tmp_path: Path) -> None:
    one, two = (play(origin, crm, tmp_path / name, 3)[0] for name in ("one", "two"))
    assert one.diary == two.diary
    assert one.faults == two.faults


def test_a_load_under_faults_ends_as_one_without(crm: StandIn, tmp_path: Path) -> None:
    seen = big(tmp_path, crm, patients=60, appointments=120, seed=1, rate=0.3)
    assert seen.verdict == Verdict()
    assert seen.differing == 0
    assert seen.world.faults.total() > 0


def test_a_leak_is_found(world: World) -> None:
    person = next(row for row in world.clinic.rows("Persons") if row["Surname"])
    (world.folder / "home" / "run.log").write_text(f"patient {person['Surname']}", encoding="utf-8")
    assert [leak for leak in leaks(world) if leak.startswith("run.log")]


@pytest.mark.parametrize("what", ["duplicates", "lost", "unexplained"])
def test_anything_wrong_makes_the_storm_fail(what: str, world: World) -> None:
    assert Tally.of("calm", world, Verdict(), []).sound
    assert not Tally.of("storm", world, Verdict(**{what: ["deal 1"]}), []).sound
    assert not Tally.of("storm", world, Verdict(), ["log: name of person 1"]).sound
