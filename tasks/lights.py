"""The three lights of the widget: the database's server, the database, amoCRM."""

from __future__ import annotations

from typing import Final

from tasks.errors import DatabaseUnavailableError, IdentAmocrmError

__all__ = ["DATABASE", "DONE", "FAILED", "SERVER", "database_lights", "light"]

SERVER: Final = "Сервер базы данных"
DATABASE: Final = "База данных IDENT"
DONE: Final = "Подключение выполнено ✅"
FAILED: Final = "Подключение не выполнено 🔴"
#: What the second light says while the first one is red.
SERVER_FIRST: Final = "server_first"
#: Errors of the login or the data, although they are of the kind that passes.
ANSWERED: Final = frozenset({"locked"})


def light(code: str) -> str:
    """Return the widget's text for a light: done, or not."""
    return FAILED if code else DONE


def database_lights(error: IdentAmocrmError | None) -> tuple[str, str]:
    """Return the error codes of both lights of a database; empty where a light is green.

    Args:
        error: What came of opening the database.
    """
    if error is None:
        return "", ""
    if isinstance(error, DatabaseUnavailableError) and error.code not in ANSWERED:
        return error.code, SERVER_FIRST
    return "", error.code
