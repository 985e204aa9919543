"""Keeps what every run of a flow imports in memory, and forks a process for each run from there.

Starting Python, Prefect, pandas and Great Expectations costs a run several seconds of processor time, every
half minute and for every clinic. ``up`` starts this host beside the worker; the command that the worker
starts for a run, ``deployments.run_flow``, asks it for a process, hands its output over and waits. A run has
a process of its own all the same: it may be killed, leak or crash, and nobody else notices. So does the
command ``ident-amocrm sync``.

Needs ``fork``. Where there is none (Windows) or no host answers, a run starts its own Python as before.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import runpy
import selectors
import signal
import socket
import sys
import tempfile
import threading
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from deployments.run_flow import ENGINE, SOCKET, receive, send
from tasks.settings import program_version

__all__: list[str] = []

#: In the order of their weight; nothing of it starts a thread or opens a connection when imported.
LIBRARIES = (
    "great_expectations",
    "pandas",
    "sqlalchemy",
    "requests",
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.deployments.steps.core",
    "prefect.runner.storage",
    "prefect.utilities.visualization",
    "expectations.gate",
    "deployments.cli.main",
    "flows.autoconfigure",
    "flows.configure_mapping",
    "flows.connect",
    "flows.explain",
    "flows.health_check",
    "flows.journal",
    "flows.reconcile",
    "flows.review",
    "flows.subscription",
    "flows.sync",
    "flows.transfer",
)


#: What this host has loaded; the program may have been updated since.
VERSION = program_version()


@dataclass(slots=True)
class _Host:
    listener: socket.socket
    runs: dict[int, socket.socket] = field(default_factory=dict)

    def serve(self) -> None:
        """Fork a process for each request until standard input, held open by ``up``, is closed."""
        wake, woken = socket.socketpair()
        for end in (wake, woken):
            end.settimeout(0)
        signal.set_wakeup_fd(woken.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as events:
            for source in (self.listener, wake, sys.stdin):
                events.register(source, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in events.select()}
                if wake in ready:
                    wake.recv(4096)
                    self._bury()
                if self.listener in ready:
                    self._accept()
                if sys.stdin in ready and not os.read(0, 1024):
                    return

    def _accept(self) -> None:
        link, _ = self.listener.accept()
        link.settimeout(5)  # whoever asks sends at once
        request: dict[str, object] | None = None
        outputs: list[int] = []
        with contextlib.suppress(OSError, ValueError):
            data, outputs, _, _ = socket.recv_fds(link, 65536, 2)
            request = receive(link, bytearray(data))
        link.settimeout(None)
        if request is None or len(outputs) != 2 or request.get("version", VERSION) != VERSION:
            link.close()
        elif pid := os.fork():
            self.runs[pid] = link
            with contextlib.suppress(OSError):
                send(link, pid=pid)
        else:
            for other in (self.listener, *self.runs.values()):
                other.close()
            _live(link, outputs, request)
        for output in outputs:
            os.close(output)

    def _bury(self) -> None:
        """Tell those who wait how their runs ended."""
        for pid in [*self.runs]:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                link = self.runs.pop(pid)
                with contextlib.suppress(OSError):
                    send(link, code=os.waitstatus_to_exitcode(status))
                link.close()


def _live(link: socket.socket, outputs: list[int], request: dict[str, object]) -> None:
    """Be the process of one run; never returns."""
    code: object = 1
    try:
        _become(link, outputs, request)
        if "command" in request:
            _command(cast("list[str]", request["command"]))
        else:
            sys.modules.pop(ENGINE, None)  # loaded with Prefect; runpy warns of a module that it runs again
            runpy.run_module(ENGINE, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001 - the end of a process: whatever it is belongs into the log
        traceback.print_exc()
    finally:
        # What an ordinary end of the interpreter does: threads finish, Prefect sends what it still has.
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
        atexit._run_exitfuncs()  # noqa: SLF001
        sys.stdout.flush()
        sys.stderr.flush()
        status = code if isinstance(code, int) else 1
        with contextlib.suppress(OSError):
            send(link, code=status)  # the host tells it too, if it still lives
        os._exit(status)


def _command(words: list[str]) -> None:
    from deployments.cli import main, session  # noqa: PLC0415 - loaded by the host

    session.Hosting.inside = True
    sys.argv = ["ident-amocrm", *words]
    main.main()


def _become(link: socket.socket, outputs: list[int], request: dict[str, object]) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for standard, output in enumerate(outputs, start=1):
        os.dup2(output, standard)
        os.close(output)
    os.environ.clear()
    os.environ.update(cast("dict[str, str]", request["environment"]))
    os.chdir(str(request["folder"]))
    tempfile.tempdir = None
    sys.argv = [ENGINE]
    threading.Thread(target=_end_with, args=(link,), daemon=True).start()

    # Loaded by the host, which is no user of Prefect itself.
    from prefect.context import refresh_global_settings_context  # noqa: PLC0415
    from prefect.logging.configuration import setup_logging  # noqa: PLC0415

    refresh_global_settings_context()
    setup_logging(incremental=False)


def _end_with(link: socket.socket) -> None:
    """Die with the process that waits for this run: Prefect kills that one."""
    with contextlib.suppress(OSError):
        while link.recv(1):
            pass
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Load the libraries, then serve the folder named by the first argument."""
    folder = Path(sys.argv[1])
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()  # what is loaded stays shared between the processes
    # A socket's path must be short, a home's need not be.
    os.chdir(folder)
    Path(SOCKET).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        mask = os.umask(0o077)
        listener.bind(SOCKET)
        os.umask(mask)
        listener.listen()
        if len(threading.enumerate()) > 1:
            sys.stderr.write(f"Threads run already, a fork would lose them: {threading.enumerate()}\n")
        _Host(listener).serve()
    Path(SOCKET).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
