"""Prefect's SQLite database refuses a write after a read; as ``up`` runs it, it does not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from deployments.server import take_turns_on_sqlite


async def two_read_and_then_write(database: Path) -> int:
    """Let two transactions read before the first one writes, and return what is written by both."""
    configuration = AioSqliteConfiguration(connection_url=f"sqlite+aiosqlite:///{database}")
    engine = await configuration.engine()

    async def read_and_write() -> None:
        async with await configuration.session(engine) as session, configuration.begin_transaction(session):
            await session.execute(text("SELECT count(*) FROM runs"))
            await asyncio.sleep(0.3)
            await session.execute(text("INSERT INTO runs VALUES (1)"))

    async with engine.begin() as link:
        await link.execute(text("CREATE TABLE runs (id INTEGER)"))
    try:
        await asyncio.gather(read_and_write(), read_and_write())
        async with engine.begin() as link:
            return int((await link.execute(text("SELECT count(*) FROM runs"))).scalar_one())
    finally:
        await engine.dispose()


def test_prefect_alone_refuses_the_second(tmp_path: Path) -> None:
    """When this fails, Prefect was mended, and deployments/server.py can go."""
    with pytest.raises(OperationalError, match="database is locked"):
        asyncio.run(two_read_and_then_write(tmp_path / "prefect.db"))


def test_they_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = AioSqliteConfiguration.begin_transaction
    monkeypatch.setattr(AioSqliteConfiguration, "begin_transaction", theirs)  # put back afterwards
    take_turns_on_sqlite()
    assert asyncio.run(two_read_and_then_write(tmp_path / "prefect.db")) == 2
