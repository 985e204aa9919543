"""The process of a run is forked from a warm one, and behaves as if the worker had started it itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.running_up import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")

HOST = (
    "import sys; from deployments import run_host as host; host.LIBRARIES = ('prefect.context',);"
    "from deployments.cli import main as cli;"
    "cli.main = lambda: sys.exit(print('hosted:', *sys.argv[1:]) or 2);"
    "host.ENGINE = 'tests.support.small_engine'; host.main()"
)


def eventually(found: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def environment(home: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "IDENT_AMOCRM_HOME": str(home),
        "PREFECT_HOME": str(home),
        "PYTHONPATH": str(ROOT),
    }


@contextmanager
def hosting(home: Path, code: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, str(home)], env=environment(home), stdin=subprocess.PIPE
    )
    try:
        eventually((home / "runs.sock").exists, "the host does not listen")
        yield host
    finally:
        assert host.stdin is not None
        host.stdin.close()
        assert host.wait(30) == code, "it ends with its standard input"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    # Longer than the path of a socket may be.
    folder = tmp_path_factory.mktemp("home") / ("a" * 60) / ("b" * 60)
    folder.mkdir(parents=True)
    with hosting(folder):
        yield folder


def begin(home: Path, folder: Path, what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "deployments.run_flow"],
        env=environment(home) | {"WHAT": what, "NOTE": str(folder / what)},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def at_work(command: subprocess.Popen[str], folder: Path) -> int:
    """Wait until the run works, and return its process."""
    assert command.stdout is not None
    assert command.stdout.readline() == "at work\n"
    return int((folder / "work").read_text("ascii"))


def is_gone(pid: int) -> bool:
    """Tell whether a process ended; a zombie did."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text("ascii")
    except FileNotFoundError:
        return True


def test_output_exit_code_environment_and_folder_are_the_runs(home: Path, tmp_path: Path) -> None:
    command = begin(home, tmp_path, "speak")
    assert command.communicate() == (f"in {tmp_path}\n", "to the log\n")
    assert command.returncode == 3
    assert int((tmp_path / "speak").read_text("ascii")) != command.pid, "another process is the run"


def test_a_run_that_breaks_says_so(home: Path, tmp_path: Path) -> None:
    command = begin(home, tmp_path, "break")
    _, said = command.communicate()
    assert "ValueError: break" in said
    assert command.returncode == 1


def test_the_wish_to_end_is_handed_on(home: Path, tmp_path: Path) -> None:
    command = begin(home, tmp_path, "work")
    at_work(command, tmp_path)
    command.terminate()
    assert command.communicate()[0] == "finished what was under way\n"
    assert command.returncode == 0


def test_a_run_killed_alone_looks_killed_to_the_worker(home: Path, tmp_path: Path) -> None:
    command = begin(home, tmp_path, "work")
    os.kill(at_work(command, tmp_path), signal.SIGKILL)
    command.communicate()
    assert command.returncode == -signal.SIGKILL


def test_a_run_dies_with_the_command_that_waits_for_it(home: Path, tmp_path: Path) -> None:
    command = begin(home, tmp_path, "work")
    run = at_work(command, tmp_path)
    command.kill()
    command.communicate()
    eventually(lambda: is_gone(run), "nobody waits for this run, and it goes on")


def test_runs_do_not_wait_for_one_another(home: Path, tmp_path: Path) -> None:
    first = begin(home, tmp_path, "work")
    at_work(first, tmp_path)
    second = begin(home, tmp_path, "speak")
    second.communicate()
    assert second.returncode == 3
    assert first.poll() is None
    first.terminate()
    first.communicate()


def test_whoever_talks_nonsense_harms_nobody(home: Path, tmp_path: Path) -> None:

    here = Path.cwd()
    for nonsense in (b"", b"\n", b"{\n", b"[1]\n", b"{}\n"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            os.chdir(home)
            link.connect("runs.sock")
            os.chdir(here)
            link.sendall(nonsense)
            link.shutdown(socket.SHUT_WR)
            assert link.recv(1) == b"", "it hangs up"
    command = begin(home, tmp_path, "speak")
    command.communicate()
    assert command.returncode == 3


def test_a_run_goes_on_when_the_host_dies(tmp_path: Path) -> None:
    with hosting(tmp_path, code=-signal.SIGKILL) as host:
        command = begin(tmp_path, tmp_path, "work")
        at_work(command, tmp_path)
        host.kill()
        command.terminate()
        assert command.communicate()[0] == "finished what was under way\n"
        assert command.returncode == 0, "the run tells how it ended, since the host cannot"


def type_sync(home: Path, folder: Path, api: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deployments.cli.main", "sync", "clinic1", "--full", "--output", "json"],
        env=environment(home) | {"PREFECT_API_URL": api},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_sync_has_itself_run_by_the_host(home: Path, tmp_path: Path) -> None:
    done = type_sync(home, tmp_path, "https://prefect.invalid/api")
    assert done.stdout == "hosted: sync clinic1 --full --output json\n", done.stderr
    assert done.returncode == 2


def test_a_folder_that_is_gone_does_not_keep_it_from_running(home: Path, tmp_path: Path) -> None:
    """So does one that ``sudo -u`` leaves us in, and that its user may not enter."""
    code = (
        "import os, pathlib; from deployments.run_flow import have_run; from tasks.settings import program_version;"
        "here = pathlib.Path('gone'); here.mkdir(); os.chdir(here); os.rmdir('../gone');"
        f"print('code', have_run({str(home)!r}, ['sync'], program_version()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(home),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "hosted: sync\ncode 2\n", done.stderr


def test_a_host_of_another_version_does_not_run_it(home: Path, tmp_path: Path) -> None:
    """The program was updated while ``up`` runs: the old one must not meet the new one's ledger."""
    code = (
        "import sys; from deployments.run_flow import have_run;"
        f"print(have_run({str(home)!r}, ['sync'], '99.0'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(home),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "None\n"


def test_without_a_host_sync_runs_by_itself(tmp_path: Path) -> None:
    """As far as it comes without the Prefect server that it was told to use."""
    done = type_sync(tmp_path, tmp_path, "http://127.0.0.1:9/api")
    assert done.stderr.startswith("Error (prefect_unreachable): Prefect's server does not answer")
    assert done.returncode == 1


@pytest.mark.parametrize("listens", [False, True])
def test_without_a_host_the_command_is_the_run(tmp_path: Path, listens: bool) -> None:
    """Also where a host was killed and left its socket behind."""
    if listens:
        (tmp_path / "runs.sock").touch()
    command = subprocess.run(
        [sys.executable, "-m", "deployments.run_flow"],
        env=environment(tmp_path) | {"PREFECT__FLOW_RUN_ID": "none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert command.returncode == 1
    assert "Invalid flow run id" in command.stdout + command.stderr, "it is Prefect's engine"


@pytest.mark.parametrize("speaks", [False, True], ids=["before the run is there", "once the run is there"])
def test_a_host_that_breaks_off_lets_no_run_be_done_twice(tmp_path: Path, speaks: bool) -> None:
    """Only where no process was made the command is the run itself."""
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        os.chdir(tmp_path)
        listener.bind("runs.sock")
        os.chdir(here)
        listener.listen()
        command = subprocess.Popen(
            [sys.executable, "-m", "deployments.run_flow"],
            env=environment(tmp_path) | {"PREFECT__FLOW_RUN_ID": "none"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        link, _ = listener.accept()
        if speaks:
            link.sendall(b'{"pid": 1000000000}\n')
            time.sleep(0.5)  # it is read by then
        link.close()  # with the request unread: the other end sees a reset
        said, _ = command.communicate(timeout=60)
    assert command.returncode == 1
    assert ("Invalid flow run id" in said) is not speaks
