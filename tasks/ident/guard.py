"""Nothing but reading is ever sent to a clinic's database.

The login should be unable to write; this holds where it is not (``doctor`` warns of that). Values travel as
parameters and are no part of a statement, so its text alone says what it does.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa

from tasks.errors import GuardError

__all__ = ["SESSION", "guard_reads", "refuse_writes"]

#: What a new connection is told before it reads; nothing else may begin with SET.
SESSION: Final = re.compile(r"SET (?:LOCK_TIMEOUT \d{1,9}|TRANSACTION ISOLATION LEVEL READ COMMITTED)")
#: Texts and names in quotes, a quote doubled inside: what stands there does nothing.
QUOTED: Final = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\[(?:[^\]]|\]\])*\]")
WORD: Final = re.compile(r"[^\W\d][\w@$#]*")
#: What is left of a statement when its quoted parts are gone; no second one, no comment, no open quote.
PLAIN: Final = re.compile(r"[\w\s@$#.,:?()=<>!*+\-]*")
#: T-SQL needs no semicolon between statements: a word that begins one, or makes a SELECT do more than read,
#: may stand nowhere. The last lines are SQLite's, and hints that lock, or read what is not committed.
_WORDS = (
    "ALTER BACKUP BEGIN BULK CHECKPOINT CLOSE COMMIT CREATE DBCC DEALLOCATE DECLARE DELETE DENY DISABLE DROP "
    "ENABLE EXEC EXECUTE FETCH GOTO GRANT IF INSERT INTO KILL MERGE NEXT OPEN OPENDATASOURCE OPENQUERY "
    "OPENROWSET OPENXML PRINT RAISERROR READTEXT RECEIVE RECONFIGURE RESTORE RETURN REVERT REVOKE ROLLBACK "
    "SAVE SET SHUTDOWN THROW TRUNCATE UPDATE UPDATETEXT USE WAITFOR WHILE WITH WRITETEXT "
    "ANALYZE ATTACH DETACH LOAD_EXTENSION PRAGMA REINDEX RELEASE REPLACE SAVEPOINT VACUUM "
    "HOLDLOCK NOLOCK PAGLOCK READPAST READUNCOMMITTED ROWLOCK TABLOCK TABLOCKX UPDLOCK XLOCK"
)
FORBIDDEN: Final = frozenset(_WORDS.split())
#: The only place of another SELECT.
NESTED: Final = re.compile(r"\(\s*SELECT\b", re.IGNORECASE)


def guard_reads(engine: sa.Engine) -> None:
    """Have every statement of an engine looked at before it is sent."""

    @sa.event.listens_for(engine, "before_cursor_execute")
    def _look(_link: Any, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: Any) -> None:
        refuse_writes(statement)


def refuse_writes(statement: str) -> None:
    """Let a single SELECT pass, and what the session needs.

    Raises:
        GuardError: For anything else; it was not sent.
    """
    found = _wrong(statement)
    if found:
        raise GuardError(
            problem=f"A statement with {found} was about to go to the clinic's database, which is only read.",
            remedy="It was not sent. This is a defect: please report it with the log of this run.",
            code="not_a_select",
        )


@lru_cache(maxsize=512)
def _wrong(statement: str) -> str:
    """Return what a statement may not have; empty for one that only reads."""
    if SESSION.fullmatch(statement):
        return ""
    bare = QUOTED.sub(" x ", statement)
    words: list[str] = [word.upper() for word in WORD.findall(bare)]
    for word in words:
        if word in FORBIDDEN:
            return word
    if not words or words[0] != "SELECT":
        return "no SELECT at its beginning"
    if words.count("SELECT") > 1 + len(NESTED.findall(bare)):
        return "a second SELECT"
    if not PLAIN.fullmatch(bare) or "--" in bare:
        return "a sign that no query of this program has"
    return ""
