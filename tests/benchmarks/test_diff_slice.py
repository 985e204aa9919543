"""A small slice of the diff's measurement: every side finds what was changed, and nothing else; no seconds."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from deployments.sandbox.diff.cases import CASES, planted
from tasks.records import Kind
from tests.support.measured import in_process

measurement = importlib.import_module("deployments.sandbox.diff.__main__")

SIZES = {Kind.CONTACT: 1000, Kind.LEAD: 2000}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurement, "run_part", in_process)
        folder = tmp_path_factory.mktemp("diff")
        found: list[Any] = measurement.compare(folder, SIZES, note=lambda _text: None)
        return found


def test_each_side_finds_what_was_changed(parts: list[Any]) -> None:
    assert [(part.case, part.side) for part in parts] == [
        (case, side) for case in CASES for side in (measurement.OURS, measurement.BASELINE)
    ]
    assert measurement.mistaken(parts, SIZES) == []
    assert {part.case: part.found["lead"]["changed"] for part in parts} == {
        "nothing": 0,
        "100 cards": 40,
        "10 %": 160,
    }
    assert all(set(part.processor) >= {"snapshot", "compare"} for part in parts)
    assert all(part.seconds > 0 for part in parts)


def test_a_tenth_is_new_a_tenth_gone_the_rest_changed() -> None:
    assert planted(1000, "10 %") == {"new": 10, "changed": 80, "gone": 10}


@pytest.mark.parametrize("other", [{"changed": 1}, {"digest": "other columns"}])
def test_a_side_that_finds_other_cards_fails_the_measurement(
    other: dict[str, Any], parts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = parts[:2]
    found = theirs.found | {"lead": theirs.found["lead"] | other}
    wrong = [ours, replace(theirs, found=found)]
    app = typer.Typer()
    app.command()(measurement.main)
    monkeypatch.setattr(measurement, "_sizes", lambda _folder: (1.0, 1.0))
    for told, code in ((parts[:2], 0), (wrong, 1)):
        monkeypatch.setattr(measurement, "compare", lambda *_sizes, told=told, **_options: told)
        size = [
            f"--{name}={rows}"
            for name, rows in zip(("patients", "appointments"), SIZES.values(), strict=True)
        ]
        done = CliRunner().invoke(app, [*size, "--output", "json"])
        assert done.exit_code == code
        assert (f"{measurement.BASELINE}, nothing" in done.stderr) is bool(code)
        shown = json.loads(done.stdout)
        assert shown["baseline"] == measurement.BASELINE
        assert shown["machine"]["cores"]
        assert [part["times"] for part in shown["parts"]] == [ours.seconds / theirs.seconds, 1.0]
    text = CliRunner().invoke(app, size, env={"COLUMNS": "200"}).stdout
    assert f"{ours.seconds / theirs.seconds:.2f}x" in text


def test_without_datacompy_it_says_how_to_get_it(
    parts: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurement, "_sizes", lambda _folder: (1.0, 1.0))
    monkeypatch.setattr(measurement, "compare", lambda *_sizes, **_options: parts)
    app = typer.Typer()
    app.command()(measurement.main)
    done = CliRunner().invoke(
        app, ["--patients=1000", "--appointments=2000", "--datacompy", str(tmp_path / "none")]
    )
    assert done.exit_code == 0
    assert "make .venv-datacompy" in done.stderr
