"""A random scenario: days of work, runs under faults, crashes; the same number always tells the same story."""

from __future__ import annotations

import random
from pathlib import Path

from deployments.sandbox.amocrm.server import StandIn
from tests.faults.clinic import EDITS
from tests.faults.crash import Crash, Point
from tests.faults.judge import Verdict
from tests.faults.people import HANDS
from tests.faults.world import Template, World

__all__ = ["play"]

ROUNDS = 4
#: Where a run may die, besides at every point in turn: see ``tests.faults.points``.
POINTS = (
    "commit Journal.save_plan",
    "commit Journal.begin_attempt",
    "commit Journal.acknowledge",
    "commit Journal.record_outcomes",
    "commit Journal.close_attempt",
    "commit Journal.note_scan",
    "commit Snapshot.apply_local",
    "commit Administration.move_watermark",
    "request POST contacts",
    "request POST leads",
    "request PATCH contacts",
    "request PATCH leads",
    "request POST leads/N/notes",
)


def play(
    origin: Template, crm: StandIn, folder: Path, seed: int, mutation: str = ""
) -> tuple[World, Verdict]:
    """Play a scenario and judge it."""
    rng = random.Random(seed)
    world = World.copy(origin, crm, folder, seed, mutation)
    with world.open():
        if rng.random() < 0.5:
            world.run()
        for _ in range(rng.randrange(1, ROUNDS)):
            for _ in range(rng.randrange(1, 6)):
                world.edit(rng.choice(EDITS))
            for _ in range(rng.randrange(3)):
                world.hand(rng.choice(HANDS))
            world.clock.sleep(rng.choice((0.0, 30.0, 61.0, 600.0)))
            crash = None
            if rng.random() < 0.4:
                crash = Crash(Point(rng.choice(POINTS), rng.choice(("before", "after")), rng.randrange(1, 3)))
            mode = rng.choice(("incremental", "incremental", "incremental", "full"))
            rate = rng.choice((0.0, 0.1, 0.3))
            world.run(mode=mode, crash=crash, rate=rate, seed=rng.randrange(2**31))
        return world, world.settle()
