"""Every crash point in turn: the same stretch of work, killed once at each commit and each request."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deployments.sandbox.amocrm.faults import Fault
from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.amocrm.state import State
from tests.faults.child import start
from tests.faults.crash import OPENING, Crash, Point
from tests.faults.judge import Verdict
from tests.faults.world import WHILE, Template, World

__all__ = ["STRETCHES", "Points"]

#: Killed in every stretch that passes them.
REPEATED = (
    "commit Journal.",
    "commit Snapshot.",
    "commit Administration.move_watermark",
    "request POST",
    "request PATCH",
)
LOST = Fault(mode="drop_after", method="POST", path_prefix="/api/v4/contacts")
#: So slow that the lease has to be renewed between two requests.
SLOW = {"IDENT_AMOCRM_LEASE_SECONDS": "10", "IDENT_AMOCRM_REQUESTS_PER_SECOND": "0.2"}


@dataclass(frozen=True)
class Stretch:
    """A piece of work whose last step is killed.

    Attributes:
        before: Brings the world to where the step begins.
        work: What the step runs; see ``tests.faults.child.Job.work``.
            mode: Whether it reads everything.
        settings: Settings of the installation.
        rebaseline: Whether a person has to confirm the next run.
    """

    before: Callable[[World], object]
    work: str = "tests.faults.child:transfer"
    mode: str = "incremental"
    settings: dict[str, str] = field(default_factory=dict)
    rebaseline: bool = False


def _edits(world: World, names: Sequence[str]) -> None:
    for name in names:
        world.edit(name)


def _changes(world: World) -> None:
    world.run()
    _edits(world, ("booking", "booking", "new_patient"))
    world.run()
    names = ("reschedule_latest", "step", "other_city", "new_patient", "first_booking_handed_to_another")
    _edits(world, (*names, "nothing_but_a_stamp"))


def _lost(world: World) -> None:
    world.run()
    _edits(world, ("new_patient",))
    world.run(faults=[LOST])


def _lost_and_scanned(world: World) -> None:
    world.run()
    _edits(world, ("new_patient",))
    world.run(faults=[Fault(mode="drop_before", method="POST", path_prefix="/api/v4/contacts")])


def _adopted(world: World) -> None:
    world.run()
    _edits(world, ("new_patient",))
    world.people.own_contact_with_deal(world.clinic.store.rows("Persons")[-1])
    world.people.names["leads", world.clinic.store.rows("Receptions")[-1]["ID"]] = "Звонок"


def _kept_back(world: World) -> None:
    world.edit("broken_patient")
    world.run()
    world.edit("mended_phone")


def _taken_back(world: World) -> None:
    """What waits since amoCRM was unpaid needs nothing any more."""
    world.run()
    person = world.clinic.store.rows("Persons")[-1]
    world.clinic.city(person, "Суздаль")
    world.edit("new_patient")
    world.run(faults=[Fault(mode="status", status=402, method="POST")])
    world.clinic.city(person, person["City"])


def _gone(world: World) -> None:
    world.run()
    world.edit("deletion")
    world.run(mode="full")


#: Together they pass every commit of the ledger and every kind of request.
STRETCHES: dict[str, Stretch] = {
    "first load": Stretch(lambda _world: None),
    "changes": Stretch(_changes),
    "recovery of a lost answer": Stretch(_lost),
    "recovery of a lost request": Stretch(_lost_and_scanned),
    "adoption": Stretch(_adopted),
    "kept back before": Stretch(_kept_back),
    "taken back": Stretch(_taken_back),
    "slow first load": Stretch(lambda _world: None, settings=SLOW),
    "deleted in IDENT": Stretch(_gone, mode="full"),
    "setting up": Stretch(lambda world: world.forget(), work="tests.faults.setting_up:set_up"),
    "restoring": Stretch(_changes, work="tests.faults.setting_up:restore", rebaseline=True),
    "operator": Stretch(_kept_back, work="tests.faults.setting_up:operate"),
}


class Points:
    """Prepares each stretch once and kills copies of it.

    Attributes:
        folder: Where the worlds lie.
    """

    def __init__(self, origin: Template, crm: StandIn, folder: Path) -> None:
        self._origin, self._crm, self.folder = origin, crm, folder
        self._ready: dict[str, tuple[World, State]] = {}
        self._count = 0

    def _world(self, name: str) -> World:
        if name not in self._ready:
            world = World.copy(self._origin, self._crm, self.folder / f"ready-{len(self._ready)}", seed=1)
            with world.open():
                STRETCHES[name].before(world)
            self._ready[name] = world, copy.deepcopy(self._crm.sandbox.state)
        self._count += 1
        world, state = self._ready[name]
        return world.branch(self.folder / str(self._count), state)

    def of(self, name: str) -> list[Point]:
        """Return the points that a stretch passes when nothing kills it."""
        world, stretch = self._world(name), STRETCHES[name]
        with world.open():
            told = start(world.job(mode=stretch.mode, work=stretch.work, settings=stretch.settings))
        shutil.rmtree(world.folder)
        assert told.code == "", told.said
        return told.points

    def crash(self, name: str, point: Point) -> tuple[World, Verdict]:
        """Play a stretch, kill it at a point, start again and judge."""
        world, stretch = self._world(name), STRETCHES[name]
        with world.open():
            told = world.run(
                mode=stretch.mode, work=stretch.work, crash=Crash(point), settings=stretch.settings
            )
            if told.code != "killed":
                world.problems.append(f"{name}: never came to {point}")
            if stretch.work != Stretch.work:
                world.clock.sleep(WHILE)  # a restore that died holds every clinic for ten minutes
                world.run(work=stretch.work)
            if stretch.rebaseline:
                world.run(rebaseline=True)
            return world, world.settle()

    def all(self) -> Iterator[tuple[str, Point]]:
        """Return every point that is worth a death.

        Everything is killed in the first stretch that passes it, commits and writes in each; of one point
        passed many times the first, the second and the last.
        """
        known: set[tuple[str, str]] = set()
        for name in STRETCHES:
            points = self.of(name)
            last = {(point.name, point.when): point.n for point in points}
            for point in points:
                kind = point.name, point.when
                again = kind in known and not point.name.startswith(REPEATED)
                if point.when != OPENING and not again and point.n in {1, 2, last[kind]}:
                    yield name, point
            known |= last.keys()
