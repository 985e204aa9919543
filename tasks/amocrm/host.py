"""Where the account is kept, as far as its address tells."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

__all__ = ["ABROAD", "is_abroad", "is_here"]

#: amoCRM's Russian service. The same product for the rest of the world is kommo.com, formerly amocrm.com.
RUSSIAN: Final = "amocrm.ru"
ABROAD: Final = (
    "The account is not at amocrm.ru: personal data of Russian citizens must be collected into databases in "
    "Russia (152-FZ art. 18 part 5). Let a lawyer decide before anything is sent: docs/how-to/law.md"
)


def is_abroad(base_url: str) -> bool:
    """Tell whether an account is elsewhere than at amoCRM's Russian service; this machine is not abroad."""
    host = _host(base_url)
    return not is_here(base_url) and host != RUSSIAN and not host.endswith(f".{RUSSIAN}")


def is_here(base_url: str) -> bool:
    """Tell whether an account's address is this machine's own: what goes there is told to nobody else."""
    host = _host(base_url)
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host(base_url: str) -> str:
    return (urlsplit(base_url).hostname or "").rstrip(".").casefold()
