"""Prefect's server as ``up`` runs it: Prefect's own, with one thing mended for its SQLite database.

Prefect begins most of its SQLite transactions deferred and lets them read before they write. When another one
commits in between, SQLite refuses the write at once, whatever the busy timeout ("database is locked"), and an
operator's form is answered 503 with no more than a passing message. A transaction that takes the write lock
as it begins waits for its turn instead. On PostgreSQL nothing changes.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from prefect.cli import app
from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

__all__ = ["take_turns_on_sqlite"]


def take_turns_on_sqlite() -> None:
    """Let every transaction of Prefect on SQLite take the write lock as it begins."""
    begin = AioSqliteConfiguration.begin_transaction

    def begin_transaction(
        self: AioSqliteConfiguration,
        session: AsyncSession,
        with_for_update: bool = True,  # noqa: FBT001, FBT002, ARG001 - Prefect's signature
    ) -> AbstractAsyncContextManager[AsyncSessionTransaction]:
        return begin(self, session, with_for_update=True)

    AioSqliteConfiguration.begin_transaction = begin_transaction  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    take_turns_on_sqlite()
    app()
