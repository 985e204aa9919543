"""What a rival is told on its command line. Python's own modules only: it has an interpreter of its own."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Options", "options"]


@dataclass(frozen=True)
class Options:
    """What a rival is told.

    Attributes:
        database: The clinic's SQLite file.
        crm: Address of the stand-in.
        token: Its token.
        folder: Where the rival may keep something from run to run.
        reads_first: Whether it looks what stands in the account before it writes.
    """

    database: Path
    crm: str
    token: str
    folder: Path
    reads_first: bool


def options() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--crm", required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--reads-first", action="store_true")
    told = parser.parse_args()
    token = told.token_file.read_text(encoding="utf-8").strip()
    return Options(told.database, told.crm, token, told.folder, told.reads_first)
