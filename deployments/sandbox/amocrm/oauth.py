"""OAuth of the stand-in: an integration, its codes and tokens, and the endpoint that gives them out.

Each code and each refresh token works once. A refresh voids the access token before it. Bodies of refusals
are those of amoCRM, as developers have quoted them.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from dataclasses import dataclass, field

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from deployments.sandbox.amocrm.answers import ProblemResponse, read_json
from deployments.sandbox.amocrm.model import Json

CODE_SECONDS = 20 * 60
REFRESH_SECONDS = 90 * 24 * 3600
_TYPE = "https://developers.amocrm.ru/v3/errors/OAuthProblemJson"

router = APIRouter()
admin_router = APIRouter(prefix="/sandbox/admin/oauth")


class OAuthProblemError(Exception):
    """A request for tokens that amoCRM would refuse.

    Args:
        status: HTTP status.
        hint: What was wrong with the grant; ``None`` when the integration itself is not known.
    """

    def __init__(self, status: int, hint: str | None) -> None:
        super().__init__(hint or "client")
        self.status, self.hint = status, hint

    def body(self) -> Json:
        """Build the body."""
        if self.hint is None:
            texts = {"title": "Некорректный клиент", "detail": "Авторизация клиента не прошла"}
            return {"type": _TYPE, "status": self.status, **texts}
        return {
            "hint": self.hint,
            "title": "Некорректный запрос",
            "type": _TYPE,
            "status": self.status,
            "detail": "В запросе отсутствует ряд параметров или параметры невалидны",
        }


class OAuthSettings(BaseModel):
    """Switches of the integration; only those sent are changed."""

    model_config = ConfigDict(extra="forbid")
    access_seconds: float = Field(default=86400, gt=0)
    client_secret: str = ""


@dataclass(slots=True)
class _Grant:
    """A code or a refresh token: until when it works, and the access token that goes with it."""

    until: float
    access_token: str = ""
    used: bool = False


@dataclass(slots=True)
class Authorisations:
    """One private integration and what was given out to it."""

    client_id: str = "f9a4a7e2-5d0c-4a52-9c0d-7a3f6f1f2b11"
    client_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    redirect_uri: str = "https://clinic.example/amocrm"
    access_seconds: float = 86400
    asked: Counter[str] = field(default_factory=Counter)  # requests by kind of grant
    granted: Counter[str] = field(default_factory=Counter)
    _codes: dict[str, _Grant] = field(default_factory=dict)
    _refresh: dict[str, _Grant] = field(default_factory=dict)
    _access: dict[str, float] = field(default_factory=dict)  # accepted until

    def accepts(self, access_token: str) -> bool:
        """Tell whether an access token opens the API."""
        return self._access.get(access_token, 0.0) > time.time()

    def new_code(self) -> str:
        """Give out a code, as opening the integration's keys in the account does."""
        code = f"def502{secrets.token_hex(64)}"
        self._codes[code] = _Grant(time.time() + CODE_SECONDS)
        return code

    def revoke(self) -> None:
        """Void everything, as switching the integration off does."""
        self._access.clear()
        for grant in (*self._codes.values(), *self._refresh.values()):
            grant.used = True

    def expire_access(self) -> None:
        """Let all access tokens be a day old."""
        self._access.clear()

    def grant(self, sent: Json) -> Json:
        """Answer a request for tokens.

        Raises:
            OAuthProblemError: When amoCRM would refuse it.
        """
        kind = str(sent.get("grant_type"))
        self.asked[kind] += 1
        known = (self.client_id, self.client_secret, self.redirect_uri)
        if tuple(sent.get(name) for name in ("client_id", "client_secret", "redirect_uri")) != known:
            raise OAuthProblemError(401, None)
        if kind == "authorization_code":
            self._hand_in(self._codes, str(sent.get("code")), "Authorization code", 400)
        elif kind == "refresh_token":
            old = self._hand_in(self._refresh, str(sent.get("refresh_token")), "Token", 401)
            self._access.pop(old.access_token, None)
        else:
            raise OAuthProblemError(400, "Check the `grant_type` parameter")
        self.granted[kind] += 1
        return self._tokens()

    @staticmethod
    def _hand_in(grants: dict[str, _Grant], text: str, what: str, status: int) -> _Grant:
        grant = grants.get(text)
        if grant is None:
            known_as = "authorization code" if what == "Authorization code" else "refresh token"
            raise OAuthProblemError(status, f"Cannot decrypt the {known_as}")
        if grant.used:
            raise OAuthProblemError(status, f"{what} has been revoked")
        if grant.until <= time.time():
            raise OAuthProblemError(status, f"{what} has expired")
        grant.used = True
        return grant

    def _tokens(self) -> Json:
        now = time.time()
        access_token = f"eyJ.{secrets.token_urlsafe(48)}"
        refresh_token = f"def502{secrets.token_hex(64)}"
        self._access[access_token] = now + self.access_seconds
        self._refresh[refresh_token] = _Grant(now + REFRESH_SECONDS, access_token)
        return {
            "token_type": "Bearer",
            "expires_in": self.access_seconds,
            "server_time": int(now),
            "access_token": access_token,
            "refresh_token": refresh_token,
        }


def _of(request: Request) -> Authorisations:
    found: Authorisations = request.app.state.sandbox.oauth
    return found


@router.post("/oauth2/access_token")
async def access_token(request: Request) -> JSONResponse:
    """Give out tokens for a code or a refresh token."""
    sent = await read_json(request)
    try:
        return JSONResponse(_of(request).grant(sent if isinstance(sent, dict) else {}))
    except OAuthProblemError as problem:
        return ProblemResponse(problem.body(), status_code=problem.status)


@admin_router.get("")
async def show(request: Request) -> JSONResponse:
    """Show the integration's keys and what was asked for."""
    oauth = _of(request)
    return JSONResponse(
        {
            "client_id": oauth.client_id,
            "client_secret": oauth.client_secret,
            "redirect_uri": oauth.redirect_uri,
            "access_seconds": oauth.access_seconds,
            "asked": dict(oauth.asked),
            "granted": dict(oauth.granted),
        }
    )


@admin_router.post("/code")
async def code(request: Request) -> JSONResponse:
    """Give out an authorisation code."""
    return JSONResponse({"code": _of(request).new_code()})


@admin_router.post("/settings")
async def settings(request: Request, body: OAuthSettings) -> JSONResponse:
    """Change how long access tokens live, or the secret key."""
    for name in body.model_fields_set:
        setattr(_of(request), name, getattr(body, name))
    return await show(request)


@admin_router.post("/revoke")
async def revoke(request: Request) -> JSONResponse:
    """Switch the integration off."""
    _of(request).revoke()
    return await show(request)


@admin_router.post("/expire")
async def expire(request: Request) -> JSONResponse:
    """Let the access tokens expire."""
    _of(request).expire_access()
    return await show(request)
