"""The HTTP client: one session a thread, paced, patient where repeating is safe, silent about values."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import requests
from pydantic import SecretStr

from tasks.amocrm.answers import Answer, Json, error_of, read_answer
from tasks.amocrm.error_table import Body, Method, Rule, Verdict, judge
from tasks.amocrm.pacing import Pacer
from tasks.amocrm.transport import checked_token, checked_url, failure_of, host_and_port, new_session, trust
from tasks.settings import Settings

__all__ = ["AmoClient"]

_log = logging.getLogger(__name__)
_jitter = random.SystemRandom()
API = "/api/v4/"
#: An address that never answered properly is most likely wrong: say so at once, not after minutes.
FIRST_SECONDS, FIRST_TRIES = 3.0, 3
LONGEST_PAUSE = 30.0
#: First pause by cause, doubled each time: amoCRM blocks whoever keeps knocking after a 429.
PAUSE, RATE_PAUSE = 1.0, 2.0


class AmoClient:
    """Talks to one amoCRM account; safe for several threads.

    Args:
        base_url: ``https://<subdomain>.amocrm.ru``.
        token: Bearer token.
        settings: Time limits, proxy, certificates.
        pacer: Shared pace; its own by default.
        sleep: How to wait between repetitions.
        clock: Clock that measures how long a request has been repeated.

    Attributes:
        base_url: Scheme and host.
        requests: Requests sent so far, repetitions included.
        writes: Those of them that may write.
        warnings: What an operator must see, such as switched-off certificate checks.

    Raises:
        ConfigurationError: When the address, the token or the certificate file is unusable.
    """

    def __init__(
        self,
        base_url: str,
        token: SecretStr,
        *,
        settings: Settings,
        pacer: Pacer | None = None,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.base_url = checked_url(base_url)
        self.requests = 0
        self.writes = 0
        self.warnings: list[str] = []
        self._token = checked_token(token)
        self._settings = settings
        self._pacer = pacer or Pacer(settings.requests_per_second)
        self._sleep, self._clock = sleep, clock
        self._lock = threading.Lock()
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._proven = False  # whether this address ever answered like amoCRM
        self._verify = trust(settings)
        # Passed with each request: a session's proxies would give way to HTTPS_PROXY.
        self._proxies = {"https": settings.https_proxy} if settings.https_proxy else None
        if self._verify is False:
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
        """Read; ``None`` when there is nothing (204).

        Raises:
            IdentAmocrmError: As ``error_table`` says.
        """
        return self._send("GET", path, params=params)

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
        return self._send("POST", path, body=body, repeatable=repeatable)

    def patch(self, path: str, body: object) -> Json | None:
        """Update with absolute values; may be repeated.

        Raises:
            IdentAmocrmError: As ``error_table`` says.
        """
        return self._send("PATCH", path, body=body)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.close()

    # ---- repeating -------------------------------------------------------------------------------------

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
        began = self._clock()
        tries = 0
        while True:
            tries += 1
            answer = self._exchange(verb, path, params, body)
            rule = judge(answer.happened, answer.body, method)
            if rule.verdict is Verdict.OK:
                return answer.data
            error = error_of(
                rule, answer, f"{verb} {path}", base_url=self.base_url, host=host_and_port(self.base_url)
            )
            if rule.verdict is Verdict.RAISE:
                raise error
            limited = answer.happened == requests.codes.too_many_requests
            pause = answer.retry_after or _pause(tries, RATE_PAUSE if limited else PAUSE)
            if limited:
                self._pacer.penalise(pause)  # all threads and processes of the integration
            if self._impatient(rule, tries, self._clock() - began + pause):
                raise error
            if not limited:
                self._sleep(pause)

    def _impatient(self, rule: Rule, tries: int, seconds: float) -> bool:
        if rule.doubtful and not self._proven and (tries >= FIRST_TRIES or seconds > FIRST_SECONDS):
            return True
        return seconds > self._settings.retry_seconds

    # ---- one request -----------------------------------------------------------------------------------

    def _exchange(self, verb: str, path: str, params: Mapping[str, Any] | None, body: object) -> Answer:
        self._pacer.wait()
        with self._lock:
            self.requests += 1
            self.writes += verb != "GET"
        started = time.monotonic()
        try:
            response = self._session().request(
                verb,
                f"{self.base_url}{API}{path}",
                params=params,
                json=body,
                timeout=(self._settings.connect_timeout, self._settings.read_timeout),
                allow_redirects=False,  # a redirected POST loses its body
                verify=self._verify,
                proxies=self._proxies,
            )
        except OSError as error:  # every exception of requests is one
            _log.info("%s %s: %s (%s)", verb, path, failure_of(error), type(error).__name__)
            return Answer(failure_of(error))
        answer = read_answer(response)
        milliseconds = (time.monotonic() - started) * 1000
        _log.info(
            "%s %s: %s, X-Request-Id %s, %.0f ms",
            verb, path, answer.happened, answer.request_id, milliseconds,
        )  # fmt: skip
        if answer.body is Body.JSON or answer.happened == requests.codes.no_content:
            self._proven = True
        return answer

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = new_session(self._token, verify=self._verify)
            self._local.session = session
            with self._lock:
                self._sessions.append(session)
        return session


def _pause(tries: int, first: float) -> float:
    """Return an exponential pause, jittered so that threads do not come back together."""
    return float(min(LONGEST_PAUSE, first * 2.0 ** (tries - 1)) * _jitter.uniform(0.5, 1.0))
