"""The client of amoCRM's API v4."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import SecretStr

from tasks.amocrm.answers import Json
from tasks.amocrm.error_table import Method
from tasks.amocrm.pacing import Pacer
from tasks.amocrm.requester import Call, Requester
from tasks.amocrm.token import FixedToken, TokenSource
from tasks.settings import Settings

__all__ = ["AmoClient"]

_log = logging.getLogger(__name__)
API = "/api/v4/"


class AmoClient:
    """Talks to one amoCRM account; safe for several threads.

    Args:
        base_url: ``https://<subdomain>.amocrm.ru``.
        token: The long-lived token, or a source of tokens that change.
        settings: Time limits, proxy, certificates.
        pacer: Shared pace; its own by default.
        sleep: How to wait between repetitions.
        clock: Clock that measures how long a request has been repeated.

    Attributes:
        base_url: Scheme and host.
        warnings: What an operator must see, such as switched-off certificate checks.

    Raises:
        ConfigurationError: When the address, the token or the certificate file is unusable.
    """

    def __init__(
        self,
        base_url: str,
        token: SecretStr | TokenSource,
        *,
        settings: Settings,
        pacer: Pacer | None = None,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.warnings: list[str] = []
        self._settings = settings
        self._requester = Requester(
            base_url,
            FixedToken(token) if isinstance(token, SecretStr) else token,
            settings=settings,
            pacer=pacer or Pacer(settings.requests_per_second),
            sleep=sleep,
            clock=clock,
        )
        self.base_url = self._requester.base_url
        if not settings.verify_tls:
            text = "amoCRM's certificate is NOT checked (IDENT_AMOCRM_VERIFY_TLS=false): anybody may listen."
            self.warnings.append(text)
            _log.warning(text)

    def __repr__(self) -> str:
        return f"AmoClient({self.base_url!r})"

    @property
    def requests(self) -> int:
        """Requests sent so far, repetitions included."""
        return self._requester.requests

    @property
    def writes(self) -> int:
        """Those of them that may write."""
        return self._requester.writes

    @property
    def page_size(self) -> int:
        """Entities in one page of a list."""
        return self._settings.read_page_size

    def guard_writes(self, guard: Callable[[], None]) -> None:
        """Ask before each request that may write, when it is about to leave; the guard raises to stop it."""
        self._requester.before_write = guard

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Json | None:
        """Read; ``None`` when there is nothing (204).

        Raises:
            IdentAmocrmError: As ``error_table`` says.
        """
        return self._requester.send(Call("GET", f"{API}{path}", path, params=params)).data

    def post(self, path: str, body: object, *, repeatable: bool = False) -> Json | None:
        """Create; never repeated once it may have arrived.

        Args:
            path: Below ``/api/v4/``.
            body: JSON body.
            repeatable: Whether doing it twice is the same as once (links).

        Raises:
            AmbiguousWriteError: When the request left and no usable answer came.
            IdentAmocrmError: As ``error_table`` says; nothing was written then.
        """
        method = Method.REPEATABLE if repeatable else Method.CREATING
        return self._requester.send(Call("POST", f"{API}{path}", path, body=body, method=method)).data

    def patch(self, path: str, body: object) -> Json | None:
        """Update with absolute values; may be repeated.

        Raises:
            IdentAmocrmError: As ``error_table`` says.
        """
        return self._requester.send(Call("PATCH", f"{API}{path}", path, body=body)).data

    def close(self) -> None:
        """Close all connections."""
        self._requester.close()
