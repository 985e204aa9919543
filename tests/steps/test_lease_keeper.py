"""Who may write for a clinic: one run, until it ends, dies or sleeps too long."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tasks.errors import LeaseHeldError
from tasks.lease import LeaseKeeper, this_machine
from tasks.ledger.store import Ledger
from tasks.ledger.tables import lease

UID, SECONDS, GRACE = "u", 60, 65.0


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").open()
    yield opened
    opened.close()


def ended_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def owned_by(ledger: Ledger, owner: str, expires_in: float) -> None:
    with ledger.database.write() as connection:
        now = ledger.database.now(connection)
        row = {"clinic_uid": UID, "owner": owner, "token": 7, "expires_at": now + expires_in}
        ledger.database.upsert(connection, lease, [row], ["owner", "token", "expires_at"])


@pytest.mark.skipif(sys.platform == "win32", reason="there the lease runs out")
def test_a_killed_run_of_this_machine_gives_way_at_once(ledger: Ledger) -> None:
    owned_by(ledger, f"{this_machine()}:{ended_process()}:abc", expires_in=SECONDS)
    assert LeaseKeeper(ledger, UID, SECONDS, GRACE).token == 8


def test_a_living_run_keeps_its_clinic(ledger: Ledger) -> None:
    keeper = LeaseKeeper(ledger, UID, SECONDS, GRACE)
    with pytest.raises(LeaseHeldError):
        LeaseKeeper(ledger, UID, SECONDS, GRACE)
    keeper.release()
    assert LeaseKeeper(ledger, UID, SECONDS, GRACE).token == keeper.token + 1


@pytest.mark.parametrize("owner", ["elsewhere-5:{pid}:abc", "{machine}:none:abc", "nonsense"])
def test_what_cannot_be_known_to_be_dead_is_waited_for(ledger: Ledger, owner: str) -> None:
    owned_by(ledger, owner.format(pid=ended_process(), machine=this_machine()), expires_in=SECONDS)
    with pytest.raises(LeaseHeldError):
        LeaseKeeper(ledger, UID, SECONDS, GRACE)


@pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="Linux has namespaces")
def test_a_process_of_another_container_is_not_known_to_be_dead(ledger: Ledger) -> None:
    owner = this_machine().replace(Path("/proc/self/ns/pid").readlink().name.strip("pid:[]"), "4026539999")
    assert owner != this_machine()
    owned_by(ledger, f"{owner}:{ended_process()}:abc", expires_in=SECONDS)
    with pytest.raises(LeaseHeldError):
        LeaseKeeper(ledger, UID, SECONDS, GRACE)


def test_another_machines_last_request_is_waited_for(ledger: Ledger) -> None:
    owned_by(ledger, "elsewhere-5:1:abc", expires_in=-GRACE + 5)
    with pytest.raises(LeaseHeldError):
        LeaseKeeper(ledger, UID, SECONDS, GRACE)
    owned_by(ledger, "elsewhere-5:1:abc", expires_in=-GRACE - 5)
    assert LeaseKeeper(ledger, UID, SECONDS, GRACE).token == 8


def test_a_run_that_slept_finds_its_clinic_taken(ledger: Ledger) -> None:
    keeper = LeaseKeeper(ledger, UID, SECONDS, GRACE)
    with ledger.database.write() as connection:
        connection.execute(sa.update(lease).values(token=99))
    monotonic, wall = keeper._renewed
    keeper._renewed = (monotonic, wall - SECONDS)  # a machine that sleeps stops the first clock
    with pytest.raises(LeaseHeldError, match="slept"):
        keeper()
