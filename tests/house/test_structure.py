"""The house: who may import whom, how big a file may grow, what prefect.yaml must not say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tasks.settings import Settings
from tests.conftest import LONG

ROOT = Path(__file__).parents[2]
PACKAGES = ("flows", "tasks", "expectations", "deployments")
#: Modules at the top of ``tasks`` that every room may use: they join nothing.
SHARED = {"tasks.frames", "tasks.records", "tasks.errors", "tasks.settings", "tasks.markdown"}
ROOMS = {path.name for path in (ROOT / "tasks").iterdir() if (path / "__init__.py").exists()}
LINES = 400
FUNCTION_LINES = 45
#: A migration is one frozen list of statements.
SOURCES = sorted(
    path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "migrations" not in path.parts
)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "tasks" and len(parts) > 1 and parts[1] in ROOMS else None


def forbidden(path: Path, module: str) -> bool:
    """Tell whether a file may not import a module: flows → steps → rooms → frames, errors, settings."""
    here = path.relative_to(ROOT).with_suffix("").parts
    top = module.partition(".")[0]
    if top not in PACKAGES or here[0] == "deployments":
        return False
    shared = any(module == name or module.startswith(f"{name}.") for name in SHARED)
    if here[0] == "flows":
        return top == "deployments"
    if here[0] == "expectations":
        return not shared and top != "expectations"
    if len(here) > 2:  # a file of a room
        return not shared and room_of(module) != here[1]
    return top in {"flows", "deployments"} or (
        top == "expectations" and here[1] not in {"validate", "data_docs"}
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    assert [module for module in imports(path) if forbidden(path, module)] == []


def test_the_rule_about_imports_can_fail() -> None:
    assert forbidden(ROOT / "tasks/ident/reader.py", "tasks.amocrm.client")
    assert forbidden(ROOT / "tasks/ident/reader.py", "tasks.workspace")
    assert forbidden(ROOT / "tasks/plan.py", "flows.sync")
    assert forbidden(ROOT / "flows/sync.py", "deployments.up")
    assert forbidden(ROOT / "expectations/gate.py", "tasks.ledger.store")
    assert not forbidden(ROOT / "tasks/ident/reader.py", "tasks.frames.canonical")


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_rooms_run_without_prefect(room: str) -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tasks" / room).rglob("*.py")
        if any(module.partition(".")[0] == "prefect" for module in imports(path))
    ]
    assert found == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES
    long = [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and _code_lines(node) > FUNCTION_LINES
    ]
    assert long == []


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function's body without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_nobody_handles_errors_by_silence() -> None:
    silent = [
        f"{path.relative_to(ROOT)}:{handler.lineno}"
        for path in SOURCES
        for handler in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(handler, ast.ExceptHandler)
        and (handler.type is None or (isinstance(handler.type, ast.Name) and handler.type.id == "Exception"))
        and all(isinstance(statement, ast.Pass) for statement in handler.body)
    ]
    assert silent == []


def test_prefect_yaml_names_real_entrypoints_and_never_switches_a_schedule() -> None:
    described = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    assert {item["name"] for item in described["deployments"]} >= {"health-check"}
    for item in described["deployments"]:
        path, name = item["entrypoint"].split(":")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        for schedule in item.get("schedules", ()):
            # A deploy with ``active`` in the file switches off a transfer that an operator started.
            assert "active" not in schedule


def test_the_top_level_holds_what_was_agreed() -> None:
    agreed = {"flows", "tasks", "expectations", "deployments", "tests", "docs", "prefect.yaml"}
    agreed |= {"pyproject.toml", "README.md", "LICENSE", "Makefile"}
    made = {"build", "ident_amocrm.egg-info"}
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found - made <= agreed


def test_the_files_that_are_run_first_are_there() -> None:
    assert [name for name in LONG if not (ROOT / name).is_file()] == []


def test_every_setting_stands_in_the_reference() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    missing = [name for name in Settings.model_fields if f"`IDENT_AMOCRM_{name.upper()}`" not in page]
    assert missing == []


def test_every_link_of_the_documentation_leads_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []
