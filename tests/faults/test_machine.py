"""Any order of edits, hands, faults and crashes: Hypothesis looks for one that does not end well."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from deployments.sandbox.amocrm.server import StandIn
from tests.faults.clinic import EDITS
from tests.faults.crash import Crash, Point
from tests.faults.judge import Verdict
from tests.faults.people import HANDS
from tests.faults.scenario import POINTS
from tests.faults.world import Template, World

points = st.builds(Point, st.sampled_from(POINTS), st.sampled_from(("before", "after")), st.integers(1, 2))


class Transfer(RuleBasedStateMachine):
    """A clinic, its managers and the transfer; what must hold is asked of amoCRM and of the database."""

    crm: ClassVar[StandIn]
    origin: ClassVar[Template]

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ident-amocrm-machine-")
        self.world = World.copy(self.origin, self.crm, Path(self._folder.name) / "world", seed)
        self._open = self.world.open()
        self._open.__enter__()

    @rule(name=st.sampled_from(sorted(set(EDITS))))
    def clinic_works(self, name: str) -> None:
        self.world.edit(name)

    @rule(name=st.sampled_from(sorted(set(HANDS))))
    def manager_works(self, name: str) -> None:
        self.world.hand(name)

    @rule(seconds=st.sampled_from((30.0, 61.0, 1200.0)))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.sleep(seconds)

    @rule(full=st.booleans(), rate=st.sampled_from((0.0, 0.2)), seed=st.integers(0, 2**16))
    def transfer_runs(self, full: bool, rate: float, seed: int) -> None:
        self.world.run(mode="full" if full else "incremental", rate=rate, seed=seed)

    @rule(point=points)
    def transfer_dies(self, point: Point) -> None:
        self.world.run(crash=Crash(point))

    @invariant()
    def every_run_adds_up_and_doubles_nothing(self) -> None:
        if hasattr(self, "world"):
            assert self.world.problems == []
            assert self.world.judge(full=False).duplicates == []

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                assert self.world.settle() == Verdict(), "\n".join(self.world.diary)
            finally:
                self._open.__exit__(None, None, None)
                self._folder.cleanup()


@pytest.mark.parametrize("examples", [3])
def test_any_order_of_events_ends_well(examples: int, origin: Template, crm: StandIn) -> None:
    Transfer.crm, Transfer.origin = crm, origin
    found = settings(
        max_examples=examples,
        stateful_step_count=6,
        deadline=None,
        derandomize=True,
        database=None,
        # Each step is a process: a failure is told as it is found, not made smaller for minutes.
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Transfer, settings=found)
