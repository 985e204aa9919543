"""Where the account is kept, as far as its address tells."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

__all__ = ["ABROAD", "is_abroad"]

#: amoCRM's Russian service. The same product for the rest of the world is kommo.com, formerly amocrm.com.
RUSSIAN: Final = "amocrm.ru"
ABROAD: Final = (
    "The account is not at amocrm.ru: personal data of Russian citizens must be collected into databases in "
    "Russia (152-FZ art. 18 part 5). Let a lawyer decide before anything is sent: docs/how-to/law.md"
)


def is_abroad(base_url: str) -> bool:
    """Tell whether an account is elsewhere than at amoCRM's Russian service; this machine is not abroad."""
    host = (urlsplit(base_url).hostname or "").rstrip(".").casefold()
    if host == "localhost" or _is_loopback(host):
        return False
    return host != RUSSIAN and not host.endswith(f".{RUSSIAN}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
