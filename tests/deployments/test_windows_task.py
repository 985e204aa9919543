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

ROOT = Path(__file__).parents[2]
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


def body(function: str) -> str:
    """The lines of a function of the script."""
    (found,) = re.findall(rf"^function {function} \{{\n(.+?)^\}}", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


def in_this_order(text: str, *parts: str) -> None:
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_the_state_is_for_the_service_the_system_and_administrators_only() -> None:
    access = body("Set-HomeAccess")
    (command,) = re.findall(r"& icacls\.exe (.+?) \| Out-Null", access)
    assert command.split() == [
        *("$Folder", "/inheritance:r", "/grant:r"),
        *(f'"*${{{sid}}}$full"' for sid in ("SidSystem", "SidAdministrators", "Sid")),
    ]
    assert "$full = ':(OI)(CI)F'" in access, "also of what is made in it later"
    assert "if ($LASTEXITCODE -ne 0) { throw" in access
    assert set(re.findall(r"S-1-[-0-9]+", TEXT)) == {"S-1-5-18", "S-1-5-19", "S-1-5-20", "S-1-5-32-544"}
    in_this_order(body("Install-Up"), "Set-HomeAccess $folder $sid", "Initialize-Home", "Start-ScheduledTask")


def test_an_update_ends_the_old_version_before_it_starts_the_new_one() -> None:
    in_this_order(
        body("Install-Up"),
        "if ($old) { Stop-Up $old }",
        "if (Test-Up $folder) { throw",
        "Register-ScheduledTask -TaskName $Name -TaskPath '\\' -Force",
        "Start-ScheduledTask",
    )
    in_this_order(body("Stop-Up"), "Disable-ScheduledTask", "$sign -Force | Out-Null", "Stop-ScheduledTask")


def test_uninstalling_ends_it_and_leaves_neither_task_nor_variable() -> None:
    in_this_order(
        body("Uninstall-Up"),
        "Stop-Up $task",
        "Unregister-ScheduledTask -TaskName $Name",
        "SetEnvironmentVariable('IDENT_AMOCRM_HOME', $null, 'Machine')",
    )


def test_the_page_tells_every_step_in_words_that_exist() -> None:
    page = (ROOT / "docs/how-to/install-windows.md").read_text(encoding="utf-8")
    (offered,) = re.findall(r"\[ValidateSet\((.+)\)\]", TEXT)
    actions = set(re.findall(r"-Action (\w+)", page))
    assert {"stop"} <= actions <= {word.strip("'") for word in offered.split(", ")}
    (update,) = re.findall(r"^\| update \| (.+) \|$", page, re.MULTILINE)
    in_this_order(update, "back up", "stop it", "`pip install`", "step 4 again")
    (back,) = re.findall(r"^\| go back \| (.+) \|$", page, re.MULTILINE)
    in_this_order(back, "stop it", "`pip install`", "`restore`", "step 4 again")
    for command in ("install --dry-run", "install", "status", "uninstall"):
        assert f"ident-amocrm service {command}" in page
        assert command.split()[0] in TEXT
    assert {"--keep-state", "--wipe-state"} <= set(re.findall(r"--\w+-state", page))


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
