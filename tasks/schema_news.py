"""What a new version of IDENT changed in the tables that are read, told before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tasks.errors import SchemaError
from tasks.events import emit
from tasks.ident.introspect import Catalogue, described
from tasks.ident.schema import TABLES, VARYING
from tasks.ledger.store import ConnectionRecord
from tasks.workspace import Workspace

__all__ = ["check_types", "differences", "tell_news"]

#: Name of the clinic's setting that holds the difference that was told last.
TOLD: Final = "schema_news"
#: Types that are read alike; another family would turn times into texts, or numbers into dates.
FAMILIES: Final[Mapping[str, frozenset[str]]] = {
    "текст": frozenset({"nvarchar", "varchar", "nchar", "char", "ntext", "text", "sysname"}),
    "число": frozenset(
        {"bit", "boolean", "tinyint", "smallint", "int", "integer", "bigint", "decimal", "numeric", "float"}
        | {"real", "money", "smallmoney"}
    ),
    "дата или время": frozenset({"date", "datetime", "datetime2", "smalldatetime", "datetimeoffset", "time"}),
    "двоичные данные": frozenset({"rowversion", "timestamp", "binary", "varbinary", "blob", "image"}),
}


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return what was added, removed and changed, one Russian line each."""
    added = [f"{name} ({now[name]})" for name in now if name not in before]
    removed = [f"{name} ({before[name]})" for name in before if name not in now]
    changed = [
        f"{name}: {before[name]} → {now[name]}" for name in now if before.get(name, now[name]) != now[name]
    ]
    parts = (("Появились колонки", added), ("Исчезли колонки", removed), ("Сменили тип колонки", changed))
    return [f"{title}: {', '.join(names)}." for title, names in parts if names]


def check_types(record: ConnectionRecord, catalogue: Catalogue) -> None:
    """Refuse a database in which a column that is read holds another kind of data than before.

    Raises:
        SchemaError: With the columns and their types.
    """
    before, now = record.fingerprint.get("types") or {}, described(catalogue)
    read = {f"{table}.{column.name}" for table, found in TABLES.items() for column in found.columns}
    other = [
        f"{name} ({before[name]} → {now[name]})"
        for name in sorted(read - VARYING)
        if name in before and name in now and _family(before[name]) != _family(now[name])
    ]
    if other:
        raise SchemaError(
            problem=f"Columns of {record.name!r} hold other data now: {', '.join(other)}. Nothing was sent.",
            remedy=(
                "A new version of IDENT may do so: ask for a newer version of this program. If it is right, "
                f"connect again: ident-amocrm connect-database {record.name} …"
            ),
            code="schema_retyped",
        )


def _family(kind: str) -> str:
    return next((name for name, kinds in FAMILIES.items() if kind in kinds), kind)


def tell_news(space: Workspace) -> None:
    """Report what changed since the last successful run; the same difference makes one event."""
    before: dict[str, str] = space.clinic.fingerprint.get("types") or {}
    now = described(space.reader.catalogue)
    lines = differences(before, now) if before else []
    if not lines:
        return
    space.warnings += [f"Изменилась база IDENT. {line}" for line in lines]
    scope = f"clinic:{space.uid}"
    if space.dry_run or space.ledger.setting(scope, TOLD) == {"lines": lines}:
        return
    space.ledger.put_setting(scope, TOLD, {"lines": lines}, by=space.run_id)
    counts = {
        "added": len(now.keys() - before.keys()),
        "removed": len(before.keys() - now.keys()),
        "retyped": sum(before.get(name, kind) != kind for name, kind in now.items()),
    }
    emit("database.changed", space.uid, space.clinic.name, "warning", counts, space.ledger)
