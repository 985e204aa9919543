"""A small slice of ``make bench``: everything arrives and a run without changes writes nothing; no seconds.

The slice starts two servers and seven commands, a minute and a half: ``make soak`` has it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.sandbox import bench
from deployments.sandbox.bench import DATABASE, TIMEZONE, Load, Result, Tick, measure
from deployments.sandbox.compare import sqlite_rows
from deployments.sandbox.expected import expect
from tests.support.migrated import begin_migrated


@pytest.mark.server
@pytest.mark.soak
def test_a_slice_arrives_whole_and_the_second_tick_writes_nothing(tmp_path: Path) -> None:
    begin_migrated(tmp_path / "home")
    result = measure(Load(patients=60, appointments=120, rate=6.0, latency_ms=0), tmp_path)
    wanted = expect(sqlite_rows(tmp_path / DATABASE), TIMEZONE, None)
    assert (result.contacts, result.deals) == (len(wanted.contacts), len(wanted.deals))
    assert result.arrived == (result.contacts, result.deals)
    assert result.sound
    assert (result.again.writes, result.again.report["writes"]) == (0, 0)
    assert (result.full.writes, result.full.report["mode"]) == (0, "full")
    assert result.validation > 0
    assert result.first.writes == result.first.report["writes"] > 0
    assert result.first.requests == result.first.report["requests"]


def outcome(seconds: float, *, arrived: int = 2000, writes: int = 0) -> Result:
    stages = {"stages": {"load": seconds, "extract": 1.0, "validate": 0.5, "plan": 1.0}}
    return Result(
        Load(),
        1000,
        1000,
        (1000, arrived - 1000),
        Tick(seconds, 50, 40, 0, stages),
        Tick(1.0, 4, writes, 0, stages),
        Tick(2.0, 4, 0, 0, stages),
    )


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (outcome(8.0), 0),  # 2000 entities at 250 a second: the ceiling itself
        (outcome(8.4), 0),
        (outcome(8.5), 1),
        (outcome(8.0, arrived=1999), 1),
        (outcome(8.0, writes=1), 1),
    ],
)
def test_the_exit_code_tells_a_missed_target(
    result: Result, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer

    monkeypatch.setattr(bench, "measure", lambda load, folder, note: result)
    app = typer.Typer()
    app.command()(bench.main)
    done = CliRunner().invoke(app, ["--output", "json"])
    assert done.exit_code == code
    told = json.loads(done.stdout)
    assert told["share"] == round(result.share, 4)
    assert told["validation"] == 0.25
    assert "5 requests/s x 50 entities" in told["baseline"]
    table = CliRunner().invoke(app, [], env={"COLUMNS": "200"})
    assert "share of the ceiling" in table.stdout
    assert "25.0%" in table.stdout
    assert ("MISSED" in table.stdout) is (result.share < bench.TARGET)
