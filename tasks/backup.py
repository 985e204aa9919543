"""Taking a backup of the installation's ledger, and putting one in its place."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError

from tasks.basis import BASIS, DUE
from tasks.errors import ConfigurationError, LeaseHeldError, LedgerUnavailableError
from tasks.ledger import backup
from tasks.ledger.database import Database
from tasks.ledger.erasures import ErasureRecord, keep_erasures
from tasks.ledger.hashing import SCHEME, key_check
from tasks.ledger.store import Ledger
from tasks.settings import Settings

__all__ = ["KEY_FILES", "Restored", "restore", "take_backup"]

#: The installation's key, and the one that encrypts Prefect's blocks.
KEY_FILES = ("installation.key", "blocks.key")
#: A restore owns every clinic for so long; a bigger ledger than it can read in that time does not exist.
LEASE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did.

    Attributes:
        manifest: What the backup says about itself.
        replaced: Where what stood there before is kept.
        clinics: Names of the clinics that must be compared with amoCRM.
        same_key: Whether the hashes were made with the installation's present key.
    """

    manifest: backup.Manifest
    replaced: Path | None
    clinics: tuple[str, ...]
    same_key: bool


def take_backup(
    settings: Settings, ledger: Ledger, path: Path, *, with_key: bool, force: bool
) -> backup.Manifest:
    """Write a backup of the ledger; runs may go on meanwhile.

    Args:
        settings: The installation's settings.
        ledger: Its ledger.
        path: The file to write.
        with_key: Put the keys in, too.
        force: Replace a file that is there.

    Raises:
        ConfigurationError: When the file is there already, or its folder is not.
    """
    if path.exists() and not force:
        raise ConfigurationError(
            problem=f"{path} exists already.",
            remedy="Name another file, or add --force to replace it.",
            code="backup_exists",
        )
    check = key_check(settings.installation_key())
    files = [settings.home / name for name in KEY_FILES]
    keys = {file.name: file.read_bytes() for file in files if file.exists()}
    try:
        return backup.write_backup(
            ledger.database, path, scheme=SCHEME, key_check=check, keys=keys if with_key else None
        )
    except OSError as error:
        raise ConfigurationError(
            problem=f"{path} cannot be written ({type(error).__name__}).",
            remedy="Name a file in a folder that exists, on a disk with room; nothing was left behind.",
            code="backup_not_written",
        ) from None


def restore(settings: Settings, path: Path) -> Restored:
    """Put a backup in the place of the ledger; every clinic is compared with amoCRM before its next transfer.

    The caller makes sure that ``up`` does not run.

    Args:
        settings: The installation's settings.
        path: The backup.

    Raises:
        ConfigurationError: When the file is no backup, is damaged, or was written by a newer version.
        LeaseHeldError: While a run transfers a clinic.
    """
    backup.read_manifest(path)
    keys = backup.read_keys(path)
    settings.prepare_home()
    stamp = datetime.now(tz=UTC).strftime("%Y%m%d-%H%M%S-%f")
    database = Database(settings.ledger_url)
    place = Path(database.url.database or "") if database.is_sqlite else None
    with closing(Ledger(settings.ledger_url)) as current:
        is_new = place is not None and not place.exists()
        tokens = {} if is_new else _hold(current)
        settle = partial(_settle, tokens=tokens, decided=_Decided() if is_new else _decided(current))
        try:
            if place is not None:
                current.close()
                replaced, manifest = _replace_file(place, path, settle, stamp)
            else:
                replaced = settings.home / f"ledger-replaced-{stamp}.zip"
                manifest = _replace_content(current, replaced, path, settle)
        except BaseException:
            _give_back(current, tokens)
            raise
    for name, content in keys.items():
        if name in KEY_FILES:
            _put_key(settings.home / name, content, stamp)
    with closing(Ledger(settings.ledger_url).open()) as restored:
        clinics = tuple(record.name for record in restored.connections())
        restored.append_audit("ident-amocrm.ledger.restored", "ident-amocrm.clinic.all", "warning", {})
    same_key = manifest.key_check == key_check(settings.installation_key())
    return Restored(manifest, replaced, clinics, same_key)


def _hold(current: Ledger) -> dict[str, int]:
    """Take the lease of every clinic, so that nobody begins to write to what is about to be replaced."""
    tokens: dict[str, int] = {}
    try:
        for uid in current.clinics():
            tokens[uid] = current.acquire_lease(uid, "restore", LEASE_SECONDS)
    except LeaseHeldError as error:
        _give_back(current, tokens)
        raise LeaseHeldError(
            problem=error.problem,
            remedy="Stop the transfer (ident-amocrm stop NAME), wait for its run to end, and restore again.",
        ) from None
    except DatabaseError:
        # Damaged or empty: nobody can hold anything in it. What it is stays beside the restored one.
        return tokens
    return tokens


@dataclass(frozen=True, slots=True)
class _Decided:
    """What people decided, and no backup that is older may undo."""

    erased: list[ErasureRecord] = field(default_factory=list)
    bases: list[dict[str, Any]] = field(default_factory=list)


def _decided(current: Ledger) -> _Decided:
    """Read it also from a ledger of another version: it is replaced before it was migrated."""
    return _Decided(_legible(current.erasures), _legible(lambda: current.settings_named(BASIS, DUE)))


def _legible(read: Callable[[], list[Any]]) -> list[Any]:
    try:
        return read()
    except (DatabaseError, LedgerUnavailableError):
        return []  # damaged, as above, or of a version that had no such table


def _settle(connection: Connection, *, tokens: dict[str, int], decided: _Decided) -> None:
    backup.mark_restored(connection, tokens)
    backup.keep_settings(connection, decided.bases)
    keep_erasures(connection, decided.erased)


def _give_back(current: Ledger, tokens: dict[str, int]) -> None:
    for uid, token in tokens.items():
        current.release_lease(uid, token)


def _replace_file(
    place: Path, path: Path, settle: Callable[[Connection], None], stamp: str
) -> tuple[Path | None, backup.Manifest]:
    draft = place.with_name(f"{place.name}.restoring")
    for leftover in _files(draft):
        leftover.unlink(missing_ok=True)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft.touch(mode=0o600)
    try:
        with closing(Database(f"sqlite:///{draft}")) as fresh:
            manifest = backup.restore_backup(fresh, path, settle=settle)
            fresh.fold()
    except BaseException:
        for leftover in _files(draft):
            leftover.unlink(missing_ok=True)
        raise
    replaced = place.with_name(f"{place.stem}-replaced-{stamp}{place.suffix}") if place.exists() else None
    if replaced is not None:
        for old, new in zip(_files(place), _files(replaced), strict=True):
            if old.exists():
                old.rename(new)
    draft.replace(place)
    return replaced, manifest


def _files(path: Path) -> tuple[Path, ...]:
    """Return a SQLite file with the two that stand beside it."""
    return (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm"))


def _replace_content(
    current: Ledger, replaced: Path, path: Path, settle: Callable[[Connection], None]
) -> backup.Manifest:
    current.open()
    backup.write_backup(current.database, replaced, scheme=SCHEME, key_check="")
    return backup.restore_backup(current.database, path, settle=settle)


def _put_key(path: Path, content: bytes, stamp: str) -> None:
    if path.exists():
        if path.read_bytes() == content:
            return
        path.rename(path.with_name(f"{path.stem}-replaced-{stamp}{path.suffix}"))
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
