"""The taxonomy of events: the page and the code name the same ones."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from deployments.watch import PARTS
from flows.journal import AREAS, LEVELS, ORDERS, JournalForm
from tasks.health import NAMES
from tasks.journal import Sort
from tasks.recording import REFUSALS
from tasks.subscribe import EVENTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/events.md").read_text(encoding="utf-8")
DOCUMENTED = set(re.findall(r"^\| `([a-z]+\.[a-z_]+)` \|", PAGE, re.MULTILINE))
#: Emitted under names that are put together at run time.
BUILT = {
    *(name for name, _level in EVENTS.values()),
    *(f"health.{name}" for name in (*NAMES.values(), "recovered")),
    *(f"{job}.{what}" for job in ("sync", "reconcile") for what in ("failed", "guard_tripped")),
    "transfer.refused",
}


def written() -> set[str]:
    """Names that stand in the code as they are."""
    found = set()
    for package in ("tasks", "flows", "deployments"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call) or not node.args:
                    continue
                called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                name = node.args[0]
                if called == "emit" and isinstance(name, ast.Constant):
                    found.add(str(name.value))
                elif called in {"_record", "append_audit"} and isinstance(name, ast.JoinedStr):
                    found |= {
                        str(part.value) for part in name.values if isinstance(part, ast.Constant)
                    } & DOCUMENTED
    return found


def test_every_event_is_documented() -> None:
    assert written() | BUILT == DOCUMENTED


def test_names_have_an_area_and_what_happened() -> None:
    assert all(re.fullmatch(r"[a-z]+\.[a-z_]+", name) for name in DOCUMENTED)
    assert "refused" in REFUSALS
    assert set(PARTS) == {"server", "worker"}


@pytest.mark.parametrize(
    "area", sorted({name.partition(".")[0] for name in DOCUMENTED} - {"twin", "ledger", "prefect"})
)
def test_the_journal_offers_every_area(area: str) -> None:
    assert f"{area}." in AREAS.values()


def test_the_form_offers_what_the_flow_understands() -> None:
    fields = JournalForm.model_json_schema()["properties"]
    assert fields["area"]["enum"] == list(AREAS)
    assert fields["level"]["enum"] == list(LEVELS)
    assert fields["order"]["enum"] == list(ORDERS)
    assert set(ORDERS.values()) == set(get_args(Sort))
