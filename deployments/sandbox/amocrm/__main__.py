"""Run the stand-in: `python -m deployments.sandbox.amocrm --port 0 --token-file FILE`."""

from __future__ import annotations

import base64
import gc
import json
import os
import secrets
import socket
import time
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from deployments.sandbox.amocrm.sandbox import Sandbox
from deployments.sandbox.amocrm.server import HOST, bind, server_config
from deployments.sandbox.amocrm.state import ACCOUNT_ID, ADMIN_ID

_YEAR = 365 * 24 * 3600
#: Full collections walk through every card: with thirty thousand of them arrivals waited 0.1 s to be counted.
_NO_FULL_COLLECTION = 10**9


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def new_token() -> str:
    """Make a token shaped like a long-lived one: a JWT with `exp` a year ahead, signed by nobody."""
    now = int(time.time())
    claims = {
        "jti": secrets.token_hex(16),
        "iat": now,
        "nbf": now,
        "exp": now + _YEAR,
        "sub": str(ADMIN_ID),
        "grant_type": "",
        "account_id": ACCOUNT_ID,
        "scopes": ["crm", "notifications"],
    }
    signature = base64.urlsafe_b64encode(secrets.token_bytes(64)).rstrip(b"=").decode()
    return f"{_part({'typ': 'JWT', 'alg': 'RS256'})}.{_part(claims)}.{signature}"


def read_token(path: Path) -> str:
    """Read the token, or create it there for the owner's eyes only."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="utf-8").strip()
    token = new_token()
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(token + "\n")
    return token


class AnnouncingServer(uvicorn.Server):
    """Prints its addresses as one JSON line once it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then say where."""
        await super().startup(sockets)
        port = sockets[0].getsockname()[1] if sockets else self.config.port
        url = f"http://{HOST}:{port}"
        print(json.dumps({"url": url, "admin": f"{url}/sandbox/admin", "board": f"{url}/board"}), flush=True)


def main(
    token_file: Annotated[Path, typer.Option(help="File with the token; created if missing.")],
    port: Annotated[int, typer.Option(help="Loopback port; 0 takes a free one.")] = 0,
    latency_ms: Annotated[int, typer.Option(help="Delay of every API answer.")] = 0,
    limit: Annotated[int, typer.Option(help="Requests per second; 0 turns the limit off.")] = 7,
    index_lag: Annotated[float, typer.Option(help="Seconds before query= sees a write.")] = 2.0,
    timezone: Annotated[str, typer.Option(help="Time zone of the account.")] = "Europe/Moscow",
) -> None:
    """Run a stand-in amoCRM account on the loopback interface."""
    sandbox = Sandbox(
        read_token(token_file),
        latency_ms=latency_ms,
        limit=limit or None,
        index_lag=index_lag,
        timezone=timezone,
    )
    gc.set_threshold(*gc.get_threshold()[:2], _NO_FULL_COLLECTION)
    AnnouncingServer(server_config(sandbox)).run([bind(port)])


if __name__ == "__main__":
    typer.run(main)
