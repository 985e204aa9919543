"""Addresses, sessions and the reasons why a request has no answer."""

from __future__ import annotations

import ipaddress
import logging
import re
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import SplitResult, urlsplit

import requests
import urllib3
from pydantic import SecretStr
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from tasks.amocrm.error_table import Failure
from tasks.errors import AuthenticationError, ConfigurationError
from tasks.settings import Settings, program_version

__all__ = ["Bearer", "checked_token", "checked_url", "failure_of", "host_and_port", "new_session", "trust"]

#: What only a handshake says: nothing of the request was sent yet.
HANDSHAKE_REASONS = re.compile(
    r"CERTIFICATE|WRONG_VERSION_NUMBER|HTTP_REQUEST|HANDSHAKE_FAILURE|UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION"
    r"|UNKNOWN_CA|NO_SHARED_CIPHER|NO_CIPHERS|UNRECOGNIZED_NAME|DH_KEY_TOO_SMALL|LEGACY_RENEGOTIATION"
)


def checked_url(base_url: str) -> str:
    """Return scheme and host of an account's address.

    Raises:
        ConfigurationError: When it is not an address, or would send patients' data unencrypted.
    """
    try:
        parts = urlsplit(base_url.strip())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    # The text itself is not repeated: people paste a token or a login into the wrong place.
    if not usable or "@" in parts.netloc:
        raise ConfigurationError(
            problem="This is not an address of an amoCRM account.",
            remedy="It looks like https://NAME.amocrm.ru",
            code="base_url",
        )
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise ConfigurationError(
            problem=f"Patients' data would go to {parts.hostname} unencrypted.",
            remedy="Use https.",
            code="insecure_url",
        )
    return f"{parts.scheme}://{parts.netloc}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_and_port(base_url: str) -> str:
    """Return ``host:port`` of an address."""
    parts: SplitResult = urlsplit(base_url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def checked_token(token: SecretStr) -> SecretStr:
    """Return the token without surrounding white space.

    Raises:
        AuthenticationError: When it cannot be one. Sent all the same, it would end up in the text of an
            exception of the HTTP library.
    """
    text = token.get_secret_value().strip()
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise AuthenticationError(
            problem="The amoCRM token is empty or has characters that no token has.",
            remedy=(
                "Save the long-lived token as the only line of a file and run: "
                "ident-amocrm connect-amocrm --base-url https://NAME.amocrm.ru --token-file FILE"
            ),
        )
    return SecretStr(text)


def trust(settings: Settings) -> bool | str | None:
    """Return what ``requests`` calls verify; ``None`` leaves it to REQUESTS_CA_BUNDLE.

    Raises:
        ConfigurationError: When the file of certificates does not exist.
    """
    if not settings.verify_tls:
        return False
    if settings.ca_bundle is None:
        return None
    if not settings.ca_bundle.exists():
        raise ConfigurationError(
            problem=f"The certificate file {settings.ca_bundle} does not exist.",
            remedy="Correct IDENT_AMOCRM_CA_BUNDLE.",
            code="ca_bundle",
        )
    return str(settings.ca_bundle)


def new_session(*, verify: bool | str | None) -> requests.Session:
    """Return a session that never repeats by itself: repetitions are paced by the requester."""
    _keep_urls_out_of_logs()
    session = requests.Session()
    session.headers["User-Agent"] = f"ident-amocrm/{program_version()}"
    session.headers["Accept"] = "application/json"
    if verify is False:
        session.mount("https://", _UncheckedAdapter())
    return session


def _keep_urls_out_of_logs() -> None:
    """Silence the debug lines of urllib3: they hold whole addresses, and a search is a phone number."""
    logger = logging.getLogger("urllib3.connectionpool")
    if logger.level < logging.INFO:
        logger.setLevel(logging.INFO)


class Bearer(requests.auth.AuthBase):
    """Puts the token on a request; a header would be replaced by a .netrc entry of the host.

    Args:
        token: The token; ``None`` for a request that needs none, and must not get one from .netrc either.
    """

    def __init__(self, token: SecretStr | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header."""
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token.get_secret_value()}"
        return request


class _UncheckedConnection(HTTPSConnection):
    """A connection whose unchecked certificate was announced already, once, by the client.

    urllib3 would warn on every request. A warning filter is the whole process's and not safe with threads;
    this is one session's.
    """

    def connect(self) -> None:
        super().connect()
        self.is_verified = True


class _UncheckedPool(HTTPSConnectionPool):
    ConnectionCls = _UncheckedConnection


class _UncheckedAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _UNCHECKED_POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = _UNCHECKED_POOLS
        return manager


_UNCHECKED_POOLS: dict[str, type[HTTPConnectionPool]] = {
    "http": HTTPConnectionPool,
    "https": _UncheckedPool,
}


def failure_of(error: OSError) -> Failure:
    """Tell why there is no answer; in doubt the request counts as sent.

    Args:
        error: What ``requests`` raised; all its exceptions are ``OSError``.
    """
    if not isinstance(error, requests.RequestException):
        return Failure.NO_CA_FILE  # the only bare OSError of requests: the file does not exist
    if isinstance(error, requests.exceptions.SSLError):
        return Failure.UNTRUSTED if _in_handshake(error) else Failure.LOST
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.ProxyError):
        return Failure.UNREACHABLE
    if any(_no_connection(cause) for cause in _causes(error)):
        return Failure.UNREACHABLE
    return Failure.TIMEOUT if isinstance(error, requests.Timeout) else Failure.LOST


def _no_connection(cause: BaseException) -> bool:
    return isinstance(cause, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)


def _in_handshake(error: requests.exceptions.SSLError) -> bool:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError | ssl.CertificateError):
            return True
        if isinstance(cause, ssl.SSLError) and HANDSHAKE_REASONS.search(str(cause.reason)):
            return True
    return False


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk from what requests raised down to what the socket said."""
    current: object = error
    for _step in range(8):
        if not isinstance(current, BaseException):
            return
        yield current
        inner = getattr(current, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((part for part in current.args if isinstance(part, BaseException)), None)
        current = inner
