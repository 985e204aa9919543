"""Reads the typed values that clients send with a remote procedure call."""

import datetime as dt
import decimal
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.tds.errors import SqlError
from tests.support.tds.types import EPOCH_1900, FIRST_DAY

NULL_SHORT = 0xFFFF
NULL_LONG = 0xFFFFFFFF
NULL_MAX = 0xFFFFFFFFFFFFFFFF


class Reader:
    """A cursor over the bytes of one message."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise SqlError(4002, "The incoming tabular data stream is incorrect: it ends too early.")
        self._at += count
        return self._data[self._at - count : self._at]

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def peek(self) -> int:
        return self._data[self._at]

    def number(self, form: str) -> int:
        return int(struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0])

    def name(self) -> str:
        """A text behind its length in one byte."""
        return self.take(self.number("B") * 2).decode("utf-16le")


@dataclass(frozen=True)
class Parameter:
    """One value of a call; ``name`` is empty where the client sent it by position."""

    name: str
    value: Any


def read_parameter(reader: Reader) -> Parameter:
    """Reads name, status, type and value."""
    name = reader.name().lstrip("@").lower()
    reader.take(1)  # by reference, default: means nothing here
    code = reader.number("B")
    if code not in _READERS:
        raise SqlError(8009, f"The test server does not read parameters of type 0x{code:02x}.")
    return Parameter(name, _READERS[code](reader))


def _data(reader: Reader, size: int) -> bytes | None:
    if size == NULL_SHORT:  # a (max) type: chunks
        if reader.number("Q") == NULL_MAX:
            return None
        chunks = []
        while length := reader.number("I"):
            chunks.append(reader.take(length))
        return b"".join(chunks)
    length = reader.number("H")
    return None if length == NULL_SHORT else reader.take(length)


def _text(encoding: str) -> Callable[[Reader], str | None]:
    def read(reader: Reader) -> str | None:
        size = reader.number("H")
        reader.take(5)
        data = _data(reader, size)
        return None if data is None else data.decode(encoding)

    return read


def _bytes(reader: Reader) -> bytes | None:
    return _data(reader, reader.number("H"))


def _old_text(encoding: str) -> Callable[[Reader], str | None]:
    """The types ``text`` and ``ntext``: FreeTDS sends the texts of statements so."""

    def read(reader: Reader) -> str | None:
        reader.take(9)
        length = reader.number("I")
        return None if length == NULL_LONG else reader.take(length).decode(encoding)

    return read


def _image(reader: Reader) -> bytes | None:
    reader.take(4)
    length = reader.number("I")
    return None if length == NULL_LONG else reader.take(length)


def _sized(convert: Callable[[bytes], Any]) -> Callable[[Reader], Any]:
    """A type that declares its size in a byte and sends the value behind another."""

    def read(reader: Reader) -> Any:
        reader.take(1)
        data = reader.take(reader.number("B"))
        return convert(data) if data else None

    return read


def _date(data: bytes) -> dt.date:
    return FIRST_DAY + dt.timedelta(int.from_bytes(data, "little"))


def _time(data: bytes, scale: int) -> dt.time:
    microseconds = int.from_bytes(data, "little") * 10 ** (7 - scale) // 10
    return (EPOCH_1900 + dt.timedelta(microseconds=microseconds)).time()


def _read_date(reader: Reader) -> dt.date | None:
    data = reader.take(reader.number("B"))
    return _date(data) if data else None


def _read_time(reader: Reader) -> dt.time | None:
    scale = reader.number("B")
    data = reader.take(reader.number("B"))
    return _time(data, scale) if data else None


def _read_datetime2(reader: Reader) -> dt.datetime | None:
    scale = reader.number("B")
    data = reader.take(reader.number("B"))
    return dt.datetime.combine(_date(data[-3:]), _time(data[:-3], scale)) if data else None


def _read_decimal(reader: Reader) -> decimal.Decimal | None:
    reader.take(2)
    scale = reader.number("B")
    data = reader.take(reader.number("B"))
    if not data:
        return None
    digits = int.from_bytes(data[1:], "little")
    return decimal.Decimal(digits if data[0] else -digits).scaleb(-scale, decimal.Context(prec=60))


def _datetime(data: bytes) -> dt.datetime:
    if len(data) == 4:
        days, minutes = struct.unpack("<HH", data)
        return EPOCH_1900 + dt.timedelta(days, minutes=minutes)
    days, ticks = struct.unpack("<iI", data)
    return EPOCH_1900 + dt.timedelta(days, milliseconds=round(ticks * 10 / 3))


def _money(data: bytes) -> decimal.Decimal:
    if len(data) == 4:
        return decimal.Decimal(struct.unpack("<i", data)[0]) / 10000
    high, low = struct.unpack("<iI", data)
    return decimal.Decimal((high << 32) | low) / 10000


def _fixed(form: str) -> Callable[[Reader], int]:
    return lambda reader: reader.number(form)


_READERS: dict[int, Callable[[Reader], Any]] = {
    **dict.fromkeys((0xE7, 0xEF), _text("utf-16le")),
    **dict.fromkeys((0xA7, 0xAF), _text("cp1251")),
    **dict.fromkeys((0xA5, 0xAD), _bytes),
    0x63: _old_text("utf-16le"),
    0x23: _old_text("cp1251"),
    0x22: _image,
    0x30: _fixed("B"),
    0x34: _fixed("h"),
    0x38: _fixed("i"),
    0x7F: _fixed("q"),
    0x32: lambda reader: bool(reader.number("B")),
    0x26: _sized(lambda data: int.from_bytes(data, "little", signed=len(data) > 1)),
    0x68: _sized(lambda data: bool(data[0])),
    0x6D: _sized(lambda data: struct.unpack("<d" if len(data) == 8 else "<f", data)[0]),
    0x24: _sized(lambda data: uuid.UUID(bytes_le=bytes(data))),
    0x6F: _sized(_datetime),
    0x6E: _sized(_money),
    0x28: _read_date,
    0x29: _read_time,
    0x2A: _read_datetime2,
    **dict.fromkeys((0x6A, 0x6C), _read_decimal),
}
