"""The version before this one: what an installation in use has, and is upgraded from.

Nothing has been released yet, so the previous version is the last one whose ledger had an older schema: the
parent of the commit that added the newest migration, where this checkout has its history. A shallow clone and an
archive have not; there this version stands in for it, without its newest migration and the table that came with
it. That still tests the ledger's upgrade and everything around it, but no change of the program itself.
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tasks.ledger.database import HEAD, MIGRATIONS
from tests.support.empty_machine import ROOT, copied_source

__all__ = ["Previous", "previous_source", "stand_in_source"]

#: Lower than any version of this program: pip replaces it, as it would a released one.
VERSION = "0.0.9"
VERSIONS = MIGRATIONS / "versions"


@dataclass(frozen=True)
class Previous:
    """The source of the previous version.

    Attributes:
        source: Its folder.
        revision: Schema of its ledger.
        told: What it really is.
    """

    source: Path
    revision: str
    told: str


def previous_source(folder: Path) -> Previous:
    """Return the previous version, of the history where there is one."""
    newest = _newest().relative_to(ROOT)
    added = _git("log", "-1", "--diff-filter=A", "--format=%H", "--", str(newest)).decode().strip()
    commit = _git("rev-parse", "--verify", "--quiet", f"{added}^").decode().strip() if added else ""
    if not commit:
        return stand_in_source(folder)
    with tarfile.open(fileobj=io.BytesIO(_git("archive", "--format=tar", commit))) as archive:
        archive.extractall(folder, filter="data")
    told = _git("log", "-1", "--format=%h, %s", commit).decode().strip()
    return _renumbered(folder, f"the commit before {newest.name}: {told}")


def stand_in_source(folder: Path) -> Previous:
    """Return this version without its newest migration."""
    newest = copied_source(folder) / _newest().relative_to(ROOT)
    text = newest.read_text(encoding="utf-8")
    tables = re.findall(r'op\.create_table\(\s*"(\w+)"', text)
    assert tables, "the newest migration makes no table of its own: git fetch --unshallow, and test again"
    assert not re.search(r"op\.(?!create_table|create_index|f\()", text), "and it changes other tables, too"
    (before,) = re.findall(r'^down_revision = "(\w+)"$', text, re.MULTILINE)
    newest.unlink()
    ledger = folder / "tasks" / "ledger"
    with (ledger / "tables.py").open("a", encoding="utf-8") as code:
        code.writelines(f'\nmetadata.remove(metadata.tables["{name}"])\n' for name in tables)
    head = (ledger / "database.py").read_text(encoding="utf-8")
    (ledger / "database.py").write_text(
        head.replace(f'HEAD = "{HEAD}"', f'HEAD = "{before}"'), encoding="utf-8"
    )
    return _renumbered(folder, f"no history here: this version without {newest.name}")


def _newest() -> Path:
    (newest,) = VERSIONS.glob(f"{HEAD}_*.py")
    return newest


def _renumbered(folder: Path, told: str) -> Previous:
    project = folder / "pyproject.toml"
    text, count = re.subn(
        r'^version = ".+"$', f'version = "{VERSION}"', project.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert count == 1
    project.write_text(text, encoding="utf-8")
    database = (folder / "tasks" / "ledger" / "database.py").read_text(encoding="utf-8")
    (revision,) = re.findall(r'^HEAD = "(\w+)"$', database, re.MULTILINE)
    assert revision < HEAD
    return Previous(folder, revision, told)


def _git(*words: str) -> bytes:
    """Ask git; it says nothing where there is none, or no history."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, check=False)
    except FileNotFoundError:
        return b""
    return b"" if done.returncode else done.stdout
