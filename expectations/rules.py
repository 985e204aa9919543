"""What a rule of a suite is: the expectation, what follows when it fails, and what a person does about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

__all__ = ["PAGE", "Action", "Rule", "Severity"]

Action = Literal["stop", "quarantine", "withhold", "skip", "report"]
Severity = Literal["critical", "error", "warning", "info"]

#: Page that explains every rule to an operator; its anchors are the codes.
PAGE: Final = "docs/ru/quality.md"
#: Great Expectations knows three severities; ours, one step apart, keep their order.
UPSTREAM: Final[Mapping[Severity, str]] = {
    "critical": "critical",
    "error": "warning",
    "warning": "info",
    "info": "info",
}
PARAMETER: Final = "$PARAMETER"
#: Names under which an expectation is told its columns.
COLUMNS: Final = frozenset({"column", "column_A", "column_list", "column_set", "columns"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a suite.

    Attributes:
        code: Stable name; the ledger, the artifacts and ``rejects list`` show it.
        column: NAME of the column a person has to look at.
        action: ``stop`` the run before its first request; ``quarantine`` the row; ``withhold`` the value and
            send the row without it; ``skip`` the row, which is not wrong, only not transferable; ``report``.
        severity: ``critical`` stops, ``error`` keeps something back, ``warning`` counts, ``info`` is none.
        explanation: What is wrong, in a few Russian words.
        remedy: What to do in IDENT, in Russian.
        expectation: Type of the expectation, as Great Expectations registers it.
        arguments: Its arguments; ``{"$PARAMETER": name}`` stands for what is known only when it runs.
            ``column`` is added where no other argument names one.
        waivable: Whether an analyst may accept what fails.
        is_table: Whether the rule judges the table as a whole.
        takes_along: Further columns that are withheld with this one: they were computed from it.
    """

    code: str
    column: str
    action: Action
    severity: Severity
    explanation: str
    remedy: str
    expectation: str
    arguments: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    waivable: bool = True
    is_table: bool = False
    takes_along: tuple[str, ...] = ()

    @property
    def link(self) -> str:
        """Return where the rule is explained."""
        return f"{PAGE}#{self.code}"

    def configuration(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the rule as Great Expectations describes an expectation.

        Args:
            parameters: What is known only now, by name. Upstream would put it in, too, but by a parser that
                all threads share and that two of them, at its first use, spoil for the rest of the process.
        """
        named = {} if self.is_table or COLUMNS & self.arguments.keys() else {"column": self.column}
        arguments = {
            name: parameters[value[PARAMETER]] if isinstance(value, dict) and PARAMETER in value else value
            for name, value in self.arguments.items()
        }
        return {
            "type": self.expectation,
            "kwargs": {**named, **arguments},
            "severity": UPSTREAM[self.severity],
            "description": f"[{self.severity}] {self.explanation}",
            "meta": {"code": self.code, "action": self.action},
        }
