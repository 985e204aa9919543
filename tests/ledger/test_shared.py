"""What workers on several machines share: the pace of an account and the lock of its tokens, on a real server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tasks.amocrm.authorisation import authorisation_lock
from tasks.amocrm.pacing import Pacer
from tasks.authorisation import token_lock
from tasks.connections import _pacer
from tasks.errors import LedgerUnavailableError, TransientError
from tasks.ledger.shared import SharedLock, SharedPace
from tasks.ledger.store import Ledger
from tasks.settings import Settings

ROOT = Path(__file__).parents[2]
PROCESSES, STARTS, RATE = 3, 6, 5


@pytest.fixture
def ledger(postgresql: str) -> Iterator[Ledger]:
    with closing(Ledger(postgresql).open()) as found:
        with found.database.write() as link:
            link.execute(sa.text("DELETE FROM pace"))
        yield found


def process(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


def heard(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def tell(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")


STARTING = """
import socket, sys
from tasks.amocrm.pacing import Pacer
from tasks.ledger.database import Database
from tasks.ledger.shared import SharedPace
pacer = Pacer(float(sys.argv[2]), SharedPace(Database(sys.argv[1]), "one"))
address = ("127.0.0.1", int(sys.argv[4]))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(int(sys.argv[3])):
        pacer.wait()
        out.sendto(b"x", address)
"""


def received(count: int, url: str) -> list[float]:
    """When each request of three processes came in, by the clock of the one who receives them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inbox:
        inbox.bind(("127.0.0.1", 0))
        inbox.settimeout(60)
        port = str(inbox.getsockname()[1])
        children = [process(STARTING, url, str(RATE), str(STARTS), port) for _ in range(PROCESSES)]
        assert [heard(child) for child in children] == ["ready"] * PROCESSES
        for child in children:
            tell(child)
        moments = []
        for _ in range(count):
            inbox.recv(1)
            moments.append(time.monotonic())
        for child in children:
            child.communicate(timeout=30)
        assert [child.returncode for child in children] == [0] * PROCESSES
    return moments


def test_three_processes_keep_the_pace_of_one(ledger: Ledger, postgresql: str) -> None:
    count = PROCESSES * STARTS
    moments = received(count, postgresql)
    in_a_second = max(sum(start <= later < start + 1 for later in moments) for start in moments)
    # Spacing lets RATE starts into a second, and one more at its very edge; amoCRM's limit is 7.
    assert in_a_second <= RATE + 1
    assert (count - 1) / RATE - 0.2 < moments[-1] - moments[0] < 2 * count / RATE


def shared(ledger: Ledger, clock: Any = time.time, sleep: Any = time.sleep) -> Pacer:
    return Pacer(5, SharedPace(ledger.database, "one"), clock=clock, sleep=sleep)


class Waits:
    """Sleeps of a pacer, which takes them for slept."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def test_starts_are_spaced_by_the_servers_clock_whatever_the_machines_say(ledger: Ledger) -> None:
    waits = Waits()
    fast = shared(ledger, clock=lambda: time.time() + 3600, sleep=waits)
    slow = shared(ledger, clock=lambda: time.time() - 3600, sleep=waits)
    for _ in range(3):
        fast.wait()
        slow.wait()
    assert waits.seconds == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0], abs=0.15)
    assert all(later > earlier for earlier, later in pairwise(waits.seconds))


def test_a_penalty_holds_every_machine(ledger: Ledger) -> None:
    shared(ledger).penalise(10)

    def sleep(seconds: float) -> None:
        assert seconds == pytest.approx(10, abs=0.5)
        raise InterruptedError  # whoever took it for slept would find everybody still held

    with pytest.raises(InterruptedError):
        shared(ledger, sleep=sleep).wait()


def test_a_state_that_cannot_be_stops_nobody(ledger: Ledger) -> None:
    with ledger.database.write() as link:
        link.execute(sa.text("INSERT INTO pace VALUES ('one', 9e9, 9e9, 9e9)"))
    waits = Waits()
    shared(ledger, sleep=waits).wait()
    assert waits.seconds == []


def test_nobody_starts_where_the_others_cannot_be_known(tmp_path: Path) -> None:
    away = Ledger(f"postgresql+psycopg://nobody@/nowhere?host={tmp_path}")
    with closing(away), pytest.raises(LedgerUnavailableError):
        shared(away).wait()


def test_accounts_do_not_wait_for_one_another(ledger: Ledger) -> None:
    waits = Waits()
    for integration in ("one", "two"):
        Pacer(1, SharedPace(ledger.database, integration), sleep=waits).wait()
    assert waits.seconds == []


def test_a_ledger_on_a_server_is_where_the_pace_and_the_lock_are(ledger: Ledger, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    _pacer(ledger, settings, "an integration").wait()
    with ledger.database.read() as link:
        assert link.execute(sa.text("SELECT count(*) FROM pace")).scalar_one() == 1
    assert isinstance(token_lock(ledger, settings), SharedLock)
    assert not settings.home.exists()

    with closing(Ledger(settings.ledger_url).open()) as own:
        _pacer(own, settings, "an integration").wait()
        assert isinstance(token_lock(own, settings), Path)
        with own.database.read() as link:
            assert link.execute(sa.text("SELECT count(*) FROM pace")).scalar_one() == 0
    assert list(settings.home.glob("pace-*"))


# ---- the lock ----------------------------------------------------------------------------------------------

HOLDING = """
import sys
from tasks.amocrm.authorisation import authorisation_lock
from tasks.ledger.database import Database
from tasks.ledger.shared import SharedLock
with authorisation_lock(SharedLock(Database(sys.argv[1]), 5)):
    print("mine", flush=True)
    sys.stdin.readline()
print("given back", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("end", ["given back", "killed"])
def test_one_process_of_all_machines_holds_the_lock(ledger: Ledger, postgresql: str, end: str) -> None:
    holder = process(HOLDING, postgresql)
    assert heard(holder) == "mine"
    lock = SharedLock(ledger.database, 5)
    with pytest.raises(TransientError) as refused, authorisation_lock(lock, seconds=0.1):
        pytest.fail("two held it")
    assert refused.value.code == "token_locked"
    if end == "killed":
        holder.send_signal(signal.SIGKILL)
    else:
        tell(holder)
        assert heard(holder) == "given back"
    with authorisation_lock(lock, seconds=10):
        pass
    with authorisation_lock(lock, seconds=0.1):
        pass  # the same object, once more
    holder.kill()
    holder.communicate()


def test_threads_of_one_process_take_turns(ledger: Ledger) -> None:
    inside, most = 0, 0

    def hold() -> None:
        nonlocal inside, most
        with authorisation_lock(SharedLock(ledger.database, 6), seconds=30):
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            inside -= 1

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
