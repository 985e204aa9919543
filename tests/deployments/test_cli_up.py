from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import deployments.up
from deployments.cli.up import up
from tasks.settings import Settings


@pytest.fixture(autouse=True)
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "IDENT_AMOCRM_HOME": str(tmp_path)})
    monkeypatch.setattr("tasks.settings.load_settings", lambda: Settings(home=tmp_path))


def test_up_tells_the_address_and_how_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str]] = []

    def run_up(_settings: Settings, *, port: int, host: str, ready: Callable[[str], None]) -> int:
        asked.append((port, host))
        ready("http://127.0.0.1:5001")
        return 0

    monkeypatch.setattr(deployments.up, "run_up", run_up)
    app = typer.Typer()
    app.command()(up)
    result = CliRunner().invoke(app, ["--port", "5000"])
    assert result.exit_code == 0
    assert asked == [(5000, "127.0.0.1")]
    assert "http://127.0.0.1:5001" in result.stderr
    assert "Ctrl-C" in result.stderr
    assert result.stdout == ""
