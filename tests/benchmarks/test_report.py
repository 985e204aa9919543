"""What measurements share, and the page of figures: it says what they saved, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.cli.output import Output, table
from deployments.sandbox.measuring import exponent, run_part, tell
from deployments.sandbox.reach import TARGETS, rows
from deployments.sandbox.report import FOLDER, PAGE, page
from deployments.sandbox.starts import OURS
from tasks.errors import TransientError


def test_the_page_is_made_of_what_was_saved() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(FOLDER), "run python -m deployments.sandbox.report"


def test_what_a_measurement_tells_is_on_the_page(tmp_path: Path) -> None:
    for name, side in (("diff", "ours"), ("bench", "theirs | ours")):
        rows = table(f"Title of {name}", "side", "seconds")
        rows.add_row(side, "1.5")
        rows.caption = "1x is the baseline"
        tell(name, {"baseline": "theirs"}, Output.JSON, rows, tmp_path)
    text = page(tmp_path)
    assert text.index("## Title of bench") < text.index("## Title of diff")
    assert "| side | seconds |\n|---|---|\n| theirs \\| ours | 1.5 |" in text
    assert "`python -m deployments.sandbox.diff`, 20" in text
    assert " cores (" in text
    assert "pandas " in text


def test_every_target_is_told_reached_missed_or_not_measured() -> None:
    names = {target.name for target in TARGETS}
    assert {row[2] for row in rows({})} == {"not measured yet"}
    part = {"patients": 100_000, "appointments": 1_000_000, "first_query": {"clock": 2.0}}
    tick = {"run": "tick", "seconds": 2.9, "highest_mb": 401, "clock": {"read": 1.0}}
    full = {"run": "full read", "seconds": 99, "highest_mb": 1400, "clock": {"read": 40.0, "plan": 20.5}}
    saved: dict[str, dict[str, Any]] = {
        "bench": {"share": 0.95},
        "updates": {"share": 0.8999},
        "workers": {"loads": [{"entities": 30_000, "fullest": 5}, {"entities": 100, "fullest": 6}]},
        "latency": {"waits": [{"what": "all", "changes": 200, "p95": 60.1}]},
        "tick": {"parts": [part | tick, part | full]},
        "starts": {"ways": [{"way": OURS, "started": 0.99}]},
    }
    assert saved.keys() == names
    assert [row[3] for row in rows(saved)] == [
        *("reached", "MISSED", "reached", "MISSED", "reached", "MISSED"),
        *("MISSED", "reached", "reached", "reached"),
    ]


def test_too_small_a_measurement_reaches_nothing() -> None:
    few = {"waits": [{"what": "all", "changes": 199, "p95": 1.0}]}
    small = {"loads": [{"entities": 29_999, "fullest": 1}]}
    part = {"run": "tick", "patients": 1, "appointments": 1, "seconds": 1.0, "first_query": {"clock": 1.0}}
    found = rows({"latency": few, "workers": small, "tick": {"parts": [part]}})
    assert [row[1:4] for row in found if row[3]] == [["≤ 3.00 s", "1.00 s", "reached"]]


def test_the_exponent_is_the_power_of_the_size() -> None:
    assert exponent([1, 2, 4], [3.0, 6.0, 12.0]) == 1.0
    assert exponent([1, 2, 4], [3.0, 12.0, 48.0]) == 2.0
    assert exponent([1], [3.0]) is None
    assert exponent([1, 2], [0.0, 0.0]) is None


def test_a_part_has_a_process_of_its_own_and_its_failure_is_told() -> None:
    assert run_part("json.tool", "--compact", given={"clinic": 1}) == {"clinic": 1}
    with pytest.raises(TransientError, match="No module named"):
        run_part("deployments.sandbox.nowhere")
