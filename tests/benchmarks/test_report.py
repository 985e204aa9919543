"""What measurements share, and the page of figures: it says what they saved, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.cli.output import Output, table
from deployments.sandbox.measuring import exponent, run_part, tell
from deployments.sandbox.report import FOLDER, PAGE, page
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


def test_the_exponent_is_the_power_of_the_size() -> None:
    assert exponent([1, 2, 4], [3.0, 6.0, 12.0]) == 1.0
    assert exponent([1, 2, 4], [3.0, 12.0, 48.0]) == 2.0
    assert exponent([1], [3.0]) is None
    assert exponent([1, 2], [0.0, 0.0]) is None


def test_a_part_has_a_process_of_its_own_and_its_failure_is_told() -> None:
    assert run_part("json.tool", "--compact", given={"clinic": 1}) == {"clinic": 1}
    with pytest.raises(TransientError, match="No module named"):
        run_part("deployments.sandbox.nowhere")
