"""Crash points: every commit of the ledger and every request to amoCRM, before and after.

Production code has no hook. In a child process two methods are wrapped: ``Database.write``, through which
the ledger commits everything, and ``AmoClient._exchange``, through which every request leaves.
"""

from __future__ import annotations

import ast
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tasks.amocrm.answers import Answer
from tasks.amocrm.client import AmoClient
from tasks.ledger.database import Database

__all__ = ["OPENING", "Crash", "Point", "Points", "commit_points"]

#: The moment before a transaction begins; nobody dies there, but a process may fall asleep.
OPENING = "opening"
LEDGER = Path(__file__).parents[2] / "tasks" / "ledger"


@dataclass(frozen=True, order=True)
class Point:
    """A moment of a run: before or after a commit or a request, for the n-th time (from 1)."""

    name: str
    when: str
    n: int = 1

    def __str__(self) -> str:
        return f"{self.when} {self.name} #{self.n}"


@dataclass(frozen=True)
class Crash:
    """What happens at a point: SIGKILL, SIGTERM as from an operator, SIGSTOP as of a machine that sleeps.

    Attributes:
        asleep: Seconds that have passed when a stopped process wakes up.
    """

    point: Point
    signal: int = signal.SIGKILL
    asleep: float = 0.0


@dataclass
class Points:
    """Counts the points of this process and ends it at the chosen one."""

    crash: Crash | None = None
    seen: list[Point] = field(default_factory=list)
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reach(self, name: str, when: str) -> None:
        with self._lock:
            self._counts[name, when] += 1
            point = Point(name, when, self._counts[name, when])
            self.seen.append(point)
        if self.crash is not None and self.crash.point == point:
            # To this very thread: another one might take the signal a moment later.
            signal.pthread_kill(threading.get_ident(), self.crash.signal)
            time.sleep(self.crash.asleep)  # virtual

    def install(self) -> None:
        """Wrap commits and requests of this process."""
        write, exchange, points = Database.write, AmoClient._exchange, self

        @contextmanager
        def watched(database: Database) -> Iterator[sa.Connection]:
            name = f"commit {_caller()}"
            points.reach(name, OPENING)
            with write(database) as connection:
                yield connection
                points.reach(name, "before")
            points.reach(name, "after")

        def sent(client: AmoClient, verb: str, path: str, params: Any, body: object) -> Answer:
            name = f"request {verb} {re.sub(r'[0-9]+', 'N', path)}"
            points.reach(name, "before")
            answer = exchange(client, verb, path, params, body)
            points.reach(name, "after")
            return answer

        setattr(Database, "write", watched)  # noqa: B010
        setattr(AmoClient, "_exchange", sent)  # noqa: B010


def _caller() -> str:
    """Name the method that opened the transaction: below us are the generator and contextlib's __enter__."""
    frame = sys._getframe(3)
    return frame.f_code.co_qualname


def commit_points() -> set[str]:
    """Every method of the ledger that commits, read from its source."""
    found: set[str] = set()
    for path in sorted(LEDGER.rglob("*.py")):
        for holder in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(holder, ast.ClassDef | ast.Module):
                prefix = f"{holder.name}." if isinstance(holder, ast.ClassDef) else ""
                found |= {
                    f"commit {prefix}{node.name}"
                    for node in holder.body
                    if isinstance(node, ast.FunctionDef) and any(map(_writes, ast.walk(node)))
                }
    return found


def _writes(node: ast.AST) -> bool:
    return isinstance(node, ast.With) and any(
        isinstance(item.context_expr, ast.Call)
        and isinstance(item.context_expr.func, ast.Attribute)
        and item.context_expr.func.attr == "write"
        for item in node.items
    )
