from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from deployments import doors, up
from deployments.child import LOG_BYTES, Child, cut_log
from tasks.errors import ConfigurationError
from tasks.settings import Settings

ROOT = Path(__file__).parents[2]


def child(folder: Path, program: str) -> Child:
    (folder / "program.py").write_text(program)
    path = os.pathsep.join((str(folder), str(ROOT)))
    return Child(
        "test", "program", (), folder, folder / "logs" / "test.log", {**os.environ, "PYTHONPATH": path}
    )


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 30
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


WAITING = """
import signal, sys, time
def end(*_):
    print("ended well", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("started", flush=True)
while True:
    time.sleep(0.1)
"""

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("started", inner.pid, flush=True)
while True:
    time.sleep(0.1)
"""

posix = pytest.mark.skipif(sys.platform == "win32", reason="process groups and SIGTERM")


@posix
def test_a_child_is_asked_to_end(tmp_path: Path) -> None:
    process = child(tmp_path, WAITING)
    process.start()
    wait_for(process.log, "started")
    process.stop(30)
    assert not process.alive
    assert "ended well" in process.log.read_text()


@posix
def test_a_stubborn_child_is_killed_with_its_own(tmp_path: Path) -> None:
    process = child(tmp_path, STUBBORN)
    process.start()
    wait_for(process.log, "started")
    inner = int(process.log.read_text().split()[1])
    process.stop(0.2)
    deadline = time.monotonic() + 10
    while (stat := Path(f"/proc/{inner}/stat")).exists() and ") Z" not in stat.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_pauses_between_restarts_grow(tmp_path: Path) -> None:
    process = child(tmp_path, "raise SystemExit(3)")
    pauses = []
    for _ in range(3):
        process.start()
        assert process.process is not None
        assert process.process.wait(30) == 3
        pauses.append(process.schedule_restart())
    assert pauses == [1, 2, 4]
    assert process.not_before > time.monotonic()


def test_a_long_log_is_cut(tmp_path: Path) -> None:
    process = child(tmp_path, "")
    process.log.parent.mkdir()
    process.log.write_bytes(b"x" * (LOG_BYTES + 1))
    cut_log(process.log)
    assert process.log.stat().st_size == 0
    assert (process.log.parent / "test.1.log").stat().st_size == LOG_BYTES + 1


def test_the_next_free_port_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert doors.free_port("127.0.0.1", port) > port


def test_no_open_door_without_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_SERVER_API_AUTH_STRING", raising=False)
    with pytest.raises(ConfigurationError) as refusal:
        up.run_up(Settings(home=tmp_path), host="0.0.0.0")  # noqa: S104
    assert refusal.value.code == "no_authentication"


def test_no_second_server_beside_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.invalid/api")
    with pytest.raises(ConfigurationError) as refusal:
        up.run_up(Settings(home=tmp_path))
    assert refusal.value.code == "other_server"
