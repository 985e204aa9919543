"""Rules that Great Expectations does not have; importing the module registers them.

All are vectorised: its own pair rules walk the rows one by one (``validation-and-diff.md`` measured 6 s per
100 000 rows), and its regular expressions are searches that let a trailing newline pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar
from uuid import uuid4

import pandas as pd
from great_expectations.core.suite_parameters import SuiteParameterDict
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import ColumnMapExpectation, ColumnPairMapExpectation
from great_expectations.expectations.metrics.map_metric_provider import (  # type: ignore[attr-defined]
    ColumnMapMetricProvider,
    ColumnPairMapMetricProvider,
    column_condition_partial,
    column_pair_condition_partial,
)

__all__ = [
    "ExpectColumnValuesToBeE164",
    "ExpectColumnValuesToBeInReference",
    "ExpectEitherToBeFilled",
    "ExpectNotBefore",
    "references",
]

PAIR_DOMAIN = (
    "batch_id",
    "table",
    "column_A",
    "column_B",
    "row_condition",
    "condition_parser",
    "ignore_row_if",
)

_REFERENCES: dict[str, pd.Index] = {}


@contextmanager
def references(sets: Mapping[str, pd.Index]) -> Iterator[dict[str, str]]:
    """Hold key sets for the time of one validation.

    A rule is given a token instead of the keys: a hundred thousand literals in a rule cost seconds and would
    be written into the stored result.

    Args:
        sets: Keys by name.

    Yields:
        A token by name, to pass as a suite parameter.
    """
    tokens = {name: f"{name}-{uuid4().hex}" for name in sets}
    _REFERENCES.update({tokens[name]: keys for name, keys in sets.items()})
    try:
        yield tokens
    finally:
        for token in tokens.values():
            _REFERENCES.pop(token, None)


class _E164(ColumnMapMetricProvider):
    condition_metric_name = "column_values.e164"

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series[Any], **_: Any) -> pd.Series[bool]:  # noqa: N805 - the decorator makes it a class method
        return column.astype("str").str.fullmatch(r"\+[1-9]\d{6,14}").astype(bool)


class ExpectColumnValuesToBeE164(ColumnMapExpectation):
    """The phone is in E.164; an unreadable one was left as found and fails here."""

    map_metric: ClassVar[str] = "column_values.e164"
    success_keys: ClassVar[tuple[str, ...]] = ("mostly",)
    args_keys: ClassVar[tuple[str, ...]] = ("column",)


class _InReference(ColumnMapMetricProvider):
    condition_metric_name = "column_values.in_reference"
    condition_value_keys = ("reference",)

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series[Any], reference: str, **_: Any) -> pd.Series[bool]:  # noqa: N805
        return column.isin(_REFERENCES[reference])


class ExpectColumnValuesToBeInReference(ColumnMapExpectation):
    """The key exists in a set held by ``references``."""

    reference: str | SuiteParameterDict[str, Any]
    map_metric: ClassVar[str] = "column_values.in_reference"
    success_keys: ClassVar[tuple[str, ...]] = ("reference", "mostly")
    args_keys: ClassVar[tuple[str, ...]] = ("column", "reference")


class _EitherPresent(ColumnPairMapMetricProvider):
    condition_metric_name = "column_pair_values.either_present"
    condition_domain_keys = PAIR_DOMAIN
    condition_value_keys = ()

    @column_pair_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column_A: pd.Series[Any], column_B: pd.Series[Any], **_: Any) -> pd.Series[bool]:  # noqa: N803, N805
        return (column_A.notna() | column_B.notna()).astype(bool)


class ExpectEitherToBeFilled(ColumnPairMapExpectation):
    """At least one of two columns is filled."""

    column_A: str  # noqa: N815 - upstream's name
    column_B: str  # noqa: N815 - upstream's name
    ignore_row_if: str = "neither"
    domain_keys: ClassVar[tuple[str, ...]] = PAIR_DOMAIN  # type: ignore[assignment]
    map_metric: ClassVar[str] = "column_pair_values.either_present"
    success_keys: ClassVar[tuple[str, ...]] = ("mostly",)
    args_keys: ClassVar[tuple[str, ...]] = ("column_A", "column_B")


class _NotBefore(ColumnPairMapMetricProvider):
    condition_metric_name = "column_pair_values.not_before"
    condition_domain_keys = PAIR_DOMAIN
    condition_value_keys = ()

    @column_pair_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column_A: pd.Series[Any], column_B: pd.Series[Any], **_: Any) -> pd.Series[bool]:  # noqa: N803, N805
        return (column_A >= column_B).astype(bool)


class ExpectNotBefore(ColumnPairMapExpectation):
    """The first instant is not before the second; rows that miss one of them pass."""

    column_A: str  # noqa: N815 - upstream's name
    column_B: str  # noqa: N815 - upstream's name
    ignore_row_if: str = "either_value_is_missing"
    domain_keys: ClassVar[tuple[str, ...]] = PAIR_DOMAIN  # type: ignore[assignment]
    map_metric: ClassVar[str] = "column_pair_values.not_before"
    success_keys: ClassVar[tuple[str, ...]] = ("mostly",)
    args_keys: ClassVar[tuple[str, ...]] = ("column_A", "column_B")
