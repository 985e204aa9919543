"""``up`` as a service of the operating system: what Linux and Windows share."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from tasks.errors import ConfigurationError

__all__ = [
    "MARKS",
    "Done",
    "Order",
    "Plan",
    "Runner",
    "Service",
    "Standing",
    "check_name",
    "is_up",
    "refuse_wiping",
    "run_command",
    "wipe",
]

#: Files that only a folder of our state holds.
MARKS = ("blocks.key", "installation.key", "ledger.db", "prefect.auth", "up.lock")


@dataclass(frozen=True, slots=True)
class Done:
    """How a command of the system ended."""

    code: int
    output: str = ""
    error: str = ""

    @property
    def complaint(self) -> str:
        """Its last words."""
        lines = (self.error or self.output).strip().splitlines()
        return lines[-1].strip() if lines else f"exit code {self.code}"


#: Runs a command of the system and waits for its end.
Runner = Callable[[Sequence[str]], Done]


@dataclass(frozen=True, slots=True)
class Order:
    """The service that is wanted.

    Attributes:
        home: Folder of its state.
        port: Port of the UI.
        python: The interpreter that finds ``deployments``.
        account: Under which it runs; empty: the system's own choice.
        password: Whether Prefect's API asks for one.
    """

    home: Path
    port: int
    python: Path
    account: str = ""
    password: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """What an installation does, in its order.

    Attributes:
        prepare: Commands that make the folder of the state.
        file: The file that describes the service, where there is one.
        text: What is written into it.
        commands: Commands that start the service.
    """

    prepare: list[list[str]] = field(default_factory=list)
    file: Path | None = None
    text: str = ""
    commands: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a service stands.

    Attributes:
        kind: Such as ``system service``.
        state: In the system's own word.
        home: Folder of its state, as it was installed.
    """

    name: str
    kind: str
    installed: bool
    active: bool = False
    enabled: bool = False
    state: str = ""
    home: Path | None = None


class Service(Protocol):
    """A service of one operating system."""

    def plan(self, order: Order) -> Plan:
        """Say what ``install`` would do."""
        ...

    def install(self, order: Order) -> None:
        """Install it, or bring what is installed in line, and start it."""
        ...

    def standing(self) -> Standing:
        """Say how it stands."""
        ...

    def uninstall(self) -> Standing:
        """Let it end in order and remove it; say how it stood."""
        ...


def run_command(command: Sequence[str]) -> Done:
    """Run a command of the system; it is never given a secret, which other users would see."""
    try:
        done = subprocess.run(  # noqa: S603 - built by us from checked parts
            command, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
    except OSError as error:
        return Done(127, error=f"{command[0]}: {error.strerror}")
    return Done(done.returncode, done.stdout, done.stderr)


def check_name(name: str) -> str:
    """Return the name of a service, once it is certain that every system takes it.

    Raises:
        ConfigurationError: When it holds other characters.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name):
        raise ConfigurationError(
            problem="The name of a service consists of Latin letters, digits, '.', '_' and '-'.",
            remedy="For instance: --name ident-amocrm-2",
            code="service_name",
        )
    return name


def is_up(home: Path) -> bool:
    """Tell whether an ``up`` holds the lock of this folder.

    The file is never made here: made by an administrator, the account of the service could not open it.
    """
    path = home / "up.lock"
    try:
        if not path.exists():
            return False
        with FileLock(path, mode=0o600).acquire(timeout=0):
            return False
    except Timeout:
        return True
    except PermissionError:
        # Another account's folder: whoever goes on is told by what fails then.
        return False


def refuse_wiping(home: Path) -> None:
    """Make sure that a folder holds our state, and nothing else that anybody would miss.

    Raises:
        ConfigurationError: When it may not be deleted.
    """
    real = home.resolve()
    missed = [place.resolve() for place in (Path.home(), Path.cwd(), Path(sys.prefix), Path(__file__))]
    ours = any((home / mark).exists() for mark in MARKS)
    if home.is_symlink() or not ours or any(place.is_relative_to(real) for place in missed):
        raise ConfigurationError(
            problem=f"{home} is not a folder of our state alone; it is not deleted.",
            remedy="Uninstall with --keep-state, and delete by hand what you do not need.",
            code="not_our_state",
        )


def wipe(home: Path) -> None:
    """Delete the state: the ledger, its keys, Prefect's store with its passwords, logs.

    Raises:
        ConfigurationError: When ``up`` uses it, or a part cannot be deleted.
    """
    refuse_wiping(home)
    if is_up(home):
        raise ConfigurationError(
            problem=f"ident-amocrm up runs for {home}; its state is kept.",
            remedy="Stop it, then delete the folder.",
            code="up_running",
        )
    try:
        shutil.rmtree(home)
    except OSError as error:
        raise ConfigurationError(
            problem=f"{error.filename} cannot be deleted ({error.strerror}).",
            remedy=f"Delete what is left of {home} by hand.",
            code="state_left",
        ) from None
