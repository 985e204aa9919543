"""What this clinic's database has: IDENT's versions differ in optional tables and columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from tasks.errors import SchemaError
from tasks.ident.schema import OPTIONAL, REQUIRED, TABLES

__all__ = ["Catalogue", "described", "introspect", "missing_required"]

#: Columns that are no data, but tell that a row changed.
TRACES = {"DateTimeChanged", "RowVersion"}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Tables and columns of one database, in lower case: SQL Server does not tell cases apart.

    Attributes:
        columns: Columns by table.
        types: Type of each column by table, without its length.
    """

    columns: Mapping[str, frozenset[str]]
    types: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def has(self, table: str, column: str | None = None) -> bool:
        """Tell whether a table, or one of its columns, is there."""
        known = self.columns.get(table.lower())
        return known is not None and (column is None or column.lower() in known)

    def complete(self, table: str, *columns: str) -> bool:
        """Tell whether a table has all of these columns: keys of a join, without which it says nothing."""
        return all(self.has(table, column) for column in columns)

    def lacks(self, table: str) -> list[str]:
        """Return the columns of a table that are read and not there."""
        return [column.name for column in TABLES[table].columns if not self.has(table, column.name)]

    @property
    def warnings(self) -> list[str]:
        """What will stay empty or come late in amoCRM because this database does not have it."""
        absent = sorted(table for table in OPTIONAL if not self.has(table))
        lacking = [
            (table, column) for table in sorted(TABLES) if self.has(table) for column in self.lacks(table)
        ]
        partial = [f"{table}.{column}" for table, column in lacking if column not in TRACES]
        untraced = [f"{table}.{column}" for table, column in lacking if column in TRACES]
        found = []
        if absent:
            found.append(f"This database has no tables {', '.join(absent)}; their data stay empty.")
        if partial:
            found.append(f"This database has no columns {', '.join(partial)}; their data stay empty.")
        if untraced:
            found.append(
                f"This database has no columns {', '.join(untraced)}; changes there may be noticed later."
            )
        return found


def introspect(engine: sa.Engine) -> Catalogue:
    """Read which tables and columns there are, and of what types."""
    with engine.connect() as link:
        if engine.dialect.name == "sqlite":
            query = sa.text(
                "SELECT m.name, p.name, p.type FROM sqlite_master m, pragma_table_info(m.name) p "
                "WHERE m.type IN ('table', 'view')"
            )
        else:
            query = sa.text(
                "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE FROM INFORMATION_SCHEMA.COLUMNS "
                "WHERE TABLE_SCHEMA = 'dbo'"
            )
        found: dict[str, dict[str, str]] = {}
        for table, column, kind in link.execute(query):
            named = str(kind).partition("(")[0].strip().lower()
            found.setdefault(str(table).lower(), {})[str(column).lower()] = named
    return Catalogue({table: frozenset(columns) for table, columns in found.items()}, found)


def described(catalogue: Catalogue) -> dict[str, str]:
    """Return the type of every column of the tables that are read, also of those that are not."""
    found: dict[str, str] = {}
    for table, read in TABLES.items():
        known = {column.name.lower(): column.name for column in read.columns}
        for column, kind in catalogue.types.get(table.lower(), {}).items():
            found[f"{table}.{known.get(column, column)}"] = kind
    return dict(sorted(found.items()))


def missing_required(catalogue: Catalogue) -> None:
    """Check what the transfer cannot do without.

    Raises:
        SchemaError: Naming each missing table and column.
    """
    missing = [table for table in REQUIRED if not catalogue.has(table)]
    missing += [
        f"{table}.{column}"
        for table, columns in REQUIRED.items()
        if catalogue.has(table)
        for column in sorted(columns)
        if not catalogue.has(table, column)
    ]
    if missing:
        raise SchemaError(
            problem=f"This database lacks {', '.join(missing)}: not IDENT's, or hidden from this login.",
            remedy="Check --database (usually PZ) and the rights of the login.",
        )
