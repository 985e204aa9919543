"""The letter by which IDENT's support is asked for a password or a right, filled in as far as it is known."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from tasks import blocks
from tasks.errors import NotConnectedError
from tasks.ident.connection import IdentConnection
from tasks.ledger.store import ConnectionRecord
from tasks.markdown import plain

__all__ = ["ASKED_BY_LETTER", "IDENT_SUPPORT", "letter_markdown"]

IDENT_SUPPORT: Final = "support@ident-it.ru"
#: Errors of a database that only IDENT's support can mend.
ASKED_BY_LETTER: Final = frozenset({"authentication", "no_select_right"})
SUBJECT: Final = "Доступ к базе данных IDENT только для чтения"


def _letter(connection: IdentConnection) -> str:
    return "\n".join(
        [
            "Здравствуйте!",
            "",
            "Просим выдать пароль пользователя базы данных IDENT с правом только на чтение всех таблиц.",
            "",
            "Клиника (наименование, ИНН): ____________",
            f"Сервер базы: {connection.place}",
            f"База данных: {connection.database}",
            f"Пользователь: {connection.user}",
            "Контактное лицо и телефон: ____________",
        ]
    )


def letter_markdown(record: ConnectionRecord) -> list[str]:
    """Return the letter as lines of Markdown, with a link that opens it in the mail program."""
    try:
        text = _letter(blocks.load_database(record.block_name))
    except NotConnectedError:
        return []
    link = f"mailto:{IDENT_SUPPORT}?subject={quote(SUBJECT)}&body={quote(text)}"
    quoted = [f"> {plain(line)}".rstrip() for line in text.split("\n")]
    return ["", f"**Письмо в поддержку IDENT** ([открыть в почте]({link})):", "", *quoted]
