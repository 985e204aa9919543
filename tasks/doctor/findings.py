"""Findings of the doctor: what was looked at, how it stands, what to do; each check stands alone."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from tasks.errors import IdentAmocrmError

__all__ = ["Finding", "Report", "State", "attempt"]

WIDTH: Final = 22
INDENT: Final = " " * (12 + WIDTH)


class State(StrEnum):
    """How a thing stands, the worst last."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        area: Part of the installation; a clinic's findings stand under its name.
        name: What was looked at.
        state: How it stands.
        found: What was found, in one sentence without anybody's data.
        remedy: What to do; empty where there is nothing to do.
        code: Stable identifier of what is wrong.
        clinic_uid: The clinic it is about; empty where it is about the whole installation.
    """

    area: str
    name: str
    state: State
    found: str
    remedy: str = ""
    code: str = ""
    clinic_uid: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found at one time."""

    at: datetime
    findings: tuple[Finding, ...]

    @property
    def state(self) -> State:
        """The worst state of all."""
        return max((one.state for one in self.findings), key=list(State).index, default=State.OK)

    def count(self, state: State) -> int:
        """Return how many findings stand so."""
        return sum(one.state is state for one in self.findings)

    @property
    def summary(self) -> str:
        """The report in one line."""
        return (
            f"{self.count(State.FAULT)} faults, {self.count(State.WARNING)} warnings, "
            f"{self.count(State.OK)} ok"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        return {
            "at": self.at.isoformat(timespec="seconds"),
            "state": self.state.value,
            "summary": {state.value: self.count(state) for state in State},
            "findings": [asdict(one) for one in self.findings],
        }

    def lines(self) -> Iterator[tuple[State | None, str]]:
        """Return the lines of the text, each with the state it shows; headings and remedies show none."""
        areas: dict[str, list[Finding]] = {}
        for one in self.findings:
            areas.setdefault(one.area, []).append(one)
        for area, found in areas.items():
            yield None, area
            for one in found:
                yield one.state, f"  {one.state.value:<8}  {one.name:<{WIDTH}}{one.found}"
                if one.remedy:
                    yield None, f"{INDENT}→ {one.remedy}"

    def text(self) -> str:
        """Return the report as plain text."""
        moment = self.at.isoformat(timespec="seconds")
        body = "\n".join(line for _state, line in self.lines())
        return f"{moment}: {self.summary}\n\n{body}\n"


def attempt(
    area: str, name: str, check: Callable[[], Finding | Iterable[Finding]], clinic_uid: str = ""
) -> list[Finding]:
    """Return what a check found; one that fails or breaks is a fault of its own, and the others go on.

    Args:
        area: Part of the installation, for a check that breaks.
        name: What it looks at, for a check that breaks.
        check: The check.
        clinic_uid: The clinic it is about.
    """
    try:
        found = check()
        return [found] if isinstance(found, Finding) else list(found)
    except IdentAmocrmError as error:
        return [Finding(area, name, State.FAULT, error.problem, error.remedy, error.code, clinic_uid)]
    except Exception as error:  # noqa: BLE001 - the text may hold values, so only kind and place are told
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        found_text = f"This could not be checked: {type(error).__name__} at {place}."
        remedy = "The other checks went on. If their remedies do not help, report it with this line."
        return [Finding(area, name, State.FAULT, found_text, remedy, "check_broke", clinic_uid)]
