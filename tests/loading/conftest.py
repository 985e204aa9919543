from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.ledger.store import Ledger
from tests.support.fake_amocrm import FakeAmo
from tests.support.loading_room import Room


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated ledger to copy: migrating one takes longer than most tests."""
    path = tmp_path_factory.mktemp("ledger") / "empty.db"
    ledger = Ledger(f"sqlite:///{path}").open()
    with ledger.database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    ledger.close()
    return path


def room_on(empty_ledger: Path, path: Path) -> Room:
    shutil.copy(empty_ledger, path)
    ledger = Ledger(f"sqlite:///{path}").open()
    return Room(ledger, FakeAmo(ledger))


@pytest.fixture
def room(empty_ledger: Path, tmp_path: Path) -> Room:
    return room_on(empty_ledger, tmp_path / "ledger.db")
