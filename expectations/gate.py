"""Running a suite over a frame and splitting the frame by what failed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from expectations.suites import Rule, judged_columns, load_rules, load_suite
from expectations.thresholds import Thresholds
from expectations.whole import Whole, measures
from tasks.frames import FRAMES, Entity, give_memory_back

__all__ = ["Accepted", "Failure", "Verdict", "validate"]

#: Positions of failing rows and nothing else: any other format writes values into results and pages.
RESULT_FORMAT = {
    "result_format": "COMPLETE",
    "exclude_unexpected_values": True,
    "include_unexpected_rows": False,
    "return_unexpected_index_query": False,
    "partial_unexpected_count": 0,
}
#: Almost all that nanoseconds can hold.
EARLIEST, LATEST = pd.Timestamp("1700-01-01"), pd.Timestamp("2260-01-01")
#: What a result says of a rule that raised.
UNEVALUATED = {
    "raised_exception": True,
    "exception_message": "The rule could not be evaluated.",
    "exception_traceback": None,
}
#: A set that nobody holds: a rule that needs it cannot be evaluated.
NO_REFERENCES = {"patients": "nobody"}
KEYS = {Entity.PATIENT: "patient_id", Entity.APPOINTMENT: "appointment_id"}

Failure = tuple[int, str, str, str]  # source id, rule code, column name, severity
Accepted = Collection[tuple[int | None, str]]  # source id, or nothing for the whole clinic, and rule code


@dataclass(slots=True)
class Verdict:
    """What a suite said.

    Attributes:
        good: Rows that may go on, without the values that are withheld.
        rejects: Rows kept back because they are wrong.
        skipped: Rows kept back because they are not (yet) to be transferred.
        withheld: Values taken out of rows that go on.
        warnings: Rows that go on, but somebody should look at.
        waived: What failed and was accepted by a person.
        stop: Codes of rules about the whole table that failed, or could not be evaluated.
        remarks: Codes of rules about the whole table that failed, and stop nothing.
        passed: Codes of rules about the whole table that failed, and were accepted by a person.
        taken_out: Source id and column of every value that is withheld.
        named: Columns that a rule about the whole table names.
        results: Each rule with how many rows it checked and how many failed.
        outcome: The result as Great Expectations has it, without any value, for its pages.
    """

    good: pd.DataFrame
    rejects: list[Failure] = field(default_factory=list)
    skipped: list[Failure] = field(default_factory=list)
    withheld: list[Failure] = field(default_factory=list)
    warnings: list[Failure] = field(default_factory=list)
    waived: list[Failure] = field(default_factory=list)
    stop: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    taken_out: list[tuple[int, str]] = field(default_factory=list)
    named: dict[str, list[str]] = field(default_factory=dict)
    results: list[tuple[Rule, int, int]] = field(default_factory=list)
    outcome: Any = field(default=None, repr=False)


def validate(
    frame: pd.DataFrame,
    entity: Entity,
    *,
    references: Mapping[str, Collection[int]] | None = None,
    now: datetime,
    accepted: Accepted = (),
    thresholds: Thresholds | None = None,
    whole: Whole | None = None,
    is_last: bool = False,
) -> Verdict:
    """Validate a canonical frame.

    Args:
        frame: Canonical frame of the entity.
        entity: Which suite to run.
        references: Key sets the suite refers to (``patients`` for appointments).
        now: The clinic's wall clock with its zone; a naive one counts as UTC.
        accepted: What an analyst accepts as it is; rules that cannot be waived are not.
        thresholds: The clinic's own.
        whole: What is known of the whole table, of which the frame may be a part.
        is_last: Whether the caller needs the frame no more: it is let go of column by column where good rows
            are copied, so that never is everything there twice.

    Returns:
        The verdict; ``good`` keeps columns and dtypes and has a fresh index.
    """
    # Positions, not keys: they work where the key itself is broken.
    given, frame = frame, frame.reset_index(drop=True)
    verdict = Verdict(frame.copy(deep=False))
    parameters = _parameters(frame, entity, now, thresholds or Thresholds(), whole or Whole())
    verdict.outcome = _run(frame, entity, references or {}, parameters)
    found = {
        config.meta["code"]: result
        for result in verdict.outcome.results
        if (config := result.expectation_config) is not None and config.meta
    }
    judge = _Judge(verdict, frame[KEYS[entity]] if KEYS[entity] in frame else pd.Series(), set(accepted))
    for rule in load_rules(entity):
        judge.judge(rule, found[rule.code])
    del frame
    give_memory_back()  # what the rules took
    if judge.kept_back.any():
        verdict.good = _kept(verdict.good, ~judge.kept_back, [given] if is_last else [])
        give_memory_back()
    return verdict


def _kept(good: pd.DataFrame, kept: npt.NDArray[np.bool_], others: Collection[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows to keep; the frame is emptied on the way, as are others that share its columns."""
    places, columns = np.flatnonzero(kept), {}
    for name in map(str, list(good)):
        columns[name] = good.pop(name).array.take(places)
        for other in others:
            del other[name]
    return pd.DataFrame(columns, copy=False)


class _Judge:
    """Turns the results of rules into what becomes of rows and values."""

    def __init__(self, verdict: Verdict, keys: pd.Series, accepted: set[tuple[int | None, str]]) -> None:
        self._verdict, self._accepted = verdict, accepted
        self._keys = keys.to_numpy()
        self.kept_back = np.zeros(len(verdict.good), dtype=bool)

    def judge(self, rule: Rule, result: Any) -> None:
        """Take in the result of one rule."""
        checked = len(self._verdict.good)
        positions = result.result.get("unexpected_index_list")
        if not result.success and (_broken(result) or (positions is None and not rule.is_table)):
            # A rule that could not be evaluated has found nothing wrong, and nothing right either.
            self._verdict.results.append((rule, checked, checked))
            self._verdict.stop.append(rule.code)
            return
        if rule.is_table:
            self._verdict.results.append((rule, 1, 0 if result.success else 1))
            if not result.success:
                self._verdict.named[rule.code] = (result.result.get("details") or {}).get("columns", [])
                held = self._verdict.stop if rule.action == "stop" else self._verdict.remarks
                (self._verdict.passed if self._accepts(rule, None) else held).append(rule.code)
            return
        self._verdict.results.append((rule, checked, len(positions or ())))
        self._rows(rule, positions or ())

    def _rows(self, rule: Rule, positions: Collection[int]) -> None:
        failing = []
        for place in positions:
            key = int(self._keys[place])
            failure = (key, rule.code, rule.column, rule.severity)
            if self._accepts(rule, key):
                self._verdict.waived.append(failure)
                continue
            failing.append(place)
            self._file(rule).append(failure)
        if not failing:
            return
        if rule.action == "withhold":
            for name in (rule.column, *rule.takes_along):
                column = self._verdict.good[name]
                kept = ~column.index.isin(failing)
                self._verdict.good[name] = column.where(kept).astype(column.dtype)
                self._verdict.taken_out += [(int(self._keys[place]), name) for place in failing]
        elif rule.action != "report":
            self.kept_back[failing] = True

    def _accepts(self, rule: Rule, key: int | None) -> bool:
        return rule.waivable and bool({(key, rule.code), (None, rule.code)} & self._accepted)

    def _file(self, rule: Rule) -> list[Failure]:
        return {
            "quarantine": self._verdict.rejects,
            "withhold": self._verdict.withheld,
            "skip": self._verdict.skipped,
            "report": self._verdict.warnings,
        }[rule.action]


def _broken(result: Any) -> bool:
    """Tell whether a rule raised; upstream then keys the exception by metric instead of saying so."""
    info = result.exception_info or {}
    return bool(info) and ("raised_exception" not in info or bool(info["raised_exception"]))


def _parameters(
    frame: pd.DataFrame, entity: Entity, now: datetime, thresholds: Thresholds, whole: Whole
) -> dict[str, Any]:
    """Return what the rules are told only now: the time, the clinic's thresholds, what the table was."""
    local = now.replace(tzinfo=None)
    today = local.replace(hour=0, minute=0, second=0, microsecond=0)
    utc = local if now.tzinfo is None else now.astimezone(UTC).replace(tzinfo=None)
    return {
        "columns": list(FRAMES[entity]),
        "declared": {name: str(dtype) for name, dtype in FRAMES[entity].items()},
        "found": {str(name): str(dtype) for name, dtype in frame.dtypes.items()},
        "today": today,
        "oldest_birth": today - timedelta(days=365.25 * thresholds.oldest_age_years),
        "latest_stamp": utc + timedelta(hours=thresholds.clock_tolerance_hours),
        "furthest_start": utc + timedelta(days=thresholds.furthest_days_ahead),
        "longest_hours": thresholds.longest_appointment_hours,
        "quiet_hours": thresholds.quiet_hours,
        "smallest_ratio": 1 - thresholds.largest_fall,
        "largest_ratio": 1 + thresholds.largest_growth,
        "vanished_share": thresholds.vanished_share,
        "missing_phones": thresholds.missing_phones,
        "fewest_rows": thresholds.fewest_rows,
        "filled_before": dict(whole.filled_before),
        "is_full": whole.is_full,
        **measures(whole, thresholds, local),
    }


def _run(
    frame: pd.DataFrame,
    entity: Entity,
    references: Mapping[str, Collection[int]],
    parameters: Mapping[str, Any],
) -> Any:
    """Run the suite in a context of its own: one shared by two threads gives silently wrong results."""
    from expectations.custom import references as hold  # noqa: PLC0415

    source = _context().data_sources.add_pandas("frames")
    definition = source.add_dataframe_asset(entity.value).add_batch_definition_whole_dataframe("whole")
    batch = definition.get_batch({"dataframe": _checked(frame, judged_columns(entity))})
    with hold({name: pd.Index(list(keys)) for name, keys in references.items()}) as tokens:
        # A validation definition would say the same, and write suite and result into stores nobody reads.
        suite = load_suite(entity, {**NO_REFERENCES, **parameters, **tokens})
        outcome = batch.validate(suite, result_format=RESULT_FORMAT)
    # Its context outlives it, and would keep the rows for good.
    kept = definition.data_asset.datasource.get_execution_engine().batch_manager
    kept.batch_data_cache.clear()
    kept.reset_batch_cache()
    for result in outcome.results:
        if _broken(result):
            # The message and the traceback quote the value that a rule stumbled over.
            result.exception_info = dict(UNEVALUATED)
    return outcome


def _context() -> Any:
    """Return a context that keeps nothing on the disk and says nothing, to nobody."""
    import great_expectations as gx  # noqa: PLC0415
    from great_expectations.data_context.types.base import (  # noqa: PLC0415
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    return gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            # The default makes a folder for pages that nobody asked for, in every run.
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
            analytics_enabled=False,
        ),
    )


def _checked(frame: pd.DataFrame, judged: Collection[str] | None = None) -> pd.DataFrame:
    """Give times naive nanoseconds of UTC and money as floats, for the rules only.

    Bounds on other units are compared value by value in Python, zoned columns go through a conversion
    upstream that pandas has deprecated, and decimals are no numbers to it. Nearly every rule copies the whole
    frame upstream, so a column whose values no rule looks at says only where it is filled.

    Args:
        frame: Canonical frame of the entity.
        judged: Columns whose values rules look at; all by default.
    """
    columns: dict[str, pd.Series] = {}
    for name, dtype in frame.dtypes.items():
        kind = str(dtype)
        if judged is not None and name not in judged:
            columns[str(name)] = pd.Series(np.where(frame[name].notna(), 1, np.nan), dtype="float32")
        elif kind.startswith("datetime64"):
            naive = frame[name].dt.tz_convert(None) if "UTC" in kind else frame[name]
            # What nanoseconds cannot hold is as far away as they reach, and as implausible.
            columns[str(name)] = naive.clip(EARLIEST, LATEST).astype("datetime64[ns]")  # type: ignore[call-overload]
        elif kind.startswith("decimal"):
            columns[str(name)] = frame[name].astype("float64")
    return frame.assign(**columns)
