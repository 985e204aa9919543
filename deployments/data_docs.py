"""The server of the pages of data quality: files of one folder, read only, to whom Prefect's server lets in.

``python -m deployments.data_docs --port 4280`` is what ``up`` runs. It holds ids and counts, no values, but a
clinic's affairs are nobody else's: loopback by default, and behind Prefect's password where there is one.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.doors import AUTH_STRING, is_loopback, refuse_open_door
from tasks.settings import Settings, load_settings

__all__ = ["HEADERS", "application"]

HEADERS: Final = {
    # No script at all, and nothing of another host.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A page of yesterday must not be shown as today's.
    "Cache-Control": "no-cache",
}
NOTHING_YET: Final = (
    '<!doctype html><html lang="ru"><meta charset="utf-8"><title>Качество данных</title>'
    "<h1>Качество данных</h1><p>Ещё ничего не проверено: страницы появятся после первой передачи.</p></html>"
)
STOP_SECONDS: Final = 2


class _Door:
    """Lets in who knows the password, under a name that is ours, and sets the headers of every answer."""

    def __init__(self, inner: ASGIApp, credentials: str, names: Collection[str]) -> None:
        self.inner = inner
        self.credentials = credentials.encode()
        self.names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(Headers(scope=scope))
        await (refusal or self.inner)(scope, receive, send_with_headers)

    def _refusal(self, headers: Headers) -> Response | None:
        if self.names and _name(headers.get("host", "")) not in self.names:
            # Another site's name that was made to lead here would let that site's scripts read the pages.
            return PlainTextResponse("Unknown host.", 421)
        if self.credentials and not self._knows(headers.get("authorization", "")):
            challenge = {"WWW-Authenticate": 'Basic realm="ident-amocrm", charset="UTF-8"'}
            return PlainTextResponse("Unauthorized.", 401, challenge)
        return None

    def _knows(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        try:
            decoded = base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(decoded, self.credentials)


class _Pages(StaticFiles):
    """Finished pages only: a file that is being written begins with a dot."""

    async def check_config(self) -> None:
        """Take a folder that is not there for an empty one: the first run makes it."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        if any(part.startswith(".") for part in Path(path).parts if part != "."):
            return "", None
        return super().lookup_path(path)


def application(folder: Path, *, credentials: str = "", names: Collection[str] = ()) -> Starlette:
    """Return the server of a folder of pages.

    Args:
        folder: The pages; it need not exist yet.
        credentials: ``user:password``; empty: nobody is asked.
        names: Names under which it may be called; empty: any.
    """

    async def missing(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        if status == 404 and request.url.path == "/":
            return HTMLResponse(NOTHING_YET)
        return PlainTextResponse("Not here." if status == 404 else "Refused.", status)

    pages = _Pages(directory=folder, html=True, check_dir=False)
    return Starlette(
        routes=[Mount("/", pages)],
        middleware=[Middleware(_Door, credentials=credentials, names=names)],
        exception_handlers={HTTPException: missing},
    )


def _name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _own_names(host: str, settings: Settings) -> set[str]:
    """Return the names under which a server of this machine alone may be called."""
    if not is_loopback(host):
        return set()
    published = urlsplit(settings.data_docs_url).hostname
    return {"localhost", "127.0.0.1", "::1", host, *([published] if published else [])}


def main(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve the pages of data quality until stopped."""
    refuse_open_door(host)
    settings = load_settings()
    served = application(
        settings.data_docs_pages,
        credentials=os.environ.get(AUTH_STRING, ""),
        names=_own_names(host, settings),
    )
    uvicorn.run(
        served,
        host=host,
        port=port,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


if __name__ == "__main__":
    typer.run(main)
