"""What identifies a database, so that a swapped or restored one is noticed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from tasks.ident.connection import may_pass
from tasks.ident.schema import TABLES

__all__ = ["Fingerprint", "may_write", "read_fingerprint"]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Identity of a database; a part that the login may not see is empty.

    Attributes:
        server: Name of the server.
        database: Name of the database.
        created: When it was created or restored.
        highest: Highest id by table.
    """

    server: str = ""
    database: str = ""
    created: str = ""
    highest: Mapping[str, int] = field(default_factory=dict)


def read_fingerprint(engine: sa.Engine) -> Fingerprint:
    """Read the identity of a database."""
    highest = {
        name: int(_scalar(engine, sa.select(sa.func.max(TABLES[name].c.ID))) or 0)
        for name in ("Persons", "Receptions")
    }
    if engine.dialect.name == "sqlite":
        return Fingerprint(database="sqlite", highest=highest)
    # sql_variant cannot be read through FreeTDS, hence the CAST.
    server = _scalar(engine, sa.text("SELECT CAST(SERVERPROPERTY('ServerName') AS nvarchar(128))"))
    created = _scalar(engine, sa.text("SELECT create_date FROM sys.databases WHERE name = DB_NAME()"))
    return Fingerprint(
        server=str(server or ""),
        database=str(_scalar(engine, sa.text("SELECT DB_NAME()")) or ""),
        created=str(created or ""),
        highest=highest,
    )


def may_write(engine: sa.Engine) -> bool:
    """Tell whether the login may write; unknown counts as no."""
    if engine.dialect.name == "sqlite":
        return False
    right = _scalar(engine, sa.text("SELECT HAS_PERMS_BY_NAME('dbo.Receptions', 'OBJECT', 'INSERT')"))
    return bool(right == 1)


def _scalar(engine: sa.Engine, query: sa.Executable) -> Any:
    translated = engine.execution_options(
        schema_translate_map={"dbo": None} if engine.dialect.name == "sqlite" else {}
    )
    try:
        with translated.connect() as link:
            return link.execute(query).scalar()
    except DBAPIError as error:
        # A lock or a lost connection is no refusal: it must not pass for another database.
        if may_pass(error):
            raise
        return None
