"""Rules about a table as a whole; importing the module registers them.

They judge numbers and names of columns only: nothing that they observe is a patient's.
"""

from __future__ import annotations

from typing import Any, ClassVar

from great_expectations.core.suite_parameters import SuiteParameterDict
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

from expectations.whole import Whole, emptied, filled_shares

__all__ = [
    "ExpectColumnTypesToBeDeclared",
    "ExpectColumnsToStayFilled",
    "ExpectFewRowsToLackAll",
    "ExpectMeasureToBeBetween",
]

Parameter = SuiteParameterDict[str, Any]


class _FilledShares(TableMetricProvider):
    metric_name = "table.filled_shares"

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,  # noqa: N805 - the decorator makes it a class method
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        **_: Any,
    ) -> dict[str, float]:
        frame, _compute, _accessor = execution_engine.get_compute_domain(metric_domain_kwargs, "table")
        return filled_shares(frame)


class _LackingAll(TableMetricProvider):
    metric_name = "table.share_lacking_all"
    value_keys = ("columns",)

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,  # noqa: N805
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        **_: Any,
    ) -> float:
        frame, _compute, _accessor = execution_engine.get_compute_domain(metric_domain_kwargs, "table")
        lacking = frame[list(metric_value_kwargs["columns"])].isna().all(axis=1)
        return float(lacking.mean()) if len(frame) else 0.0


class ExpectColumnTypesToBeDeclared(BatchExpectation):
    """Every column has the type that it was declared with."""

    declared: dict[str, str] | Parameter
    found: dict[str, str] | Parameter
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.row_count",)
    success_keys: ClassVar[tuple[str, ...]] = ("declared", "found")
    args_keys: ClassVar[tuple[str, ...]] = ("declared", "found")

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        del metrics, runtime_configuration, execution_engine
        kwargs = self._get_success_kwargs()
        wrong = sorted(
            name for name, dtype in kwargs["found"].items() if kwargs["declared"].get(name, dtype) != dtype
        )
        return {"success": not wrong, "result": {"observed_value": len(wrong), "details": {"columns": wrong}}}


class ExpectColumnsToStayFilled(BatchExpectation):
    """No column that used to be filled holds nothing."""

    before: dict[str, float] | Parameter
    is_full: bool | Parameter
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.row_count", "table.filled_shares")
    success_keys: ClassVar[tuple[str, ...]] = ("before", "is_full")
    args_keys: ClassVar[tuple[str, ...]] = ("before", "is_full")

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        del runtime_configuration, execution_engine
        kwargs = self._get_success_kwargs()
        whole = Whole(filled_before=kwargs["before"], is_full=bool(kwargs["is_full"]))
        names = emptied(metrics["table.filled_shares"], metrics["table.row_count"], whole)
        return {"success": not names, "result": {"observed_value": len(names), "details": {"columns": names}}}


class ExpectFewRowsToLackAll(BatchExpectation):
    """No more than a share of the rows has none of these columns filled; too few rows tell nothing."""

    columns: list[str]
    at_most: float | Parameter
    fewest_rows: int | Parameter
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.row_count", "table.share_lacking_all")
    success_keys: ClassVar[tuple[str, ...]] = ("columns", "at_most", "fewest_rows")
    args_keys: ClassVar[tuple[str, ...]] = ("columns", "at_most", "fewest_rows")

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        del runtime_configuration, execution_engine
        kwargs = self._get_success_kwargs()
        share = round(metrics["table.share_lacking_all"], 4)
        success = metrics["table.row_count"] < kwargs["fewest_rows"] or share <= kwargs["at_most"]
        return {"success": success, "result": {"observed_value": share}}


class ExpectMeasureToBeBetween(BatchExpectation):
    """A number that was measured on the whole table lies within its bounds; one that is unknown passes."""

    measure: str
    value: float | Parameter | None = None
    least: float | Parameter | None = None
    most: float | Parameter | None = None
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.row_count",)
    success_keys: ClassVar[tuple[str, ...]] = ("measure", "value", "least", "most")
    args_keys: ClassVar[tuple[str, ...]] = ("measure", "value", "least", "most")

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        del metrics, runtime_configuration, execution_engine
        kwargs = self._get_success_kwargs()
        value, least, most = (kwargs.get(name) for name in ("value", "least", "most"))
        within = value is None or ((least is None or value >= least) and (most is None or value <= most))
        return {"success": bool(within), "result": {"observed_value": value}}
