"""Every command of the documentation is one that its program takes: nothing is run here."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Sequence

import pytest
import typer

from tests.docs.story import OTHER_PROGRAMS
from tests.support.doc_commands import OURS, PYTHON, ROOT, DocCommand, documented, refusal_of

#: Modules of others that the documentation runs: what follows them is theirs to judge.
THEIRS = {"pip", "venv"}
TESTED = {"flows", "tasks", "expectations", "deployments", "tests"}


def of(*programs: str) -> list[DocCommand]:
    return [command for command in documented() if command.program in programs]


def in_sentence(*words: str, text: str = "") -> DocCommand:
    return DocCommand("page", text or " ".join(words), words, is_block=False)


def in_console(*words: str) -> DocCommand:
    return DocCommand("page", " ".join(words), words, is_block=True)


def test_our_commands_are_taken_as_they_stand() -> None:
    ours = of(OURS)
    assert len(ours) > 150
    assert [f"{command}: {said}" for command in ours for said in command.refusals()] == []


@pytest.mark.parametrize(
    "command",
    [
        in_console(OURS, "sink", "clinic1"),
        in_console(OURS, "sync"),
        in_console(OURS, "sync", "clinic1", "--fill"),
        in_console(OURS, "sync", "clinic1", "clinic2"),
        in_console(OURS, "explain", "doctor", "1"),
        in_console(OURS, "start", "clinic1", "--history-days", "many"),
        in_sentence(OURS, "connect-amocrm", "--token-file", "FILE"),
        in_sentence(OURS, "rejects", "list|shown"),
        in_sentence(OURS, "sync", "NAME", "[--full]", "[--dry]", text="sync NAME [--full] [--dry]"),
    ],
    ids=str,
)
def test_a_wrong_command_is_found(command: DocCommand) -> None:
    assert list(command.refusals()) != []


def test_a_sentence_may_name_a_command_or_describe_it() -> None:
    for command in (
        in_sentence(OURS, "rejects", "retry"),
        in_sentence(OURS, "rejects", "list|show"),
        in_sentence(OURS, "purge", "runs", text="purge runs"),
        in_sentence(OURS, "connect-database", "…", "--same-clinic", text="connect-database … --same-clinic"),
    ):
        assert list(command.refusals()) == []
        assert not command.is_whole


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_has_what_is_asked_of_it() -> None:
    asked = {command.plain: command for command in of("make")}
    assert len(asked) > 5
    for command in asked.values():
        shown = subprocess.run(
            ["make", "--dry-run", *command.words[1:]], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert shown.returncode == 0, f"{command}: {shown.stderr}"
        lines = shown.stdout.replace("\\\n", " ").splitlines()
        modules = [found[1] for line in lines if (found := re.search(r"\S*/python -m ([^;&|]+)", line))]
        assert [said for module in modules if (said := wrong_module(shlex.split(module)))] == [], command


def test_python_is_asked_for_modules_that_there_are() -> None:
    asked = [command for command in of(*PYTHON) if command.words[1] == "-m"]
    assert len(asked) > 5
    wrong = {str(command): said for command in asked if (said := wrong_module(command.words[2:]))}
    assert wrong == {}
    assert wrong_module(["deployments.sandbox.report", "--nowhere", "page.md"])
    assert wrong_module(["deployments.sandbox.reports"])
    assert wrong_module(["pytest", "-m", "soaked"])
    assert wrong_module(["pytest", "tests/nowhere"])


def wrong_module(words: Sequence[str]) -> str:
    """What is wrong about ``python -m`` and these words; empty where nothing is."""
    name, *rest = words
    if name in THEIRS:
        return ""
    if name == "pytest":
        return _wrong_tests(rest)
    if name.partition(".")[0] not in TESTED:
        return f"whose is {name}?"
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        found = None
    if found is None:
        return f"there is no {name}"
    module = importlib.import_module(f"{name}.__main__" if found.submodule_search_locations else name)
    one = typer.Typer(add_completion=False)
    one.command()(module.main)
    refusal = refusal_of(typer.main.get_command(one), name, rest)
    return ": ".join(refusal) if refusal else ""


def _wrong_tests(rest: list[str]) -> str:
    """The same of pytest: its marks are declared, and its files are there."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    marks = {mark.partition(":")[0] for mark in told["tool"]["pytest"]["ini_options"]["markers"]}
    if "-m" in rest and rest[rest.index("-m") + 1] not in marks:
        return f"no mark {rest[rest.index('-m') + 1]}"
    return next((word for word in rest if "/" in word and not (ROOT / word).exists()), "")


def test_programs_of_others_say_why_they_are_not_run() -> None:
    known = {*OTHER_PROGRAMS, OURS}
    assert [str(command) for command in documented() if command.program not in known] == []
    assert OTHER_PROGRAMS.keys() - {command.program for command in documented()} == set()


def test_files_of_the_project_that_others_are_handed_are_there() -> None:
    named = {(command, file) for command in documented() for file in files_of(command)}
    assert len(named) > 5
    assert [f"{command}: {file}" for command, file in named if not (ROOT / file).is_file()] == []


def files_of(command: DocCommand) -> Iterator[str]:
    """Files of the checkout, or of the installed package, that a command names."""
    for word in command.words[1:]:
        if found := re.fullmatch(r"(?:.*/site-packages/)?(deployments/.+)", word):
            yield found[1]


def test_the_script_for_windows_has_the_actions_that_are_named() -> None:
    script = (ROOT / "deployments/windows/service.ps1").read_text(encoding="utf-8-sig")
    known = re.search(r"ValidateSet\(([^)]*)\)", script)
    assert known is not None
    named = {command.words[command.words.index("-Action") + 1] for command in of("powershell")}
    assert named
    assert named <= set(re.findall(r"\w+", known[1]))
