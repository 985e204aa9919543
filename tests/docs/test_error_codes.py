"""Every code that an error of ours may carry is explained to the operator, in Russian."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from expectations.suites import SUITES
from tasks.hints import HINTS
from tests.support.doc_commands import ROOT

RU = ROOT / "docs" / "ru"
#: The sandbox is for developers.
ROOMS = ("tasks", "flows", "deployments", "expectations")
RULES = {rule.code for rules in SUITES.values() for rule in rules}


def raised() -> Iterator[tuple[str, str]]:
    """Codes that stand in the source: of an error's class, or where it is raised."""
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            if "sandbox" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                for value in _codes(node):
                    # One of two codes, by a condition, is a part of an expression.
                    for part in ast.walk(value):
                        if isinstance(part, ast.Constant) and isinstance(part.value, str):
                            yield part.value, str(path.relative_to(ROOT))


def _codes(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error"):
        return [keyword.value for keyword in node.keywords if keyword.arg == "code"]
    if isinstance(node, ast.AnnAssign | ast.Assign) and node.value:
        (target,) = [node.target] if isinstance(node, ast.AnnAssign) else node.targets[:1]
        return [node.value] if ast.unparse(target) == "default_code" else []
    return []


def explained() -> set[str]:
    page = (RU / "command-codes.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


def test_every_code_is_explained() -> None:
    found = dict(raised())
    assert len(found) > 100
    assert {code: path for code, path in found.items() if code not in explained() | set(HINTS) | RULES} == {}


def test_no_code_is_explained_twice_or_for_nothing() -> None:
    table = explained()
    assert table & set(HINTS) == set()
    assert table - {code for code, _ in raised()} == {"defect"}, "the last door of the command line says it"
