from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import deployments.up
from deployments.cli.up import up
from tasks.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "IDENT_AMOCRM_HOME": str(tmp_path)})
    monkeypatch.setattr("tasks.settings.load_settings", lambda: Settings(home=tmp_path))


def test_up_tells_the_address_and_how_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str, bool]] = []

    def run_up(
        _settings: Settings, *, port: int, host: str, worker: bool, ready: Callable[[str], None]
    ) -> int:
        asked.append((port, host, worker))
        ready("http://127.0.0.1:5001")
        return 0

    monkeypatch.setattr(deployments.up, "run_up", run_up)
    app = typer.Typer()
    app.command()(up)
    result = CliRunner().invoke(app, ["--port", "5000"])
    assert result.exit_code == 0
    assert asked == [(5000, "127.0.0.1", True)]
    assert "http://127.0.0.1:5001" in result.stderr
    assert "Ctrl-C" in result.stderr
    assert result.stdout == ""


def test_what_a_service_says_stands_in_its_log(tmp_path: Path) -> None:
    home = tmp_path / "sta te"
    log = home / "logs" / "up.log"
    around = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": "http://own.invalid/api"}
    command = [sys.executable, "-m", "deployments.cli.main", "up", "--home", str(home), "--log", str(log)]
    for _ in range(2):
        done = subprocess.run(command, env=around, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    lines = log.read_text(encoding="utf-8").splitlines()
    assert [line.startswith("Error (other_server)") for line in lines] == [False, True, False, True]
    assert f"logs are in {home / 'logs'}" in lines[0]
