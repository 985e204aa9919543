"""What workers on several machines share through the ledger's server: the pace of an account, and a lock.

Nothing here holds a lock of a row while this process is at work: a machine that loses its power would keep
all others waiting for as long as the server believes it alive.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tasks.ledger.database import Database
from tasks.ledger.tables import pace

__all__ = ["SharedLock", "SharedPace"]

#: When a request last started, when the next one may, until when none may: see ``tasks.amocrm.pacing``.
Moments = tuple[float, float, float]
NUMBERS: Final = (pace.c.written_at, pace.c.next_start, pace.c.paused_until)
NOWHERE: Final[Moments] = (0.0, 0.0, 0.0)
CLOCK: Final[sa.Label[float]] = sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()), sa.Float).label(
    "now"
)
#: Pause between two looks at a lock that somebody else holds.
LOOK_SECONDS: Final = 0.2
#: So soon the server notices that the machine of a lock's holder is gone.
KEEP_ALIVE: Final = {"tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3}


class SharedPace:
    """The pace of one integration, in one row of the ledger.

    Args:
        database: The ledger's database; no SQLite file, which belongs to one machine.
        integration: The row's key.
    """

    def __init__(self, database: Database, integration: str) -> None:
        self._database, self._integration = database, integration

    def change(self, change: Callable[[Moments, float], Moments]) -> tuple[Moments, float]:
        """Apply a change, on the database's clock.

        The row is replaced only if it still is as it was read; else another process was faster, and the
        change is applied to what that one wrote.

        Args:
            change: Handed the moments and the time; called again when another process was faster.

        Returns:
            The moments after the change, and the time it was told.

        Raises:
            LedgerUnavailableError: When the database cannot be used: nobody knows of the others then.
        """
        with self._database.single() as link:
            while True:
                row = link.execute(sa.select(*NUMBERS, CLOCK).where(self._is_ours)).first()
                if row is None:
                    first = insert(pace).values(self._values(NOWHERE)).on_conflict_do_nothing()
                    link.execute(first)
                    continue
                before, now = (row[0], row[1], row[2]), row[3]
                after = change(before, now)
                if after == before or self._replaced(link, before, after):
                    return after, now

    @property
    def _is_ours(self) -> sa.ColumnElement[bool]:
        return pace.c.integration == self._integration

    def _values(self, moments: Moments) -> dict[str, float | str]:
        values = {column.name: moment for column, moment in zip(NUMBERS, moments, strict=True)}
        return {"integration": self._integration, **values}

    def _replaced(self, link: sa.Connection, before: Moments, after: Moments) -> bool:
        unchanged = [column == moment for column, moment in zip(NUMBERS, before, strict=True)]
        statement = sa.update(pace).where(self._is_ours, *unchanged).values(self._values(after))
        return link.execute(statement).rowcount == 1


class SharedLock:
    """A lock that one process of all machines holds; it ends with the process, or with its machine.

    Args:
        database: The ledger's database; no SQLite file.
        number: The lock's; PostgreSQL's advisory locks are named by one.
    """

    def __init__(self, database: Database, number: int) -> None:
        self._database, self._number = database, number
        self._held = ExitStack()

    def acquire(self, timeout: float) -> None:
        """Take the lock.

        Raises:
            TimeoutError: When another process holds it for longer than ``timeout`` seconds.
            LedgerUnavailableError: When the database cannot be used.
        """
        deadline = time.monotonic() + timeout
        with ExitStack() as opened:
            session = opened.enter_context(self._database.single())
            session.detach()  # its end is the end of the lock, so it does not go back to the others
            for name, value in KEEP_ALIVE.items():
                session.execute(sa.text(f"SET {name} = {value}"))
            taken = sa.select(sa.func.pg_try_advisory_lock(self._number))
            while not session.execute(taken).scalar_one():
                if time.monotonic() > deadline:
                    raise TimeoutError
                time.sleep(LOOK_SECONDS)
            self._held = opened.pop_all()

    def release(self) -> None:
        """Give the lock back."""
        self._held.close()
