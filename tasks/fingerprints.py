"""Is this still the database that was connected: the same one, and not put back to an earlier day?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from tasks.errors import ConfigurationError, SchemaError
from tasks.extract import MARK
from tasks.ident.introspect import Catalogue, described
from tasks.ident.reader import IdentReader
from tasks.ident.schema import TABLES
from tasks.ledger.store import ConnectionRecord, Ledger

__all__ = ["check_columns", "check_highest", "check_same", "columns_of", "remember_highest", "same_database"]

#: So many of the newest rows may be deleted by hand before a database without row versions counts as put
#: back to an earlier day.
DELETED_BY_HAND: Final = 10
#: Lost columns named in a message.
SHOWN: Final = 5
PARTS: Final = {
    "server": "on another server",
    "database": "of another name",
    "created": "created at another time",
}


def same_database(known: Mapping[str, object], new: Mapping[str, object]) -> bool:
    """Tell whether two fingerprints are of one database.

    Server, name and creation together identify a database; where the login may not see its creation, only
    the same address does.
    """
    if known.get("created") and known.get("created") == new.get("created"):
        return (known.get("server"), known.get("database")) == (new.get("server"), new.get("database"))
    return known.get("place") == new.get("place")


def check_same(name: str, known: Mapping[str, object], new: Mapping[str, object]) -> None:
    """Refuse another database under a known name.

    Raises:
        ConfigurationError: When server, name or time of creation are known and differ.
    """
    other = [
        what for part, what in PARTS.items() if known.get(part) and new.get(part) and known[part] != new[part]
    ]
    if other:
        raise ConfigurationError(
            problem=f"{name!r} was connected to another database before: this one is {', '.join(other)}.",
            remedy=(
                "If it is the same clinic, whose database was moved or restored, connect it again: "
                f"ident-amocrm connect-database {name} … --same-clinic. Otherwise choose another name."
            ),
            code="database_swapped",
        )


def columns_of(catalogue: Catalogue) -> list[str]:
    """Return the columns that are read and are there."""
    return sorted(
        f"{table}.{column.name}"
        for table, described in TABLES.items()
        for column in described.columns
        if catalogue.has(table, column.name)
    )


def check_columns(record: ConnectionRecord, catalogue: Catalogue) -> None:
    """Refuse a database in which columns are missing that were there when it was connected.

    A login that lost a right sees the table no more. Its data would look emptied, and emptied fields are
    cleared in amoCRM.

    Raises:
        SchemaError: With the columns.
    """
    lost = sorted(set(record.fingerprint.get("columns", ())) - set(columns_of(catalogue)))
    if lost:
        named = ", ".join(lost[:SHOWN]) + (f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else "")
        raise SchemaError(
            problem=f"The database of {record.name!r} shows no more {named}. Nothing was sent.",
            remedy=(
                "Ask IDENT's support to give the login its right to read them back; if IDENT really dropped "
                f"them, connect again: ident-amocrm connect-database {record.name} …"
            ),
            code="schema_shrunk",
        )


def check_highest(record: ConnectionRecord, reader: IdentReader, ledger: Ledger) -> None:
    """Refuse a database that was put back to an earlier day: it gives numbers of known rows to other people.

    Raises:
        ConfigurationError: When rows that the last successful run saw are not there yet.
    """
    known: Mapping[str, Any] = record.fingerprint.get("highest") or {}
    highest = reader.highest()
    lost = {name: int(value) - highest.get(name, 0) for name, value in known.items()}
    if max(lost.values(), default=0) <= 0:
        return
    stored = ((ledger.watermark(record.clinic_uid) or {}).get(MARK) or {}).get("row_version")
    present = reader.row_version()
    if stored is not None and present is not None:
        # A counter of the whole database, which deleting rows does not turn back.
        if int(present, 16) >= int(stored, 16):
            return
    elif max(lost.values()) <= DELETED_BY_HAND:
        return
    tables = ", ".join(f"{name} {known[name]} → {highest.get(name, 0)}" for name in known if lost[name] > 0)
    raise ConfigurationError(
        problem=(
            f"The database of {record.name!r} was put back to an earlier day (highest numbers: {tables}). "
            "IDENT will give the lost numbers to other patients and appointments. Nothing was written."
        ),
        remedy=(
            "If that is so, before reception goes on working in it, connect it again: "
            f"ident-amocrm connect-database {record.name} … --same-clinic"
        ),
        code="database_restored",
    )


def remember_highest(record: ConnectionRecord, reader: IdentReader, ledger: Ledger) -> None:
    """Note after a successful run how far the database's numbers have come, and of what types it is made."""
    seen = {"highest": reader.highest(), "types": described(reader.catalogue)}
    if all(record.fingerprint.get(name) == value for name, value in seen.items()):
        return
    now = next((one for one in ledger.connections() if one.clinic_uid == record.clinic_uid), None)
    # Disconnected, or connected anew, while the run went on: what the run read is of no use any more.
    if now is not None and now.connected_at == record.connected_at:
        ledger.save_connection(replace(now, fingerprint={**now.fingerprint, **seen}))
