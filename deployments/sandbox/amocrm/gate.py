"""The front of the stand-in: limit, token, payment, failures and latency, before any route runs."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import time
import uuid
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlencode

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.sandbox.amocrm.answers import html_page, problem_body
from deployments.sandbox.amocrm.faults import Fault
from deployments.sandbox.amocrm.limits import API_PREFIX, Entry
from deployments.sandbox.amocrm.sandbox import Sandbox

OAUTH_PREFIX = "/oauth2/"
_HTML = b"text/html"
_PROBLEM = b"application/problem+json"
_SPOILS_THE_BODY = frozenset({"truncate", "reorder", "no_request_id"})
_NEVER_WRITTEN = "\N{SNOWMAN}"


class Gate:
    """ASGI middleware around the whole application; everything outside the API passes untouched."""

    def __init__(self, app: ASGIApp, sandbox: Sandbox) -> None:
        self._app = app
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http" or not scope["path"].startswith((API_PREFIX, OAUTH_PREFIX)):
            await self._app(scope, receive, send)
            return
        entry = self._sandbox.stats.arrive(scope["method"], scope["path"])
        verdict = self._sandbox.limiter.arrive()
        reply = _Reply(send, entry)
        refusal = None
        if verdict == "blocked":
            refusal = (403, _HTML, html_page(403))
        elif verdict == "excess":
            refusal = _problem(429, "Too many requests: the limit per second is exceeded")
        elif scope["path"].startswith(OAUTH_PREFIX):
            pass  # tokens are given out here
        elif not self._authorised(scope):
            refusal = _problem(401, "Access token is missing, expired or revoked")
        elif not self._sandbox.paid:
            refusal = _problem(402, "The account is not paid for")
        if refusal is not None:
            await _drain(receive)
            await reply.answer(*refusal)
            return
        await self._serve(scope, receive, reply)

    async def _serve(self, scope: Scope, receive: Receive, reply: _Reply) -> None:
        fault = self._sandbox.faults.take(scope["method"], scope["path"])
        delay = self._sandbox.latency_ms / 1000 + (fault.seconds if fault and fault.mode == "slow" else 0)
        if delay:
            await asyncio.sleep(delay)
        if fault is None or fault.mode == "slow":
            await self._app(scope, receive, reply.forward)
            return
        if fault.mode in {"stale_index", "ignored_filter"}:
            await self._app(_misheard(scope, fault), receive, reply.forward)
            return
        if fault.mode in {"drop_after", *_SPOILS_THE_BODY} or fault.when == "after":
            await self._app(scope, receive, reply.hold)
        else:
            await _drain(receive)
        if fault.mode == "hang":
            await _outlast(receive, fault.seconds)
        await _spoil(fault, reply)

    def _authorised(self, scope: Scope) -> bool:
        if not self._sandbox.token_valid:
            return False
        sent = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1").removeprefix("Bearer ")
        if self._sandbox.oauth.accepts(sent):
            return True
        return bool(sent == self._sandbox.token and not token_expired(sent))


def _misheard(scope: Scope, fault: Fault) -> Scope:
    """Return the request as a lagging index or a plan without filters understands it."""
    pairs = parse_qsl(scope["query_string"].decode(), keep_blank_values=True)
    if fault.mode == "stale_index":
        heard = [(key, _NEVER_WRITTEN if key == "query" else value) for key, value in pairs]
    else:
        heard = [(key, value) for key, value in pairs if not key.startswith("filter[")]
    return {**scope, "query_string": urlencode(heard).encode()}


def _problem(status: int, detail: str) -> tuple[int, bytes, bytes]:
    return status, _PROBLEM, json.dumps(problem_body(status, detail)).encode()


async def _spoil(fault: Fault, reply: _Reply) -> None:
    if fault.mode == "status":
        await reply.answer(*_problem(fault.status or 500, "The request could not be processed"))
    elif fault.mode == "html":
        await reply.answer(fault.status or 502, _HTML, html_page(fault.status or 502))
    elif fault.mode == "truncate":
        await reply.answer_half()
    elif fault.mode in {"reorder", "no_request_id"}:
        await reply.answer_shuffled(keep_request_ids=fault.mode == "reorder")
    elif fault.mode == "drop_after" and fault.status:
        await reply.answer(fault.status, _HTML, html_page(fault.status))
    else:
        await reply.drop()


async def _drain(receive: Receive) -> None:
    """Read the request's body: answering over an unread one would look like a broken connection."""
    more = True
    while more:
        message = await receive()
        more = message["type"] == "http.request" and message.get("more_body", False)


async def _outlast(receive: Receive, seconds: float) -> None:
    """Stay silent until the client gives up, or for some seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass


class _Reply:
    """The way back to the client: adds X-Request-Id, notes the status, can hold, cut or drop."""

    def __init__(self, send: Send, entry: Entry) -> None:
        self._send = send
        self._entry = entry
        self._held: list[Message] = []

    async def forward(self, message: Message) -> None:
        """Pass the application's answer on."""
        if message["type"] == "http.response.start":
            self._entry.status = message["status"]
            message["headers"] = [*message.get("headers", []), _request_id()]
        await self._send(message)

    async def hold(self, message: Message) -> None:
        """Keep the application's answer back."""
        self._held.append(message)

    async def answer(self, status: int, media_type: bytes, body: bytes) -> None:
        """Answer instead of the application."""
        headers: Iterable[tuple[bytes, bytes]] = [
            (b"content-type", media_type),
            (b"content-length", str(len(body)).encode()),
        ]
        await self.forward({"type": "http.response.start", "status": status, "headers": list(headers)})
        await self._send({"type": "http.response.body", "body": body})

    async def answer_half(self) -> None:
        """Send the first half of the held answer as if it were whole."""
        start = self._held[0]
        body = b"".join(message.get("body", b"") for message in self._held[1:])
        media_type = dict(start["headers"]).get(b"content-type", b"application/hal+json")
        await self.answer(start["status"], media_type, body[: len(body) // 2])

    async def answer_shuffled(self, *, keep_request_ids: bool) -> None:
        """Send the held answer with its rows in another order, or without what they were sent with."""
        start, raw = self._held[0], b"".join(message.get("body", b"") for message in self._held[1:])
        body = json.loads(raw) if raw else {}
        embedded = body.get("_embedded") or {}
        for rows in (one for one in embedded.values() if isinstance(one, list)):
            rows.reverse()
            for row in rows if not keep_request_ids else ():
                row.pop("request_id", None)
        media_type = dict(start["headers"]).get(b"content-type", b"application/hal+json")
        await self.answer(start["status"], media_type, json.dumps(body).encode() if raw else b"")

    async def drop(self) -> None:
        """Close the connection with no answer at all."""
        cycle = getattr(self._send, "__self__", None)
        transport = getattr(cycle, "transport", None)
        if transport is None:  # not uvicorn: a gateway's timeout leaves the client just as wise
            await self.answer(504, _HTML, html_page(504))
            return
        transport.abort()
        for _ in range(5):  # let uvicorn notice, or it would report a missing answer
            await asyncio.sleep(0)


def _request_id() -> tuple[bytes, bytes]:
    return b"x-request-id", uuid.uuid4().hex.encode()


def token_expired(token: str) -> bool:
    """Tell whether the token is a JWT whose `exp` has passed; other tokens never expire."""
    parts = token.split(".")
    if len(parts) != 3:
        return False
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return False
    expires = claims.get("exp") if isinstance(claims, dict) else None
    return isinstance(expires, int) and expires <= time.time()
