"""A machine with nothing on it: a wheel, an empty environment, an empty home, and a (played) systemd."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.running_up import pids_of

__all__ = ["Machine", "built", "copied_source", "machine_in"]

ROOT = Path(__file__).parents[2]
SOURCES = ("flows", "tasks", "expectations", "deployments", "tests")
FILES = ("pyproject.toml", "README.md", "LICENSE", "prefect.yaml")
CONSTRAINTS = ROOT / "deployments" / "constraints.txt"
ANSWER_SECONDS = 240

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


def start():
    around = {{"PATH": "/usr/bin:/bin", "HOME": os.environ["HOME"], "TMPDIR": os.environ["TMPDIR"]}}
    around |= dict(word.split("=", 1) for word in shlex.split(said("Environment")))
    with (played / "journal").open("w") as journal:
        process = subprocess.Popen(
            shlex.split(said("ExecStart")), cwd=said("WorkingDirectory"), env=around, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=journal, stderr=journal,
        )
    pid.write_text(str(process.pid))


def stop():
    if alive():
        os.kill(int(pid.read_text()), signal.SIGTERM)
    end = time.monotonic() + int(said("TimeoutStopSec"))
    while alive():
        assert time.monotonic() < end
        time.sleep(0.1)


if verb == "enable":
    enabled.touch()
    if words[0] == "--now":
        start()
elif verb == "disable":
    enabled.unlink()
    stop()
elif verb == "start":
    start()
elif verb == "stop":
    stop()
elif verb == "restart":
    stop()
    start()
elif verb == "is-active":
    print("active" if alive() else "inactive")
    sys.exit(0 if alive() else 3)
elif verb == "is-enabled":
    sys.exit(not enabled.exists())
else:
    assert verb in ("daemon-reload", "reset-failed"), verb
"""

Run = subprocess.CompletedProcess[str]


@dataclass
class Machine:
    """One machine; everything that an installation may write to lies in its folder."""

    folder: Path
    python: Path = field(init=False)
    home: Path = field(init=False)

    def __post_init__(self) -> None:
        self.python = self.folder / "empty environment" / "bin" / "python"
        self.home = self.folder / "sta te 5%h"
        for name in ("bin", "played", "config", "person", "temporary", "elsewhere"):
            (self.folder / name).mkdir()
        systemctl = self.folder / "bin" / "systemctl"
        systemctl.write_text(SYSTEMCTL.format(python=sys.executable))
        systemctl.chmod(0o755)
        subprocess.run([sys.executable, "-m", "venv", self.python.parents[1]], check=True)

    @property
    def around(self) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.folder / "person"),
            "TMPDIR": str(self.folder / "temporary"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "PLAYED": str(self.folder / "played"),
            "IDENT_AMOCRM_HOME": str(self.home),
        }

    # ---- the environment -----------------------------------------------------------------------------

    def install(self, wheel: Path, *more: str) -> None:
        """Install a wheel, over what there is."""
        what = [str(wheel), "-c", str(CONSTRAINTS), *more]
        uv = Path(sys.executable).with_name("uv")
        quick = [str(uv), "pip", "install", "-q", "--system-certs", "--python", str(self.python), *what]
        # As the Makefile does: uv does not read pip's configuration.
        if not uv.exists() or subprocess.run(quick, check=False).returncode:
            subprocess.run([str(self.python), "-m", "pip", "install", "-q", *what], check=True)

    def pip(self, *words: str) -> str:
        return subprocess.run(
            [self.python, "-m", "pip", *words], check=True, capture_output=True, text=True
        ).stdout

    # ---- its commands --------------------------------------------------------------------------------

    def run(self, *words: str) -> Run:
        """Run a command as its script does."""
        return self._run(self.python.with_name("ident-amocrm"), *words)

    def ask(self, *words: str) -> Any:
        """Run a command that must not fail, and return its JSON."""
        return self._answer(self.run(*words, "--output", "json"))

    def service(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = self._answer(
            self._run(self.python, "-c", COMMAND, "service", *words, "--output", "json")
        )
        return found

    def systemctl(self, *words: str) -> None:
        subprocess.run([self.folder / "bin" / "systemctl", "--user", *words], env=self.around, check=True)

    def _run(self, *command: Path | str) -> Run:
        return subprocess.run(
            command,
            env=self.around,
            cwd=self.folder / "elsewhere",
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    @staticmethod
    def _answer(done: Run) -> Any:
        assert done.returncode in {0, 2}, done.stderr
        return json.loads(done.stdout)

    def answering(self) -> dict[str, Any]:
        """Wait until the service answers, and return how it stands."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while not (found := self.service("status"))["answers"]:
            assert time.monotonic() < deadline, self.said
            time.sleep(2)
        return found

    @property
    def said(self) -> str:
        """What up said; a journal would have it."""
        return (self.folder / "played" / "journal").read_text()


def copied_source(folder: Path) -> Path:
    """Copy what is tested, without anything of an earlier build."""
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.db"))
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    return folder


def built(source: Path, folder: Path) -> Path:
    """Build the wheel of a source into a folder."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source], check=True
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


@contextmanager
def machine_in(folder: Path) -> Iterator[Machine]:
    """Return a machine; what runs on it when it is no longer wanted is killed."""
    result = Machine(folder)
    try:
        yield result
    finally:
        for pid in pids_of(result.home):
            os.kill(pid, 9)
