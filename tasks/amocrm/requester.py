"""Sending a request: one session a thread, paced, repeated where that is safe, silent about values."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from tasks.amocrm.answers import Answer, error_of, read_answer
from tasks.amocrm.error_table import AMO_ERROR_TABLE, Body, Failure, Method, Rule, Verdict, judge
from tasks.amocrm.pacing import Pacer
from tasks.amocrm.token import TokenSource
from tasks.amocrm.transport import Bearer, checked_url, failure_of, host_and_port, new_session, trust
from tasks.settings import Settings

__all__ = ["Call", "Requester"]

_log = logging.getLogger(__name__)
_jitter = random.SystemRandom()
#: An address that never answered properly is most likely wrong: say so at once, not after minutes.
FIRST_SECONDS, FIRST_TRIES = 3.0, 3
LONGEST_PAUSE = 30.0
SUCCESS = range(200, 300)
#: First pause by cause, doubled each time: amoCRM blocks whoever keeps knocking after a 429.
PAUSE, RATE_PAUSE = 1.0, 2.0


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        verb: HTTP method.
        path: Address below the host.
        label: How logs and errors call the address.
        params: Query.
        body: JSON body.
        method: Whether it may be repeated when its answer is lost.
        table: What its answers mean.
    """

    verb: str
    path: str
    label: str
    params: Mapping[str, Any] | None = None
    body: object = None
    method: Method = Method.REPEATABLE
    table: Sequence[Rule] = AMO_ERROR_TABLE

    def __repr__(self) -> str:
        return f"Call({self.verb} {self.label})"  # query and body hold values


class Requester:
    """Sends requests to one address; safe for several threads.

    Args:
        base_url: ``https://<subdomain>.amocrm.ru``.
        tokens: Where the tokens come from.
        settings: Time limits, proxy, certificates.
        pacer: Shared pace.
        sleep: How to wait between repetitions.
        clock: Clock that measures how long a request has been repeated.

    Attributes:
        base_url: Scheme and host.
        requests: Requests sent so far, repetitions included.
        writes: Those of them that may write.
        before_write: Asked just before a request that may write leaves, however long it waited for the pace;
            raises where it may not any more.

    Raises:
        ConfigurationError: When the address or the certificate file is unusable.
    """

    def __init__(
        self,
        base_url: str,
        tokens: TokenSource,
        *,
        settings: Settings,
        pacer: Pacer,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.base_url = checked_url(base_url)
        self.requests = 0
        self.writes = 0
        self.before_write: Callable[[], None] = _always
        self._tokens, self._settings, self._pacer = tokens, settings, pacer
        self._sleep, self._clock = sleep, clock
        self._lock = threading.Lock()
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._proven = False  # whether this address ever answered like amoCRM
        self._verify = trust(settings)
        # Passed with each request: a session's proxies would give way to HTTPS_PROXY.
        self._proxies = {"https": settings.https_proxy} if settings.https_proxy else None

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.close()

    # ---- repeating -------------------------------------------------------------------------------------

    def send(self, call: Call) -> Answer:
        """Send a request until its answer is final.

        Raises:
            IdentAmocrmError: As the call's table says.
        """
        began = self._clock()
        tries, replaced = 0, False
        while True:
            tries += 1
            answer, another = self._exchange(call, replaceable=not replaced)
            if another:
                replaced = True  # a second 401 is final
                continue
            rule = judge(answer.happened, answer.body, call.method, call.table)
            if rule.verdict is Verdict.OK:
                return answer
            error = self._error(rule, answer, call)
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

    def _error(self, rule: Rule, answer: Answer, call: Call) -> Exception:
        if answer.happened == requests.codes.unauthorized:
            rule = self._tokens.explain(answer) or rule
        host = host_and_port(self.base_url)
        return error_of(rule, answer, f"{call.verb} {call.label}", base_url=self.base_url, host=host)

    def _impatient(self, rule: Rule, tries: int, seconds: float) -> bool:
        if rule.doubtful and not self._proven and (tries >= FIRST_TRIES or seconds > FIRST_SECONDS):
            return True
        return seconds > self._settings.retry_seconds

    # ---- one request -----------------------------------------------------------------------------------

    def _exchange(self, call: Call, *, replaceable: bool) -> tuple[Answer, bool]:
        """Send once; tell also whether a 401 brought another token to try."""
        token = self._tokens.current()
        answer = self._once(call, Bearer(token))
        if answer.body is Body.JSON or answer.happened == requests.codes.no_content:
            self._proven = True
        if token is None:
            return answer, False
        if answer.happened == requests.codes.unauthorized:
            return answer, replaceable and self._tokens.replace(token)
        if not isinstance(answer.happened, Failure) and answer.happened in SUCCESS:
            self._tokens.accepted(token)
        return answer, False

    def _once(self, call: Call, auth: Bearer) -> Answer:
        session = self._session()
        try:
            # Before the turn: fifty cards take a while to write down, and amoCRM counts arrivals.
            prepared = session.prepare_request(
                requests.Request(
                    call.verb, f"{self.base_url}{call.path}", params=call.params, json=call.body, auth=auth
                )
            )
            options = session.merge_environment_settings(
                str(prepared.url), self._proxies or {}, None, self._verify, None
            )
        except OSError as error:  # every exception of requests is one
            return _unanswered(call, error)
        writes = call.verb != "GET"
        self._pacer.wait(self.before_write if writes else None)
        with self._lock:
            self.requests += 1
            self.writes += writes
        started = time.monotonic()
        try:
            response = session.send(
                prepared,
                timeout=(self._settings.connect_timeout, self._settings.read_timeout),
                allow_redirects=False,  # a redirected POST loses its body
                **options,
            )
        except OSError as error:
            return _unanswered(call, error)
        answer = read_answer(response)
        milliseconds = (time.monotonic() - started) * 1000
        _log.info(
            "%s %s: %s, X-Request-Id %s, %.0f ms",
            call.verb, call.label, answer.happened, answer.request_id, milliseconds,
        )  # fmt: skip
        return answer

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = new_session(verify=self._verify)
            self._local.session = session
            with self._lock:
                self._sessions.append(session)
        return session


def _unanswered(call: Call, error: OSError) -> Answer:
    _log.info("%s %s: %s (%s)", call.verb, call.label, failure_of(error), type(error).__name__)
    return Answer(failure_of(error))


def _always() -> None:
    """Let every request go."""


def _pause(tries: int, first: float) -> float:
    """Return an exponential pause, jittered so that threads do not come back together."""
    return float(min(LONGEST_PAUSE, first * 2.0 ** (tries - 1)) * _jitter.uniform(0.5, 1.0))
