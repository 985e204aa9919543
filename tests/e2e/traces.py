"""Finding traces of persons in bytes, however they are spelled or encoded."""

from __future__ import annotations

import base64
import binascii
import gzip
import html
import io
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import pyarrow.parquet

__all__ = ["Traces", "leaks"]

#: Shorter words are parts of ordinary ones, shorter numbers are no phones.
SHORTEST_WORD, PHONE = 5, 10
#: Numbers below are ids and counters: of who was born in the first weeks of 1970, the seconds tell nothing.
SMALLEST_MOMENT = 10_000_000
WORD = re.compile(rf"[^\W\d_]{{{SHORTEST_WORD},}}")
NUMBER = re.compile(r"\d[\d()+ -]{8,}\d")
MAIL = re.compile(r"[\w.+-]+@[\w.-]+\w")
DAY = re.compile(r"(\d{4})-(\d\d)-(\d\d)|(\d\d)[./](\d\d)[./](\d{4})")
ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
ENTITY = re.compile(r"&#\d+;|&#x[0-9a-fA-F]+;")
QUOTED = re.compile(r"%[0-9a-fA-F]{2}")
BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
SQLITE, ZIP, GZIP, PARQUET = b"SQLite format 3\0", b"PK\x03\x04", b"\x1f\x8b\x08", b"PAR1"
ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")


@dataclass
class Traces:
    """What may not be found of a clinic's persons.

    Attributes:
        words: Surnames, given names and patronymics -> ids of persons.
        phones: The last ten digits.
        mails: Addresses.
        days: Birthdays.
        numbers: Whole numbers that stand for a phone or a birthday.
        phrases: What a card or a visit says in free words, and secrets -> what they are.
    """

    words: dict[str, int] = field(default_factory=dict)
    phones: dict[str, int] = field(default_factory=dict)
    mails: dict[str, int] = field(default_factory=dict)
    days: dict[date, int] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)
    phrases: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, persons: Iterable[Mapping[str, Any]], zone: ZoneInfo) -> Traces:
        """Collect the traces of rows of Persons."""
        found = cls()
        for row in persons:
            found._add(row, zone)
        return found

    def _add(self, row: Mapping[str, Any], zone: ZoneInfo) -> None:
        who = int(row["ID"])
        for name in ("Surname", "Name", "Patronymic"):
            for word in WORD.findall((row[name] or "").casefold()):
                self.words.setdefault(word, who)
        for digits in _phones(row):
            self.phones.setdefault(digits, who)
            for country in ("", "7", "8"):
                self.numbers.setdefault(int(country + digits), who)
        if row["Email"]:
            self.mails.setdefault(row["Email"].casefold(), who)
        if row["Birthday"]:
            self.days.setdefault(row["Birthday"], who)
            for midnight in (UTC, zone):
                moment = int(datetime.combine(row["Birthday"], time(), midnight).timestamp())
                if abs(moment) >= SMALLEST_MOMENT:
                    self.numbers.setdefault(moment, who)

    def without(self, ordinary: Iterable[date], phones: Iterable[str] = ()) -> Traces:
        """Leave out days, and the last ten digits of phones, that stand in files for another reason."""
        for day in ordinary:
            self.days.pop(day, None)
        for digits in phones:
            self.phones.pop(digits, None)
        return self

    def with_phrases(self, phrases: Mapping[str, str]) -> Traces:
        """Look for texts and secrets, too: each with what it is."""
        self.phrases |= {text.casefold(): kind for text, kind in phrases.items()}
        return self

    def in_text(self, text: str) -> Iterator[str]:
        """Tell what a text gives away: kind and person, never the value."""
        folded = text.casefold()
        yield from (kind for phrase, kind in self.phrases.items() if phrase in folded)
        for word in set(WORD.findall(text.casefold())) & self.words.keys():
            yield f"name of person {self.words[word]}"
        for number in NUMBER.findall(text):
            digits = re.sub(r"\D", "", number)
            for start in range(len(digits) - PHONE + 1):
                if (window := digits[start : start + PHONE]) in self.phones:
                    yield f"phone of person {self.phones[window]}"
        for mail in MAIL.findall(text.casefold()):
            if mail in self.mails:
                yield f"e-mail of person {self.mails[mail]}"
        for year, month, day, other_day, other_month, other_year in DAY.findall(text):
            try:
                born = date(int(year or other_year), int(month or other_month), int(day or other_day))
            except ValueError:
                continue
            if born in self.days:
                yield f"birthday of person {self.days[born]}"

    def in_bytes(self, data: bytes) -> set[str]:
        """Tell what bytes give away, in all the encodings and packings that a program may have chosen."""
        found = {trace for text in _texts(data) for trace in self.in_text(text)}
        for inner in _unpacked(data):
            found |= self.in_bytes(inner)
        if data.startswith(SQLITE):
            with closing(sqlite3.connect(":memory:")) as link:
                link.deserialize(data[:18] + b"\1\1" + data[20:])  # as one that keeps no log beside it
                found |= self._in_tables(link)
        return found

    def in_file(self, path: Path) -> set[str]:
        """Tell what a file and its name give away; a SQLite file is read with what its log still holds."""
        data = path.read_bytes()
        found = self.in_bytes(path.name.encode())
        if not data.startswith(SQLITE):
            return found | self.in_bytes(data)
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as link:
            found |= self._in_tables(link)
        return found | {trace for text in _texts(data) for trace in self.in_text(text)}

    def _in_tables(self, link: sqlite3.Connection) -> set[str]:
        found = set()
        for value in _values(link):
            if isinstance(value, bytes):
                found |= self.in_bytes(value)
            elif isinstance(value, str):
                found |= {trace for text in _spelled(value) for trace in self.in_text(text)}
            elif value in self.numbers:
                found.add(f"number of person {self.numbers[int(value)]}")
        return found


def leaks(files: Iterable[Path], sought: Traces) -> dict[str, list[str]]:
    """What files give away, by their names; one that went meanwhile gives nothing away."""
    found = {}
    for path in files:
        try:
            told = sought.in_file(path)
        except FileNotFoundError:
            continue
        if told:
            found[str(path)] = sorted(told)[:5]
    return found


def _phones(row: Mapping[str, Any]) -> Iterator[str]:
    for name in ("Phone", "MobilePhone"):
        for part in re.split(r"[,;/\n]", str(row[name] or "")):
            digits = re.sub(r"\D", "", part)
            if len(digits) >= PHONE:
                yield digits[-PHONE:]


def _texts(data: bytes) -> Iterator[str]:
    yield from _spelled(data.decode("utf-8", errors="replace"))
    yield data.decode("cp1251", errors="replace")
    for offset in (0, 1):
        yield data[offset:].decode("utf-16-le", errors="replace")
    for run in BASE64.findall(data):
        for decode in (base64.b64decode, base64.urlsafe_b64decode):
            try:
                yield decode(run.rstrip(b"=") + b"=" * (-len(run.rstrip(b"=")) % 4)).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue


def _spelled(plain: str) -> Iterator[str]:
    """A text as it stands, and as it was before JSON, HTML or an address escaped it."""
    yield plain
    if ESCAPE.search(plain):
        yield ESCAPE.sub(lambda found: chr(int(found[1], 16)), plain)
    if ENTITY.search(plain):
        yield html.unescape(plain)
    if QUOTED.search(plain):
        yield unquote(plain)


def _unpacked(data: bytes) -> Iterator[bytes]:
    """What is packed in bytes: an archive's names and members, rows of a table, what was compressed."""
    try:
        if data.startswith(ZIP):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for name in archive.namelist():
                    yield name.encode()
                    yield archive.read(name)
        elif data.startswith(GZIP):
            yield gzip.decompress(data)
        elif data.startswith(PARQUET):
            table = pyarrow.parquet.read_table(io.BytesIO(data))
            yield table.to_pandas().to_csv().encode()
        elif data.startswith(ZLIB):
            yield zlib.decompress(data)
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error, pyarrow.ArrowInvalid):
        return  # it only began like one; its bytes were looked at


def _values(link: sqlite3.Connection) -> Iterator[int | float | str | bytes]:
    """Numbers, texts and binary values of every table; a long text lies in pieces in the file."""
    tables = [row[0] for row in link.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        for row in link.execute(f'SELECT * FROM "{table}"'):
            yield from (value for value in row if value is not None)
