from __future__ import annotations

from typing import Any

import pytest

from tasks.amocrm.error_table import AMO_ERROR_TABLE, Body, Failure, Method, Verdict, judge
from tasks.errors import (
    AmbiguousWriteError,
    AmoCrmUnavailableError,
    AuthenticationError,
    BlockedError,
    ConfigurationError,
    PaymentRequiredError,
    RateLimitedError,
    RowError,
    UnexpectedAnswerError,
    ValidationRejectedError,
)

OK, REPEAT, RAISE = Verdict.OK, Verdict.REPEAT, Verdict.RAISE
JSON, EMPTY, FOREIGN = Body.JSON, Body.EMPTY, Body.FOREIGN
AGAIN, ONCE = Method.REPEATABLE, Method.CREATING

#: What happened, body, method -> verdict, error, code. Written from the facts of the API, not from the table.
ROWS: list[tuple[Any, Any, Method, Verdict, Any, str | None]] = [
    (200, JSON, AGAIN, OK, None, None),
    (201, JSON, ONCE, OK, None, None),
    (202, JSON, ONCE, OK, None, None),
    (202, EMPTY, AGAIN, OK, None, None),
    (204, EMPTY, AGAIN, OK, None, None),
    (204, EMPTY, ONCE, OK, None, None),
    (200, EMPTY, AGAIN, REPEAT, UnexpectedAnswerError, "unexpected_answer"),
    (200, FOREIGN, AGAIN, REPEAT, UnexpectedAnswerError, "unexpected_answer"),
    (200, FOREIGN, ONCE, RAISE, AmbiguousWriteError, "answer_lost"),
    (200, EMPTY, ONCE, RAISE, AmbiguousWriteError, "answer_lost"),
    (301, FOREIGN, AGAIN, RAISE, ConfigurationError, "wrong_host"),
    (302, EMPTY, ONCE, RAISE, ConfigurationError, "wrong_host"),
    (308, JSON, ONCE, RAISE, ConfigurationError, "wrong_host"),
    (400, JSON, AGAIN, RAISE, ValidationRejectedError, "validation_rejected"),
    (400, JSON, ONCE, RAISE, ValidationRejectedError, "validation_rejected"),
    (400, FOREIGN, ONCE, RAISE, UnexpectedAnswerError, "unexpected_answer"),
    (401, JSON, AGAIN, RAISE, AuthenticationError, "authentication"),
    (401, FOREIGN, ONCE, RAISE, AuthenticationError, "authentication"),
    (402, JSON, AGAIN, RAISE, PaymentRequiredError, "payment_required"),
    (402, EMPTY, ONCE, RAISE, PaymentRequiredError, "payment_required"),
    (403, JSON, AGAIN, RAISE, BlockedError, "blocked"),
    (403, FOREIGN, ONCE, RAISE, BlockedError, "blocked"),
    (404, JSON, AGAIN, RAISE, RowError, "not_found"),
    (404, JSON, ONCE, RAISE, RowError, "not_found"),
    (404, FOREIGN, AGAIN, REPEAT, UnexpectedAnswerError, "unexpected_answer"),
    (404, FOREIGN, ONCE, RAISE, UnexpectedAnswerError, "unexpected_answer"),
    (405, JSON, AGAIN, RAISE, RowError, "not_processed"),
    (407, FOREIGN, ONCE, RAISE, ConfigurationError, "proxy"),
    (408, FOREIGN, AGAIN, REPEAT, AmoCrmUnavailableError, "amocrm_unavailable"),
    (408, FOREIGN, ONCE, RAISE, AmbiguousWriteError, "answer_lost"),
    (413, FOREIGN, ONCE, RAISE, UnexpectedAnswerError, "unexpected_answer"),
    (422, JSON, ONCE, RAISE, RowError, "not_processed"),
    (429, JSON, AGAIN, REPEAT, RateLimitedError, "rate_limited"),
    (429, FOREIGN, ONCE, REPEAT, RateLimitedError, "rate_limited"),
    (429, EMPTY, ONCE, REPEAT, RateLimitedError, "rate_limited"),
    (500, JSON, AGAIN, REPEAT, AmoCrmUnavailableError, "amocrm_unavailable"),
    (502, FOREIGN, AGAIN, REPEAT, AmoCrmUnavailableError, "amocrm_unavailable"),
    (504, EMPTY, ONCE, RAISE, AmbiguousWriteError, "answer_lost"),
    (500, JSON, ONCE, RAISE, AmbiguousWriteError, "answer_lost"),
    (799, JSON, AGAIN, RAISE, UnexpectedAnswerError, "unexpected_answer"),
    (799, JSON, ONCE, RAISE, AmbiguousWriteError, "answer_lost"),
    (Failure.UNREACHABLE, None, AGAIN, REPEAT, AmoCrmUnavailableError, "amocrm_unavailable"),
    (Failure.UNREACHABLE, None, ONCE, REPEAT, AmoCrmUnavailableError, "amocrm_unavailable"),
    (Failure.TIMEOUT, None, AGAIN, REPEAT, AmoCrmUnavailableError, "amocrm_unavailable"),
    (Failure.TIMEOUT, None, ONCE, RAISE, AmbiguousWriteError, "answer_lost"),
    (Failure.LOST, None, AGAIN, REPEAT, AmoCrmUnavailableError, "amocrm_unavailable"),
    (Failure.LOST, None, ONCE, RAISE, AmbiguousWriteError, "answer_lost"),
    (Failure.UNTRUSTED, None, AGAIN, RAISE, ConfigurationError, "tls"),
    (Failure.UNTRUSTED, None, ONCE, RAISE, ConfigurationError, "tls"),
    (Failure.NO_CA_FILE, None, ONCE, RAISE, ConfigurationError, "ca_bundle"),
]


@pytest.mark.parametrize(("happened", "body", "method", "verdict", "error", "code"), ROWS)
def test_row(
    happened: Any, body: Any, method: Method, verdict: Verdict, error: Any, code: str | None
) -> None:
    rule = judge(happened, body, method)
    assert rule.verdict is verdict
    if error is not None:
        assert rule.error is error
        assert (rule.code or rule.error.default_code) == code
        assert rule.problem
        assert rule.remedy


def test_every_line_of_the_table_is_tested() -> None:
    used = {id(judge(happened, body, method)) for happened, body, method, *_ in ROWS}
    assert [rule for rule in AMO_ERROR_TABLE if id(rule) not in used] == []


@pytest.mark.parametrize("body", list(Body))
@pytest.mark.parametrize("method", list(Method))
def test_every_status_is_judged(body: Body, method: Method) -> None:
    for status in range(100, 1000):
        rule = judge(status, body, method)
        assert rule.verdict is not OK or 200 <= status < 300


@pytest.mark.parametrize("body", list(Body))
def test_a_creating_request_is_repeated_only_when_it_was_not_processed(body: Body) -> None:
    repeated = [status for status in range(100, 1000) if judge(status, body, ONCE).verdict is REPEAT]
    assert repeated == [429]
    assert [failure for failure in Failure if judge(failure, None, ONCE).verdict is REPEAT] == [
        Failure.UNREACHABLE
    ]
