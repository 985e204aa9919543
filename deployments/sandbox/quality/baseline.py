"""The same checks in pandera, as good as it allows: the columns that a check needs, and no more.

What Great Expectations has built in is built in there too; for the rules of our own it runs our very
conditions. So the comparison is between the two frameworks, not between two ways to match a phone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import version
from typing import Any, Final

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from expectations import custom
from expectations.gate import Verdict

__all__ = ["VERSION", "Baseline"]

VERSION: Final = version("pandera")
Condition = Callable[[pd.DataFrame, Mapping[str, Any]], "pd.Series[bool]"]

#: Built-in expectations of one column -> pandera's own check.
BUILT_IN: Final[Mapping[str, Callable[[Mapping[str, Any], str], pa.Check]]] = {
    "expect_column_values_to_be_in_set": lambda found, code: pa.Check.isin(found["value_set"], error=code),
    "expect_column_values_to_not_be_in_set": lambda found, code: pa.Check.notin(
        found["value_set"], error=code
    ),
    "expect_column_values_to_match_regex": lambda found, code: pa.Check.str_contains(
        found["regex"], error=code
    ),
    "expect_column_values_to_not_match_regex": lambda found, code: pa.Check(
        lambda column: ~column.str.contains(found["regex"]).astype("boolean").fillna(value=False),
        error=code,
    ),
    "expect_column_values_to_not_be_null": lambda _found, code: pa.Check(
        lambda column: column.notna(), error=code, ignore_na=False
    ),
    "expect_column_values_to_be_unique": lambda _found, code: pa.Check(
        lambda column: ~column.duplicated(keep=False), error=code
    ),
    "expect_column_value_lengths_to_be_between": lambda found, code: pa.Check.str_length(
        found.get("min_value"), found.get("max_value"), error=code
    ),
}


class Baseline:
    """Checks like the ones that a verdict tells of."""

    def __init__(self, verdict: Verdict, references: Mapping[str, Collection[int]]) -> None:
        self.references = {name: pd.Index(list(keys)) for name, keys in references.items()}
        self.configurations = {
            result.expectation_config.meta["code"]: result.expectation_config
            for result in verdict.outcome.results
        }
        self.rules = [rule for rule, _checked, _failed in verdict.results if not rule.is_table]

    def failing(self, frame: pd.DataFrame) -> dict[str, list[int]]:
        """Return the positions of the rows that break each rule."""
        checks: dict[str, list[pa.Check]] = {}
        for rule in self.rules:
            checks.setdefault(rule.column, []).append(self._check(rule.code, frame))
        columns = {name: pa.Column(checks=found, nullable=True) for name, found in checks.items()}
        try:
            pa.DataFrameSchema(columns).validate(frame[list(columns)], lazy=True)
        except SchemaErrors as broken:
            cases = broken.failure_cases
            return {
                str(code): found["index"].astype("int64").tolist() for code, found in cases.groupby("check")
            }
        return {}

    def _check(self, code: str, frame: pd.DataFrame) -> pa.Check:
        configuration = self.configurations[code]
        kind, found = configuration.type, configuration.kwargs
        if kind in BUILT_IN:
            return BUILT_IN[kind](found, code)
        if kind == "expect_column_values_to_be_between":
            return _between(found, code)
        if kind == "expect_compound_columns_to_be_unique":
            return _whole_rows(frame, found["column_list"], lambda rows: ~rows.duplicated(keep=False), code)
        return self._ours(configuration, frame, code)

    def _ours(self, configuration: Any, frame: pd.DataFrame, code: str) -> pa.Check:
        """Return a check that runs the condition of a rule of our own."""
        expectation = configuration.to_domain_obj()
        provider = PROVIDERS[expectation.map_metric]
        condition = inspect.unwrap(vars(provider)["_pandas"])
        values = {name: getattr(expectation, name) for name in provider.condition_value_keys}
        if "reference" in values:
            keys = self.references["patients"]
            return pa.Check(lambda column: column.isin(keys), error=code)
        if "column" in configuration.kwargs:
            return pa.Check(lambda column: condition(provider, column, **values), error=code)
        if "column_list" in configuration.kwargs:
            names = configuration.kwargs["column_list"]
            return _whole_rows(frame, names, lambda rows: condition(provider, rows, **values), code)
        first, second = (configuration.kwargs[name] for name in ("column_A", "column_B"))
        ignored = expectation.ignore_row_if == "either_value_is_missing"

        def pair(_column: pd.Series[Any]) -> pd.Series[bool]:
            rows = frame[[first, second]].dropna() if ignored else frame[[first, second]]
            good: pd.Series[bool] = condition(provider, rows[first], rows[second], **values)
            return good.reindex(frame.index, fill_value=True)

        return pa.Check(pair, error=code, ignore_na=False)


def _providers() -> dict[str, Any]:
    found = {}
    for provider in vars(custom).values():
        name = getattr(provider, "condition_metric_name", None) if isinstance(provider, type) else None
        if name:
            found[str(name)] = provider
    return found


PROVIDERS: Final = _providers()


def _between(found: Mapping[str, Any], code: str) -> pa.Check:
    least, most = found.get("min_value"), found.get("max_value")
    if most is None:
        return pa.Check.ge(least, error=code)
    return pa.Check.le(most, error=code) if least is None else pa.Check.in_range(least, most, error=code)


def _whole_rows(
    frame: pd.DataFrame, names: list[str], condition: Callable[[pd.DataFrame], Any], code: str
) -> pa.Check:
    """Return a check of several columns; rows that miss one of them pass, as with our rules."""

    def check(_column: pd.Series[Any]) -> Any:
        rows = frame[names]
        return condition(rows) | rows.isna().any(axis=1)

    return pa.Check(check, error=code, ignore_na=False)
