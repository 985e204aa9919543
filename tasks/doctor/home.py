"""The home folder: whose eyes only, on which disk, and whether its keys are there."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path, PurePath
from typing import Final

from tasks.doctor.findings import Finding, State

__all__ = [
    "AUTH_FILE",
    "BLOCKS_KEY",
    "INSTALLATION_KEY",
    "check_files",
    "check_folder",
    "check_key_place",
    "check_keys",
    "check_local",
]

AREA: Final = "Home folder"
INSTALLATION_KEY: Final = "installation.key"
#: Of Prefect's server, where ``service install`` made one.
AUTH_FILE: Final = "prefect.auth"
BLOCKS_KEY: Final = "blocks.key"
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
#: SQLite's write-ahead log needs memory that all its users share: across a network there is none.
NETWORK: Final = frozenset(
    {"nfs", "nfs3", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "davfs", "9p"}
)
DRIVE_REMOTE: Final = 4
MOUNTS: Final = Path("/proc/self/mounts")


def check_folder(home: Path) -> Finding:
    """Check that the folder is there, ours, and nobody else's."""
    if not home.exists():
        return Finding(
            AREA,
            "folder",
            State.WARNING,
            f"There is none yet: {home}",
            "The first connect-database, connect-amocrm or up makes it; IDENT_AMOCRM_HOME names another.",
            "home_missing",
        )
    if not home.is_dir() or not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        return Finding(
            AREA,
            "folder",
            State.FAULT,
            f"{home} is no folder that this user may write to.",
            "Run the command as the user that runs ident-amocrm up, or give this user the right.",
            "home_not_writable",
        )
    mode = stat.S_IMODE(home.stat().st_mode)
    if os.name == "posix" and mode & OTHERS:
        return Finding(
            AREA,
            "folder",
            State.WARNING,
            f"Other users of this machine may look into {home} (mode {mode:04o}).",
            f"Run: chmod 700 '{home}'",
            "home_open",
        )
    return Finding(AREA, "folder", State.OK, str(home))


def check_files(home: Path, ledger: Path | None) -> list[Finding]:
    """Check that nobody else may read the keys and the ledger.

    Args:
        home: The home folder.
        ledger: File of the ledger, where it is one.
    """
    if os.name != "posix":
        return [Finding(AREA, "private files", State.OK, "not judged: this system has no modes of files")]
    keys = [home / name for name in (INSTALLATION_KEY, BLOCKS_KEY, AUTH_FILE)]
    own = (
        [] if ledger is None else [ledger, *(ledger.with_name(ledger.name + end) for end in ("-wal", "-shm"))]
    )
    found = [
        *_open_to_others(keys, State.FAULT, "key_open"),
        *_open_to_others(own, State.WARNING, "ledger_open"),
        *_not_ours([*keys, *own]),
    ]
    there = sum(path.exists() for path in (*keys, *own))
    return found or [Finding(AREA, "private files", State.OK, f"{there} files, none readable by others")]


def _open_to_others(paths: Iterable[Path], state: State, code: str) -> Iterable[Finding]:
    for path in paths:
        if path.exists() and (mode := stat.S_IMODE(path.stat().st_mode)) & OTHERS:
            found = f"Other users of this machine may use {path.name} (mode {mode:04o})."
            yield Finding(AREA, "private files", state, found, f"Run: chmod 600 '{path}'", code)


def _not_ours(paths: Iterable[Path]) -> Iterable[Finding]:
    for path in paths:
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            yield Finding(
                AREA,
                "private files",
                State.FAULT,
                f"{path.name} belongs to another user, who alone may use it.",
                "Run the command as the user that runs ident-amocrm up.",
                "file_not_ours",
            )


def check_local(home: Path, mounts: Path = MOUNTS) -> Finding:
    """Check that the folder is on a disk of this machine."""
    kind = _network_kind(home, mounts)
    if kind:
        return Finding(
            AREA,
            "disk",
            State.FAULT,
            f"The folder lies on a disk of another machine ({kind}); SQLite's files break there.",
            "Set IDENT_AMOCRM_HOME to a folder on a local disk and move the files there while nothing runs.",
            "home_remote",
        )
    return Finding(AREA, "disk", State.OK, "of this machine")


def _network_kind(home: Path, mounts: Path) -> str:
    if sys.platform == "win32":
        import ctypes  # noqa: PLC0415 - only this system has it

        drive = PurePath(home.absolute()).drive
        remote = (
            drive.startswith("\\\\") or ctypes.windll.kernel32.GetDriveTypeW(f"{drive}\\") == DRIVE_REMOTE
        )
        return "network drive" if remote else ""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""  # not Linux: not known, and not worth a guess
    place, best, kind = home.resolve(), Path("/"), ""
    for line in lines:
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        mounted = Path(parts[1].replace("\\040", " "))
        if (place == mounted or mounted in place.parents) and len(mounted.parts) >= len(best.parts):
            best, kind = mounted, parts[2]
    return kind if kind in NETWORK or kind.startswith("fuse.ssh") else ""


def check_keys(home: Path, *, has_ledger: bool, has_secrets: bool, given: bool) -> list[Finding]:
    """Check that the keys are there, wherever there is something that they open.

    Args:
        home: The home folder.
        has_ledger: Whether there is a ledger, whose hashes the installation's key made.
        has_secrets: Whether Prefect's database is there, whose secrets the other key opens.
        given: Whether the other key is in the environment.
    """
    return [
        _installation_key(home / INSTALLATION_KEY, needed=has_ledger),
        _blocks_key(home / BLOCKS_KEY, needed=has_secrets, given=given),
    ]


def _installation_key(path: Path, *, needed: bool) -> Finding:
    if not path.exists():
        if not needed:
            return Finding(AREA, INSTALLATION_KEY, State.OK, "none yet; the first run makes it")
        return Finding(
            AREA,
            INSTALLATION_KEY,
            State.WARNING,
            "It is missing. Without it a ledger that has rows must be compared with amoCRM anew.",
            "Put it back from a backup (docs/how-to/backup-and-restore.md). If nothing was transferred yet, "
            "ignore this: the first run makes one.",
            "key_missing",
        )
    try:
        bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        return Finding(
            AREA,
            INSTALLATION_KEY,
            State.FAULT,
            f"It cannot be read ({type(error).__name__}).",
            "Put it back from a backup: docs/how-to/backup-and-restore.md",
            "key_unreadable",
        )
    return Finding(AREA, INSTALLATION_KEY, State.OK, "there")


def _blocks_key(path: Path, *, needed: bool, given: bool) -> Finding:
    if given:
        return Finding(AREA, BLOCKS_KEY, State.OK, "PREFECT_SERVER_ENCRYPTION_KEY takes its place")
    if path.exists():
        return Finding(AREA, BLOCKS_KEY, State.OK, "there")
    if not needed:
        return Finding(AREA, BLOCKS_KEY, State.OK, "none yet; the first command that needs it makes it")
    return Finding(
        AREA,
        BLOCKS_KEY,
        State.FAULT,
        "It is missing: the passwords and tokens in Prefect's database cannot be read any more.",
        "Put it back from a backup made --with-key; or connect the databases and amoCRM again.",
        "blocks_key_missing",
    )


def check_key_place(database: Path) -> Finding:
    """Check that the key of the secrets does not lie in the database that it opens.

    Args:
        database: File of Prefect's database.
    """
    name = "keys apart"
    if not database.exists():
        return Finding(AREA, name, State.OK, "Prefect's database is not here, or not made yet")
    query = "SELECT count(*) FROM configuration WHERE key = 'ENCRYPTION_KEY'"
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as link:
            inside = link.execute(query).fetchone()[0]
    except sqlite3.Error as error:
        return Finding(
            AREA,
            name,
            State.FAULT,
            f"Prefect's database cannot be read ({error.sqlite_errorname}).",
            "Stop up, move the folder prefect in the home folder aside, start up and connect again.",
            "prefect_database",
        )
    if inside:
        return Finding(
            AREA,
            name,
            State.WARNING,
            "Prefect's database holds a key beside the secrets that it opens: whoever copies one has both.",
            "Start Prefect by ident-amocrm up only, and save the blocks of databases and amoCRM again.",
            "key_inside",
        )
    return Finding(AREA, name, State.OK, "no key lies in the database that it opens")
