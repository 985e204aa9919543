"""Slices of the measurements of the pace: small, untimed; and their exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from deployments.sandbox import updates, workers
from deployments.sandbox.bench import Load, Tick
from deployments.sandbox.postgresql import programs, serve
from deployments.sandbox.updates import TARGET, Updates
from deployments.sandbox.workers import Loaded
from tests.support.migrated import begin_migrated

UPDATED = Updates(
    Load(), 1500, 1500, (1500, 1500), (1500, 1500), Tick(24.0, 124, 60, 0, {"stages": {"load": 23.0}})
)
LOADED = Loaded(3, 5.0, 1000, 1000, 0, 5.0, 30, 0, 5)


@pytest.mark.server
@pytest.mark.soak
def test_every_card_of_a_slice_is_changed(tmp_path: Path) -> None:
    begin_migrated(tmp_path / "home")
    result = updates.measure(Load(patients=60, appointments=120, rate=6.0, latency_ms=0), tmp_path)
    assert result.sound
    assert result.contacts == 60
    assert result.deals > 60
    # All reads of cards, all writes of them, and what every run asks: no request of another kind.
    batches = -(-result.contacts // 50) + -(-result.deals // 50)
    assert result.run.writes == batches
    assert result.run.requests - batches * updates.REQUESTS_PER_BATCH < 6


@pytest.mark.server
@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="PostgreSQL's programs, and hosts of runs")
def test_three_processes_load_a_slice_once(tmp_path: Path) -> None:
    place = programs()
    if place is None:
        pytest.skip("no PostgreSQL server here: make postgresql")
    begin_migrated(tmp_path / "clinic1")
    load = Load(patients=60, appointments=120, rate=6.0, latency_ms=0)
    with serve(place) as server:
        found = workers.measure(load, workers.WORKERS, server, tmp_path)
    assert found.entities == found.arrived > 120
    assert (found.duplicates, found.refused) == (0, 0)
    assert found.requests > 9


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (UPDATED, 0),  # 3000 updates at 125 a second: the ceiling itself
        (replace(UPDATED, run=replace(UPDATED.run, seconds=26.6)), 0),
        (replace(UPDATED, run=replace(UPDATED.run, seconds=26.7)), 1),
        (replace(UPDATED, shown=(1500, 1499)), 1),
        (replace(UPDATED, deals=1499), 1),
        (replace(UPDATED, run=replace(UPDATED.run, refused=1)), 1),
    ],
)
def test_the_exit_code_of_updates_tells_a_missed_target(
    result: Updates, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "measure", lambda _load, _folder, note: result)
    app = typer.Typer()
    app.command()(updates.main)
    done = CliRunner().invoke(app, ["--output", "json"])
    assert done.exit_code == code
    assert json.loads(done.stdout)["share"] == round(result.share, 4)
    table = CliRunner().invoke(app, [], env={"COLUMNS": "200"}).stdout
    assert ("MISSED" in table) is (result.share < TARGET)
    assert "= 125 updates/s" in " ".join(table.split())


@pytest.mark.parametrize(
    ("several", "code"),
    [
        (LOADED, 0),
        (replace(LOADED, fullest=6), 1),
        (replace(LOADED, rate=5.5, fullest=6), 0),
        (replace(LOADED, refused=1), 1),
        (replace(LOADED, arrived=999), 1),
        (replace(LOADED, arrived=1001, entities=1001, duplicates=1), 1),
    ],
)
def test_the_exit_code_of_workers_tells_a_pace_that_was_not_kept(
    several: Loaded, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def nowhere(_place: Path) -> Iterator[str]:
        yield "postgresql://nowhere"

    monkeypatch.setattr(workers, "programs", Path)
    monkeypatch.setattr(workers, "serve", nowhere)
    monkeypatch.setattr(workers, "databases", lambda _server, count: ["postgresql://nowhere"] * count)
    loads = {1: replace(LOADED, workers=1), workers.WORKERS: several}
    monkeypatch.setattr(workers, "measure", lambda _load, number, _url, _folder, note: loads[number])
    app = typer.Typer()
    app.command()(workers.main)
    done = CliRunner().invoke(app, ["--output", "json"])
    assert done.exit_code == code
    one, other = json.loads(done.stdout)["loads"]
    assert (one["workers"], other["workers"]) == (1, 3)
    assert other["fullest"] == several.fullest
    assert other["sound"] is (code == 0)
    assert "3 processes" in CliRunner().invoke(app, [], env={"COLUMNS": "200"}).stdout
