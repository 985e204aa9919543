"""Whoever lists this machine's processes, or its files, sees no password, token or key."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

from deployments import child, up
from deployments.cli.main import app
from deployments.doors import AUTH_STRING, make_password, read_password
from deployments.environment import prepare_environment
from tasks.doctor.findings import State
from tasks.doctor.home import check_key_place
from tasks.ledger.store import Ledger
from tasks.settings import Settings

#: Parts of a name that a secret would have.
SECRET = ("password", "token", "secret", "key", "auth", "code", "credential")
#: Options that have such a name and take no secret: they name a file, or say yes or no.
FILES = {
    "password_file",
    "token_file",
    "client_secret_file",
    "auth_code_file",
}


def parameters(command: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Every argument and option of every command; Typer brings a click of its own."""
    yield from ((" ".join(path), parameter) for parameter in command.params)
    for name, inner in getattr(command, "commands", {}).items():
        yield from parameters(inner, *path, name)


def test_no_command_takes_a_secret_as_an_argument() -> None:
    found = list(parameters(typer.main.get_command(app), "ident-amocrm"))
    assert len(found) > 100
    named = [
        (command, one) for command, one in found if any(word in str(one.name).split("_") for word in SECRET)
    ]
    assert {str(one.name) for _command, one in named} >= FILES
    for command, one in named:
        is_file = one.type_descriptor.annotation is Path
        assert getattr(one, "is_flag", False) or is_file, f"{command}: {one.name}"
    # A variable of the environment that Typer reads would be a second way in.
    assert {one.envvar for _command, one in found} <= {None, "DEMO_ONCE"}


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home made under the usual mask, with both keys, a password, a ledger whose address holds another."""
    for name in [*os.environ]:
        if name.startswith(("PREFECT_", "IDENT_AMOCRM_")):
            monkeypatch.delenv(name)
    before = os.umask(0o022)
    try:
        settings = Settings(home=tmp_path / "home")
        settings.prepare_home()
        settings.installation_key()
        make_password(settings.home)
        prepare_environment(settings, {})
        Ledger(settings.ledger_url).open().close()
    finally:
        os.umask(before)
    return settings


def secrets_of(home: Path) -> dict[str, str]:
    """What nobody else may see."""
    login = read_password(home)
    assert login is not None
    return {
        "password": login.partition(":")[2],
        "installation key": (home / "installation.key").read_text(encoding="ascii").strip(),
        "key of the blocks": (home / "blocks.key").read_text(encoding="ascii").strip(),
    }


@pytest.mark.skipif(os.name != "posix", reason="a folder's mode is POSIX's")
def test_the_folder_and_what_lies_in_it_are_its_owners(installation: Settings) -> None:
    home = installation.home
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    for name in ("installation.key", "blocks.key", "prefect.auth", "ledger.db"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600, name


def test_a_key_lies_apart_from_what_it_opens(installation: Settings) -> None:
    """The ledger holds hashes and not their key; Prefect is handed its own key, so it writes none."""
    ledger = (installation.home / "ledger.db").read_bytes()
    given: dict[str, str] = {}
    prepare_environment(installation, given)
    known = secrets_of(installation.home)
    assert [what for what, secret in known.items() if secret.encode() in ledger] == []
    assert given["PREFECT_SERVER_ENCRYPTION_KEY"] == known["key of the blocks"]
    assert check_key_place(Path(given["PREFECT_HOME"]) / "prefect.db").state is State.OK


@pytest.fixture
def started(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> dict[str, tuple[list[str], Mapping[str, str]]]:
    """The command line and the environment of every child of ``up``, by name; none of them is started."""
    seen: list[tuple[list[str], Mapping[str, str]]] = []

    def keep(command: list[str], *, env: Mapping[str, str], **_options: Any) -> object:
        seen.append((command, env))
        raise KeyboardInterrupt

    monkeypatch.setattr("deployments.child.subprocess.Popen", keep)
    monkeypatch.setenv("IDENT_AMOCRM_STATE_URL", "postgresql+psycopg://ident:ledger-password@127.0.0.1/ident")
    settings = Settings(home=installation.home, state_url=os.environ["IDENT_AMOCRM_STATE_URL"])
    supervisor = up._Supervisor(settings, "127.0.0.1", 4999, threading.Event())
    found = {}
    supervisor.setup.arguments = ("--end-dead-runs", "--of-this-machine")
    for one in (supervisor.server, supervisor.worker, supervisor.setup, *supervisor.beside):
        with pytest.raises(KeyboardInterrupt):
            one.start()
        found[one.name] = seen[-1]
    return found


def test_no_child_of_up_is_given_a_secret_on_its_command_line(
    installation: Settings, started: dict[str, tuple[list[str], Mapping[str, str]]]
) -> None:
    known = secrets_of(installation.home) | {"password of the ledger": "ledger-password"}
    assert {"server", "worker", "setup", "pages"} <= set(started)
    for name, (command, environment) in started.items():
        line = " ".join(command)
        assert [what for what, secret in known.items() if secret in line] == [], name
        # They travel in the environment, which only the owner of a process may read.
        assert environment[AUTH_STRING].partition(":")[2] == known["password"]
        assert known["installation key"] not in " ".join(environment.values())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_list_shows_no_secret_of_a_child(installation: Settings, tmp_path: Path) -> None:
    """One child for real, as ``up`` starts it: what ps shows, and who may read its environment."""
    (tmp_path / "waits.py").write_text(
        "import sys\nprint('up', flush=True)\nsys.stdin.read()\n", encoding="utf-8"
    )
    around = {
        "PYTHONPATH": str(tmp_path),
        AUTH_STRING: f"operator:{secrets_of(installation.home)['password']}",
    }
    one = child.Child("x", "waits", (), tmp_path, tmp_path / "x.log", around, attached=False)
    one.start()
    try:
        assert one.process is not None
        entry = Path("/proc") / str(one.process.pid)
        shown = subprocess.run(
            ["ps", "-ww", "-o", "args=", "-p", str(one.process.pid)],
            capture_output=True,
            text=True,
            check=False,
        ).stdout + (entry / "cmdline").read_text(encoding="utf-8")
        assert "waits" in shown
        assert [what for what, secret in secrets_of(installation.home).items() if secret in shown] == []
        assert stat.S_IMODE((entry / "environ").stat().st_mode) == 0o400
    finally:
        one.stop(5)
