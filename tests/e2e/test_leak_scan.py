"""The scan for leaks finds what is planted: however it is encoded, escaped or packed."""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pytest

from tests.e2e.conftest import TOKEN
from tests.e2e.test_nothing_leaks_at_home import CANCELLED, CARD, PASSWORD, VISIT, traces
from tests.e2e.traces import leaks

PERSON = {
    "ID": 17,
    "Surname": "Берёзкина",
    "Name": "Анна",
    "Patronymic": None,
    "Phone": None,
    "MobilePhone": "8 (916) 123 45 67",
    "Email": "patient17@example.org",
    "Birthday": "1987-06-05",
}


def table(path: Path, value: object, *, folded: bool = True) -> None:
    """Write a value into a SQLite file; unfolded, it stands in the log beside it only."""
    link = sqlite3.connect(path)
    link.execute("PRAGMA journal_mode = WAL")
    link.execute("PRAGMA wal_autocheckpoint = 0")
    with link:
        link.execute("CREATE TABLE a (b)")
    link.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with link:
        link.execute("INSERT INTO a VALUES (?)", [value])
    if folded:
        link.close()
    else:
        OPEN.append(link)


def zipped(path: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)


def nested(path: Path) -> None:
    """A ledger inside a backup inside a bundle."""
    table(path.with_suffix(".db"), "x" * 5000 + VISIT)
    zipped(path.with_suffix(".inner"), "ledger.db", path.with_suffix(".db").read_bytes())
    zipped(path, "backup.zip", path.with_suffix(".inner").read_bytes())
    path.with_suffix(".db").unlink()
    path.with_suffix(".inner").unlink()


OPEN: list[sqlite3.Connection] = []
PLANTED: dict[str, Callable[[Path], object]] = {
    "plain": lambda path: path.write_text("Пациент берёзкина"),
    "cp1251": lambda path: path.write_bytes(CARD.encode("cp1251")),
    "utf-16": lambda path: path.write_bytes(CARD.encode("utf-16")),
    "json": lambda path: path.write_text(json.dumps({"comment": CANCELLED})),
    "html": lambda path: path.write_bytes(CARD.encode("ascii", "xmlcharrefreplace")),
    "address": lambda path: path.write_text(f"GET /contacts?query={quote('patient17@example.org')}"),
    "base64": lambda path: path.write_bytes(base64.b64encode(TOKEN.encode() * 2)),
    "phone": lambda path: path.write_text("%2B7%20916 123-45-67"),
    "birthday": lambda path: path.write_text("05.06.1987"),
    "password": lambda path: path.write_text(f"Driver=x;PWD={PASSWORD};"),
    "gzip": lambda path: path.write_bytes(gzip.compress(VISIT.encode())),
    "zip": lambda path: zipped(path, "a.txt", VISIT.encode()),
    "name in a zip": lambda path: zipped(path, "Берёзкина.txt", b""),
    "parquet": lambda path: pd.DataFrame({"a": ["Берёзкина"]}).to_parquet(path),
    "number in a table": lambda path: table(path, 79161234567),
    "compressed in a table": lambda path: table(path, zlib.compress(CARD.encode())),
    "in the log beside a table": lambda path: table(path, 79161234567, folded=False),
    "a table in a backup in a bundle": nested,
}


@pytest.mark.parametrize("form", PLANTED)
def test_what_is_planted_is_found(form: str, tmp_path: Path) -> None:
    PLANTED[form](tmp_path / "planted.bin")
    found = leaks([path for path in tmp_path.rglob("*") if path.is_file()], traces([PERSON]))
    while OPEN:
        OPEN.pop().close()
    assert str(tmp_path / "planted.bin") in found, found


def test_the_name_of_a_file_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "Берёзкина.txt").touch()
    assert leaks(tmp_path.iterdir(), traces([PERSON])) != {}
