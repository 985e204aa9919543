"""Where the installation listens, and who may come in."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys

from tasks.errors import ConfigurationError

__all__ = ["AUTH_STRING", "free_port", "is_loopback", "refuse_open_door", "within_reach"]

#: ``user:password`` of Prefect's server; the pages of data quality ask for the same one.
AUTH_STRING = "PREFECT_SERVER_API_AUTH_STRING"


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
