"""Where an authorisation code and a refresh token are handed in for tokens, and what its answers mean.

Both may be used once, and whether a lost answer used them up cannot be asked. So a request is repeated only
when it certainly was not processed: no connection was made, or amoCRM said 429.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import SecretStr

from tasks.amocrm.answers import Answer, Json
from tasks.amocrm.error_table import Body, Failure, Method, Rule, Verdict
from tasks.amocrm.pacing import Pacer
from tasks.amocrm.requester import Call, Requester
from tasks.amocrm.transport import checked_token
from tasks.errors import (
    AmoCrmUnavailableError,
    AuthenticationError,
    BlockedError,
    ConfigurationError,
    PaymentRequiredError,
    RateLimitedError,
    UnexpectedAnswerError,
)
from tasks.settings import Settings

__all__ = [
    "REAUTHORISE",
    "SECOND_REFUSAL",
    "TOKEN_ERROR_TABLE",
    "Integration",
    "TokenEndpoint",
    "Tokens",
    "reauthorisation",
    "wall_clock",
]

PATH = "/oauth2/access_token"
#: Code of an error after which a person must authorise the integration anew.
REAUTHORISE: Final = "reauthorise"
CLIENT: Final = "wrong_integration"
AGAIN: Final = (
    "Open the integration's «Ключи и доступы» in amoCRM, save its new authorisation code (valid for 20 "
    "minutes) alone into a file and run: ident-amocrm connect-amocrm --base-url {base_url} --client-id ID "
    "--client-secret-file FILE --redirect-uri URI --auth-code-file FILE"
)
_REACH = "Check the address, the internet connection and the proxy (HTTPS_PROXY); then try again."
_ADDRESS = "Check the account's address: https://NAME.amocrm.ru, with the account's own name."
_LOST = "amoCRM's answer to a request for a token was lost, so the token that was handed in may be used up"


def _lost(when: tuple[int, int] | Failure, body: Body | None = None) -> Rule:
    return Rule(when, body, None, Verdict.RAISE, AuthenticationError, _LOST, AGAIN, REAUTHORISE)


#: ``AuthenticationError`` here means: what was handed in is used up, or may be. Any other: certainly not.
TOKEN_ERROR_TABLE: Final[tuple[Rule, ...]] = (
    Rule(
        Failure.UNREACHABLE, None, None, Verdict.REPEAT, AmoCrmUnavailableError,
        "amoCRM at {host} cannot be reached", _REACH, doubtful=True,
    ),
    Rule(
        Failure.UNTRUSTED, None, None, Verdict.RAISE, ConfigurationError,
        "The certificate of {host} cannot be verified",
        "Behind a company's proxy, name the file of its certificates in IDENT_AMOCRM_CA_BUNDLE.", "tls",
    ),
    Rule(
        Failure.NO_CA_FILE, None, None, Verdict.RAISE, ConfigurationError,
        "The file of trusted certificates cannot be read",
        "Correct IDENT_AMOCRM_CA_BUNDLE or REQUESTS_CA_BUNDLE.", "ca_bundle",
    ),
    _lost(Failure.TIMEOUT),
    _lost(Failure.LOST),
    Rule((200, 299), Body.JSON, None, Verdict.OK),
    _lost((200, 299)),
    Rule(
        (300, 399), None, None, Verdict.RAISE, ConfigurationError,
        "amoCRM redirects to another address", _ADDRESS, "wrong_host",
    ),
    Rule(
        (400, 401), None, None, Verdict.RAISE, AuthenticationError,
        "amoCRM does not accept what was handed in for a token: it was used, is too old or was revoked",
        AGAIN, REAUTHORISE,
    ),
    Rule(
        (402, 402), None, None, Verdict.RAISE, PaymentRequiredError,
        "amoCRM says that the account is not paid",
        "Pay for the amoCRM account; the transfer then goes on from where it stopped.",
    ),
    Rule(
        (403, 403), None, None, Verdict.RAISE, BlockedError,
        "amoCRM blocks every request of this integration",
        "Ask amoCRM's support to lift the block; do not keep trying.",
    ),
    Rule(
        (407, 407), None, None, Verdict.RAISE, ConfigurationError,
        "The proxy before amoCRM asks for a login",
        "Set IDENT_AMOCRM_HTTPS_PROXY (or HTTPS_PROXY) with the proxy's login.", "proxy",
    ),
    _lost((408, 408)),
    Rule(
        (429, 429), None, None, Verdict.REPEAT, RateLimitedError,
        "amoCRM says that requests come too fast", "Lower IDENT_AMOCRM_REQUESTS_PER_SECOND.",
    ),
    Rule(
        (400, 499), None, None, Verdict.RAISE, UnexpectedAnswerError,
        "This address does not give out tokens as amoCRM does", _ADDRESS,
    ),
    _lost((0, 999)),
)  # fmt: skip

#: Instead of the table's line: a 401 without a ``hint`` is about the integration, not about the token.
WRONG_INTEGRATION: Final = Rule(
    (401, 401), Body.JSON, None, Verdict.RAISE, AuthenticationError,
    "amoCRM does not know this integration: its id, secret or redirect address is not as in amoCRM",
    AGAIN, CLIENT,
)  # fmt: skip

#: What a 401 of the API means when a renewed token is refused as well.
SECOND_REFUSAL: Final = Rule(
    (401, 401), None, None, Verdict.RAISE, AuthenticationError,
    "amoCRM does not accept the integration's token, nor a renewed one: access was taken away",
    AGAIN, REAUTHORISE,
)  # fmt: skip


def wall_clock() -> datetime:
    """Return the time."""
    return datetime.now(tz=UTC)


@dataclass(frozen=True, slots=True)
class Integration:
    """What amoCRM knows an integration by.

    Attributes:
        client_id: Its id.
        client_secret: Its secret key.
        redirect_uri: Its redirect address, letter for letter as in amoCRM.
    """

    client_id: str
    client_secret: SecretStr
    redirect_uri: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """What amoCRM gives out.

    Attributes:
        access_token: Sent with each request.
        refresh_token: Handed in, once, for the next tokens.
        obtained_at: When they were asked for.
        expires_at: Until when the access token is accepted.
    """

    access_token: SecretStr
    refresh_token: SecretStr
    obtained_at: datetime
    expires_at: datetime


class _NoToken:
    """The one address that asks for no token: it gives them out."""

    def current(self) -> None:
        """Return no token."""

    def replace(self, refused: SecretStr) -> bool:  # noqa: ARG002 - nothing was refused
        """Tell that there is no other."""
        return False

    def accepted(self, token: SecretStr) -> None:
        """Hear of success; nothing follows from it."""

    def explain(self, answer: Answer) -> Rule | None:
        """Tell a wrong integration from a used token."""
        return WRONG_INTEGRATION if answer.data and "hint" not in answer.data else None


class TokenEndpoint:
    """Hands in codes and refresh tokens.

    Args:
        base_url: ``https://<subdomain>.amocrm.ru``; the endpoint works under the account's own name only.
        settings: Time limits, proxy, certificates.
        pacer: The pace shared with all other requests.
        sleep: How to wait between repetitions.
        clock: Clock that measures how long a request has been repeated.
        now: Wall clock, by which tokens live.
    """

    def __init__(
        self,
        base_url: str,
        *,
        settings: Settings,
        pacer: Pacer,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = wall_clock,
    ) -> None:
        self._now = now
        self._requester = Requester(
            base_url, _NoToken(), settings=settings, pacer=pacer, sleep=sleep, clock=clock
        )
        self.base_url = self._requester.base_url

    def exchange_code(self, integration: Integration, code: SecretStr) -> Tokens:
        """Hand in an authorisation code; it is used up by that.

        Raises:
            AuthenticationError: When the code is used up, or may be.
            IdentAmocrmError: When it certainly is not.
        """
        return self._ask(integration, {"grant_type": "authorization_code", "code": _text(code)})

    def refresh(self, integration: Integration, refresh_token: SecretStr) -> Tokens:
        """Hand in a refresh token; it is used up by that.

        Raises:
            AuthenticationError: When the refresh token is used up, or may be.
            IdentAmocrmError: When it certainly is not.
        """
        return self._ask(integration, {"grant_type": "refresh_token", "refresh_token": _text(refresh_token)})

    def _ask(self, integration: Integration, grant: dict[str, str]) -> Tokens:
        body = {
            "client_id": integration.client_id,
            "client_secret": integration.client_secret.get_secret_value(),
            "redirect_uri": integration.redirect_uri,
            **grant,
        }
        asked_at = self._now()
        call = Call(
            "POST", PATH, PATH.lstrip("/"), body=body, method=Method.CREATING, table=TOKEN_ERROR_TABLE
        )
        try:
            answer = self._requester.send(call)
        finally:
            self._requester.close()  # once a day: nothing to keep open
        return self._tokens(answer.data or {}, asked_at)

    def _tokens(self, data: Json, asked_at: datetime) -> Tokens:
        try:
            return Tokens(
                _secret(data["access_token"]),
                _secret(data["refresh_token"]),
                asked_at,
                asked_at + timedelta(seconds=float(data["expires_in"])),
            )
        except (AuthenticationError, KeyError, OverflowError, TypeError, ValueError):
            raise reauthorisation(self.base_url) from None


def reauthorisation(base_url: str) -> AuthenticationError:
    """Return the error of a token that was handed in without a known outcome."""
    return AuthenticationError(problem=f"{_LOST}.", remedy=AGAIN.format(base_url=base_url), code=REAUTHORISE)


def _text(secret: SecretStr) -> str:
    return secret.get_secret_value()


def _secret(value: object) -> SecretStr:
    if not isinstance(value, str):
        raise TypeError
    return checked_token(SecretStr(value))
