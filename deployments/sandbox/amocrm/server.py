"""The application, and a way to run it inside a test."""

from __future__ import annotations

import socket
import threading
import time
from types import TracebackType
from typing import Any, Self

import requests
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from deployments.sandbox.amocrm import admin, api, board, oauth
from deployments.sandbox.amocrm.answers import TITLES, ApiProblemError, ProblemResponse, problem_body
from deployments.sandbox.amocrm.gate import Gate
from deployments.sandbox.amocrm.sandbox import Sandbox

HOST = "127.0.0.1"
_START_SECONDS = 10.0


def build_app(sandbox: Sandbox) -> ASGIApp:
    """Build the whole application: API, controls, board, with the gate in front."""
    app = FastAPI(title="amoCRM stand-in", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.sandbox = sandbox
    app.include_router(api.build_router())
    app.include_router(oauth.router)
    app.include_router(admin.router)
    app.include_router(oauth.admin_router)
    app.include_router(board.router)
    app.add_exception_handler(ApiProblemError, _problem)
    app.add_exception_handler(HTTPException, _http_problem)
    return Gate(app, sandbox)


async def _problem(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiProblemError):
        raise error
    return ProblemResponse(error.body(), status_code=error.status)


async def _http_problem(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    status = error.status_code
    return ProblemResponse(problem_body(status, TITLES.get(status, "Error")), status_code=status)


def bind(port: int) -> socket.socket:
    """Take a loopback port; 0 takes a free one."""
    # Without the protocol's number asyncio leaves Nagle's algorithm on: 40 ms more for every answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    return listener


def server_config(sandbox: Sandbox) -> uvicorn.Config:
    """Configure uvicorn: quiet, without websockets, quick to stop."""
    return uvicorn.Config(
        build_app(sandbox),
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
    )


class StandIn:
    """The stand-in in a background thread: `with StandIn(token="t") as crm: crm.url`."""

    def __init__(
        self,
        token: str = "t",  # noqa: S107 - a word that opens nothing
        *,
        latency_ms: int = 0,
        limit: int | None = 7,
        index_lag: float = 2.0,
        timezone: str = "Europe/Moscow",
    ) -> None:
        self.token = token
        self.sandbox = Sandbox(
            token,
            latency_ms=latency_ms,
            limit=limit,
            index_lag=index_lag,
            timezone=timezone,
        )
        self.url = ""
        self._listener: socket.socket | None = None
        self._server = uvicorn.Server(server_config(self.sandbox))
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Start serving.

        Raises:
            RuntimeError: When the server does not come up in time.
        """
        self._listener = bind(0)
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}"
        sockets = [self._listener]
        self._thread = threading.Thread(target=self._server.run, args=(sockets,), name="amocrm", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                self.stop()
                message = "the stand-in amoCRM did not start"
                raise RuntimeError(message)
            time.sleep(0.005)
        return self

    def stop(self) -> None:
        """Stop serving and wait for the thread."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_START_SECONDS)
        if self._listener is not None:
            self._listener.close()

    def admin(self, path: str, json: Any = None, *, method: str | None = None) -> Any:
        """Call a control: GET without a body, POST with one; `{}` posts an empty body."""
        verb = method or ("GET" if json is None else "POST")
        url = f"{self.url}/sandbox/admin/{path.lstrip('/')}"
        with requests.Session() as session:
            session.trust_env = False  # a proxy has no business on loopback
            answer = session.request(verb, url, json=json, timeout=300)
        answer.raise_for_status()
        return answer.json()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
