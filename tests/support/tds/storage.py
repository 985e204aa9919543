"""Python values on their way into DuckDB, rounded and checked as SQL Server would."""

import datetime as dt
import decimal
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from tests.support.tds.errors import SqlError
from tests.support.tds.types import BINARY_TYPES, TEXT_TYPES, duck_type, parse_type

# Three-hundredths of a second, shown as .000, .003 and .007: what a datetime keeps.
_DATETIME = "make_timestamp(CAST(round(round(epoch_us(CAST({0} AS TIMESTAMP)) * 3 / 10000.0) * 10 / 3.0) AS BIGINT) * 1000)"
_ARROW: dict[str, pa.DataType] = {
    "tinyint": pa.uint8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "bit": pa.bool_(),
    "float": pa.float64(),
    "real": pa.float32(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "datetime": pa.timestamp("us"),
    "datetime2": pa.timestamp("us"),
    "smalldatetime": pa.timestamp("us"),
    "uniqueidentifier": pa.string(),
}


def stored(expression: str, declared: str) -> str:
    """The SQL that brings a value into the form in which a column keeps it."""
    if parse_type(declared)[0] == "datetime":
        return _DATETIME.format(expression)
    return f"CAST({expression} AS {duck_type(declared)})"


def arrow_column(values: Sequence[Any], declared: str) -> pa.Array:
    """A column of values for a declared type.

    Raises:
        SqlError: A text is longer than its column (8152).
    """
    name, numbers = parse_type(declared)
    known = [None if value is None or value != value else value for value in values]  # noqa: PLR0124 - NaN, NaT
    if name in TEXT_TYPES:
        size = numbers[0] if numbers else 1
        texts = [None if value is None else str(value) for value in known]
        if size > 0 and any(len(text) > size for text in texts if text is not None):
            raise SqlError(8152, "String or binary data would be truncated.")
        return pa.array(texts, pa.string())
    if name in BINARY_TYPES:
        return pa.array([None if value is None else bytes(value) for value in known], pa.binary())
    if duck_type(declared).startswith("DECIMAL"):
        return _decimals(known, declared)
    convert = _CONVERT.get(name)
    if convert:
        known = [None if value is None else convert(value) for value in known]
    return pa.array(known, _ARROW[name])


def _decimals(values: Sequence[Any], declared: str) -> pa.Array:
    precision, scale = map(int, duck_type(declared).removeprefix("DECIMAL(").removesuffix(")").split(","))
    step = decimal.Decimal(1).scaleb(-scale)
    context = decimal.Context(prec=60, rounding=decimal.ROUND_HALF_UP)
    exact = [
        None if value is None else decimal.Decimal(str(value)).quantize(step, context=context)
        for value in values
    ]
    return pa.array(exact, pa.decimal128(precision, scale))


def _day(value: dt.date) -> dt.date:
    return value.date() if isinstance(value, dt.datetime) else value


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "tinyint": int,
    "smallint": int,
    "int": int,
    "bigint": int,
    "bit": bool,
    "date": _day,
    "uniqueidentifier": str,
}
