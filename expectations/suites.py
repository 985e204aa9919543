"""Loading the suites, with the check that no rule was dropped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from tasks.errors import GuardError
from tasks.frames import Entity

__all__ = ["Rule", "load_rules", "load_suite"]

FILES = {Entity.PATIENT: "patients.json", Entity.APPOINTMENT: "appointments.json"}


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to a row, or to the run, when a rule fails.

    Attributes:
        code: Stable name; the ledger, the artifacts and ``rejects list`` show it.
        column: NAME of the column a person has to look at.
        action: ``stop``, ``quarantine``, ``skip`` (not wrong, only not transferable) or ``report``.
        severity: Great Expectations' own: critical, warning or info.
    """

    code: str
    column: str
    action: str
    severity: str


def _read(entity: Entity) -> dict[str, Any]:
    text = resources.files(__package__).joinpath(FILES[entity]).read_text(encoding="utf-8")
    suite: dict[str, Any] = json.loads(text)
    return suite


def load_rules(entity: Entity) -> list[Rule]:
    """Return the rules of a suite in their order, without importing Great Expectations."""
    return [
        Rule(
            rule["meta"]["code"],
            rule["meta"].get("column") or rule["kwargs"].get("column") or "",
            rule["meta"]["action"],
            rule["severity"],
        )
        for rule in _read(entity)["expectations"]
    ]


def load_suite(entity: Entity) -> Any:
    """Return the suite as Great Expectations' own object.

    Raises:
        GuardError: When a rule was dropped: a misspelt type is only logged upstream, and a suite that
            silently checks less than it says is worse than none.
    """
    import great_expectations as gx  # noqa: PLC0415 - costs seconds and 250 MB

    from expectations import custom  # noqa: F401, PLC0415 - importing registers the rules

    described = _read(entity)
    suite = gx.ExpectationSuite(**described)
    if len(suite.expectations) != len(described["expectations"]):
        raise GuardError(
            problem=f"The suite {described['name']} has rules of an unknown type.",
            remedy=f"Check the types in expectations/{FILES[entity]}.",
            code="suite_incomplete",
        )
    return suite
