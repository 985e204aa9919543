"""TDS 7.4 on the wire: packets, prelogin, login, the tokens of an answer, the requests of a client.

Written from Microsoft's MS-TDS and from what FreeTDS 1.3 and msodbcsql 18 send. There is no TLS: the prelogin answers
ENCRYPT_NOT_SUP, which FreeTDS takes by default and Microsoft's driver with ``Encrypt=no``.
"""

import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.tds.errors import SqlError
from tests.support.tds.parameters import Parameter, Reader, read_parameter
from tests.support.tds.types import COLLATION, WireType

BATCH, RPC, REPLY, ATTENTION, TRANSACTION, LOGIN, PRELOGIN = 1, 3, 4, 6, 14, 16, 18
PACKET = 4096
HEADER = 8
LAST = 1

DONE, DONE_PROC, DONE_IN_PROC = 0xFD, 0xFE, 0xFF
MORE, FAILED, COUNTED, ATTENDED = 0x1, 0x2, 0x10, 0x20

SERVER_VERSION = b"\x0c\x00\x17\x88"  # 12.0.6024: SQL Server 2014 SP3, what clinics of IDENT run
TDS_74 = 0x74000004
PROCEDURES = {10: "sp_executesql", 11: "sp_prepare", 12: "sp_execute", 13: "sp_prepexec", 15: "sp_unprepare"}


# --- packets --------------------------------------------------------------------------------------------------


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionError
        data += part
    return bytes(data)


def read_message(connection: socket.socket) -> tuple[int, bytes]:
    """Reads packets up to the last one of a message: its type and its bytes."""
    data = bytearray()
    while True:
        kind, status, length = struct.unpack(">BBH", _exactly(connection, HEADER)[:4])
        data += _exactly(connection, length - HEADER)
        if status & LAST:
            return kind, bytes(data)


def write_message(connection: socket.socket, data: bytes) -> None:
    """Sends an answer, cut into packets."""
    size = PACKET - HEADER
    packets = []
    for number, start in enumerate(range(0, max(len(data), 1), size), 1):
        part = data[start : start + size]
        last = LAST if start + size >= len(data) else 0
        packets.append(struct.pack(">BBHHBB", REPLY, last, len(part) + HEADER, 0, number & 255, 0) + part)
    connection.sendall(b"".join(packets))


# --- login ----------------------------------------------------------------------------------------------------


def prelogin_reply() -> bytes:
    """Version, no encryption, no instance check, no thread, no MARS."""
    options = {0: SERVER_VERSION + b"\0\0", 1: b"\x02", 2: b"\0", 3: b"", 4: b"\0"}
    head, body = b"", b""
    for key, value in options.items():
        head += struct.pack(">BHH", key, 5 * len(options) + 1 + len(body), len(value))
        body += value
    return head + b"\xff" + body


@dataclass(frozen=True)
class Login:
    """What a client says of itself."""

    version: int
    host: str
    user: str
    password: str = field(repr=False)
    application: str
    database: str


def parse_login(data: bytes) -> Login:
    """Reads LOGIN7; passwords come with their half-bytes swapped and XORed."""

    def raw(index: int) -> bytes:
        offset, length = struct.unpack_from("<HH", data, 36 + index * 4)
        return data[offset : offset + length * 2]

    def text(index: int) -> str:
        return raw(index).decode("utf-16le")

    hidden = (byte ^ 0xA5 for byte in raw(2))
    password = bytes((byte << 4 | byte >> 4) & 0xFF for byte in hidden).decode("utf-16le")
    version = struct.unpack_from("<I", data, 4)[0]
    return Login(version, text(0), text(1), password, text(3), text(8))


def login_reply(login: Login, database: str) -> bytes:
    """The tokens that tell a client it is in."""
    version = struct.pack(">I", min(login.version, TDS_74))
    body = b"\x01" + version + short_text("Microsoft SQL Server") + SERVER_VERSION
    return (
        environment(1, short_text(database), short_text("master"))
        + environment(7, b"\x05" + COLLATION)
        + b"\xad"
        + struct.pack("<H", len(body))
        + body
        + environment(4, short_text(str(PACKET)), short_text(str(PACKET)))
    )


# --- tokens ---------------------------------------------------------------------------------------------------


def short_text(text: str) -> bytes:
    """A text behind its length in one byte."""
    data = text.encode("utf-16le")
    return bytes([len(data) // 2]) + data


def environment(kind: int, new: bytes, old: bytes = b"\0") -> bytes:
    """ENVCHANGE: 1 database, 4 packet size, 7 collation, 8/9/10 begin, commit and roll back."""
    body = bytes([kind]) + new + old
    return b"\xe3" + struct.pack("<H", len(body)) + body


def done(token: int = DONE, status: int = 0, rows: int = 0) -> bytes:
    """DONE, DONEPROC or DONEINPROC."""
    return struct.pack("<BHHQ", token, status, 0xC1, rows)


def error(problem: SqlError, server: str) -> bytes:
    """ERROR."""
    text = problem.text.encode("utf-16le")
    body = struct.pack("<iBBH", problem.number, 1, problem.severity, len(text) // 2) + text
    body += short_text(server) + short_text("") + struct.pack("<i", 1)
    return b"\xaa" + struct.pack("<H", len(body)) + body


@dataclass(frozen=True)
class Column:
    """One column of a result."""

    name: str
    type: WireType


def column_metadata(columns: Sequence[Column]) -> bytes:
    """COLMETADATA; every column may be NULL."""
    parts = [b"\x81", struct.pack("<H", len(columns))]
    parts += [struct.pack("<IH", 0, 9) + column.type.info + short_text(column.name) for column in columns]
    return b"".join(parts)


def encode_rows(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> bytes:
    """ROW tokens, and NBCROW (with a bitmap of the NULLs) where a value is missing."""
    encoders = [column.type.encode for column in columns]
    parts: list[bytes] = []
    for row in rows:
        if None not in row:
            parts.append(b"\xd1")
            parts += [encode(value) for encode, value in zip(encoders, row, strict=True)]
            continue
        bitmap = bytearray((len(encoders) + 7) // 8)
        for index, value in enumerate(row):
            if value is None:
                bitmap[index // 8] |= 1 << index % 8
        parts += [b"\xd2", bytes(bitmap)]
        parts += [encode(value) for encode, value in zip(encoders, row, strict=True) if value is not None]
    return b"".join(parts)


def return_status() -> bytes:
    """RETURNSTATUS of a procedure that went well."""
    return b"\x79" + bytes(4)


def return_handle(handle: int) -> bytes:
    """RETURNVALUE: the handle of a prepared statement."""
    head = b"\xac" + bytes(2) + short_text("") + b"\x01" + bytes(6)
    return head + b"\x26\x04\x04" + struct.pack("<i", handle)


# --- requests -------------------------------------------------------------------------------------------------


def _past_headers(data: bytes) -> Reader:
    reader = Reader(data)
    length = reader.number("I")
    reader.take(length - 4)
    return reader


def parse_batch(data: bytes) -> str:
    """The text of a SQL batch."""
    return _past_headers(data).rest().decode("utf-16le")


def parse_call(data: bytes) -> tuple[str, list[Parameter]]:
    """The procedure of a remote call, in lower case and without its schema, and its parameters."""
    reader = _past_headers(data)
    length = reader.number("H")
    if length == 0xFFFF:
        number = reader.number("H")
        name = PROCEDURES.get(number, f"procedure {number}")
    else:
        name = reader.take(length * 2).decode("utf-16le").lower().split(".")[-1].strip("[]")
    reader.take(2)
    parameters = []
    while reader and reader.peek() not in {0x80, 0xFE, 0xFF}:
        parameters.append(read_parameter(reader))
    return name, parameters


def parse_transaction(data: bytes) -> tuple[int, bool]:
    """A transaction request: its kind (5 begin, 7 commit, 8 roll back), and whether a new one begins behind it."""
    reader = _past_headers(data)
    kind = reader.number("H")
    rest = reader.rest()
    if kind not in {7, 8} or not rest:
        return kind, False
    after_name = 1 + rest[0]
    return kind, len(rest) > after_name and bool(rest[after_name] & 1)
