"""Finding traces of persons in bytes, however they are spelled or encoded."""

from __future__ import annotations

import base64
import binascii
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

__all__ = ["Traces"]

#: Shorter words are parts of ordinary ones, shorter numbers are no phones.
SHORTEST_WORD, PHONE = 5, 10
#: Numbers below are ids and counters: of who was born in the first weeks of 1970, the seconds tell nothing.
SMALLEST_MOMENT = 10_000_000
WORD = re.compile(rf"[^\W\d_]{{{SHORTEST_WORD},}}")
NUMBER = re.compile(r"\d[\d()+ -]{8,}\d")
MAIL = re.compile(r"[\w.+-]+@[\w.-]+\w")
DAY = re.compile(r"(\d{4})-(\d\d)-(\d\d)|(\d\d)[./](\d\d)[./](\d{4})")
ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
SQLITE = b"SQLite format 3\0"


@dataclass
class Traces:
    """What may not be found of a clinic's persons.

    Attributes:
        words: Surnames, given names and patronymics -> ids of persons.
        phones: The last ten digits.
        mails: Addresses.
        days: Birthdays.
        numbers: Whole numbers that stand for a phone or a birthday.
    """

    words: dict[str, int] = field(default_factory=dict)
    phones: dict[str, int] = field(default_factory=dict)
    mails: dict[str, int] = field(default_factory=dict)
    days: dict[date, int] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)

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

    def without(self, ordinary: Iterable[date]) -> Traces:
        """Leave out days that stand in files for another reason."""
        for day in ordinary:
            self.days.pop(day, None)
        return self

    def in_text(self, text: str) -> Iterator[str]:
        """Tell what a text gives away: kind and person, never the value."""
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
        """Tell what bytes give away, in all the encodings that a program may have chosen."""
        return {trace for text in _texts(data) for trace in self.in_text(text)}

    def in_file(self, path: Path) -> set[str]:
        """Tell what a file gives away; a SQLite file is read value by value as well."""
        data = path.read_bytes()
        found = self.in_bytes(data)
        if data.startswith(SQLITE):
            for value in _values(path):
                if isinstance(value, bytes):
                    found |= self.in_bytes(value)
                elif value in self.numbers:
                    found.add(f"number of person {self.numbers[int(value)]}")
        return found


def _phones(row: Mapping[str, Any]) -> Iterator[str]:
    for name in ("Phone", "MobilePhone"):
        for part in re.split(r"[,;/\n]", str(row[name] or "")):
            digits = re.sub(r"\D", "", part)
            if len(digits) >= PHONE:
                yield digits[-PHONE:]


def _texts(data: bytes) -> Iterator[str]:
    plain = data.decode("utf-8", errors="replace")
    yield plain
    yield data.decode("cp1251", errors="replace")
    for offset in (0, 1):
        yield data[offset:].decode("utf-16-le", errors="replace")
    if ESCAPE.search(plain):
        yield ESCAPE.sub(lambda found: chr(int(found[1], 16)), plain)
    if "%D0" in plain.upper():
        yield unquote(plain)
    for run in BASE64.findall(data):
        for decode in (base64.b64decode, base64.urlsafe_b64decode):
            try:
                yield decode(run.rstrip(b"=") + b"=" * (-len(run.rstrip(b"=")) % 4)).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue


def _values(path: Path) -> Iterator[int | float | bytes]:
    """Numbers and binary values of every table; texts are found in the file itself."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as link:
        tables = [row[0] for row in link.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in link.execute(f'SELECT * FROM "{table}"'):
                yield from (value for value in row if isinstance(value, int | float | bytes))
