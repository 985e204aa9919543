"""The audit of dependencies: what it takes for a finding, and for an audit at all."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci/audit.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_a_package_that_nobody_knows_is_not_audited(audit: ModuleType) -> None:
    flaw = {"id": "PYSEC-1", "fix_versions": ["2.0"], "aliases": [], "description": ""}
    report: dict[str, Any] = {
        "dependencies": [
            {"name": "good", "version": "1.0", "vulns": []},
            {"name": "bad", "version": "1.0", "vulns": [flaw]},
            {"name": "unknown", "skip_reason": "Dependency not found on PyPI and could not be audited"},
        ]
    }
    assert audit.judge(report) == (["bad 1.0: PYSEC-1, fixed in 2.0"], 2)
    assert audit.judge({"dependencies": report["dependencies"][2:]}) == ([], 0)


def test_without_a_network_it_says_so_and_ends_well(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUDIT_OSV_URL", "http://127.0.0.1:9/")
    assert audit.main() == 0
    assert "DEPENDENCIES NOT AUDITED" in capsys.readouterr().out
