"""A small slice of the suites' measurement: it runs, and the baseline finds the same rows; no seconds."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from deployments.sandbox.quality.part import has_pandera
from expectations.suites import load_rules
from tasks.frames import Entity

measurement = importlib.import_module("deployments.sandbox.quality.__main__")

ROWS = 1000
#: What the frames are broken by, one row of a thousand each.
PLANTED = {
    Entity.PATIENT: {"name_present", "phone_mobile_e164", "birth_date_plausible", "email_shape"},
    Entity.APPOINTMENT: {"status_known", "end_not_before_start", "debt_within_amount"},
}


@pytest.mark.parametrize("entity", list(Entity))
def test_both_find_the_planted_rows(entity: Entity) -> None:
    found = measurement.compare(entity, ROWS, baseline=has_pandera(), times=1, note=lambda _text: None)
    assert PLANTED[entity] <= found.gate.failing.keys()
    assert set(found.gate.failing.values()) == {1}, "a rule fails on rows that were made well"
    assert found.gate.rules == len(load_rules(entity))
    assert found.gate.seconds > 0
    if found.pandera is None:
        pytest.skip("no pandera here: make venv")
    assert found.pandera.failing == found.gate.failing
    assert found.pandera.rules == sum(not rule.is_table for rule in load_rules(entity))


def made(**failing: int) -> Any:
    part = measurement.Part(0.5, 400.0, 20, "Some Library 1.0", 2.0, failing)
    return measurement.Comparison("patient", ROWS, replace(part, seconds=1.0), part)


def test_a_baseline_that_finds_other_rows_is_no_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()
    app.command()(measurement.main)
    same = made(phone=1)
    other = replace(same, gate=replace(same.gate, failing={"phone": 2}))
    monkeypatch.setattr(measurement, "has_pandera", lambda: True)
    for comparison, code in ((same, 0), (other, 1)):
        monkeypatch.setattr(measurement, "compare", lambda *_sizes, told=comparison, **_options: told)
        done = CliRunner().invoke(app, ["--rows", "1000", "--output", "json"])
        assert done.exit_code == code
        (patients, _appointments) = json.loads(done.stdout)["comparisons"]
        assert (patients["ratio"], patients["is_same"]) == (2.0, code == 0)
        table = CliRunner().invoke(app, ["--rows", "1000"], env={"COLUMNS": "200"})
        assert "2.0x" in table.stdout
        assert ("other rows by phone" in table.stderr) is bool(code)


def test_without_the_baseline_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()
    app.command()(measurement.main)
    alone = replace(made(), pandera=None)
    monkeypatch.setattr(measurement, "has_pandera", lambda: False)
    monkeypatch.setattr(measurement, "compare", lambda *_sizes, **_options: alone)
    done = CliRunner().invoke(app, ["--rows", "1000"])
    assert done.exit_code == 0
    assert "pip install" in done.stderr
