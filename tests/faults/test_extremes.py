"""Two writers, a sleeper, no disk, a wrong clock, SIGTERM."""

from __future__ import annotations

import pytest

from tests.faults.extremes import EXTREMES
from tests.faults.judge import Verdict
from tests.faults.world import World

#: The others are left to ``make faults``.
SLICE = ("two writers", "asleep before an attempt is committed", "disk full", "read-only state")


@pytest.mark.parametrize("name", SLICE)
def test_an_extreme_leaves_nothing_doubled_or_lost(name: str, world: World) -> None:
    assert EXTREMES[name](world) == Verdict()
