"""Who gets a clinic when several ask at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tasks.errors import LeaseHeldError
from tasks.ledger.store import Ledger

ASKING, ROUNDS = 6, 20


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
    else:
        yield request.getfixturevalue("postgresql")


@pytest.mark.parametrize("clinic", ["a new clinic each time", "the same clinic"])
def test_of_many_that_ask_at_once_one_gets_the_clinic(url: str, clinic: str) -> None:
    with closing(Ledger(url).open()) as ledger:
        last = 0
        for number in range(ROUNDS):
            uid = f"{clinic[:5]}{number}" if "new" in clinic else "same"
            tokens = ask_at_once(ledger, uid)
            assert len(tokens) == 1
            assert tokens[0] > (0 if "new" in clinic else last)
            last = tokens[0]
            ledger.release_lease(uid, last)


def ask_at_once(ledger: Ledger, uid: str) -> list[int]:
    start = threading.Barrier(ASKING)
    tokens: list[int] = []

    def ask(owner: str) -> None:
        start.wait()
        try:
            tokens.append(ledger.acquire_lease(uid, owner, 60))
        except LeaseHeldError:
            return

    asking = [threading.Thread(target=ask, args=(f"owner{number}",)) for number in range(ASKING)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    return tokens
