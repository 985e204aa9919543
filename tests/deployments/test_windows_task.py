from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from deployments.prepare_home import NO_PASSWORD
from deployments.service import Done, Order
from deployments.systemd.unit import STOP_SECONDS
from deployments.windows.task import SCRIPT, ScheduledTask, default_home, powershell
from tasks.errors import ConfigurationError

TEXT = SCRIPT.read_text(encoding="utf-8")
START = [
    "powershell.exe",
    "-NoProfile",
    "-NonInteractive",
    "-ExecutionPolicy",
    "Bypass",
    "-File",
    str(SCRIPT),
]
HOME = Path("C:\\Program Data\\ident amocrm\\")
PYTHON = Path("C:\\ident-amocrm\\Scripts\\python.exe")


class Machine:
    def __init__(self, *answers: Done) -> None:
        self.asked: list[list[str]] = []
        self.answers = list(answers)

    def __call__(self, command: Sequence[str]) -> Done:
        self.asked.append(list(command))
        return self.answers.pop(0)


def standing(**values: object) -> Done:
    found = {"installed": True, "enabled": True, "active": True, "state": "Running", "home": "C:\\state"}
    return Done(0, json.dumps(found | values) + "\r\n")


def test_the_command_that_installs() -> None:
    assert powershell("install", "ident-amocrm", Order(HOME, 4300, PYTHON)) == [
        *START,
        *("-Action", "install", "-Name", "ident-amocrm", "-Python", str(PYTHON)),
        *("-StateHome", "C:\\Program Data\\ident amocrm", "-Port", "4300"),
    ]


def test_an_account_and_no_password_are_handed_on() -> None:
    command = powershell("install", "x", Order(HOME, 4200, PYTHON, "CLINIC\\svc", password=False))
    assert command[-3:] == ["-Account", "CLINIC\\svc", "-NoPassword"]


def test_a_dry_run_shows_the_same_command() -> None:
    order = Order(HOME, 4200, PYTHON)
    machine = Machine(Done(0))
    task = ScheduledTask("x", machine)
    plan = task.plan(order)
    assert machine.asked == []
    task.install(order)
    assert plan.commands == machine.asked
    assert plan.file is None


@pytest.mark.parametrize("action", ["status", "uninstall"])
def test_the_other_commands_need_the_name_only(action: str) -> None:
    assert powershell(action, "x") == [*START, "-Action", action, "-Name", "x"]


@pytest.mark.parametrize("name", ["", "-Action", "a b", 'a"b', "a;b", "имя"])
def test_a_name_cannot_become_code(name: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        powershell("status", name)
    assert refusal.value.code == "service_name"


def test_how_it_stands() -> None:
    found = ScheduledTask("x", Machine(standing(state="Ready", active=False))).standing()
    assert (found.installed, found.active, found.enabled, found.state) == (True, False, True, "Ready")
    assert found.home == Path("C:\\state")
    nothing = standing(installed=False, home="", state="")
    assert ScheduledTask("x", Machine(nothing)).standing().home is None


def test_it_is_removed() -> None:
    machine = Machine(standing(), Done(0))
    assert ScheduledTask("x", machine).uninstall().home == Path("C:\\state")
    assert machine.asked[1] == powershell("uninstall", "x")
    with pytest.raises(ConfigurationError) as refusal:
        ScheduledTask("x", Machine(standing(installed=False))).uninstall()
    assert refusal.value.code == "service_not_installed"


def test_the_scripts_complaint_is_shown() -> None:
    machine = Machine(Done(1, error="Only an administrator may do this.\r\n"))
    with pytest.raises(ConfigurationError) as refusal:
        ScheduledTask("x", machine).install(Order(HOME, 4200, PYTHON))
    assert refusal.value.problem == "service.ps1 failed: Only an administrator may do this."


def test_the_state_is_the_machines() -> None:
    assert default_home({"PROGRAMDATA": "/data"}) == Path("/data/ident-amocrm")


# ---- the script ----------------------------------------------------------------------------------------


def test_the_script_knows_every_word_of_the_commands() -> None:
    order = Order(HOME, 4200, PYTHON, "someone", password=False)
    for word in powershell("install", "x", order)[7:]:
        if word.startswith("-"):
            assert re.search(rf"\[\w+\] \${word[1:]}\b", TEXT), word
    (offered,) = re.findall(r"\[ValidateSet\((.+)\)\]", TEXT)
    assert {"'install'", "'status'", "'uninstall'"} <= set(offered.split(", "))


def test_the_script_agrees_with_the_code() -> None:
    assert f"$StopSeconds = {STOP_SECONDS}" in TEXT
    assert f"'{NO_PASSWORD}'" in TEXT
    assert "-m deployments.cli.main up --port {0} --home" in TEXT
    for needed in ("-AtStartup", "IgnoreNew", "-RestartCount", "-ExecutionTimeLimit ([TimeSpan]::Zero)"):
        assert needed in TEXT
    assert TEXT.index("New-Item -ItemType File -Path $sign") < TEXT.index("Stop-ScheduledTask -InputObject")


def test_the_script_is_plain_ascii() -> None:
    # Windows PowerShell 5.1 reads a file without a mark in the code page of the machine.
    assert TEXT.isascii()


@pytest.mark.skipif(shutil.which("pwsh") is None, reason="PowerShell (pwsh) is not installed")
def test_powershell_can_read_the_script() -> None:
    parse = (
        "$errors = $null; "
        f"[void][System.Management.Automation.Language.Parser]::ParseFile('{SCRIPT}', [ref]$null, [ref]$errors); "
        "$errors | ForEach-Object { $_.Message }; exit $errors.Count"
    )
    done = subprocess.run(
        ["pwsh", "-NoProfile", "-Command", parse], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
