"""Ports for servers that start some seconds after the port was chosen."""

from __future__ import annotations

import random
import socket

__all__ = ["free_port"]

#: Below those that Linux and Windows give to outgoing connections: one of these would be taken meanwhile.
RANGE = range(20_000, 32_000)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    while True:
        port = random.SystemRandom().choice(RANGE)  # each worker of pytest another one
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
