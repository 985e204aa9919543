"""A small slice of the tick's measurement: what is transferred once is planned by no later run; no seconds."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import expectations.gate
from deployments.sandbox.measuring import ROOT
from deployments.sandbox.tick.part import STEPS
from tasks.records import Kind, OutcomeState
from tasks.settings import Settings
from tests.support.measured import in_process

measurement = importlib.import_module("deployments.sandbox.tick.__main__")
installation = importlib.import_module("deployments.sandbox.tick.installation")

PATIENTS, APPOINTMENTS = 40, 240


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tick")


@pytest.fixture(scope="module")
def judged(folder: Path) -> list[tuple[str, int]]:
    """Which frames were judged, of how many rows, by the runs of ``parts``."""
    return []


@pytest.fixture(scope="module")
def parts(folder: Path, judged: list[tuple[str, int]]) -> list[Any]:
    judge = expectations.gate.validate

    def noting(frame: Any, entity: Any, **named: Any) -> Any:
        judged.append((entity.value, len(frame)))
        return judge(frame, entity, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurement, "run_part", in_process)
        patch.setattr(expectations.gate, "validate", noting)
        found: list[Any] = measurement.compare(
            folder,
            patients=PATIENTS,
            appointments=APPOINTMENTS,
            growth=[1],
            profile=folder / "profile.txt",
            note=lambda _text: None,
        )
        return found


def test_runs_without_changes_plan_nothing_and_a_tick_reads_the_last_quarter(parts: list[Any]) -> None:
    assert measurement.mistaken(parts) == []
    full, tick = parts
    assert full.found["read"] == {"patients": PATIENTS, "appointments": APPOINTMENTS}
    assert 0 < tick.found["read"]["appointments"] < APPOINTMENTS // 10
    assert set(full.processor) == set(tick.processor) == set(STEPS)


def test_the_tick_after_a_full_read_judges_nothing(parts: list[Any], judged: list[tuple[str, int]]) -> None:
    assert len(parts) == 2
    # The transfer, the full read and the profiled one judge both tables; no tick judges anything.
    assert judged == [("patient", PATIENTS), ("appointment", APPOINTMENTS)] * 3


def test_the_ledger_is_what_a_load_leaves(parts: list[Any], folder: Path) -> None:
    del parts
    (home,) = (place for place in folder.iterdir() if place.is_dir())
    ledger = installation.Ledger(Settings(home=home).ledger_url).open()
    uid = installation.UID
    counts = {kind: ledger.applied_count(uid, kind) for kind in (Kind.CONTACT, Kind.LEAD, Kind.LINK)}
    assert counts[Kind.CONTACT] == PATIENTS
    assert 0 < counts[Kind.LEAD] == counts[Kind.LINK] <= APPOINTMENTS
    assert ledger.open_keys(uid) == {}
    assert ledger.open_attempts(uid) == []
    first = ledger.runs(uid, 100)[-1]
    settled = ledger.settled(first.run_id, OutcomeState.APPLIED)
    assert len(settled) == sum(counts.values())
    ledger.close()


def test_a_profile_tells_of_our_code_and_of_no_path_of_this_machine(parts: list[Any], folder: Path) -> None:
    del parts
    text = (folder / "profile.txt").read_text(encoding="utf-8")
    assert text.startswith("== tick ==")
    assert "== full read ==" in text
    assert "tasks/extract.py" in text
    assert str(ROOT) not in text
    assert "site-packages" not in text


def test_a_transferred_clinic_is_used_again_and_a_run_that_plans_fails_the_measurement(
    parts: list[Any], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    app = typer.Typer()
    app.command()(measurement.main)
    asked: list[str] = []

    def measured(_module: str, _home: str, what: str, **_given: Any) -> dict[str, Any]:
        asked.append(what)
        names = ("processor", "clock", "first_query", "peak_mb", "highest_mb", "found")
        return {name: getattr(parts[what == "tick"], name) for name in names}

    monkeypatch.setattr(measurement, "run_part", measured)
    options = [f"--patients={PATIENTS}", f"--appointments={APPOINTMENTS}", "--clinics", str(folder)]
    done = CliRunner().invoke(app, [*options, "--output", "json"])
    assert (done.exit_code, asked) == (0, ["full", "tick"])
    shown = json.loads(done.stdout)
    assert shown["mistaken"] == []
    assert shown["parts"][0]["seconds"] == parts[0].seconds
    wrong = replace(parts[1], found=parts[1].found | {"planned": 1})
    monkeypatch.setattr(measurement, "compare", lambda *_folder, **_options: [parts[0], wrong])
    done = CliRunner().invoke(app, ["--output", "json"])
    assert done.exit_code == 1
    assert "'planned': 1" in done.stderr
