"""What is stored of a validation: codes, counts, column names and the first ids, nothing made of data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from expectations.gate import Verdict
from expectations.suites import Rule
from tasks.frames import Entity

__all__ = ["IDS", "Run", "Validation", "stored_outcome"]

#: Ids of failing rows that a page lists for each rule; the others are counted.
IDS: Final = 50
#: Parameters of a rule that say where it looks; all others may have been made of data.
PLACES: Final = frozenset({"column", "column_A", "column_B", "mostly"})


@dataclass(frozen=True, slots=True)
class Run:
    """What is known of the run whose validations are shown.

    Attributes:
        run_id: The run.
        clinic_uid: The clinic.
        clinic: What the operator calls it.
        at: When, with a zone.
        moment: The same as the clinic's people write it.
        is_whole: Whether every row of the clinic was read.
        dry_run: Whether the run only shows its plan.
        documentation_url: Where the documentation is published; empty: nowhere.
    """

    run_id: str
    clinic_uid: str
    clinic: str
    at: datetime
    moment: str
    is_whole: bool
    dry_run: bool = False
    documentation_url: str = ""


@dataclass(frozen=True, slots=True)
class Validation:
    """One validation of a run.

    Attributes:
        entity: What the rows are.
        rows: How many there are.
        verdict: What came out.
    """

    entity: Entity
    rows: int
    verdict: Verdict


def stored_outcome(run: Run, validation: Validation) -> Any:
    """Return the result as it is stored: codes, counts, ids and column names, and nothing made of data.

    Parameters of rules may be dates of the clinic, observed values may be a patient's, and the text of an
    exception quotes the value that it could not bear.
    """
    from great_expectations.core.expectation_validation_result import (  # noqa: PLC0415 - costs seconds
        ExpectationSuiteValidationResult,
    )

    verdict = validation.verdict
    found = {result.expectation_config.meta["code"]: result for result in verdict.outcome.results}
    rules = _findings(verdict)
    wrong = [finding for finding in rules if finding.wrong]
    # A slot without a patient is no defect; it is listed and does not colour the page.
    counted = [finding for finding in wrong if finding.rule.action != "skip"]
    facts = {
        "run_id": run.run_id,
        "entity": validation.entity.value,
        "clinic": run.clinic,
        "moment": run.moment,
        "rows": validation.rows,
        "is_whole": run.is_whole,
        "dry_run": run.dry_run,
        "stopped": bool(verdict.stop),
        "held": bool(verdict.rejects or verdict.withheld),
        "broken": len(counted),
        "failures": sum(finding.wrong for finding in counted),
    }
    base = run.documentation_url.rstrip("/")
    return ExpectationSuiteValidationResult(
        success=not wrong,
        results=[_result(found[finding.rule.code], finding, base) for finding in rules],
        suite_name=validation.entity.value,
        statistics={
            "evaluated_expectations": len(rules),
            "successful_expectations": len(rules) - len(wrong),
            "unsuccessful_expectations": len(wrong),
            "success_percent": 100 * (1 - len(wrong) / len(rules)) if rules else None,
        },
        meta={
            "great_expectations_version": verdict.outcome.meta["great_expectations_version"],
            "batch_spec": facts,
            "validation_time": run.at.isoformat(),
        },
    )


@dataclass(slots=True)
class _Finding:
    """What one rule found: the first ids of what broke it and nobody accepted, the columns that it names."""

    rule: Rule
    checked: int
    failed: int
    waived: int = 0
    ids: list[int] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        return self.failed - self.waived


def _findings(verdict: Verdict) -> list[_Finding]:
    found = {
        rule.code: _Finding(rule, int(checked), int(failed)) for rule, checked, failed in verdict.results
    }
    for failures in (verdict.rejects, verdict.withheld, verdict.skipped, verdict.warnings):
        for key, code, _column, _severity in failures:
            if len(found[code].ids) < IDS:
                found[code].ids.append(int(key))
    for _key, code, _column, _severity in verdict.waived:
        found[code].waived += 1
    for code, names in verdict.named.items():
        found[code].columns = [str(name) for name in names]
    for code in verdict.passed:
        found[code].waived = found[code].failed
    return list(found.values())


def _result(result: Any, finding: _Finding, base: str) -> Any:
    from great_expectations.core.expectation_validation_result import (  # noqa: PLC0415
        ExpectationValidationResult,
    )
    from great_expectations.expectations.expectation_configuration import (  # noqa: PLC0415
        ExpectationConfiguration,
    )

    config, rule = result.expectation_config, finding.rule
    meta = {
        "code": rule.code,
        "action": rule.action,
        "column": rule.column,
        "explanation": rule.explanation,
        "remedy": rule.remedy,
        "link": f"{base}/{rule.link}" if base else "",
        "waived": finding.waived,
        "columns": finding.columns,
    }
    return ExpectationValidationResult(
        success=not finding.wrong,
        expectation_config=ExpectationConfiguration(
            type=config.type,
            kwargs={name: value for name, value in config.kwargs.items() if name in PLACES},
            meta=meta,
            description=rule.explanation,
            severity=config.severity,
        ),
        result={
            "element_count": finding.checked,
            "unexpected_count": finding.wrong,
            "unexpected_index_list": finding.ids,
        },
        exception_info={
            "raised_exception": bool(result.exception_info) and not _ran(result.exception_info),
            "exception_message": None,
            "exception_traceback": None,
        },
    )


def _ran(info: Mapping[str, Any]) -> bool:
    """Tell whether a rule could be evaluated; upstream keys an exception by metric instead of saying so."""
    return "raised_exception" in info and not info["raised_exception"]
