"""Installs, shows and removes the scheduled task; ``service.ps1`` beside this file does the work."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from deployments.service import Done, Order, Plan, Runner, Standing, check_name, run_command
from tasks.errors import ConfigurationError

__all__ = ["SCRIPT", "ScheduledTask", "default_home", "powershell"]

SCRIPT = Path(__file__).with_name("service.ps1")


def powershell(action: str, name: str, order: Order | None = None) -> list[str]:
    """Return the command line that has the script do something.

    Everything is a word of its own behind ``-File``, which takes it as it is: no value becomes code.

    Args:
        action: What ``-Action`` of the script offers.
        name: Name of the task.
        order: What to install.
    """
    command = ["powershell.exe", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass"]
    command += ["-File", str(SCRIPT), "-Action", action, "-Name", check_name(name)]
    if order is None:
        return command
    # A backslash at the end would escape the quotation mark behind it.
    home = str(PureWindowsPath(order.home)).rstrip("\\")
    command += ["-Python", str(order.python), "-StateHome", home, "-Port", str(order.port)]
    if order.account:
        command += ["-Account", order.account]
    if not order.password:
        command += ["-NoPassword"]
    return command


def default_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the state where none was named: the machine's, not that of whoever installs."""
    return Path(environ.get("PROGRAMDATA", r"C:\ProgramData")) / "ident-amocrm"


@dataclass(frozen=True, slots=True)
class ScheduledTask:
    """A scheduled task that starts with the machine.

    Attributes:
        name: Its name.
        run: Runs a command.
    """

    name: str
    run: Runner = run_command

    def plan(self, order: Order) -> Plan:
        """Say what ``install`` would do."""
        return Plan(commands=[powershell("install", self.name, order)])

    def install(self, order: Order) -> None:
        """Install it, or bring what is installed in line, and start it.

        Raises:
            ConfigurationError: When the script fails.
        """
        self._do(powershell("install", self.name, order))

    def standing(self) -> Standing:
        """Say how it stands.

        Raises:
            ConfigurationError: When the script fails.
        """
        found = json.loads(self._do(powershell("status", self.name)).output)
        return Standing(
            self.name,
            "scheduled task",
            installed=bool(found["installed"]),
            active=bool(found["active"]),
            enabled=bool(found["enabled"]),
            state=str(found["state"]),
            home=Path(found["home"]) if found["home"] else None,
        )

    def uninstall(self) -> Standing:
        """Let it end in order and remove it; say how it stood.

        Raises:
            ConfigurationError: When it is not installed, or the script fails.
        """
        before = self.standing()
        if not before.installed:
            raise ConfigurationError(
                problem=f"There is no scheduled task {self.name}.",
                remedy="See ident-amocrm service status, in a console of an administrator.",
                code="service_not_installed",
            )
        self._do(powershell("uninstall", self.name))
        return before

    def _do(self, command: list[str]) -> Done:
        done = self.run(command)
        if done.code:
            raise ConfigurationError(
                problem=f"service.ps1 failed: {done.complaint}",
                remedy='Use a console that was opened with "Run as administrator".',
                code="service_command",
            )
        return done
