"""One line of the health table, and how bad it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from tasks.errors import IdentAmocrmError

__all__ = ["Check", "CheckState", "worst"]


class CheckState(StrEnum):
    """Outcome of one check, the worst last."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the health table.

    Attributes:
        name: What was checked, in Russian.
        state: How it stands.
        code: Code of the error or warning; the hint is keyed by it.
        detail: Cause and remedy in Russian, where the code alone does not name them; never a person's data.
        error: What was raised, where the check failed by an error: it has cause and remedy in English.
    """

    name: str
    state: CheckState
    code: str = ""
    detail: str = ""
    error: IdentAmocrmError | None = field(default=None, compare=False)


def worst(checks: list[Check]) -> CheckState:
    """Return the worst state of all."""
    return max((item.state for item in checks), key=list(CheckState).index)
