"""Which versions run here, and whether they are those that were tested together."""

from __future__ import annotations

import platform
import re
import sqlite3
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distributions, requires
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement

from tasks.doctor.findings import Finding, State
from tasks.settings import program_version

__all__ = [
    "PROGRAM",
    "check_versions",
    "installed_packages",
    "read_tested",
    "read_tested_file",
    "requirements",
]

PROGRAM: Final = "ident-amocrm"
AREA: Final = "Machine"
#: What a supporter asks for first, as its makers spell it.
NAMED: Final = {
    "prefect": "Prefect",
    "sqlalchemy": "SQLAlchemy",
    "pandas": "pandas",
    "great-expectations": "Great Expectations",
}
SHOWN: Final = 6


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def read_tested(text: str) -> dict[str, str]:
    """Read a file of constraints: the tested version of each package."""
    pairs = (line.split("==", 1) for line in text.splitlines() if "==" in line and not line.startswith("#"))
    return {_plain(name.strip()): tested.strip() for name, tested in pairs}


def installed_packages() -> dict[str, str]:
    """Return every installed package with its version."""
    found = ((one.metadata["Name"], one.version) for one in distributions())
    return {_plain(name): present for name, present in sorted(found, key=str) if name}


def requirements(program: str = PROGRAM) -> list[Requirement]:
    """Return what the program needs to run; empty when it was not installed, only unpacked."""
    try:
        lines = requires(program) or []
    except PackageNotFoundError:
        return []
    wanted = []
    for line in lines:
        try:
            one = Requirement(line)
        except InvalidRequirement:
            continue
        if one.marker is None or one.marker.evaluate({"extra": ""}):
            wanted.append(one)
    return wanted


def check_versions(
    tested: Mapping[str, str],
    *,
    installed: Mapping[str, str] | None = None,
    needed: Iterable[Requirement] | None = None,
) -> list[Finding]:
    """Tell the versions, which of them nobody tested, and which cannot work.

    Args:
        tested: The tested version of each package.
        installed: The installed ones; those of this Python by default.
        needed: What the program needs; by default as it says itself.
    """
    present = installed_packages() if installed is None else installed
    wanted = requirements() if needed is None else list(needed)
    python = f"{platform.python_version()} ({platform.python_implementation()}), SQLite"
    named = ", ".join(f"{title} {present.get(name, 'missing')}" for name, title in NAMED.items())
    return [
        Finding(AREA, "program", State.OK, f"{PROGRAM} {program_version()}"),
        Finding(AREA, "Python", State.OK, f"{python} {sqlite3.sqlite_version}"),
        Finding(AREA, "system", State.OK, f"{platform.system()} {platform.release()}, {platform.machine()}"),
        Finding(AREA, "libraries", State.OK, named),
        _judged(present, tested, wanted),
    ]


def _judged(present: Mapping[str, str], tested: Mapping[str, str], wanted: list[Requirement]) -> Finding:
    remedy = (
        "Install the tested set: pip install ident-amocrm -c constraints.txt "
        "(deployments/constraints.txt of this version), in an environment of its own."
    )
    names = {_plain(one.name): one for one in wanted}
    wrong = [
        f"{name} {present.get(name, 'missing')} (needed: {one.specifier or 'any'})"
        for name, one in names.items()
        if name not in present or not one.specifier.contains(present[name], prereleases=True)
    ]
    if wrong:
        found = f"These cannot work: {_listed(wrong)}."
        return Finding(AREA, "tested set", State.FAULT, found, remedy, "versions_wrong")
    judged = names or dict.fromkeys(NAMED)
    other = [
        f"{name} {present[name]} (tested: {tested[name]})"
        for name in judged
        if name in present and name in tested and present[name] != tested[name]
    ]
    if other:
        found = f"Nobody tested these versions together: {_listed(other)}."
        return Finding(AREA, "tested set", State.WARNING, found, remedy, "versions_untested")
    if not tested:
        found = "The list of tested versions is missing."
        return Finding(AREA, "tested set", State.WARNING, found, remedy, "versions_unknown")
    return Finding(AREA, "tested set", State.OK, f"{len(judged)} packages are the tested versions")


def _listed(items: list[str]) -> str:
    rest = len(items) - SHOWN
    return ", ".join(items[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def read_tested_file(path: Path) -> dict[str, str]:
    """Read the tested versions from a file; empty where it is missing."""
    try:
        return read_tested(path.read_text(encoding="utf-8"))
    except OSError:
        return {}
