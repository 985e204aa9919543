"""Installs, shows and removes the unit: root's for the whole machine, or one of the user's own."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from deployments.prepare_home import NO_PASSWORD
from deployments.service import Order, Plan, Runner, Standing, check_name, is_up, run_command
from deployments.systemd.unit import Unit, home_of, render
from tasks.errors import ConfigurationError

__all__ = ["Systemd", "account_home", "this_systemd"]

#: There while systemd runs the machine; it may be installed and not do so, as in a container.
RUNNING = Path("/run/systemd/system")
SYSTEM_UNITS = Path("/etc/systemd/system")
SYSTEM_SETTINGS = Path("/etc")


@dataclass(frozen=True, slots=True)
class Systemd:
    """A service of systemd.

    Attributes:
        name: Without ``.service``.
        system: Whether it is the machine's, and not the user's own.
        root: Whether this is the administrator.
        units: Folder of the units.
        settings: Folder of the files of settings.
        running: There while systemd runs the machine.
        run: Runs a command.
    """

    name: str
    system: bool
    root: bool
    units: Path
    settings: Path
    running: Path
    run: Runner = run_command

    @property
    def file(self) -> Path:
        """The unit's file."""
        return self.units / f"{self.name}.service"

    @property
    def settings_file(self) -> Path:
        """The file of settings, as variables, that the service reads besides."""
        return self.settings / f"{self.name}.env"

    def plan(self, order: Order) -> Plan:
        """Say what ``install`` would do.

        Raises:
            ConfigurationError: When there is no such account, or a path cannot stand in a unit.
        """
        self._check_account(order)
        account = order.account if self.system else ""
        unit = Unit(self.name, order.python, order.home, order.port, self.settings_file, account)
        start = [["enable"], ["restart"]] if self.file.exists() else [["enable", "--now"]]
        return Plan(
            prepare=self._prepare(order),
            file=self.file,
            text=render(unit),
            commands=[
                self._systemctl("daemon-reload"),
                *(self._systemctl(*words, self.file.name) for words in start),
            ],
        )

    def install(self, order: Order) -> None:
        """Install it, or bring what is installed in line, and start it.

        Raises:
            ConfigurationError: When a condition is not met, or a command fails.
        """
        self._check_running()
        plan = self.plan(order)
        if is_up(order.home) and not self.standing().active:
            raise ConfigurationError(
                problem=f"ident-amocrm up runs already for {order.home}.",
                remedy="Stop it (Ctrl-C where it runs), and install again.",
                code="already_up",
            )
        for command in plan.prepare:
            self._do(
                command,
                "Install ident-amocrm where the account of the service may read it, such as "
                f"/opt/ident-amocrm, and see that {order.home} is its own.",
            )
        self.units.mkdir(parents=True, exist_ok=True)
        self.file.write_text(plan.text, encoding="utf-8")
        self.file.chmod(0o644)  # every user may ask how it stands, whatever the umask of this one
        for command in plan.commands:
            self._do(command, f"See: {self.journal}")

    def standing(self) -> Standing:
        """Say how it stands."""
        kind = "system service" if self.system else "user service"
        if not self.file.is_file():
            return Standing(self.name, kind, installed=False)
        active = self.run(self._systemctl("is-active", self.file.name))
        enabled = self.run(self._systemctl("is-enabled", self.file.name))
        return Standing(
            self.name,
            kind,
            installed=True,
            active=active.code == 0,
            enabled=enabled.code == 0,
            state=active.output.strip() or active.complaint,
            home=home_of(self.file.read_text(encoding="utf-8")),
        )

    def uninstall(self) -> Standing:
        """Let it end in order and remove it; say how it stood.

        Raises:
            ConfigurationError: When it is not installed, or not this user's to remove.
        """
        if not self.file.is_file():
            raise ConfigurationError(
                problem=f"{self.file} is not there: no such service is installed.",
                remedy="See ident-amocrm service status, also as the user who installed it.",
                code="service_not_installed",
            )
        if self.system and not self.root:
            raise ConfigurationError(
                problem=f"{self.name} is a service of the whole machine.",
                remedy="Uninstall it as root: sudo ident-amocrm service uninstall",
                code="root_needed",
            )
        self._check_running()
        before = self.standing()
        # It waits until up has ended.
        self._do(self._systemctl("disable", "--now", self.file.name), f"See: {self.journal}")
        self.file.unlink()
        self._do(self._systemctl("daemon-reload"), f"See: {self.journal}")
        self.run(self._systemctl("reset-failed", self.file.name))
        return before

    @property
    def journal(self) -> str:
        """The command that shows what it says."""
        return f"journalctl {'' if self.system else '--user '}-u {self.name}"

    def _systemctl(self, *words: str) -> list[str]:
        return ["systemctl", *([] if self.system else ["--user"]), *words]

    def _do(self, command: list[str], remedy: str) -> None:
        done = self.run(command)
        if done.code:
            raise ConfigurationError(
                problem=f"{' '.join(command)} failed: {done.complaint}",
                remedy=remedy,
                code="service_command",
            )

    def _check_running(self) -> None:
        if not self.running.is_dir():
            raise ConfigurationError(
                problem=f"systemd does not run this machine ({self.running} is not there).",
                remedy="Let what runs it instead (a container, another init) keep running: ident-amocrm up",
                code="no_systemd",
            )

    def _check_account(self, order: Order) -> None:
        """A system service runs under an account of its own, and its folder belongs to that."""
        if not self.system:
            if order.account:
                raise ConfigurationError(
                    problem="Only root can install a service for another account.",
                    remedy=f"Run: sudo ident-amocrm service install --account {order.account}",
                    code="root_needed",
                )
            return
        user = _user(order.account, self.name)
        if order.home.exists() and order.home.stat().st_uid != user.pw_uid:
            raise ConfigurationError(
                problem=f"{order.home} does not belong to {order.account}.",
                remedy=f"If it is the state that {order.account} is to use: "
                f"chown -R {order.account}: '{order.home}'",
                code="home_owner",
            )

    def _prepare(self, order: Order) -> list[list[str]]:
        """Return the commands that make the home and its password.

        Where the account may, it does so itself: root would follow a link that the account laid.
        """
        commands = []
        if self.system:
            user = _user(order.account, self.name)
            above = next(place for place in order.home.parents if place.exists())
            if not order.home.exists() and above.stat().st_uid != user.pw_uid:
                owner = ["-o", order.account, "-g", str(user.pw_gid)]
                commands.append(["install", "-d", "-m", "0700", *owner, str(order.home)])
        # As the unit will start it: from the root folder, found without a PYTHONPATH.
        clean = ["env", "-C", "/", "-u", "PYTHONPATH", f"IDENT_AMOCRM_HOME={order.home}"]
        program = [str(order.python), "-m", "deployments.prepare_home"]
        become = ["runuser", "-u", order.account, "--"] if self.system else []
        commands.append([*become, *clean, *program, *([] if order.password else [NO_PASSWORD])])
        return commands


def this_systemd(name: str, *, installed: bool = False) -> Systemd:
    """Return the service of this machine, or of this user who is not root.

    Args:
        name: Its name.
        installed: Whether one that is installed is meant: a user may ask for the machine's, too.
    """
    check_name(name)
    root = os.geteuid() == 0
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    machine = Systemd(
        name, system=True, root=root, units=SYSTEM_UNITS, settings=SYSTEM_SETTINGS, running=RUNNING
    )
    own = Systemd(name, False, root, config / "systemd" / "user", config, RUNNING)  # noqa: FBT003
    if root or (installed and machine.file.is_file() and not own.file.is_file()):
        return machine
    return own


def account_home(account: str, name: str) -> Path:
    """Return the folder in which the commands of an account look for its state by default.

    Raises:
        ConfigurationError: When there is no such account.
    """
    return Path(_user(account, name).pw_dir) / ".local" / "share" / "ident-amocrm"


def _user(account: str, name: str) -> pwd.struct_passwd:
    create = f"useradd --system --create-home --home-dir /var/lib/{name} --shell /usr/sbin/nologin {name}"
    try:
        user = pwd.getpwnam(account) if account else None
    except KeyError:
        user = None
    if user is None:
        raise ConfigurationError(
            problem=f"There is no account {account!r}." if account else "Name the account of the service.",
            remedy=f"Run: {create}, then: ident-amocrm service install --account {name}",
            code="service_account",
        )
    if user.pw_uid == 0:
        raise ConfigurationError(
            problem="The service needs none of root's rights, and does not run under root.",
            remedy=f"Run: {create}, then: ident-amocrm service install --account {name}",
            code="service_account",
        )
    return user
