"""T-SQL types: what stores them in DuckDB and how their values travel in TDS.

A type is named as it is declared: ``decimal(18,10)``, ``nvarchar(max)``, ``rowversion``. Texts of both kinds
(``varchar`` and ``nvarchar``) travel as UTF-16, which no client can tell apart by the values it gets.
"""

import datetime as dt
import decimal
import re
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tests.support.tds.errors import SqlError

COLLATION = bytes.fromhex("1904d00000")  # Cyrillic_General_CI_AS, LCID 1049
FIRST_DAY = dt.date(1, 1, 1)
EPOCH_1900 = dt.datetime(1900, 1, 1)
TICKS_A_DAY = 300 * 86400
MAX_NVARCHAR = 4000
MAX_BINARY = 8000
TEXT_TYPES = frozenset({"nvarchar", "nchar", "varchar", "char", "ntext", "text", "sysname"})
BINARY_TYPES = frozenset({"binary", "varbinary", "rowversion", "timestamp", "image"})

_ALIASES = {"integer": "int", "dec": "decimal", "double precision": "float"}

Encoder = Callable[[Any], bytes]


@dataclass(frozen=True)
class WireType:
    """TYPE_INFO of a column and the way its values (never NULL) are written in a row."""

    info: bytes
    encode: Encoder


def parse_type(declared: str) -> tuple[str, tuple[int, ...]]:
    """Splits ``decimal(18, 10)`` into its name and its numbers; ``max`` is -1."""
    name, _, rest = declared.strip().lower().partition("(")
    name = name.strip()
    return _ALIASES.get(name, name), tuple(
        -1 if part == "max" else int(part) for part in re.findall(r"max|\d+", rest)
    )


_DUCK = {
    "tinyint": "UTINYINT", "smallint": "SMALLINT", "int": "INTEGER", "bigint": "BIGINT", "bit": "BOOLEAN",
    "float": "DOUBLE", "real": "FLOAT", "money": "DECIMAL(19,4)", "smallmoney": "DECIMAL(10,4)",
    "date": "DATE", "time": "TIME", "datetime": "TIMESTAMP", "datetime2": "TIMESTAMP",
    "smalldatetime": "TIMESTAMP", "uniqueidentifier": "UUID",
}  # fmt: skip


def duck_type(declared: str) -> str:
    """The DuckDB type that holds a declared T-SQL type."""
    name, numbers = parse_type(declared)
    if name in {"decimal", "numeric"}:
        precision, scale = (*numbers, 18, 0)[:2] if len(numbers) != 1 else (numbers[0], 0)
        return f"DECIMAL({precision},{scale})"
    if name in TEXT_TYPES:
        return "VARCHAR"
    return "BLOB" if name in BINARY_TYPES else _DUCK[name]


_INFERRED = {
    "BOOLEAN": "bit", "UTINYINT": "tinyint", "TINYINT": "smallint", "SMALLINT": "smallint",
    "USMALLINT": "int", "INTEGER": "int", "UINTEGER": "bigint", "BIGINT": "bigint",
    "HUGEINT": "decimal(38,0)", "UBIGINT": "decimal(38,0)", "UHUGEINT": "decimal(38,0)",
    "DOUBLE": "float", "FLOAT": "real", "DATE": "date", "TIME": "time", "UUID": "uniqueidentifier",
    "BLOB": "varbinary(max)", "NULL": "int",
}  # fmt: skip


def inferred_type(duck: str, values: list[Any]) -> str:
    """The T-SQL type of a result column nobody declared."""
    name = duck.upper().strip('"')
    if name.startswith("TIMESTAMP"):
        return "datetime2(7)"
    if name.startswith("DECIMAL"):
        return name.lower()
    if name == "VARCHAR":
        # SQL Server makes a text nvarchar(max) only where it has to.
        return (
            "nvarchar(max)"
            if any(len(v) > MAX_NVARCHAR for v in values if v is not None)
            else "nvarchar(4000)"
        )
    if name not in _INFERRED:
        raise SqlError(8114, f"The test server has no T-SQL type for {name}.")
    return _INFERRED[name]


# --- values ---------------------------------------------------------------------------------------------------


def _counted(encode: Encoder) -> Encoder:
    def counted(value: Any) -> bytes:
        data = encode(value)
        return bytes([len(data)]) + data

    return counted


def _long(data: bytes) -> bytes:
    """One value of a (max) type, in a single chunk."""
    chunk = struct.pack("<I", len(data)) + data if data else b""
    return struct.pack("<Q", len(data)) + chunk + bytes(4)


def _integer(width: int) -> WireType:
    signed = width > 1
    return WireType(bytes([0x26, width]), _counted(lambda v: int(v).to_bytes(width, "little", signed=signed)))


def _decimal(numbers: tuple[int, ...]) -> WireType:
    precision, scale = (numbers[0], numbers[1] if len(numbers) > 1 else 0) if numbers else (18, 0)
    width = 5 if precision <= 9 else 9 if precision <= 19 else 13 if precision <= 28 else 17
    context = decimal.Context(prec=60, rounding=decimal.ROUND_HALF_UP)

    def encode(value: Any) -> bytes:
        scaled = int(decimal.Decimal(str(value)).scaleb(scale, context).to_integral_value(context=context))
        return bytes([scaled >= 0]) + abs(scaled).to_bytes(width - 1, "little")

    return WireType(bytes([0x6A, width, precision, scale]), _counted(encode))


def _money(value: Any) -> bytes:
    scaled = int(decimal.Decimal(str(value)) * 10000)
    return struct.pack("<iI", scaled >> 32, scaled & 0xFFFFFFFF)


def _time_bytes(value: dt.time, scale: int) -> bytes:
    ticks = ((value.hour * 60 + value.minute) * 60 + value.second) * 10**7 + value.microsecond * 10
    return int(ticks // 10 ** (7 - scale)).to_bytes(3 if scale <= 2 else 4 if scale <= 4 else 5, "little")


def _date_bytes(value: dt.date) -> bytes:
    day = value.date() if isinstance(value, dt.datetime) else value
    return (day - FIRST_DAY).days.to_bytes(3, "little")


def _datetime_bytes(value: dt.datetime) -> bytes:
    """Days since 1900 and three-hundredths of a second."""
    span = value - EPOCH_1900
    ticks = round((span.seconds * 10**6 + span.microseconds) * 3 / 10**4)
    return struct.pack("<iI", span.days + ticks // TICKS_A_DAY, ticks % TICKS_A_DAY)


def _minutes_bytes(value: dt.datetime) -> bytes:
    span = value - EPOCH_1900
    return struct.pack("<HH", span.days, round(span.seconds / 60))


def utf16(value: Any) -> bytes:
    """A text on the wire."""
    return str(value).encode("utf-16le")


def _text(numbers: tuple[int, ...]) -> WireType:
    size = numbers[0] if numbers else 1
    if size == -1 or size > MAX_NVARCHAR:
        return WireType(b"\xe7\xff\xff" + COLLATION, lambda v: _long(utf16(v)))

    def encode(value: Any) -> bytes:
        data = utf16(value)
        if len(data) > size * 2:
            raise SqlError(8152, "String or binary data would be truncated.")
        return struct.pack("<H", len(data)) + data

    return WireType(b"\xe7" + struct.pack("<H", size * 2) + COLLATION, encode)


def _binary(code: int, numbers: tuple[int, ...]) -> WireType:
    size = numbers[0] if numbers else 1
    if size == -1:
        return WireType(b"\xa5\xff\xff", lambda v: _long(bytes(v)))
    fixed = code == 0xAD

    def encode(value: Any) -> bytes:
        data = bytes(value).ljust(size, b"\0") if fixed else bytes(value)
        return struct.pack("<H", len(data)) + data

    return WireType(bytes([code]) + struct.pack("<H", size), encode)


def _datetime2(numbers: tuple[int, ...]) -> WireType:
    scale = numbers[0] if numbers else 7
    return WireType(
        bytes([0x2A, scale]), _counted(lambda v: _time_bytes(v.time(), scale) + _date_bytes(v.date()))
    )


def _time(numbers: tuple[int, ...]) -> WireType:
    scale = numbers[0] if numbers else 7
    return WireType(bytes([0x29, scale]), _counted(lambda v: _time_bytes(v, scale)))


_WIRE: dict[str, Callable[[tuple[int, ...]], WireType]] = {
    "tinyint": lambda _: _integer(1),
    "smallint": lambda _: _integer(2),
    "int": lambda _: _integer(4),
    "bigint": lambda _: _integer(8),
    "bit": lambda _: WireType(b"\x68\x01", _counted(lambda v: bytes([bool(v)]))),
    "float": lambda _: WireType(b"\x6d\x08", _counted(lambda v: struct.pack("<d", v))),
    "real": lambda _: WireType(b"\x6d\x04", _counted(lambda v: struct.pack("<f", v))),
    "decimal": _decimal,
    "numeric": _decimal,
    "money": lambda _: WireType(b"\x6e\x08", _counted(_money)),
    "smallmoney": lambda _: WireType(b"\x6e\x08", _counted(_money)),
    "date": lambda _: WireType(b"\x28", _counted(_date_bytes)),
    "time": _time,
    "datetime": lambda _: WireType(b"\x6f\x08", _counted(_datetime_bytes)),
    "smalldatetime": lambda _: WireType(b"\x6f\x04", _counted(_minutes_bytes)),
    "datetime2": _datetime2,
    "uniqueidentifier": lambda _: WireType(b"\x24\x10", _counted(lambda v: uuid.UUID(str(v)).bytes_le)),
    "binary": lambda numbers: _binary(0xAD, numbers),
    "varbinary": lambda numbers: _binary(0xA5, numbers),
    "image": lambda _: _binary(0xA5, (-1,)),
    "rowversion": lambda _: _binary(0xAD, (8,)),
    "timestamp": lambda _: _binary(0xAD, (8,)),
    "sysname": lambda _: _text((128,)),
    "ntext": lambda _: _text((-1,)),
    "text": lambda _: _text((-1,)),
    **dict.fromkeys(("nvarchar", "nchar", "varchar", "char"), _text),
}


@lru_cache(maxsize=256)
def wire_type(declared: str) -> WireType:
    """How a column of a declared T-SQL type travels."""
    name, numbers = parse_type(declared)
    return _WIRE[name](numbers)
