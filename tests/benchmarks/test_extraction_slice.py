"""A small slice of the extraction's measurement: every side reads the same clinic; no seconds."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from deployments.sandbox.extraction import sides
from tasks.frames import Entity
from tests.support.measured import in_process

measurement = importlib.import_module("deployments.sandbox.extraction.__main__")

FILE, SERVER = measurement.ROADS


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurement, "run_part", in_process)
        found: list[Any] = measurement.compare(
            tmp_path_factory.mktemp("extraction"),
            patients=40,
            appointments=120,
            growth=(1, 2),
            roads=[FILE],
            note=lambda _text: None,
        )
        return found


def test_each_side_reads_the_same_clinic(parts: list[Any]) -> None:
    installed = {part.side for part in parts}
    assert {sides.OURS, sides.BASELINE} <= installed <= sides.FILE.keys()
    assert measurement.mistaken(parts) == []
    assert {(part.factor, part.found["patients"], part.found["appointments"]) for part in parts} == {
        (1, 40, 120),
        (2, 80, 240),
    }
    if installed != sides.FILE.keys():
        pytest.skip("no connectorx here: make venv")


@pytest.mark.odbc
def test_each_side_reads_the_same_clinic_over_odbc(
    parts: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("pyodbc", reason="no libodbc here: make odbc", exc_type=ImportError)
    if measurement.server_missing():
        pytest.skip("no freetds driver here: make odbc")
    monkeypatch.setattr(measurement, "run_part", in_process)
    found = measurement.compare(
        tmp_path, patients=40, appointments=120, growth=[1], roads=[SERVER], note=lambda _text: None
    )
    assert measurement.mistaken(found) == []
    (file,) = {part.found["digest"] for part in parts if part.factor == 1}
    assert {part.found["digest"] for part in found} == {file}


def test_the_digest_tells_a_missing_patient_and_another_time() -> None:
    zone = ZoneInfo("Europe/Moscow")
    patients = pd.DataFrame({"ID_Persons": [1, 2]})
    receptions = pd.DataFrame({"ID": [5, 4], "PlanStart": ["2026-03-02 10:00:00", "2026-03-02 09:00:00"]})
    told = sides.digest({"Patients": patients, "Receptions": receptions}, zone)
    visits = pd.DataFrame(
        {"appointment_id": [4, 5], "start_at": pd.to_datetime(["2026-03-02T06:00Z", "2026-03-02T07:00Z"])}
    )
    ours = {Entity.PATIENT: pd.DataFrame({"patient_id": [2, 1]}), Entity.APPOINTMENT: visits}
    assert sides.digest(ours, zone) == told
    later = visits.assign(start_at=visits["start_at"] + pd.Timedelta(minutes=1))
    other = pd.DataFrame({"patient_id": [2, 3]})
    for changed in ({Entity.APPOINTMENT: later}, {Entity.PATIENT: other}):
        assert sides.digest(ours | changed, zone)["digest"] != told["digest"]


def test_a_side_that_reads_another_clinic_fails_the_measurement(
    parts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = [replace(parts[0], found=parts[0].found | {"digest": "another time"}), *parts[1:]]
    app = typer.Typer()
    app.command()(measurement.main)
    monkeypatch.setattr(measurement, "server_missing", lambda: "no driver")
    for told, code in ((parts, 0), (wrong, 1)):
        monkeypatch.setattr(measurement, "compare", lambda *_folder, told=told, **_options: told)
        done = CliRunner().invoke(app, ["--output", "json"])
        assert done.exit_code == code
        assert "ODBC is left out: no driver" in done.stderr
        assert (f"{sides.OURS} over {FILE}" in done.stderr) is bool(code)
        shown = json.loads(done.stdout)
        assert shown["baseline"] == sides.BASELINE
        assert {one["side"] for one in shown["exponents"]} == {part.side for part in parts}
        assert {part["times"] for part in shown["parts"] if part["side"] == sides.BASELINE} == {1.0}
