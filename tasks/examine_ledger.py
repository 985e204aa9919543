"""What the doctor asks the ledger; it is looked at as it is, neither created nor migrated."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Final

from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from tasks.doctor.findings import Finding, State
from tasks.doctor.remedies import ENGLISH
from tasks.errors import LedgerUnavailableError
from tasks.ledger.database import HEAD, file_of
from tasks.ledger.store import Ledger
from tasks.settings import Settings
from tasks.vitals import is_unsettled

__all__ = ["examine_attempts", "examine_damage", "examine_ledger"]

LEDGER: Final = "Ledger"


def examine_ledger(settings: Settings) -> tuple[Ledger | None, Finding]:
    """Open the ledger without creating or migrating it.

    Returns:
        The ledger, ``None`` where this program cannot use it; and how it stands.
    """
    name, remedy = "ledger", "Put a backup in its place: docs/how-to/backup-and-restore.md"
    try:
        ledger = Ledger(settings.ledger_url)
        place = file_of(settings.ledger_url)
        if place is not None and not place.exists():
            found = "There is none yet."
            return None, Finding(
                LEDGER, name, State.WARNING, found, "The first connect-… makes it.", "no_ledger"
            )
        revision = ledger.database.revision()
    except (ArgumentError, ImportError, ValueError) as error:
        found = f"IDENT_AMOCRM_STATE_URL names no database that can be opened ({type(error).__name__})."
        wanted = "Correct it: postgresql+psycopg://… needs pip install 'ident-amocrm[postgresql]'."
        return None, Finding(LEDGER, name, State.FAULT, found, wanted, "state_url")
    except OperationalError as error:
        code = getattr(error.orig, "sqlite_errorname", "") or getattr(error.orig, "sqlstate", "") or "?"
        found = f"It does not open ({code})."
        wanted = "Check the rights of its file and folder, or that its server runs and the address is right."
        return None, Finding(LEDGER, name, State.FAULT, found, wanted, "ledger_unavailable")
    except DatabaseError as error:
        code = getattr(error.orig, "sqlite_errorname", "") or type(error).__name__
        found = f"Its file is damaged ({code})."
        return None, Finding(LEDGER, name, State.FAULT, found, remedy, "ledger_damaged")
    return _at_revision(ledger, revision)


def _at_revision(ledger: Ledger, revision: str | None) -> tuple[Ledger | None, Finding]:
    name = "ledger"
    if revision == HEAD:
        return ledger, Finding(LEDGER, name, State.OK, f"opens; schema {revision}")
    ledger.close()
    if revision is None or revision < HEAD:
        found = f"Its schema is {revision or 'empty'}; this version works with {HEAD}."
        remedy = "The next command or start of up brings it to it. Take a backup of the file first."
        return None, Finding(LEDGER, name, State.WARNING, found, remedy, "ledger_older")
    found = f"A newer version of the program wrote it (schema {revision}, this one knows {HEAD})."
    remedy = "Install that version again, or restore a backup made by this one."
    return None, Finding(LEDGER, name, State.FAULT, found, remedy, "ledger_newer")


def examine_damage(ledger: Ledger) -> Finding:
    """Let SQLite look through the ledger's file."""
    name = "integrity"
    try:
        damage = ledger.database.damage()
    except LedgerUnavailableError:
        raise
    except DatabaseError as error:
        damage = [type(error).__name__]
    if damage:
        return Finding(
            LEDGER,
            name,
            State.FAULT,
            f"The file is damaged in {len(damage)} places.",
            "Stop up, keep the file, and restore a backup: docs/how-to/backup-and-restore.md",
            "ledger_damaged",
        )
    how = "SQLite finds nothing wrong" if ledger.database.is_sqlite else "left to the server"
    return Finding(LEDGER, name, State.OK, how)


def examine_attempts(ledger: Ledger) -> Finding:
    """Count the writes whose answer is not known."""
    now = time.time()
    known = [one for record in ledger.connections() for one in ledger.open_attempts(record.clinic_uid)]
    if not known:
        return Finding(LEDGER, "open attempts", State.OK, "none")
    age = timedelta(seconds=round(now - min(one.started_at for one in known)))
    found = f"{len(known)} requests wait for their answer to be found; the oldest left {age} ago."
    if any(is_unsettled(one, now) for one in known):
        return Finding(LEDGER, "open attempts", State.WARNING, found, ENGLISH["unsettled"][1], "unsettled")
    return Finding(LEDGER, "open attempts", State.OK, found)
