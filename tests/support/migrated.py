"""Prefect's database as its migrations leave it: made once in a test session, copied for each installation.

The migrations of an empty database take a CPU for seven seconds, and half a dozen files start a server.
tests/deployments/test_up_server.py and the first road of tests/e2e begin without it, as an operator does.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from filelock import FileLock

from deployments.environment import prepare_environment
from tasks.settings import Settings

__all__ = ["begin_migrated", "copy_migrated"]

#: The folder that pytest gives to one session, above those of its workers.
SESSION = re.compile(r"pytest-\d+")
PLACE = Path("prefect", "prefect.db")


def begin_migrated(home: Path) -> None:
    """Give a home that has no Prefect database yet a migrated one."""
    if (home / PLACE).exists():
        return
    Settings(home=home).prepare_home()
    (home / PLACE).parent.mkdir(mode=0o700, exist_ok=True)
    copy_migrated(home / PLACE)


def copy_migrated(path: Path) -> None:
    """Put a migrated database into a folder of this test session."""
    session = next(folder for folder in path.parents if SESSION.fullmatch(folder.name))
    template = session / "migrated.db"
    with FileLock(template.with_suffix(".lock")):
        if not template.exists():
            _migrate(session / "migrating", template)
    shutil.copyfile(template, path)


def _migrate(home: Path, template: Path) -> None:
    around = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    settings = Settings(home=home)
    settings.prepare_home()
    prepare_environment(settings, around)
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
    subprocess.run(command, env=around, check=True, capture_output=True)
    part = template.with_suffix(".part")
    with closing(sqlite3.connect(home / PLACE)) as link:
        link.execute("VACUUM INTO ?", (str(part),))  # one file, whatever the write-ahead log holds
    part.rename(template)
    shutil.rmtree(home)
