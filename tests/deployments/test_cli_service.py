from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from typer.testing import CliRunner, Result

from deployments.cli import service as commands
from deployments.cli.main import app
from deployments.prepare_home import main as prepare_home
from deployments.service import Done, refuse_wiping, run_command, wipe
from deployments.systemd.service import Systemd
from tasks.errors import ConfigurationError
from tasks.settings import Settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="plays a machine with systemd")


class Machine:
    """A machine with systemd, as far as these commands look."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.units = folder / "units"
        self.service = Systemd("ident-amocrm", False, False, self.units, folder / "etc", folder, self.run)
        self.asked: list[str] = []

    def run(self, command: Sequence[str]) -> Done:
        self.asked.append(" ".join(command))
        if "deployments.prepare_home" in command:
            return Done(prepare_home(command))
        return Done(0, "active\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    result = Machine(tmp_path)
    for name in [*os.environ]:
        if name.startswith("IDENT_AMOCRM_") or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("IDENT_AMOCRM_HOME", str(result.home))
    monkeypatch.setattr("tasks.settings.load_settings", Settings)
    monkeypatch.setattr("deployments.prepare_home.load_settings", Settings)
    monkeypatch.setattr(commands, "_service", lambda _name, **_kind: result.service)
    return result


def run(*words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, ["service", *words], input=typed)


def answer(*words: str) -> dict[str, Any]:
    result = run(*words, "--output", "json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_install_makes_home_password_and_unit(machine: Machine) -> None:
    found = answer("install", "--port", "4300")
    password = machine.home / "prefect.auth"
    assert (found["installed"], found["active"], found["port"]) == (True, True, 4300)
    assert found["password_file"] == str(password)
    secret = password.read_text().strip().partition(":")[2]
    assert machine.home.stat().st_mode & 0o777 == 0o700
    assert "--port 4300" in machine.service.file.read_text()
    assert secret not in machine.service.file.read_text() + " ".join(machine.asked) + json.dumps(found)


def test_without_a_password_there_is_a_warning(machine: Machine) -> None:
    result = run("install", "--no-password")
    assert result.exit_code == 0
    assert "Warning: without a password" in result.stderr
    assert not (machine.home / "prefect.auth").exists()
    run("install")
    result = run("install", "--no-password")
    assert "stays in force" in result.stderr
    assert (machine.home / "prefect.auth").exists()


def test_settings_that_the_service_will_not_see_are_named(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENT_AMOCRM_STATE_URL", "postgresql+psycopg://user:secret@host/db")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    result = run("install")
    assert "does not see HTTPS_PROXY, IDENT_AMOCRM_STATE_URL" in result.stderr
    assert "secret" not in result.output


def test_a_dry_run_does_nothing(machine: Machine) -> None:
    found = answer("install", "--dry-run")
    assert "[Service]" in found["text"]
    assert found["commands"][-1] == ["systemctl", "--user", "enable", "--now", "ident-amocrm.service"]
    result = run("install", "--dry-run")
    assert f"Write {machine.service.file}:" in result.stdout
    assert "[X-Ident-Amocrm]" in result.stdout
    assert not machine.home.exists()
    assert not machine.units.exists()
    assert machine.asked == []


def test_status(machine: Machine) -> None:
    assert answer("status")["installed"] is False
    assert "not installed" in run("status").stdout
    run("install")
    found = answer("status")
    assert (found["installed"], found["active"], found["enabled"], found["answers"]) == (
        True,
        True,
        True,
        False,
    )
    assert found["version"]
    assert found["home"] == str(machine.home)
    assert "does not answer" in run("status").stdout
    assert not (machine.home / "up.lock").exists(), "made by root, it would keep the service out"


@pytest.mark.parametrize(
    ("words", "kept"), [((), True), (("--keep-state",), True), (("--wipe-state",), False)]
)
def test_uninstall_keeps_the_state_unless_told(machine: Machine, words: tuple[str, ...], kept: bool) -> None:
    run("install")
    result = run("uninstall", *words)
    assert result.exit_code == 0, result.output
    assert machine.home.exists() is kept
    assert ("is kept" if kept else "is deleted") in result.stdout
    assert not machine.service.file.exists()
    assert answer("status")["installed"] is False


@pytest.mark.parametrize(("typed", "state"), [("y\n", "wiped"), ("n\n", "kept"), ("\n", "kept")])
def test_uninstall_asks_on_a_terminal(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, typed: str, state: str
) -> None:
    run("install")
    monkeypatch.setattr(commands, "_is_terminal", lambda: True)
    result = run("uninstall", "--output", "json", typed=typed)
    assert "Delete the state" in result.stderr
    assert json.loads(result.stdout[result.stdout.index("{") :])["state"] == state  # behind what was typed


def test_the_state_is_not_wiped_under_a_running_up(machine: Machine) -> None:
    run("install")
    with FileLock(machine.home / "up.lock").acquire():
        result = run("uninstall", "--wipe-state")
    assert isinstance(result.exception, ConfigurationError)
    assert result.exception.code == "up_running"
    assert (machine.home / "prefect.auth").exists()
    assert not machine.service.file.exists(), "the service is gone all the same, and that was said"
    assert "Removed the service" in result.stderr


def test_a_folder_that_is_not_ours_alone_is_never_wiped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = tmp_path / "person"
    state = person / "state"
    state.mkdir(parents=True)
    (state / "ledger.db").touch()
    (person / "ledger.db").touch()
    (tmp_path / "link").symlink_to(state)
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("HOME", str(person))
    for folder in (person, tmp_path, tmp_path / "link", tmp_path / "other", Path("/")):
        with pytest.raises(ConfigurationError) as refusal:
            refuse_wiping(folder)
        assert refusal.value.code == "not_our_state"
    wipe(state)
    assert not state.exists()
    assert (person / "ledger.db").exists()


def test_refused_before_anything_is_stopped(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    run("install")
    monkeypatch.setenv("HOME", str(machine.home / "below"))
    result = run("uninstall", "--wipe-state")
    assert isinstance(result.exception, ConfigurationError)
    assert machine.service.file.exists()


def test_a_folder_that_cannot_be_made_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(
        "deployments.prepare_home.load_settings", lambda: Settings(home=tmp_path / "file" / "home")
    )
    assert prepare_home([]) == 1
    assert capsys.readouterr().err == f"{tmp_path / 'file' / 'home'}: Not a directory\n"


def test_commands_of_the_system_answer() -> None:
    assert run_command(["sh", "-c", "echo yes; exit 3"]) == Done(3, "yes\n", "")
    assert run_command(["no-such-command"]).complaint == "no-such-command: No such file or directory"
    assert Done(5).complaint == "exit code 5"
