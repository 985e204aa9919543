"""Parts of a measurement run in the test's own process: starting one takes longer than a slice's work."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import Any

import typer
from typer.testing import CliRunner

__all__ = ["in_process"]


def in_process(
    module: str, *arguments: str, python: str = "", given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Stand in for ``deployments.sandbox.measuring.run_part``."""
    app = typer.Typer()
    app.command()(importlib.import_module(module).main)
    done = CliRunner().invoke(app, list(arguments), input=json.dumps(given), catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told
