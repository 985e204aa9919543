from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from filelock import FileLock

from deployments import up
from deployments.service import Done, Order
from deployments.supervisor import BESIDE_STOP_SECONDS, WORKER_STOP_SECONDS
from deployments.systemd import service
from deployments.systemd.service import Systemd, account_home, this_systemd
from deployments.systemd.unit import STOP_SECONDS, Unit, home_of, render
from tasks.errors import ConfigurationError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")

#: An account that every Linux has and that is not root; files of a test belong to whoever runs it.
ACCOUNT = "daemon"
AWKWARD = 'ho me %h 50% "q" \\ x'


class Machine:
    """Takes down what would be run, and answers."""

    def __init__(self, **answers: Done) -> None:
        self.asked: list[list[str]] = []
        self.answers = answers

    def __call__(self, command: Sequence[str]) -> Done:
        self.asked.append(list(command))
        for word, answer in self.answers.items():
            if word.replace("_", "-") in command:
                return answer
        return Done(0)


@pytest.fixture
def machine() -> Machine:
    return Machine(is_active=Done(0, "active\n"), is_enabled=Done(0, "enabled\n"))


def systemd(folder: Path, run: Machine, *, system: bool = False, root: bool = False) -> Systemd:
    running = folder / "run"
    running.mkdir(exist_ok=True)
    return Systemd("ident-amocrm", system, root, folder / "units", folder / "etc", running, run)


def order(folder: Path, *, account: str = "", password: bool = True) -> Order:
    return Order(folder / "home", 4200, Path(sys.executable), account, password)


def unit(folder: Path, account: str = "") -> Unit:
    python = folder / "my 100%py" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    return Unit("ident-amocrm", python, folder / AWKWARD, 4242, folder / "se t%.env", account)


# ---- the unit ------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("account", [ACCOUNT, ""])
def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path, account: str) -> None:
    file = tmp_path / "ident-amocrm.service"
    file.write_text(render(unit(tmp_path, account)))
    command = ["systemd-analyze", "verify", *([] if account else ["--user"]), str(file)]
    around = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, env=around, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_would_find_a_path_that_was_not_escaped(tmp_path: Path) -> None:
    file = tmp_path / "ident-amocrm.service"
    file.write_text(render(unit(tmp_path, ACCOUNT)).replace("100%%py", "100%py"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False
    )
    assert done.stderr


def test_a_path_is_written_so_that_systemd_reads_it_back(tmp_path: Path) -> None:
    text = render(unit(tmp_path, ACCOUNT))
    escaped = str(tmp_path / AWKWARD).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    assert f'Environment="IDENT_AMOCRM_HOME={escaped}"' in text
    assert f'ReadWritePaths="{escaped}"' in text
    assert f"EnvironmentFile=-{tmp_path}/se t%%.env" in text
    assert f'ExecStart="{tmp_path}/my 100%%py/python" -m deployments.cli.main up --port 4242' in text
    assert home_of(text) == tmp_path / AWKWARD


@pytest.mark.parametrize("name", ["line\nbreak", "end ", "back\\", "tab\t"])
def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        render(Unit("x", Path(sys.executable), tmp_path / name, 4200, tmp_path / "x.env"))
    assert refusal.value.code == "service_path"
    with pytest.raises(ConfigurationError):
        render(Unit("x", tmp_path / "$py", tmp_path, 4200, tmp_path / "x.env"))


def test_it_waits_longer_than_up_needs_to_end() -> None:
    slowest = WORKER_STOP_SECONDS + 2 * BESIDE_STOP_SECONDS + up.SERVER_STOP_SECONDS
    assert slowest < STOP_SECONDS


def test_a_units_own_text_is_needed_to_find_the_state() -> None:
    assert home_of("[Service]\nExecStart=/bin/true\n") is None


# ---- install -------------------------------------------------------------------------------------------


def test_a_users_service_is_installed_and_started(tmp_path: Path, machine: Machine) -> None:
    own = systemd(tmp_path, machine)
    own.install(order(tmp_path))
    prepare, *rest = machine.asked
    assert prepare[:4] == ["env", "-C", "/", "-u"]
    assert prepare[-3:] == [sys.executable, "-m", "deployments.prepare_home"]
    assert f"IDENT_AMOCRM_HOME={tmp_path / 'home'}" in prepare
    assert rest == [
        ["systemctl", "--user", "daemon-reload"],
        ["systemctl", "--user", "enable", "--now", "ident-amocrm.service"],
    ]
    text = own.file.read_text()
    assert own.file.stat().st_mode & 0o777 == 0o644
    assert "User=" not in text
    assert "WantedBy=default.target" in text


def test_installing_again_starts_it_again(tmp_path: Path, machine: Machine) -> None:
    own = systemd(tmp_path, machine)
    own.install(order(tmp_path))
    machine.asked.clear()
    own.install(order(tmp_path))
    assert [command[2] for command in machine.asked if command[0] == "systemctl"] == [
        "daemon-reload",
        "enable",
        "restart",
    ]


def test_a_system_service_has_an_account_of_its_own(tmp_path: Path, machine: Machine) -> None:
    whole = systemd(tmp_path, machine, system=True, root=True)
    whole.install(order(tmp_path, account=ACCOUNT, password=False))
    make, prepare, *rest = machine.asked
    group = str(pwd.getpwnam(ACCOUNT).pw_gid)
    home = str(tmp_path / "home")
    assert make == ["install", "-d", "-m", "0700", "-o", ACCOUNT, "-g", group, home]
    assert prepare[:4] == ["runuser", "-u", ACCOUNT, "--"]
    assert prepare[-1] == "--no-password"
    assert rest[-1] == ["systemctl", "enable", "--now", "ident-amocrm.service"]
    text = whole.file.read_text()
    assert f"\nUser={ACCOUNT}\n" in text
    assert "ProtectSystem=strict" in text
    assert "WantedBy=multi-user.target" in text


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="gives a folder to another account")
def test_root_makes_nothing_where_the_account_may(tmp_path: Path, machine: Machine) -> None:
    os.chown(tmp_path, pwd.getpwnam(ACCOUNT).pw_uid, -1)
    whole = systemd(tmp_path, machine, system=True, root=True)
    plan = whole.plan(order(tmp_path, account=ACCOUNT))
    assert [command[0] for command in plan.prepare] == ["runuser"]


def test_a_home_of_somebody_else_is_refused(tmp_path: Path, machine: Machine) -> None:
    (tmp_path / "home").mkdir()
    whole = systemd(tmp_path, machine, system=True, root=True)
    with pytest.raises(ConfigurationError) as refusal:
        whole.install(order(tmp_path, account=ACCOUNT))
    assert refusal.value.code == "home_owner"
    assert f"chown -R {ACCOUNT}:" in refusal.value.remedy


@pytest.mark.parametrize("account", ["", "root", "no-such-account"])
def test_root_has_to_name_an_account(tmp_path: Path, machine: Machine, account: str) -> None:
    whole = systemd(tmp_path, machine, system=True, root=True)
    with pytest.raises(ConfigurationError) as refusal:
        whole.install(order(tmp_path, account=account))
    assert refusal.value.code == "service_account"
    assert "useradd --system --create-home" in refusal.value.remedy
    assert machine.asked == []


def test_a_user_cannot_install_for_another(tmp_path: Path, machine: Machine) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        systemd(tmp_path, machine).plan(order(tmp_path, account=ACCOUNT))
    assert refusal.value.code == "root_needed"


def test_without_systemd_nothing_is_done(tmp_path: Path, machine: Machine) -> None:
    own = systemd(tmp_path, machine)
    (tmp_path / "run").rmdir()
    with pytest.raises(ConfigurationError) as refusal:
        own.install(order(tmp_path))
    assert refusal.value.code == "no_systemd"
    assert machine.asked == []
    assert own.plan(order(tmp_path)).text, "a dry run is possible all the same"


def test_an_up_that_somebody_started_is_not_fought_with(tmp_path: Path, machine: Machine) -> None:
    own = systemd(tmp_path, machine)
    (tmp_path / "home").mkdir()
    with FileLock(tmp_path / "home" / "up.lock").acquire():
        with pytest.raises(ConfigurationError) as refusal:
            own.install(order(tmp_path))
        assert refusal.value.code == "already_up"
        own.units.mkdir()
        own.file.write_text("")
        own.install(order(tmp_path))  # it is the service's own


def test_an_account_that_cannot_run_it_is_found_out(tmp_path: Path) -> None:
    machine = Machine(runuser=Done(1, error="Traceback\nNo module named deployments\n"))
    whole = systemd(tmp_path, machine, system=True, root=True)
    with pytest.raises(ConfigurationError) as refusal:
        whole.install(order(tmp_path, account=ACCOUNT))
    assert refusal.value.problem.endswith("No module named deployments")
    assert not whole.file.exists()


# ---- status, uninstall ---------------------------------------------------------------------------------


def test_how_it_stands(tmp_path: Path, machine: Machine) -> None:
    own = systemd(tmp_path, machine)
    assert not own.standing().installed
    own.install(order(tmp_path))
    found = own.standing()
    assert (found.installed, found.active, found.enabled) == (True, True, True)
    assert found.home == tmp_path / "home"
    machine.answers = {"is_active": Done(3, "activating\n"), "is_enabled": Done(1, "disabled\n")}
    found = own.standing()
    assert (found.active, found.enabled, found.state) == (False, False, "activating")


def test_it_is_removed(tmp_path: Path, machine: Machine) -> None:
    own = systemd(tmp_path, machine)
    own.install(order(tmp_path))
    machine.asked.clear()
    assert own.uninstall().home == tmp_path / "home"
    assert ["systemctl", "--user", "disable", "--now", "ident-amocrm.service"] in machine.asked
    assert not own.file.exists()
    with pytest.raises(ConfigurationError) as refusal:
        own.uninstall()
    assert refusal.value.code == "service_not_installed"


def test_it_is_not_removed_while_it_does_not_end(tmp_path: Path, machine: Machine) -> None:
    own = systemd(tmp_path, machine)
    own.install(order(tmp_path))
    machine.answers["disable"] = Done(1, error="Failed to connect to bus")
    with pytest.raises(ConfigurationError) as refusal:
        own.uninstall()
    assert "journalctl --user -u ident-amocrm" in refusal.value.remedy
    assert own.file.exists()


def test_a_user_does_not_remove_the_machines_service(tmp_path: Path, machine: Machine) -> None:
    whole = systemd(tmp_path, machine, system=True)
    whole.units.mkdir()
    whole.file.write_text("")
    with pytest.raises(ConfigurationError) as refusal:
        whole.uninstall()
    assert refusal.value.code == "root_needed"


def test_which_service_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(service, "SYSTEM_UNITS", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert this_systemd("x").file == tmp_path / "x.service"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    own = tmp_path / "config" / "systemd" / "user" / "x.service"
    assert this_systemd("x").file == own
    (tmp_path / "x.service").write_text("")
    assert this_systemd("x").file == own, "another one is installed beside it"
    assert this_systemd("x", installed=True).system
    own.parent.mkdir(parents=True)
    own.write_text("")
    assert not this_systemd("x", installed=True).system
    with pytest.raises(ConfigurationError):
        this_systemd("../x")


def test_the_state_lies_where_commands_of_the_account_look() -> None:
    assert account_home(ACCOUNT, "x") == Path(pwd.getpwnam(ACCOUNT).pw_dir) / ".local/share/ident-amocrm"
