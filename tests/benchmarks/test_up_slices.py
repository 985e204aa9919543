"""Slices of the measurements that run ``up``: they arrive at a figure, and the exit code tells a missed target."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from deployments.sandbox import latency, starts
from deployments.sandbox.latency import TARGET, Waits
from deployments.sandbox.starts import BASELINE, OURS, WAYS, Way
from tests.support.migrated import begin_migrated

linux = pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")


@linux
@pytest.mark.server
@pytest.mark.soak
def test_each_way_starts_a_run(tmp_path: Path) -> None:
    begin_migrated(tmp_path / "home")
    ways = starts.compare(tmp_path, 1)
    assert set(ways) == set(WAYS)
    for way in ways.values():
        assert 0 < way.started[0] <= way.ended[0]
        assert way.processor[0] > 0


@pytest.mark.server
@pytest.mark.soak
def test_changes_of_both_kinds_are_seen(tmp_path: Path) -> None:
    begin_migrated(tmp_path / "home")
    waits = latency.measure(tmp_path, changes=6, minutes=0.5, latency_ms=0, seed=1)
    assert len(waits.all) == 6
    assert waits.contacts
    assert waits.deals


@pytest.mark.parametrize(
    ("slow", "code"), [(0, 0), (1, 0), (2, 1)], ids=["all in time", "one of twenty late", "two late"]
)
def test_the_exit_code_tells_a_missed_target(slow: int, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = Waits((TARGET,) * (20 - slow), (TARGET + 1,) * slow)
    monkeypatch.setattr(latency, "measure", lambda _folder, **_options: waits)
    app = typer.Typer()
    app.command()(latency.main)
    done = CliRunner().invoke(app, ["--output", "json"])
    assert done.exit_code == code
    told = json.loads(done.stdout)
    assert told["reached"] is (code == 0)
    assert told["waits"][-1] == {"what": "all", "changes": 20, "p50": TARGET, "p95": TARGET + code} | {
        "longest": TARGET + (slow > 0)
    }
    shown = CliRunner().invoke(app, [], env={"COLUMNS": "200"})
    assert ("MISSED" in shown.stdout) is (code == 1)


@linux
def test_ratios_are_the_baseline_divided_by_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {name: Way([8.0], [9.0], [6.0]) for name in WAYS} | {OURS: Way([2.0], [3.0], [1.5])}
    monkeypatch.setattr(starts, "compare", lambda _folder, _runs: ways)
    app = typer.Typer()
    app.command()(starts.main)
    told = json.loads(CliRunner().invoke(app, ["--output", "json"]).stdout)
    rows = {row["way"]: row for row in told["ways"]}
    assert told["baseline"] == BASELINE
    assert (rows[BASELINE]["times"], rows[BASELINE]["processor_times"]) == (1.0, 1.0)
    assert (rows[OURS]["times"], rows[OURS]["processor_times"]) == (4.0, 4.0)
    assert OURS in CliRunner().invoke(app, [], env={"COLUMNS": "200"}).stdout
