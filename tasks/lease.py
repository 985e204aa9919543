"""The right to write for a clinic: who has it, and when it may be taken over."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from pathlib import Path
from uuid import getnode, uuid4

from tasks.ledger.store import Ledger

__all__ = ["LeaseKeeper", "is_dead", "this_machine"]


class LeaseKeeper:
    """Keeps a clinic's lease for one run; called before each request.

    A process that slept longer than the lease finds it lost and stops before it sends anything. One that was
    killed on this machine gives way at once; another machine's is waited for.

    Args:
        ledger: The installation's ledger.
        clinic_uid: The clinic.
        seconds: How long the lease lasts without renewal.
        grace: The longest that a request may be under way.
    """

    def __init__(self, ledger: Ledger, clinic_uid: str, seconds: int, grace: float) -> None:
        owner = f"{this_machine()}:{os.getpid()}:{uuid4().hex[:8]}"
        self.token = ledger.acquire_lease(clinic_uid, owner, seconds, grace=grace, is_dead=is_dead)
        self._ledger, self._uid, self._seconds = ledger, clinic_uid, seconds
        self._renewed = _clocks()
        self._lock = threading.Lock()

    def __call__(self) -> None:
        """Renew the lease when a quarter of it is over; raise when it was lost."""
        with self._lock:
            passed = max(now - then for now, then in zip(_clocks(), self._renewed, strict=True))
            if passed > self._seconds / 4:
                self._ledger.renew_lease(self._uid, self.token, self._seconds)
                self._renewed = _clocks()

    def release(self) -> None:
        """Give the lease back."""
        self._ledger.release_lease(self._uid, self.token)


def _clocks() -> tuple[float, float]:
    """Return a clock that nobody sets back and one that goes on while the machine sleeps."""
    return time.monotonic(), time.time()


def this_machine() -> str:
    """Return what tells this machine from others that may share the ledger.

    Containers on the host's network share its name and its address, but not its processes: a living one of
    another container must not look dead, so the namespace of the processes belongs to it.
    """
    return f"{socket.gethostname()}-{getnode():x}{_process_namespace()}"


def _process_namespace() -> str:
    try:
        return f"-{Path('/proc/self/ns/pid').readlink().name.strip('pid:[]')}"
    except OSError:
        return ""  # not Linux


def is_dead(owner: str) -> bool:
    """Tell whether the owner of a lease was a process of this machine that is gone."""
    machine, _colon, rest = owner.rpartition(":")[0].rpartition(":")
    if machine != this_machine() or not rest.isdigit() or sys.platform == "win32":
        return False  # Windows has no harmless question to a process: the lease runs out there
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
