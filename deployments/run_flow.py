"""The command that a worker starts for a run of a flow.

It asks ``deployments.run_host`` for a process in which everything is loaded, and stands for it: signals are
handed on, the exit code is the run's, and when this process is killed the run dies with it. Without a host
it is the run itself, as Prefect would have started it.

``ident-amocrm sync`` has itself run in the same way.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

__all__ = ["ENGINE", "SOCKET", "UNDER_WAY", "end_like", "have_run", "receive", "send"]

ENGINE = "prefect.engine"
#: In the state folder.
SOCKET = "runs.sock"
#: Folder there that names the runs of this machine; what a kill leaves in it is what died.
UNDER_WAY = "under-way"


def send(link: socket.socket, **message: object) -> None:
    """Send a message, one line of JSON."""
    link.sendall(json.dumps(message).encode() + b"\n")


def receive(link: socket.socket, pending: bytearray) -> dict[str, object] | None:
    """Return the next message.

    Args:
        link: Where it comes from.
        pending: What was read beyond the last message; belongs to the link.

    Returns:
        ``None`` at the end.
    """
    while b"\n" not in pending:
        read = link.recv(65536)
        if not read:
            return None
        pending += read
    line, _, rest = bytes(pending).partition(b"\n")
    pending[:] = rest
    message: dict[str, object] = json.loads(line)
    return message


def have_run(home: str, command: Sequence[str], version: str) -> int | None:
    """Have a command of ours run by the host of this installation, in this environment and folder.

    Args:
        home: The state folder.
        command: Words of the command line behind the program's name.
        version: What version of the program asks; a host of another one does not serve it.

    Returns:
        Its exit code, negative for a signal; ``None`` where no host runs it.
    """
    link = _ask(home, command=list(command), version=version)
    return None if link is None else _stand_for(link)


def end_like(code: int) -> None:
    """End this process as another one ended."""
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no other way
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _ask(home: str | None, **what: object) -> socket.socket | None:
    """Return a link to the host that has been asked; ``None`` where there is none."""
    if not home or not hasattr(os, "fork"):
        return None
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        near = os.open(home, os.O_RDONLY)
        try:
            # A socket's path must be short, a home's need not be. Going there instead: there may be no way
            # back into the working folder (sudo -u leaves us in somebody else's).
            link.connect(f"/proc/self/fd/{near}/{SOCKET}")
        finally:
            os.close(near)
        socket.send_fds(link, [b" "], [1, 2])
        send(link, environment=dict(os.environ), folder=_folder(home), **what)
    except OSError:
        link.close()
        return None
    return link


def _folder(home: str) -> str:
    """Return the working folder; the state folder where this user may not enter it, or it is gone."""
    with contextlib.suppress(OSError):
        here = os.getcwd()  # noqa: PTH109 - pathlib costs time here
        if os.access(here, os.X_OK):
            return here
    return home


def _stand_for(link: socket.socket) -> int | None:
    """Wait for the end of the run.

    Returns:
        Its exit code, negative for a signal; ``None`` when the host went away before it made a process.
    """
    run = 0
    early: list[int] = []

    def hand_on(number: int, _frame: FrameType | None) -> None:
        if run:
            with contextlib.suppress(ProcessLookupError):
                os.kill(run, number)
        else:
            early.append(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGINT)}
    pending = bytearray()
    born = _hear(link, pending)
    if born is None:
        for caught, handler in before.items():
            signal.signal(caught, handler)
        for number in early:
            os.kill(os.getpid(), number)
        return None
    run = int(str(born["pid"]))
    for number in early:
        hand_on(number, None)
    ended = _hear(link, pending)
    # The run tells, too, when the host died. Neither did: it was killed, and is never done here once more.
    return 1 if ended is None else int(str(ended["code"]))


def _hear(link: socket.socket, pending: bytearray) -> dict[str, object] | None:
    """Return the host's next message; ``None`` when it is gone."""
    try:
        return receive(link, pending)
    except ConnectionError:
        return None


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """Name the run to ``deployments.dead_runs``, which finds the name when nobody could take it away."""
    home, run = os.environ.get("IDENT_AMOCRM_HOME"), os.environ.get("PREFECT__FLOW_RUN_ID")
    if not home or not run:
        yield
        return
    name = os.path.join(home, UNDER_WAY, run)  # noqa: PTH118 - pathlib costs time here
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(name), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108


def main() -> None:
    """Have the run of ``PREFECT__FLOW_RUN_ID`` executed."""
    with _named():
        link = _ask(os.environ.get("IDENT_AMOCRM_HOME"))
        code = None if link is None else _stand_for(link)
        if code is None:
            runpy.run_module(ENGINE, run_name="__main__", alter_sys=True)
    if code is not None:
        end_like(code)


if __name__ == "__main__":
    main()
