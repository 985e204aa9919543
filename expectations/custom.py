"""Rules that Great Expectations does not have; importing the module registers them.

All are vectorised: its own pair rules walk the rows one by one (``validation-and-diff.md`` measured 6 s per
100 000 rows), and its regular expressions are searches that let a trailing newline pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, Literal
from uuid import uuid4

import pandas as pd
import phonenumbers
from great_expectations.core.suite_parameters import SuiteParameterDict
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import (
    ColumnMapExpectation,
    ColumnPairMapExpectation,
    MulticolumnMapExpectation,
)
from great_expectations.expectations.metrics.map_metric_provider import (  # type: ignore[attr-defined]
    ColumnMapMetricProvider,
    ColumnPairMapMetricProvider,
    MulticolumnMapMetricProvider,
    column_condition_partial,
    column_pair_condition_partial,
    multicolumn_condition_partial,
)

__all__ = [
    "ExpectColumnValuesToBeE164",
    "ExpectColumnValuesToBeInReference",
    "ExpectDayToBePlausible",
    "ExpectDifferent",
    "ExpectEitherToBeFilled",
    "ExpectLiveRowsToBeUnique",
    "ExpectNotBefore",
    "ExpectNothingWhen",
    "ExpectPartWithinWhole",
    "ExpectSpanToBePlausible",
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

#: Russian mobiles as the library itself describes them.
RUSSIA: Any = phonenumbers.PhoneMetadata.metadata_for_region("RU")
RUSSIAN_MOBILE = rf"\+7(?:{RUSSIA.mobile.national_number_pattern})"

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


@lru_cache(maxsize=200_000)
def _is_phone(text: str) -> bool:
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException:
        return False
    written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return phonenumbers.is_valid_number(number) and written == text


class _E164(ColumnMapMetricProvider):
    condition_metric_name = "column_values.e164"

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series[Any], **_: Any) -> pd.Series[bool]:  # noqa: N805 - the decorator makes it a class method
        texts = column.astype("str")
        # Nine of ten numbers are Russian mobiles: the library's own pattern judges them as one column.
        valid = texts.str.fullmatch(RUSSIAN_MOBILE).astype(bool)
        others = texts[~valid]
        known = {text: _is_phone(text) for text in others.unique()}
        return valid.where(valid, others.map(known)).astype(bool)


class ExpectColumnValuesToBeE164(ColumnMapExpectation):
    """The phone is a valid number in E.164; an unreadable one was left as found and fails here."""

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


class _PlausibleDay(ColumnMapMetricProvider):
    condition_metric_name = "column_values.plausible_day"
    condition_value_keys = ("earliest", "latest", "sentinels")

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(
        cls,  # noqa: N805
        column: pd.Series[Any],
        earliest: datetime,
        latest: datetime,
        sentinels: list[datetime],
        **_: Any,
    ) -> pd.Series[bool]:
        return (column.between(earliest, latest) | column.isin(sentinels)).astype(bool)


class ExpectDayToBePlausible(ColumnMapExpectation):
    """The day lies between two days; one that stands for "unknown" is another rule's."""

    earliest: datetime | SuiteParameterDict[str, Any]
    latest: datetime | SuiteParameterDict[str, Any]
    sentinels: list[datetime]
    map_metric: ClassVar[str] = "column_values.plausible_day"
    success_keys: ClassVar[tuple[str, ...]] = ("earliest", "latest", "sentinels", "mostly")
    args_keys: ClassVar[tuple[str, ...]] = ("column", "earliest", "latest", "sentinels")


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
    condition_value_keys = ("tolerance_hours",)

    @column_pair_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(
        cls,  # noqa: N805
        column_A: pd.Series[Any],  # noqa: N803 - upstream's name
        column_B: pd.Series[Any],  # noqa: N803 - upstream's name
        tolerance_hours: float = 0.0,
        **_: Any,
    ) -> pd.Series[bool]:
        return (column_A + pd.Timedelta(hours=tolerance_hours) >= column_B).astype(bool)


class ExpectNotBefore(ColumnPairMapExpectation):
    """The first instant is not before the second; rows that miss one of them pass."""

    column_A: str  # noqa: N815 - upstream's name
    column_B: str  # noqa: N815 - upstream's name
    tolerance_hours: float = 0.0
    ignore_row_if: str = "either_value_is_missing"
    domain_keys: ClassVar[tuple[str, ...]] = PAIR_DOMAIN  # type: ignore[assignment]
    map_metric: ClassVar[str] = "column_pair_values.not_before"
    success_keys: ClassVar[tuple[str, ...]] = ("tolerance_hours", "mostly")
    args_keys: ClassVar[tuple[str, ...]] = ("column_A", "column_B", "tolerance_hours")


class _Span(ColumnPairMapMetricProvider):
    condition_metric_name = "column_pair_values.span_plausible"
    condition_domain_keys = PAIR_DOMAIN
    condition_value_keys = ("longest_hours",)

    @column_pair_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(
        cls,  # noqa: N805
        column_A: pd.Series[Any],  # noqa: N803 - upstream's name
        column_B: pd.Series[Any],  # noqa: N803 - upstream's name
        longest_hours: float,
        **_: Any,
    ) -> pd.Series[bool]:
        span = column_B - column_A
        nothing = pd.Timedelta(0)
        # One that ends before it begins is another rule's.
        return ((span < nothing) | ((span > nothing) & (span <= pd.Timedelta(hours=longest_hours)))).astype(
            bool
        )


class ExpectSpanToBePlausible(ColumnPairMapExpectation):
    """What lies between two instants is more than nothing and no more than so many hours."""

    column_A: str  # noqa: N815 - upstream's name
    column_B: str  # noqa: N815 - upstream's name
    longest_hours: float | SuiteParameterDict[str, Any]
    ignore_row_if: str = "either_value_is_missing"
    domain_keys: ClassVar[tuple[str, ...]] = PAIR_DOMAIN  # type: ignore[assignment]
    map_metric: ClassVar[str] = "column_pair_values.span_plausible"
    success_keys: ClassVar[tuple[str, ...]] = ("longest_hours", "mostly")
    args_keys: ClassVar[tuple[str, ...]] = ("column_A", "column_B", "longest_hours")


class _AtMost(ColumnPairMapMetricProvider):
    condition_metric_name = "column_pair_values.at_most"
    condition_domain_keys = PAIR_DOMAIN
    condition_value_keys = ()

    @column_pair_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column_A: pd.Series[Any], column_B: pd.Series[Any], **_: Any) -> pd.Series[bool]:  # noqa: N803, N805
        # A negative bill is another rule's.
        return ((column_B < 0) | (column_A <= column_B)).astype(bool)


class ExpectPartWithinWhole(ColumnPairMapExpectation):
    """The first amount is no more than the second; rows that miss one of them pass."""

    column_A: str  # noqa: N815 - upstream's name
    column_B: str  # noqa: N815 - upstream's name
    ignore_row_if: str = "either_value_is_missing"
    domain_keys: ClassVar[tuple[str, ...]] = PAIR_DOMAIN  # type: ignore[assignment]
    map_metric: ClassVar[str] = "column_pair_values.at_most"
    success_keys: ClassVar[tuple[str, ...]] = ("mostly",)
    args_keys: ClassVar[tuple[str, ...]] = ("column_A", "column_B")


class _Different(ColumnPairMapMetricProvider):
    condition_metric_name = "column_pair_values.different"
    condition_domain_keys = PAIR_DOMAIN
    condition_value_keys = ()

    @column_pair_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column_A: pd.Series[Any], column_B: pd.Series[Any], **_: Any) -> pd.Series[bool]:  # noqa: N803, N805
        return (column_A != column_B).astype(bool)


class ExpectDifferent(ColumnPairMapExpectation):
    """Two columns do not hold the same; rows that miss one of them pass."""

    column_A: str  # noqa: N815 - upstream's name
    column_B: str  # noqa: N815 - upstream's name
    ignore_row_if: str = "either_value_is_missing"
    domain_keys: ClassVar[tuple[str, ...]] = PAIR_DOMAIN  # type: ignore[assignment]
    map_metric: ClassVar[str] = "column_pair_values.different"
    success_keys: ClassVar[tuple[str, ...]] = ("mostly",)
    args_keys: ClassVar[tuple[str, ...]] = ("column_A", "column_B")


class _NothingWhen(ColumnPairMapMetricProvider):
    condition_metric_name = "column_pair_values.excluded_when"
    condition_domain_keys = PAIR_DOMAIN
    condition_value_keys = ("values",)

    @column_pair_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(
        cls,  # noqa: N805
        column_A: pd.Series[Any],  # noqa: N803 - upstream's name
        column_B: pd.Series[Any],  # noqa: N803 - upstream's name
        values: list[str],
        **_: Any,
    ) -> pd.Series[bool]:
        return (~column_A.isin(values) | column_B.isna()).astype(bool)


class ExpectNothingWhen(ColumnPairMapExpectation):
    """The second column is empty where the first has one of these values."""

    column_A: str  # noqa: N815 - upstream's name
    column_B: str  # noqa: N815 - upstream's name
    values: list[str]
    ignore_row_if: str = "neither"
    domain_keys: ClassVar[tuple[str, ...]] = PAIR_DOMAIN  # type: ignore[assignment]
    map_metric: ClassVar[str] = "column_pair_values.excluded_when"
    success_keys: ClassVar[tuple[str, ...]] = ("values", "mostly")
    args_keys: ClassVar[tuple[str, ...]] = ("column_A", "column_B", "values")


class _LiveUnique(MulticolumnMapMetricProvider):
    condition_metric_name = "multicolumn_values.live_unique"
    condition_domain_keys = (
        "batch_id",
        "table",
        "column_list",
        "row_condition",
        "condition_parser",
        "ignore_row_if",
    )
    condition_value_keys = ("dead",)

    @multicolumn_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column_list: pd.DataFrame, dead: list[str], **_: Any) -> pd.Series[bool]:  # noqa: N805
        *names, state = column_list.columns
        live = ~column_list[state].isin(dead)
        twice = column_list.loc[live, names].duplicated(keep=False)
        return ~twice.reindex(column_list.index, fill_value=False)


class ExpectLiveRowsToBeUnique(MulticolumnMapExpectation):
    """The columns but the last are unique together, among rows whose last column is none of these values."""

    column_list: list[str]
    dead: list[str]
    ignore_row_if: Literal["all_values_are_missing", "any_value_is_missing", "never"] = "any_value_is_missing"
    map_metric: ClassVar[str] = "multicolumn_values.live_unique"
    success_keys: ClassVar[tuple[str, ...]] = ("dead", "mostly")
    args_keys: ClassVar[tuple[str, ...]] = ("column_list", "dead")
