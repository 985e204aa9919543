"""The HTTP client: one session a thread, paced, patient where repeating is safe, silent about values."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from pydantic import SecretStr

from tasks.amocrm.error_table import Body, Method, Rule, Verdict, judge
from tasks.amocrm.pacing import Pacer
from tasks.errors import (
    AmbiguousWriteError,
    AmoCrmUnavailableError,
    ConfigurationError,
    FieldProblem,
    IdentAmocrmError,
    ValidationRejectedError,
)
from tasks.settings import Settings

__all__ = ["AmoClient"]

_log = logging.getLogger(__name__)
_jitter = random.SystemRandom()
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
API = "/api/v4/"
FIRST_TRIES_SECONDS = 3.0
LONGEST_PAUSE = 30.0
RATE_PAUSE = 2.0

Json = dict[str, Any]


class AmoClient:
    """Talks to one amoCRM account; safe for several threads.

    Args:
        base_url: ``https://<subdomain>.amocrm.ru``.
        token: Bearer token.
        settings: Time limits, proxy, certificates.
        pacer: Shared pace; its own by default.
        sleep: How to wait between repetitions.

    Attributes:
        requests: Requests sent so far, repetitions included.
        writes: Those of them that may write.
        warnings: What an operator must see, such as switched-off certificate checks.

    Raises:
        ConfigurationError: When the address or the certificate file is unusable.
    """

    def __init__(
        self,
        base_url: str,
        token: SecretStr,
        *,
        settings: Settings,
        pacer: Pacer | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.base_url = _checked_url(base_url)
        self.requests = 0
        self.writes = 0
        self.warnings: list[str] = []
        self._token = token
        self._settings = settings
        self._pacer = pacer or Pacer(settings.requests_per_second)
        self._sleep = sleep
        self._lock = threading.Lock()
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._answered = False
        self._verify: bool | str | None = None
        if settings.ca_bundle is not None:
            if not settings.ca_bundle.is_file():
                raise ConfigurationError(
                    problem=f"The certificate file {settings.ca_bundle} does not exist.",
                    remedy="Correct IDENT_AMOCRM_CA_BUNDLE.",
                    code="ca_bundle",
                )
            self._verify = str(settings.ca_bundle)
        if not settings.verify_tls:
            self._verify = False
            text = "amoCRM's certificate is NOT checked (IDENT_AMOCRM_VERIFY_TLS=false): anybody may listen."
            self.warnings.append(text)
            _log.warning(text)

    def __repr__(self) -> str:
        return f"AmoClient({self.base_url!r})"

    @property
    def page_size(self) -> int:
        """Entities in one page of a list."""
        return self._settings.read_page_size

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Json | None:
        """Read; ``None`` when there is nothing (204)."""
        return self._send("GET", path, params=params)

    def post(self, path: str, body: object, *, repeatable: bool = False) -> Json | None:
        """Create; never repeated once it may have arrived.

        Args:
            path: Below ``/api/v4/``.
            body: JSON body.
            repeatable: Whether doing it twice is the same as once (links).

        Raises:
            AmbiguousWriteError: When the request left and no usable answer came.
        """
        return self._send("POST", path, body=body, repeatable=repeatable)

    def patch(self, path: str, body: object) -> Json | None:
        """Update with absolute values; may be repeated."""
        return self._send("PATCH", path, body=body)

    def close(self) -> None:
        """Close all connections."""
        for session in self._sessions:
            session.close()

    # ---- one request -----------------------------------------------------------------------------------

    def _send(
        self,
        verb: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: object = None,
        repeatable: bool = False,
    ) -> Json | None:
        method = Method.CREATING if verb == "POST" and not repeatable else Method.REPEATABLE
        began = time.monotonic()
        tries = 0
        while True:
            tries += 1
            outcome = self._try(verb, path, params, body, method)
            if not isinstance(outcome, _Again):
                return outcome
            pause = outcome.pause or min(LONGEST_PAUSE, 2.0 ** (tries - 1)) * _jitter.uniform(0.5, 1.0)
            # An address that never answered is most likely wrong: say so at once, not after minutes.
            patience = self._settings.retry_seconds if self._answered else FIRST_TRIES_SECONDS
            if time.monotonic() - began + pause > patience:
                raise outcome.error
            if outcome.everybody:
                self._pacer.penalise(pause)
            else:
                self._sleep(pause)

    def _try(
        self, verb: str, path: str, params: Mapping[str, Any] | None, body: object, method: Method
    ) -> Json | _Again | None:
        self._pacer.wait()
        with self._lock:
            self.requests += 1
            self.writes += verb != "GET"
        started = time.monotonic()
        try:
            answer = self._request(verb, path, params, body)
        except requests.exceptions.SSLError:
            raise ConfigurationError(
                problem=f"The certificate of {self._host} cannot be verified.",
                remedy="Behind a company's proxy, name its certificates in IDENT_AMOCRM_CA_BUNDLE.",
                code="tls",
            ) from None
        except (requests.ConnectTimeout, requests.exceptions.ProxyError) as error:
            return _Again(self._unreachable(error))
        except requests.RequestException as error:
            _log.info("%s %s: %s", verb, path, type(error).__name__)
            if _never_left(error):
                return _Again(self._unreachable(error))
            if method is Method.CREATING:
                raise AmbiguousWriteError(
                    problem=f"The answer to POST {path} was lost ({type(error).__name__}).",
                    remedy="Nothing is sent twice: the next run looks for it in amoCRM first.",
                    code="answer_lost",
                ) from None
            return _Again(self._unreachable(error))
        self._answered = True
        return self._read(verb, path, answer, method, (time.monotonic() - started) * 1000)

    def _request(
        self, verb: str, path: str, params: Mapping[str, Any] | None, body: object
    ) -> requests.Response:
        with warnings.catch_warnings():
            if self._verify is False:
                warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
            return self._session().request(
                verb,
                f"{self.base_url}{API}{path}",
                params=params,
                json=body,
                timeout=(self._settings.connect_timeout, self._settings.read_timeout),
                allow_redirects=False,  # a redirected POST loses its body
                verify=self._verify,
            )

    def _read(
        self, verb: str, path: str, answer: requests.Response, method: Method, milliseconds: float
    ) -> Json | _Again | None:
        request_id = answer.headers.get("X-Request-Id", "-")
        _log.info(
            "%s %s: %d, X-Request-Id %s, %.0f ms", verb, path, answer.status_code, request_id, milliseconds
        )
        data, kind = _body(answer)
        rule = judge(answer.status_code, kind, method)
        if rule.verdict is Verdict.OK:
            return data
        error = _error(rule, f"{verb} {path}", answer.status_code, request_id, data)
        if rule.verdict is Verdict.RAISE:
            raise error
        limited = answer.status_code == requests.codes.too_many_requests
        return _Again(error, _retry_after(answer) or (RATE_PAUSE if limited else None), everybody=limited)

    # ---- parts -----------------------------------------------------------------------------------------

    @property
    def _host(self) -> str:
        parts = urlsplit(self.base_url)
        return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"

    def _unreachable(self, error: Exception) -> AmoCrmUnavailableError:
        kind = "did not answer in time" if isinstance(error, requests.Timeout) else "cannot be reached"
        return AmoCrmUnavailableError(
            problem=f"amoCRM at {self._host} {kind}.",
            remedy="Check the address, the internet connection and the proxy (HTTPS_PROXY); then try again.",
        )

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.headers["User-Agent"] = f"ident-amocrm/{_version()}"
            session.headers["Accept"] = "application/json"
            session.auth = _Bearer(self._token)
            if self._settings.https_proxy:
                session.proxies = {"https": self._settings.https_proxy}
            self._local.session = session
            with self._lock:
                self._sessions.append(session)
        return session


class _Bearer(requests.auth.AuthBase):
    """Puts the token on each request; a session header would be replaced by a .netrc entry of the host."""

    def __init__(self, token: SecretStr) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token.get_secret_value()}"
        return request


class _Again:
    """The request may be sent once more; ``error`` is raised when there is no time left for it."""

    def __init__(
        self, error: IdentAmocrmError, pause: float | None = None, *, everybody: bool = False
    ) -> None:
        self.error, self.pause, self.everybody = error, pause, everybody


def _version() -> str:
    try:
        return version("ident-amocrm")
    except PackageNotFoundError:
        return "0"


def _checked_url(base_url: str) -> str:
    parts = urlsplit(base_url.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(
            problem=f"{base_url!r} is not an address of an amoCRM account.",
            remedy="It looks like https://NAME.amocrm.ru",
            code="base_url",
        )
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ConfigurationError(
            problem=f"Patients' data would go to {parts.hostname} unencrypted.",
            remedy="Use https.",
            code="insecure_url",
        )
    return f"{parts.scheme}://{parts.netloc}"


def _never_left(error: Exception) -> bool:
    """Tell whether the connection was not even made, so that nothing can have been written."""
    inner = error.args[0] if error.args else None
    reason = getattr(inner, "reason", inner)
    return isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)


def _body(answer: requests.Response) -> tuple[Json | None, Body]:
    if not answer.content:
        return None, Body.EMPTY
    try:
        data = answer.json()
    except (json.JSONDecodeError, UnicodeDecodeError, requests.JSONDecodeError):
        return None, Body.FOREIGN
    return (data, Body.JSON) if isinstance(data, dict) else (None, Body.FOREIGN)


def _error(rule: Rule, request: str, status: int, request_id: str, data: Json | None) -> IdentAmocrmError:
    problem = f"{rule.problem} ({request}: {status}, X-Request-Id {request_id})."
    if rule.error is ValidationRejectedError:
        return ValidationRejectedError(problem=problem, remedy=rule.remedy, problems=_problems(data or {}))
    kind = rule.error or IdentAmocrmError
    return kind(problem=problem, remedy=rule.remedy, code=rule.code)


def _problems(data: Json) -> tuple[FieldProblem, ...]:
    """Return amoCRM's complaints; its ``detail`` is left out, because it may echo values."""
    return tuple(
        FieldProblem(str(row.get("request_id", "")), str(item.get("code", "")), str(item.get("path", "")))
        for row in data.get("validation-errors") or ()
        for item in row.get("errors") or ()
    )


def _retry_after(answer: requests.Response) -> float | None:
    text = answer.headers.get("Retry-After", "")
    if text.isdigit():
        return min(float(text), LONGEST_PAUSE)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, min((moment - datetime.now(tz=UTC)).total_seconds(), LONGEST_PAUSE))
