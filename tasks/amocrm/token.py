"""Where the token of a request comes from, and what a long-lived token says about itself."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic import SecretStr

from tasks.amocrm.answers import Answer
from tasks.amocrm.error_table import Rule
from tasks.amocrm.transport import checked_token

__all__ = ["FixedToken", "TokenSource", "token_expiry", "token_scopes"]

PARTS = 3


class TokenSource(Protocol):
    """Gives each request its token; safe for several threads."""

    def current(self) -> SecretStr | None:
        """Return the token to send."""

    def replace(self, refused: SecretStr) -> bool:
        """Tell whether there is another token to try after a 401, fetching it where needed."""

    def accepted(self, token: SecretStr) -> None:
        """Hear that amoCRM accepted this token."""

    def explain(self, answer: Answer) -> Rule | None:
        """Return what a final 401 means, where the table's own line does not say it."""


class FixedToken:
    """One token that nobody renews: a long-lived one.

    Raises:
        AuthenticationError: When it cannot be a token.
    """

    def __init__(self, token: SecretStr) -> None:
        self._token = checked_token(token)

    def current(self) -> SecretStr:
        """Return the token."""
        return self._token

    def replace(self, refused: SecretStr) -> bool:  # noqa: ARG002 - there is none but the refused one
        """Tell that there is no other."""
        return False

    def accepted(self, token: SecretStr) -> None:
        """Hear of success; nothing follows from it."""

    def explain(self, answer: Answer) -> Rule | None:  # noqa: ARG002 - the table's line says it
        """Leave it to the table."""
        return None


def token_expiry(token: SecretStr) -> datetime | None:
    """Return when a token expires, ``None`` when it does not say."""
    try:
        return datetime.fromtimestamp(float(_claims(token)["exp"]), tz=UTC)
    except (KeyError, OverflowError, TypeError, ValueError):
        return None


def token_scopes(token: SecretStr) -> frozenset[str] | None:
    """Return what a token may be used for, ``None`` when it does not say."""
    scopes = _claims(token).get("scopes")
    return frozenset(map(str, scopes)) if isinstance(scopes, list) else None


def _claims(token: SecretStr) -> dict[str, Any]:
    """Read a JWT; its signature is amoCRM's business. Empty when it is none."""
    parts = token.get_secret_value().split(".")
    if len(parts) != PARTS:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}
