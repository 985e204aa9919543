"""Every link to a chapter of a page leads to one; tests/house looks whether the pages are there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from tests.support.doc_commands import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))


@cache
def chapters(page: Path) -> frozenset[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return frozenset(re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles)


def test_every_link_to_a_chapter_leads_to_one() -> None:
    found = [
        (page, target, anchor)
        for page in PAGES
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8"))
        if "://" not in target and (not target or (page.parent / target).is_file())
    ]
    assert len(found) > 50
    lost = [
        f"{page.relative_to(ROOT)}: {target}#{anchor}"
        for page, target, anchor in found
        if anchor not in chapters((page.parent / target).resolve() if target else page)
    ]
    assert lost == []
