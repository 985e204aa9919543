"""Where the installation listens, and who may come in."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import sys
from pathlib import Path

from tasks.errors import ConfigurationError

__all__ = [
    "AUTH_STRING",
    "free_port",
    "is_loopback",
    "make_password",
    "password_file",
    "read_password",
    "refuse_open_door",
    "within_reach",
]

#: ``user:password`` of Prefect's server; the pages of data quality ask for the same one.
AUTH_STRING = "PREFECT_SERVER_API_AUTH_STRING"
#: The name with which a browser comes in.
OPERATOR = "operator"
PASSWORD_BYTES = 24


def free_port(host: str, wanted: int, taken: int | None = None) -> int:
    """Return the wanted port, or the next free one.

    Args:
        host: The address to listen on.
        wanted: The port.
        taken: One that is free, but promised already.

    Raises:
        ConfigurationError: When none of a hundred is free.
    """
    for port in range(wanted, min(wanted + 100, 65536)):
        if port == taken:
            continue
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if sys.platform != "win32":
                # As the server will: a port whose last connections are fading is free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise ConfigurationError(
        problem=f"No port from {wanted} to {wanted + 99} is free on {host}.",
        remedy="Name another one: ident-amocrm up --port 5000",
        code="no_free_port",
    )


def is_loopback(host: str) -> bool:
    """Tell whether an address is of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def within_reach(host: str) -> str:
    """Return the host of an address to connect to, as it stands in a URL; one that means "all" is none."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - recognised, not listened on
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def refuse_open_door(host: str) -> None:
    """Whoever reaches Prefect's API may read every password in its blocks.

    Raises:
        ConfigurationError: When the network could come in without a password.
    """
    if not is_loopback(host) and not os.environ.get(AUTH_STRING):
        raise ConfigurationError(
            problem=f"On {host} everybody in the network could read the passwords of the databases.",
            remedy=f"Set {AUTH_STRING}=user:password, or listen on 127.0.0.1.",
            code="no_authentication",
        )


def password_file(home: Path) -> Path:
    """Return the file that holds ``user:password`` of an installation, where it has one."""
    return home / "prefect.auth"


def make_password(home: Path) -> Path:
    """Give an installation a password, where it has none yet.

    Args:
        home: Its folder, which exists.

    Returns:
        The file of the password, readable by its owner only.
    """
    path = password_file(home)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(f"{OPERATOR}:{secrets.token_urlsafe(PASSWORD_BYTES)}\n")
        file.flush()
        os.fsync(file.fileno())
    return path


def read_password(home: Path) -> str | None:
    """Return ``user:password`` of an installation; ``None`` where it has none.

    Raises:
        ConfigurationError: When the file is there and holds none: a broken lock must not open the door.
    """
    path = password_file(home)
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        text = ""
    user, _, password = text.partition(":")
    if not user or not password or len(text.splitlines()) > 1:
        raise ConfigurationError(
            problem=f"{path} does not hold user:password, or may not be read.",
            remedy="Write user:password into it, or delete it and run: ident-amocrm service install",
            code="password_file",
        )
    return text
