"""``service install``, ``status``, ``uninstall``: ``up`` as a service of the operating system."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.output import Output, OutputOption, say, show
from tasks.errors import ConfigurationError

if TYPE_CHECKING:
    from deployments.service import Plan, Service
    from tasks.settings import Settings

__all__ = ["install", "status", "uninstall"]

NameOption = Annotated[
    str, typer.Option("--name", help="Name of the service; another one for a second installation.")
]
NAME = "ident-amocrm"


def install(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the UI.")] = 4200,
    account: Annotated[
        str, typer.Option(help="Under which it runs. Linux: needed as root. Windows: else LOCAL SERVICE.")
    ] = "",
    name: NameOption = NAME,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="Leave Prefect's API open to every user of this machine.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, do nothing.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Run up from now on and after every start of the machine; again after an update, or to change it."""
    from deployments.doors import password_file
    from deployments.service import Order
    from tasks.settings import load_settings

    service = _service(name)
    home = _home(load_settings(), account, name)
    order = Order(home, port, Path(sys.executable), account, password=not no_password)
    if dry_run:
        _show_plan(service.plan(order), output)
        return
    service.install(order)
    password = password_file(home)
    if no_password:
        say(_without_password(password))
    _tell_unseen(name)
    standing = service.standing()
    if standing.kind == "user service":
        say("Next, or it ends when you log out: loginctl enable-linger")
    data = asdict(standing) | {"port": port, "password_file": str(password) if not no_password else None}
    key = "" if no_password else f" The UI and its API ask for what stands in {password}."
    show(
        data,
        output,
        f"Installed {standing.kind} {name}; its state is in {home}.{key} "
        f"Within a minute: ident-amocrm service status{_named(name)}",
    )


def status(name: NameOption = NAME, output: OutputOption = Output.TEXT) -> None:
    """Show whether the service is installed, runs, starts with the machine, and answers."""
    from deployments.environment import running_api
    from tasks.settings import Settings, program_version

    standing = _service(name, installed=True).standing()
    url = None
    if standing.home is not None:
        try:
            url = running_api(Settings(home=standing.home)) if (standing.home / "up.lock").exists() else None
        except PermissionError:
            say(f"{standing.home} belongs to another account: whether it answers is not known.")
    version = program_version()
    data = asdict(standing) | {"answers": url is not None, "api": url, "version": version}
    if not standing.installed:
        text = f"{name} is not installed. Install it: ident-amocrm service install"
    else:
        text = (
            f"{standing.kind} {name}: {'active' if standing.active else 'not active'} ({standing.state}), "
            f"{'starts with the machine' if standing.enabled else 'does not start with the machine'}, "
            f"{f'answers at {url}' if url else 'does not answer'}.\n"
            f"Version {version}; state in {standing.home}"
        )
    show(data, output, text)


def uninstall(
    wipe_state: Annotated[
        bool | None,
        typer.Option(
            "--wipe-state/--keep-state",
            help="Delete the ledger, its keys, connections and logs, or keep them; asked when left out.",
        ),
    ] = None,
    name: NameOption = NAME,
    output: OutputOption = Output.TEXT,
) -> None:
    """Let up end in order and remove the service; the state is kept unless it is to be wiped."""
    from deployments.service import refuse_wiping, wipe

    service = _service(name, installed=True)
    home = service.standing().home
    if wipe_state is None and home is not None and _is_terminal():
        question = f"Delete the state in {home}, too? Without it every card in amoCRM must be found again."
        wipe_state = typer.confirm(question, default=False, err=True)
    if wipe_state and home is not None:
        refuse_wiping(home)
    service.uninstall()
    wiped = bool(wipe_state and home is not None)
    if wiped and home is not None:
        try:
            wipe(home)
        except ConfigurationError:
            say(f"Removed the service {name}, but not its state.")
            raise
        if os.environ.get("IDENT_AMOCRM_STATE_URL"):
            say("The ledger in IDENT_AMOCRM_STATE_URL is left as it is.")
    data = {"name": name, "uninstalled": True, "state": "wiped" if wiped else "kept", "home": home}
    what = f"its state in {home} is {'deleted' if wiped else 'kept'}"
    show(data, output, f"Removed the service {name}; {what}.")


def _is_terminal() -> bool:
    """Tell whether somebody is there to be asked."""
    return sys.stdin.isatty()


def _service(name: str, *, installed: bool = False) -> Service:
    if sys.platform == "win32":
        from deployments.windows.task import ScheduledTask

        return ScheduledTask(name)
    if sys.platform == "linux":
        from deployments.systemd.service import this_systemd

        return this_systemd(name, installed=installed)
    raise ConfigurationError(
        problem="A service is installed on Linux with systemd, and on Windows.",
        remedy="Let this system keep running: ident-amocrm up",
        code="no_service",
    )


def _home(settings: Settings, account: str, name: str) -> Path:
    """Return the folder of the service's state: the one that was named, else the account's own."""
    if "home" not in settings.model_fields_set:
        if sys.platform == "win32":
            from deployments.windows.task import default_home

            return default_home()
        if sys.platform == "linux" and os.geteuid() == 0:
            from deployments.systemd.service import account_home

            return account_home(account, name)
    return settings.home.absolute()


def _show_plan(plan: Plan, output: Output) -> None:
    """Show what would be done."""
    file = str(plan.file) if plan.file else None
    data = {"file": file, "text": plan.text, "commands": [*plan.prepare, *plan.commands]}
    lines = [_line(command) for command in plan.prepare]
    if file:
        lines += [f"Write {file}:", "", plan.text]
    lines += [_line(command) for command in plan.commands]
    from rich.text import Text

    show(data, output, Text("\n".join(lines)))


def _line(command: list[str]) -> str:
    """Return a command as a person would type it."""
    return subprocess.list2cmdline(command) if sys.platform == "win32" else shlex.join(command)


def _without_password(password: Path) -> str:
    try:
        there = password.exists()
    except PermissionError:
        there = False
    if there:
        return f"Warning: {password} was there already and stays in force; delete it to do without."
    return (
        "Warning: without a password every user and program of this machine can read the passwords of the "
        "clinics' databases from Prefect's API. Install again without --no-password to have one."
    )


def _tell_unseen(name: str) -> None:
    """Name the settings of this shell that the service will not see."""
    ours = {key for key in os.environ if key.startswith("IDENT_AMOCRM_")} - {"IDENT_AMOCRM_HOME"}
    proxies = {
        key for key in os.environ if key.upper() in {"HTTP_PROXY", "HTTPS_PROXY", "REQUESTS_CA_BUNDLE"}
    }
    unseen = sorted(ours | proxies)
    if not unseen:
        return
    where = "as variables of the machine"
    if sys.platform == "linux":
        from deployments.systemd.service import this_systemd

        where = f"as NAME=value into {this_systemd(name).settings_file}"
    say(f"The service does not see {', '.join(unseen)} of this shell: set them {where}, then restart it.")


def _named(name: str) -> str:
    return "" if name == NAME else f" --name {name}"
