"""The package as an administrator has it: a wheel in an empty environment, run by a (played) systemd."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import requests

from tests.support.ports import free_port
from tests.support.running_up import pids_of

pytestmark = [
    pytest.mark.soak,
    pytest.mark.server,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="plays systemd"),
]

ROOT = Path(__file__).parents[2]
SOURCES = ("flows", "tasks", "expectations", "deployments", "tests")
FILES = ("pyproject.toml", "README.md", "LICENSE", "prefect.yaml")

#: The command line on a machine where systemd runs, for a user who is not root.
COMMAND = """
import os, pathlib
from deployments.systemd import service
service.RUNNING = pathlib.Path(os.environ["PLAYED"])
os.geteuid = lambda: 1000
from deployments.cli.main import main
main()
"""

#: What systemd does with a unit, as far as these commands need it.
SYSTEMCTL = """#!{python}
import os, shlex, signal, subprocess, sys, time
from pathlib import Path

user, verb, *words = sys.argv[1:]
assert user == "--user"
played = Path(os.environ["PLAYED"])
pid, enabled = played / "pid", played / "enabled"


def said(key):
    lines = (Path(os.environ["XDG_CONFIG_HOME"]) / "systemd/user" / words[-1]).read_text().splitlines()
    return next(line for line in lines if line.startswith(key + "=")).partition("=")[2].replace("%%", "%")


def alive():
    try:
        return ") Z" not in Path("/proc", pid.read_text(), "stat").read_text()
    except OSError:
        return False


if verb == "enable":
    assert words[0] == "--now"
    enabled.touch()
    around = {{"PATH": "/usr/bin:/bin", "HOME": os.environ["HOME"]}}
    around |= dict(word.split("=", 1) for word in shlex.split(said("Environment")))
    with (played / "journal").open("w") as journal:
        process = subprocess.Popen(
            shlex.split(said("ExecStart")), cwd=said("WorkingDirectory"), env=around, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=journal, stderr=journal,
        )
    pid.write_text(str(process.pid))
elif verb == "disable":
    enabled.unlink()
    if alive():
        os.kill(int(pid.read_text()), signal.SIGTERM)
    end = time.monotonic() + int(said("TimeoutStopSec"))
    while alive():
        assert time.monotonic() < end
        time.sleep(0.1)
elif verb == "is-active":
    print("active" if alive() else "inactive")
    sys.exit(0 if alive() else 3)
elif verb == "is-enabled":
    sys.exit(not enabled.exists())
"""


@dataclass
class Machine:
    folder: Path
    python: Path = field(init=False)
    home: Path = field(init=False)

    def __post_init__(self) -> None:
        self.python = self.folder / "empty environment" / "bin" / "python"
        self.home = self.folder / "sta te 5%h"
        for name in ("bin", "played", "config", "person"):
            (self.folder / name).mkdir()
        systemctl = self.folder / "bin" / "systemctl"
        systemctl.write_text(SYSTEMCTL.format(python=sys.executable))
        systemctl.chmod(0o755)

    @property
    def around(self) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.folder / "person"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "PLAYED": str(self.folder / "played"),
            "IDENT_AMOCRM_HOME": str(self.home),
        }

    def service(self, *words: str) -> dict[str, Any]:
        done = subprocess.run(
            [self.python, "-c", COMMAND, "service", *words, "--output", "json"],
            env=self.around,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    @property
    def said(self) -> str:
        """What up said; a journal would have it."""
        return (self.folder / "played" / "journal").read_text()


def built(folder: Path) -> Path:
    """Build the wheel from a copy, so that nothing of an earlier build is in it."""
    source = folder / "source"
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.db"))
    for name in FILES:
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder / "dist", source], check=True
    )
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def install(wheel: Path, machine: Machine) -> None:
    subprocess.run([sys.executable, "-m", "venv", machine.python.parents[1]], check=True)
    what = [str(wheel), "-c", str(ROOT / "deployments" / "constraints.txt")]
    uv = Path(sys.executable).with_name("uv")
    quick = [str(uv), "pip", "install", "-q", "--system-certs", "--python", str(machine.python), *what]
    # As the Makefile does: uv does not read pip's configuration.
    if not uv.exists() or subprocess.run(quick, check=False).returncode:
        subprocess.run([str(machine.python), "-m", "pip", "install", "-q", *what], check=True)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    result = Machine(tmp_path_factory.mktemp("machine"))
    wheel = built(result.folder)
    names = ZipFile(wheel).namelist()
    assert not [name for name in names if name.startswith("tests/") or "/tests/" in name]
    assert {"deployments/windows/service.ps1", "deployments/systemd/unit.py"} <= set(names)
    install(wheel, result)
    yield result
    for pid in pids_of(result.home):
        os.kill(pid, 9)


def test_the_road_of_a_service(machine: Machine) -> None:
    assert machine.service("status")["installed"] is False
    installed = machine.service("install", "--port", str(free_port()))
    assert (installed["installed"], installed["active"], installed["enabled"]) == (True, True, True)

    deadline = time.monotonic() + 240
    while not (found := machine.service("status"))["answers"]:
        assert time.monotonic() < deadline, machine.said
        time.sleep(2)
    assert (found["home"], found["version"]) == (str(machine.home), "0.1.0")
    user, _, secret = (machine.home / "prefect.auth").read_text().strip().partition(":")
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(f"{found['api']}/admin/version", timeout=30).status_code == 401
        assert (
            session.get(f"{found['api']}/admin/version", auth=(user, secret), timeout=30).status_code == 200
        )
        page = session.get(found["api"].removesuffix("api"), timeout=30)
    # The account of a service may write into the state alone, not into the package: so may its server.
    pages = machine.home / "prefect" / "ui" / "v1"
    assert (page.status_code, page.text) == (200, (pages / "index.html").read_text(encoding="utf-8"))
    lines = pids_of(machine.home).values()
    assert lines
    assert not [line for line in lines if secret in line]

    removed = machine.service("uninstall", "--wipe-state")
    assert removed["state"] == "wiped"
    assert machine.said.rstrip().endswith("Stopped."), "it ended in order"
    assert not machine.home.exists()
    assert pids_of(machine.home) == {}
    assert [*(machine.folder / "config").rglob("*.service")] == []
    assert machine.service("status")["installed"] is False
