"""How ``make test`` shares the tests out: by file, the roads of tests/e2e one by one, what takes long first."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import pytest
import typer.main
import typer.testing
from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).parents[1]
#: The parameter of the fixture ``journey`` in a test's id.
ROAD = re.compile(r"^tests/e2e/.*\[(?:.*-)?(freetds|microsoft|server)(?:-.*)?\]$")
#: Files that take half a minute and more (pytest --durations tells), the longest first; the others fill the gaps.
LONG = (
    "tests/forms/test_operators_day_in_browser.py",
    "tests/deployments/test_up_server.py",
    "tests/deployments/test_up_password.py",
    "tests/amocrm/test_amo_oauth_commands.py",
    "tests/faults/test_storm_slice.py",
    "tests/e2e/test_refusals.py",
    "tests/explaining/test_explain_sandbox.py",
    "tests/benchmarks/test_quality_slice.py",
    "tests/steps/test_quality.py",
    "tests/steps/test_review.py",
    "tests/e2e/test_stopping.py",
    "tests/demo/test_sabotage.py",
    "tests/steps/test_showing_quality.py",
    "tests/faults/test_points.py",
)


#: Files that run ``up``: one after the other, since two would look for their ports at the same moment.
UP = (
    "tests/forms/test_operators_day_in_browser.py",
    "tests/deployments/test_up_server.py",
    "tests/deployments/test_up_password.py",
)


def pytest_configure() -> None:
    """A test that needs Prefect's server starts one: else a stray event would bring up its own, for ten seconds."""
    os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"
    # CliRunner makes all commands of the application anew for each call otherwise.
    typer.testing._get_command = cache(typer.main.get_command)  # type: ignore[attr-defined]


class ByFileAndRoad(LoadFileScheduling):  # type: ignore[misc]
    """Keeps the tests of a file together, and those of a road over all files: each is travelled once."""

    def _split_scope(self, nodeid: str) -> str:
        road = ROAD.search(nodeid)
        if road:
            return f"the road of {road[1]}"
        return "up" if nodeid.startswith(UP) else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFileAndRoad | None:
    return ByFileAndRoad(config, log) if config.getoption("dist") == "loadfile" else None


#: The first test of a road waits for the whole journey, on a machine that runs other tests beside it.
JOURNEY_SECONDS = 600


def _turn(item: pytest.Item) -> int:
    """The roads, the long files, all others."""
    file = item.path.relative_to(ROOT).as_posix()
    if ROAD.search(item.nodeid):
        return -1
    return LONG.index(file) if file in LONG else len(LONG)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what takes long; xdist keeps this order with --no-loadscope-reorder."""
    items.sort(key=_turn)
    for item in items:
        if ROAD.search(item.nodeid):
            item.add_marker(pytest.mark.timeout(JOURNEY_SECONDS))
