"""Loading the suites, with the check that no rule was dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from expectations import appointments, patients
from expectations.rules import Rule
from tasks.errors import GuardError
from tasks.frames import Entity

__all__ = ["SUITES", "Rule", "judged_columns", "load_rules", "load_suite"]

#: The rules of each suite.
SUITES: Final[Mapping[Entity, tuple[Rule, ...]]] = {
    Entity.PATIENT: patients.RULES,
    Entity.APPOINTMENT: appointments.RULES,
}


def load_rules(entity: Entity) -> list[Rule]:
    """Return the rules of a suite in their order, without importing Great Expectations."""
    return list(SUITES[entity])


def judged_columns(entity: Entity) -> frozenset[str]:
    """Return the columns whose values the rules of a suite look at."""
    found: set[str] = set()
    for rule in SUITES[entity]:
        named = [rule.arguments.get(name, ()) for name in ("column", "column_A", "column_B")]
        lists = [rule.arguments.get(name, ()) for name in ("column_list", "columns")]
        found |= {rule.column, *filter(None, named), *(name for names in lists for name in names)}
    return frozenset(found - {""})


def load_suite(entity: Entity, parameters: Mapping[str, Any]) -> Any:
    """Return the suite as Great Expectations' own object.

    Args:
        entity: Whose suite.
        parameters: What the rules are told only now.

    Raises:
        GuardError: When a rule was dropped: a misspelt type is only logged upstream, and a suite that
            silently checks less than it says is worse than none.
    """
    import great_expectations as gx  # noqa: PLC0415 - costs seconds and 250 MB

    from expectations import batch, custom  # noqa: F401, PLC0415 - importing registers the rules

    rules = SUITES[entity]
    suite = gx.ExpectationSuite(
        name=f"{entity.value}s", expectations=[rule.configuration(parameters) for rule in rules]
    )
    loaded = {expectation.expectation_type for expectation in suite.expectations}
    if len(suite.expectations) != len(rules):
        unknown = sorted({rule.expectation for rule in rules} - loaded)
        raise GuardError(
            problem=f"The suite of {entity.value}s has rules of an unknown type: {', '.join(unknown)}.",
            remedy=f"Check the types in expectations/{entity.value}s.py.",
            code="suite_incomplete",
        )
    return suite
