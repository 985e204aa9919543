"""The sizing: computed of what was measured, and the page shows what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deployments.sandbox.parts import SHOWN
from deployments.sandbox.report import FOLDER
from deployments.sandbox.sizing import PAGE, QUIET_SHARE, SERVER_SHARE, TICK, sizes, written


def saved(folder: Path, **changes: Any) -> Path:
    """Round figures: every part costs a tenth of a core at rest and a second by run."""
    parts = {
        "requests_per_run": 4,
        "idle": dict.fromkeys(SHOWN, 0.1),
        "per_run": dict.fromkeys(SHOWN, 1.0),
        "megabytes": dict.fromkeys(SHOWN, 100),
    }
    (folder / "parts.json").write_text(json.dumps({"data": parts | changes}), encoding="utf-8")
    diff = {
        "caption": "a ledger of keyed hashes (2 MB), and",
        "data": {"cards": {"contact": 500, "lead": 500}},
    }
    (folder / "diff.json").write_text(json.dumps(diff), encoding="utf-8")
    return folder


def test_the_figures_are_those_of_the_parts(tmp_path: Path) -> None:
    [one, many] = sizes(saved(tmp_path), cards=1000, counts=(1, 60), rate=5)
    assert one.tick_seconds == TICK
    assert one.requests == pytest.approx(4 / TICK, abs=0.01)
    assert one.server_cores == pytest.approx(0.1 + 1 / TICK, abs=0.01)
    assert one.worker_cores == pytest.approx(0.1 + 2 / TICK, abs=0.01)
    assert (one.cores, one.workers, one.ledger_gb) == (1, 1, 0.0)
    assert many.ledger_gb == 0.12
    assert many.first_load_hours == pytest.approx(60 * 1000 / 250 / 3600, abs=0.01)


@pytest.mark.parametrize(("limit", "changes"), [("rate", {}), ("server", {"requests_per_run": 0.1})])
def test_the_schedule_gives_way_to_the_rate_and_to_the_server(
    tmp_path: Path, limit: str, changes: dict[str, Any]
) -> None:
    [size] = sizes(saved(tmp_path, **changes), cards=1000, counts=(60,), rate=5)
    assert size.tick_seconds > TICK
    assert size.requests <= 5 * QUIET_SHARE
    assert size.server_cores <= SERVER_SHARE
    assert (size.requests > 5 * QUIET_SHARE * 0.8) is (limit == "rate")


def test_the_page_shows_what_was_measured() -> None:
    page = PAGE.read_text(encoding="utf-8")
    found = sizes(FOLDER, cards=40_000)
    assert [one.clinics for one in found] == [1, 10, 100]
    assert page == written(page, found), "run python -m deployments.sandbox.sizing --write"
    assert f"| schedule, seconds | {TICK} |" in page
