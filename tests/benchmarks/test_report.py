"""The page of figures says what the measurements saved, and nothing else."""

from __future__ import annotations

from pathlib import Path

from deployments.cli.output import Output, table
from deployments.sandbox.measuring import tell
from deployments.sandbox.report import FOLDER, PAGE, page


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
    assert "| side | seconds |\n| --- | --- |\n| theirs \\| ours | 1.5 |" in text
    assert "`python -m deployments.sandbox.diff`, 20" in text
    assert " cores (" in text
    assert "pandas " in text
