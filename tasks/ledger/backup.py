"""Backup and restore of the ledger: one portable file for both databases.

A zip of JSON lines, one member a table, and a manifest written last. It is read inside one transaction that
sees one moment (SQLite's WAL snapshot, PostgreSQL's REPEATABLE READ), so runs may go on meanwhile; a file
taken from SQLite may be restored into PostgreSQL and the other way round.
"""

from __future__ import annotations

import base64
import json
import os
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from tasks.errors import ConfigurationError
from tasks.ledger import database as ledger_database
from tasks.ledger.database import Database
from tasks.ledger.tables import connection as connection_table
from tasks.ledger.tables import lease, metadata, setting, setting_history

__all__ = [
    "BASELINE",
    "RESTORED",
    "Manifest",
    "copy_ledger",
    "keep_settings",
    "mark_restored",
    "read_keys",
    "read_manifest",
    "restore_backup",
    "write_backup",
]

#: Setting of a clinic: with which key and scheme its rows were hashed, and why they must be compared anew.
BASELINE, RESTORED = "baseline", "restored"
FORMAT = 1
MANIFEST, KEYS = "manifest.json", "keys/"
ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says about itself.

    Attributes:
        format: Version of the file's own format.
        revision: Schema of the ledger.
        scheme: Scheme of the hashes.
        created_at: When it was taken, epoch seconds.
        key_check: Tells whether an installation key is the one the hashes were made with; not the key.
        tables: How many rows each table has.
        with_key: Whether the keys are inside.
    """

    format: int
    revision: str
    scheme: int
    created_at: float
    key_check: str
    tables: dict[str, int]
    with_key: bool = False


def write_backup(
    database: Database, path: Path, *, scheme: int, key_check: str, keys: Mapping[str, bytes] | None = None
) -> Manifest:
    """Write a backup: under a temporary name, for its owner alone, then renamed.

    Args:
        database: The ledger's database; others may write to it meanwhile.
        path: The file; it is replaced where it exists.
        scheme: Scheme of the hashes.
        key_check: Check value of the installation's key.
        keys: Key files to include, by name.
    """
    draft = path.with_name(f"{path.name}.partial")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                revision, counts = _dump(database, archive)
                for name, content in (keys or {}).items():
                    archive.writestr(f"{KEYS}{name}", content)
                manifest = Manifest(FORMAT, revision, scheme, time.time(), key_check, counts, bool(keys))
                archive.writestr(MANIFEST, json.dumps(asdict(manifest), indent=2))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return manifest


def _dump(database: Database, archive: zipfile.ZipFile) -> tuple[str, dict[str, int]]:
    options = {} if database.is_sqlite else {"isolation_level": "REPEATABLE READ"}
    counts: dict[str, int] = {}
    with (
        database.engine.connect().execution_options(**options) as connection,
        connection.begin(),
    ):
        # The first read fixes the moment that all others see.
        revision = str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one())
        for table in metadata.sorted_tables:
            query = sa.select(table).order_by(*table.primary_key.columns)
            rows = connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE}).mappings()
            with archive.open(f"{table.name}.jsonl", "w") as member:
                counts[table.name] = _write_rows(member, rows)
    return revision, counts


def _write_rows(member: IO[bytes], rows: sa.MappingResult) -> int:
    count = 0
    for row in rows:
        member.write(json.dumps(dict(row), ensure_ascii=False, default=_encoded).encode() + b"\n")
        count += 1
    return count


def _encoded(value: object) -> object:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    message = f"a ledger holds no {type(value).__name__}"
    raise TypeError(message)


def read_manifest(path: Path) -> Manifest:
    """Read what a backup says about itself.

    Raises:
        ConfigurationError: When the file is no backup, is damaged, or was written by a newer version.
    """
    with _opened(path) as archive:
        return _manifest(path, archive)


def read_keys(path: Path) -> dict[str, bytes]:
    """Return the key files inside a backup, by name."""
    with _opened(path) as archive:
        names = [name for name in archive.namelist() if name.startswith(KEYS)]
        return {Path(name).name: archive.read(name) for name in names}


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise _unreadable(path, type(error).__name__) from None


def _manifest(path: Path, archive: zipfile.ZipFile) -> Manifest:
    try:
        manifest = Manifest(**json.loads(archive.read(MANIFEST)))
        if broken := archive.testzip():
            raise _unreadable(path, f"damaged {broken}")
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, type(error).__name__) from None
    if manifest.format != FORMAT or manifest.revision not in _revisions():
        raise ConfigurationError(
            problem=f"{path} was written by a newer version of ident-amocrm (schema {manifest.revision}).",
            remedy="Install that version, or restore a backup made by this one or an older one.",
            code="backup_newer",
        )
    return manifest


def _unreadable(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        problem=f"{path} is no readable backup of a ledger ({why}).",
        remedy="Name a file that ident-amocrm backup wrote; nothing was changed.",
        code="backup_unreadable",
    )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(ledger_database.MIGRATIONS))
    return config


def _revisions() -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def restore_backup(
    database: Database, path: Path, *, settle: Callable[[sa.Connection], None] = lambda _connection: None
) -> Manifest:
    """Replace a database's content by a backup, at this code's schema; all or nothing.

    Args:
        database: An empty database, or one whose content may go.
        path: The backup.
        settle: Called inside the transaction, when the content is there.

    Raises:
        ConfigurationError: When the file is no backup, is damaged, or was written by a newer version.
    """
    with _opened(path) as archive, database.write() as connection:
        manifest = _manifest(path, archive)
        metadata.drop_all(connection)
        connection.execute(sa.text("DROP TABLE IF EXISTS alembic_version"))
        config = _config()
        config.attributes["connection"] = connection
        # Rows go in at the schema they were taken at; then they are migrated like any older ledger.
        command.upgrade(config, manifest.revision)
        then = sa.MetaData()
        then.reflect(connection)
        for name, expected in manifest.tables.items():
            if _insert(connection, then.tables[name], archive) != expected:
                raise _unreadable(path, f"rows of {name} are missing")
            if not database.is_sqlite:
                _count_on(connection, then.tables[name])
        command.upgrade(config, "head")
        settle(connection)
    return manifest


def mark_restored(connection: sa.Connection, tokens: Mapping[str, int]) -> None:
    """Note in a restored ledger that every clinic has to be compared with amoCRM, and who may write.

    Args:
        connection: A writing transaction on the restored ledger.
        tokens: Highest fencing token of each clinic before; a process that still holds one stays behind.
    """
    now = time.time()
    for uid in connection.execute(sa.select(connection_table.c.clinic_uid)).scalars().all():
        place = {"scope": f"clinic:{uid}", "name": BASELINE}
        here = sa.and_(setting.c.scope == place["scope"], setting.c.name == BASELINE)
        known = connection.execute(sa.select(setting.c.value).where(here)).scalar_one_or_none() or {}
        value = {"key": known.get("key"), "scheme": known.get("scheme"), "due": RESTORED}
        row = {**place, "value": value, "changed_at": now, "changed_by": "restore"}
        connection.execute(sa.delete(setting).where(here))
        connection.execute(sa.insert(setting).values(row))
        connection.execute(sa.insert(setting_history).values(row))
    known_tokens = {row.clinic_uid: row.token for row in connection.execute(sa.select(lease))}
    connection.execute(sa.delete(lease))
    for uid in known_tokens.keys() | tokens.keys():
        token = max(known_tokens.get(uid, 0), tokens.get(uid, 0))
        values = {"clinic_uid": uid, "owner": "restore", "token": token, "expires_at": 0.0}
        connection.execute(sa.insert(lease).values(values))


def keep_settings(connection: sa.Connection, known: Sequence[Mapping[str, Any]]) -> None:
    """Put settings into a restored ledger that were made later than what it has of them.

    Args:
        connection: A writing transaction on the restored ledger.
        known: Rows of the ledger that it replaces.
    """
    for row in known:
        here = sa.and_(setting.c.scope == row["scope"], setting.c.name == row["name"])
        at = connection.execute(sa.select(setting.c.changed_at).where(here)).scalar_one_or_none()
        if at is None or at < row["changed_at"]:
            connection.execute(sa.delete(setting).where(here))
            connection.execute(sa.insert(setting).values(row))
            connection.execute(sa.insert(setting_history).values(row))


def _insert(connection: sa.Connection, table: sa.Table, archive: zipfile.ZipFile) -> int:
    binary = [column.name for column in table.columns if isinstance(column.type, sa.LargeBinary)]
    count = 0
    with archive.open(f"{table.name}.jsonl") as member, TextIOWrapper(member, encoding="utf-8") as lines:
        rows = (_decoded(json.loads(line), binary) for line in lines)
        for part in _parts(rows):
            connection.execute(sa.insert(table), part)
            count += len(part)
    return count


def _parts(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while part := list(islice(rows, ROWS_AT_ONCE)):
        yield part


def _decoded(row: dict[str, Any], binary: list[str]) -> dict[str, Any]:
    return row | {name: base64.b64decode(row[name]) for name in binary}


def _count_on(connection: sa.Connection, table: sa.Table) -> None:
    """Let a counted key go on after the rows that brought their own."""
    key = next(iter(table.primary_key.columns), None)
    if key is None or key.server_default is None:
        return
    highest = connection.execute(sa.select(sa.func.max(key))).scalar()
    name = connection.execute(
        sa.text("SELECT pg_get_serial_sequence(:table, :column)"), {"table": table.name, "column": key.name}
    ).scalar()
    if name is not None and highest is not None:
        connection.execute(sa.text("SELECT setval(:name, :highest)"), {"name": name, "highest": highest})


def copy_ledger(source: Database, folder: Path, *, scheme: int) -> str:
    """Copy a ledger into a file of its own, to try things out on, and return its URL."""
    archive = folder / "copy.zip"
    write_backup(source, archive, scheme=scheme, key_check="")
    path = folder / "copy.db"
    path.touch(mode=0o600)
    with closing(Database(f"sqlite:///{path}")) as target:
        restore_backup(target, archive)
    archive.unlink()
    return f"sqlite:///{path}"
