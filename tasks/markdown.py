"""Names in Markdown: a clinic, a stage or a field may be called anything, and is shown as just that.

Prefect's pages render Markdown with HTML in it. What an operator, amoCRM or IDENT named must not become a
heading, a link, a column of a table or a script there.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ["plain"]

HTML: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
#: An underscore inside a word is one.
MARKUP: Final = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
#: What a line begins a heading or a list with, and what a page makes a link of.
BEGIN: Final = re.compile(r"^[#+\-=](?=.)|(?<=\w):(?=//)|(?<=\b[wW]{3})\.|@")
#: Controls, what turns the direction of a line or has no width, halves of characters: none of it can be seen.
UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
#: Joins the parts of an emoji, and letters of some scripts.
JOINERS: Final = frozenset("\u200c\u200d")


def plain(text: object) -> str:
    """Return a text as one line that Markdown shows as it is."""
    seen = "".join(
        letter if letter in JOINERS or unicodedata.category(letter) not in UNSEEN else " "
        for letter in str(text)
    )
    line = " ".join(seen.split())
    escaped = MARKUP.sub(lambda sign: f"\\{sign[0]}", "".join(HTML.get(letter, letter) for letter in line))
    return BEGIN.sub(lambda sign: f"\\{sign[0]}", escaped)
