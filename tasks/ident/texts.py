"""Texts as SQL Server sends them: UTF-16, and now and then half a character.

A column of n characters cuts an emoji in the middle, and SQL Server does not mind. A driver's strict decoding
would end the whole read there: one patient's comment would stop a clinic's transfer.
"""

from __future__ import annotations

import codecs
from typing import Any, Final

__all__ = ["read_half_characters"]

#: nchar, nvarchar, nvarchar(max) and ntext, as ODBC numbers them.
WIDE: Final = (-8, -9, -10)


def read_half_characters(link: Any) -> None:
    """Let a connection read half a character as the sign for one that cannot be shown (U+FFFD).

    Args:
        link: A connection of pyodbc.
    """
    for kind in WIDE:
        link.add_output_converter(kind, _text)


def _text(data: bytes | None) -> str | None:
    return None if data is None else codecs.utf_16_le_decode(data, "replace", True)[0]  # noqa: FBT003
