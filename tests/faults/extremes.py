"""What befalls a machine: two runs at once, one that sleeps, no disk, a wrong clock, a polite end."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.child import Running, Told
from tests.faults.crash import OPENING, Crash, Point
from tests.faults.judge import Verdict
from tests.faults.world import World

__all__ = ["EXTREMES"]

LEASE = {"lease_held", "lease_lost"}
ASLEEP = 600.0
HOURS = 3600.0


def two_writers(world: World) -> Verdict:
    """Two runs start at the same moment: one of them works, the other gives way."""
    runs = [Running(world.job()) for _ in range(2)]
    told = [run.end() for run in runs]
    _expect(world, told[0].code in {"", *LEASE}, told[0])
    _expect(world, told[1].code in {"", *LEASE}, told[1])
    _expect(world, any(one.code == "" for one in told), told[0])
    return world.settle()


def sleeper(point: Point) -> Callable[[World], Verdict]:
    """A run falls asleep, another one takes over, the first wakes up.

    Not in a first load: there the steps and the sending are two threads, and a process that is stopped while the
    other one holds SQLite's write lock keeps everybody out until it wakes up.
    """

    def play(world: World) -> Verdict:
        world.run()
        world.edit("new_patient")
        first = Running(world.job(crash=Crash(point, signal.SIGSTOP, ASLEEP)))
        _wait_until_stopped(first.pid)
        world.clock.sleep(ASLEEP)
        world.run()
        _wake(first.pid)
        told = first.end()
        # What it had under way is open; anything else it finds out before it sends more.
        _expect(world, told.code in {"", "lease_lost", "transfer_stopped", "stale_writer"}, told)
        return world.settle()

    return play


def disk_full(world: World) -> Verdict:
    """The ledger cannot grow in the middle of a run."""
    world.run()
    world.edit("new_patient")
    world.mutation = "disk full"
    told = world.run(tolerate=True)
    world.mutation = ""
    _expect(world, told.code not in {"", "killed", "hung"}, told)
    return world.settle()


def read_only(world: World) -> Verdict:
    """The ledger may be read but not written: nothing is sent."""
    world.run()
    world.edit("new_patient")
    before = world.writes()
    world.mutation = "read only"
    told = world.run(tolerate=True)
    world.mutation = ""
    _expect(world, told.code not in {"", "killed", "hung"}, told)
    _expect(world, world.writes() == before, told)
    return world.settle()


def clock_jump(seconds: float) -> Callable[[World], Verdict]:
    """This machine's clock is wrong for a run; a lost answer is settled over the jump."""

    def play(world: World) -> Verdict:
        world.run()
        world.edit("new_patient")
        world.run(crash=Crash(Point("request POST contacts", "after")))
        world.edit("booking")
        world.run(jump=seconds)
        world.edit("step")
        world.run(jump=seconds)
        return world.settle()

    return play


def sigterm(world: World) -> Verdict:
    """An operator's SIGTERM in the middle of a batch."""
    world.run(crash=Crash(Point("request POST contacts", "after"), signal.SIGTERM))
    return world.settle()


def _expect(world: World, holds: bool, told: Told) -> None:
    if not holds:
        world.problems.append(f"ended with {told.code or 'no error'}")


def _wait_until_stopped(pid: int) -> None:
    for _ in range(2000):
        if Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "T":
            return
        time.sleep(0.01)
    message = "the process never came to its point"
    raise AssertionError(message)


def _wake(pid: int) -> None:
    import os

    os.kill(pid, signal.SIGCONT)


EXTREMES: dict[str, Callable[[World], Verdict]] = {
    "two writers": two_writers,
    "asleep before a request": sleeper(Point("request POST contacts", "before")),
    "asleep before an attempt is committed": sleeper(Point("commit Journal.begin_attempt", OPENING)),
    "asleep after an answer": sleeper(Point("request POST contacts", "after")),
    "disk full": disk_full,
    "read-only state": read_only,
    "clock three hours ahead": clock_jump(3 * HOURS),
    "clock three hours behind": clock_jump(-3 * HOURS),
    "SIGTERM in a batch": sigterm,
}
