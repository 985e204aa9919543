"""Running a suite over a frame and splitting the frame by what failed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from expectations.suites import Rule, load_rules, load_suite
from tasks.frames import FRAMES, Entity

__all__ = ["Failure", "Verdict", "validate"]

#: Positions of failing rows and nothing else: any other format writes values into results and pages.
RESULT_FORMAT = {
    "result_format": "COMPLETE",
    "exclude_unexpected_values": True,
    "include_unexpected_rows": False,
    "return_unexpected_index_query": False,
    "partial_unexpected_count": 0,
}
OLDEST_BIRTH = datetime(1900, 1, 1)  # noqa: DTZ001 - a calendar day
KEYS = {Entity.PATIENT: "patient_id", Entity.APPOINTMENT: "appointment_id"}

Failure = tuple[int, str, str, str]  # source id, rule code, column name, severity


@dataclass(slots=True)
class Verdict:
    """What a suite said.

    Attributes:
        good: Rows that may go on.
        rejects: Rows kept back because they are wrong.
        skipped: Rows kept back because they are not (yet) to be transferred.
        warnings: Rows that go on, but somebody should look at.
        stop: Codes of rules about the whole table that failed, or could not be evaluated.
    """

    good: pd.DataFrame
    rejects: list[Failure] = field(default_factory=list)
    skipped: list[Failure] = field(default_factory=list)
    warnings: list[Failure] = field(default_factory=list)
    stop: list[str] = field(default_factory=list)


def validate(
    frame: pd.DataFrame,
    entity: Entity,
    *,
    references: Mapping[str, Collection[int]] | None = None,
    now: datetime,
) -> Verdict:
    """Validate a canonical frame.

    Args:
        frame: Canonical frame of the entity.
        entity: Which suite to run.
        references: Key sets the suite refers to (``patients`` for appointments).
        now: The clinic's wall clock, naive.

    Returns:
        The verdict; ``good`` keeps columns and dtypes and has a fresh index.
    """
    frame = frame.reset_index(drop=True)  # positions, not keys: they work where the key itself is broken
    rules = load_rules(entity)
    results = _run(frame, entity, references or {}, now)
    verdict = Verdict(frame)
    kept_back = np.zeros(len(frame), dtype=bool)
    keys = frame[KEYS[entity]].to_numpy()
    for rule, result in zip(rules, results, strict=True):
        if result.success:
            continue
        positions = result.result.get("unexpected_index_list")
        if _broken(result) or rule.action == "stop" or positions is None:
            verdict.stop.append(rule.code)
            continue
        failures = [(int(keys[place]), rule.code, rule.column, rule.severity) for place in positions]
        _file(verdict, rule, failures)
        if rule.action != "report":
            kept_back[positions] = True
    verdict.good = frame[~kept_back].reset_index(drop=True)
    return verdict


def _file(verdict: Verdict, rule: Rule, failures: list[Failure]) -> None:
    {"quarantine": verdict.rejects, "skip": verdict.skipped, "report": verdict.warnings}[rule.action].extend(
        failures
    )


def _broken(result: Any) -> bool:
    """Tell whether a rule raised; upstream then keys the exception by metric instead of saying so."""
    info = result.exception_info or {}
    return bool(info) and ("raised_exception" not in info or bool(info["raised_exception"]))


def _run(
    frame: pd.DataFrame, entity: Entity, references: Mapping[str, Collection[int]], now: datetime
) -> list[Any]:
    """Run the suite in a context of its own: one shared by two threads gives silently wrong results."""
    import great_expectations as gx  # noqa: PLC0415
    from great_expectations.core.validation_definition import ValidationDefinition  # noqa: PLC0415
    from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: PLC0415

    from expectations.custom import references as hold  # noqa: PLC0415

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    source = context.data_sources.add_pandas("frames")
    batch = source.add_dataframe_asset(entity.value).add_batch_definition_whole_dataframe("whole")
    definition = ValidationDefinition(
        name=entity.value, data=batch, suite=context.suites.add(load_suite(entity))
    )
    definition = context.validation_definitions.add(definition)
    with hold({name: pd.Index(list(keys)) for name, keys in references.items()}) as tokens:
        parameters: dict[str, Any] = {
            "columns": list(FRAMES[entity]),
            "oldest_birth": OLDEST_BIRTH,
            "today": now,
            **tokens,
        }
        outcome = definition.run(
            batch_parameters={"dataframe": _checked(frame)},
            expectation_parameters=parameters,
            result_format=RESULT_FORMAT,
        )
    by_code = {
        config.meta["code"]: result
        for result in outcome.results
        if (config := result.expectation_config) is not None and config.meta
    }
    return [by_code[rule.code] for rule in load_rules(entity)]


def _checked(frame: pd.DataFrame) -> pd.DataFrame:
    """Give times naive nanoseconds of UTC, for the rules only.

    Bounds on other units are compared value by value in Python, and zoned columns go through a conversion
    upstream that pandas has deprecated.
    """
    columns: dict[str, pd.Series] = {}
    for name, dtype in frame.dtypes.items():
        kind = str(dtype)
        if kind.startswith("datetime64"):
            naive = frame[name].dt.tz_convert(None) if "UTC" in kind else frame[name]
            inside = naive.between(pd.Timestamp("1700-01-01"), pd.Timestamp("2260-01-01"))
            columns[str(name)] = naive.where(inside).astype("datetime64[ns]")
    return frame.assign(**columns)
