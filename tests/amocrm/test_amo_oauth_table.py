"""What an answer of the token endpoint means: only what certainly used nothing up is repeated or forgiven."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.amocrm.error_table import Body, Failure, Method, Verdict, judge
from tasks.amocrm.token_endpoint import TOKEN_ERROR_TABLE
from tasks.errors import (
    AmoCrmUnavailableError,
    AuthenticationError,
    BlockedError,
    ConfigurationError,
    PaymentRequiredError,
    RateLimitedError,
    UnexpectedAnswerError,
)

OK, REPEAT, RAISE = Verdict.OK, Verdict.REPEAT, Verdict.RAISE
JSON, EMPTY, FOREIGN = Body.JSON, Body.EMPTY, Body.FOREIGN

#: What happened, body -> verdict, error, code. Written from the facts of the API, not from the table.
ROWS: list[tuple[Any, Any, Verdict, Any, str | None]] = [
    (200, JSON, OK, None, None),
    (200, EMPTY, RAISE, AuthenticationError, "reauthorise"),
    (200, FOREIGN, RAISE, AuthenticationError, "reauthorise"),
    (302, EMPTY, RAISE, ConfigurationError, "wrong_host"),
    (400, JSON, RAISE, AuthenticationError, "reauthorise"),
    (401, JSON, RAISE, AuthenticationError, "reauthorise"),
    (401, FOREIGN, RAISE, AuthenticationError, "reauthorise"),
    (402, JSON, RAISE, PaymentRequiredError, "payment_required"),
    (403, FOREIGN, RAISE, BlockedError, "blocked"),
    (404, FOREIGN, RAISE, UnexpectedAnswerError, "unexpected_answer"),
    (407, FOREIGN, RAISE, ConfigurationError, "proxy"),
    (408, FOREIGN, RAISE, AuthenticationError, "reauthorise"),
    (429, JSON, REPEAT, RateLimitedError, "rate_limited"),
    (429, FOREIGN, REPEAT, RateLimitedError, "rate_limited"),
    (500, JSON, RAISE, AuthenticationError, "reauthorise"),
    (503, FOREIGN, RAISE, AuthenticationError, "reauthorise"),
    (504, EMPTY, RAISE, AuthenticationError, "reauthorise"),
    (799, JSON, RAISE, AuthenticationError, "reauthorise"),
    (Failure.UNREACHABLE, None, REPEAT, AmoCrmUnavailableError, "amocrm_unavailable"),
    (Failure.TIMEOUT, None, RAISE, AuthenticationError, "reauthorise"),
    (Failure.LOST, None, RAISE, AuthenticationError, "reauthorise"),
    (Failure.UNTRUSTED, None, RAISE, ConfigurationError, "tls"),
    (Failure.NO_CA_FILE, None, RAISE, ConfigurationError, "ca_bundle"),
]


@pytest.mark.parametrize(("happened", "body", "verdict", "error", "code"), ROWS)
def test_row(happened: Any, body: Any, verdict: Verdict, error: Any, code: str | None) -> None:
    rule = judge(happened, body, Method.CREATING, TOKEN_ERROR_TABLE)
    assert rule.verdict is verdict
    if error is not None:
        assert rule.error is error
        assert (rule.code or rule.error.default_code) == code
        assert rule.problem
        assert rule.remedy


def test_every_line_of_the_table_is_tested() -> None:
    used = {id(judge(happened, body, Method.CREATING, TOKEN_ERROR_TABLE)) for happened, body, *_ in ROWS}
    assert [rule for rule in TOKEN_ERROR_TABLE if id(rule) not in used] == []


@pytest.mark.parametrize("body", list(Body))
def test_only_what_was_not_processed_is_repeated(body: Body) -> None:
    verdicts = {
        status: judge(status, body, Method.CREATING, TOKEN_ERROR_TABLE).verdict for status in range(100, 1000)
    }
    assert [status for status, verdict in verdicts.items() if verdict is REPEAT] == [429]
