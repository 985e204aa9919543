"""What a long-lived token says about itself."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime

from pydantic import SecretStr

__all__ = ["token_expiry"]

PARTS = 3


def token_expiry(token: SecretStr) -> datetime | None:
    """Return when a token expires, ``None`` when it does not say.

    The token is a JWT; its signature is amoCRM's business, only the date is read.
    """
    parts = token.get_secret_value().split(".")
    if len(parts) != PARTS:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return datetime.fromtimestamp(float(claims["exp"]), tz=UTC)
    except (binascii.Error, KeyError, OverflowError, TypeError, UnicodeDecodeError, ValueError):
        return None
