"""Removing what is kept longer than it is needed, by class and age; never what the transfer needs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from tasks.errors import ConfigurationError
from tasks.events import emit
from tasks.ledger.store import Ledger
from tasks.settings import Settings

__all__ = ["CLASSES", "Class", "purge"]


@dataclass(frozen=True, slots=True)
class Class:
    """Something that grows old.

    Attributes:
        what: What it is.
        least: Younger than this it is not removed.
        is_table: Whether it lies in the ledger; else in files of the home folder.
        pattern: Of the files.
    """

    what: str
    least: timedelta
    is_table: bool = False
    pattern: str = ""


#: The journal of events is evidence, and a year of it is promised.
CLASSES: Final = {
    "runs": Class("history of runs: plans, outcomes, closed requests", timedelta(days=7), is_table=True),
    "events": Class("events of the journal", timedelta(days=365), is_table=True),
    "replaced": Class("ledgers and keys that a restore replaced", timedelta(days=1), pattern="*-replaced-*"),
    "logs": Class("log files that nobody writes to any more", timedelta(days=1), pattern="logs/*"),
}


def purge(ledger: Ledger, settings: Settings, name: str, age: timedelta, *, dry_run: bool) -> dict[str, int]:
    """Remove what is older of one class.

    Args:
        ledger: The installation's ledger.
        settings: The installation's settings.
        name: The class.
        age: What is younger stays.
        dry_run: Only count.

    Returns:
        How many rows by table, or how many files.

    Raises:
        ConfigurationError: When there is no such class, or the age is below its least.
    """
    if name not in CLASSES:
        raise ConfigurationError(
            problem=f"There is no class {name!r}.",
            remedy=f"Name one of: {', '.join(CLASSES)}",
            code="unknown_class",
        )
    chosen = CLASSES[name]
    if age < chosen.least:
        raise ConfigurationError(
            problem=f"{name} are kept for {chosen.least.days} days at least.",
            remedy=f"Name an age of {chosen.least.days}d or more.",
            code="purge_age",
        )
    before = time.time() - age.total_seconds()
    if chosen.is_table:
        counts = ledger.old_rows(name, before) if dry_run else ledger.purge_rows(name, before)
    else:
        files = list(_old_files(settings.home, chosen.pattern, before))
        for file in files if not dry_run else ():
            file.unlink(missing_ok=True)
        counts = {"files": len(files)}
    if not dry_run:
        told = {"class": name, "days": age.days, **counts}
        emit("ledger.purged", "all", "installation", "info", told, ledger)
    return counts


def _old_files(home: Path, pattern: str, before: float) -> Iterator[Path]:
    for file in sorted(home.glob(pattern)):
        if file.is_file() and file.stat().st_mtime < before:
            yield file
