"""What the project set out to reach, beside what was measured: the head of the page of figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from deployments.sandbox.starts import OURS

__all__ = ["COLUMNS", "TARGETS", "Target", "rows"]

Saved = Mapping[str, Any]
COLUMNS: Final = ("to reach", "bound", "measured", "", "deployments.sandbox.")
#: The big clinic of the targets: patients, appointments.
BIG: Final = (100_000, 1_000_000)
#: Entities of the load whose fullest second counts.
MANY: Final = 30_000
UNKNOWN: Final = "not measured yet"


@dataclass(frozen=True, slots=True)
class Target:
    """One figure to reach.

    Attributes:
        what: In words.
        name: The measurement that tells it.
        number: Finds the figure in what that saved; ``None`` where it is not there.
        bound: The worst figure that will do.
        at_least: Whether the bound is the lowest one.
        form: How figures are written.
    """

    what: str
    name: str
    number: Callable[[Saved], float | None]
    bound: float
    form: str
    at_least: bool = False

    def reached(self, number: float) -> bool:
        """Tell whether a figure will do."""
        return number >= self.bound if self.at_least else number <= self.bound


def _share(saved: Saved) -> float | None:
    return saved.get("share")


def _waits(saved: Saved) -> float | None:
    # Fewer changes say little about the slowest twentieth.
    return next(
        (row["p95"] for row in saved["waits"] if row["what"] == "all" and row["changes"] >= 200), None
    )


def _workers(saved: Saved) -> float | None:
    return max((one["fullest"] for one in saved["loads"] if one["entities"] >= MANY), default=None)


def _big(run: str, figure: str) -> Callable[[Saved], float | None]:
    def number(saved: Saved) -> float | None:
        for part in saved["parts"]:
            if part["run"] == run and (part["patients"], part["appointments"]) == BIG:
                return float(sum(part[figure].values()) if figure == "clock" else part[figure])
        return None

    return number


def _first_query(saved: Saved) -> float | None:
    return max((part["first_query"]["clock"] for part in saved["parts"]), default=None)


def _start(saved: Saved) -> float | None:
    return next((way["started"] for way in saved["ways"] if way["way"] == OURS), None)


TARGETS: Final = (
    Target("first load, share of the ceiling", "bench", _share, 0.95, "{:.1%}", at_least=True),
    Target("updates, share of their ceiling", "updates", _share, 0.9, "{:.1%}", at_least=True),
    Target("requests in the fullest second, at a rate of 5", "workers", _workers, 5, "{:g}"),
    Target("from a change in IDENT to amoCRM, p95", "latency", _waits, 60, "{:g} s"),
    Target("tick, 100k + 1M, processor", "tick", _big("tick", "seconds"), 3, "{:.2f} s"),
    Target("tick, 100k + 1M, memory with libraries", "tick", _big("tick", "highest_mb"), 400, "{:.0f} MB"),
    Target("full read, 100k + 1M, by the clock", "tick", _big("full read", "clock"), 60, "{:.1f} s"),
    Target(
        "full read, 100k + 1M, memory with libraries",
        "tick",
        _big("full read", "highest_mb"),
        1500,
        "{:.0f} MB",
    ),
    Target("start of a process to its first query", "tick", _first_query, 3, "{:.2f} s"),
    Target("Prefect: from the worker's hand to a run's first line", "starts", _start, 1, "{:.2f} s"),
)


def rows(saved: Mapping[str, Saved]) -> list[list[str]]:
    """Return a row for each target.

    Args:
        saved: What the measurements saved, by their names.
    """
    found = []
    for target in TARGETS:
        number = target.number(saved[target.name]) if target.name in saved else None
        sign = "≥" if target.at_least else "≤"
        verdict = "" if number is None else "reached" if target.reached(number) else "MISSED"
        measured = UNKNOWN if number is None else target.form.format(number)
        bound = f"{sign} {target.form.format(target.bound)}"
        found.append([target.what, bound, measured, verdict, target.name])
    return found
