"""What an answer of amoCRM means, as a table.

Facts of the API: HTML never comes from it but from the front before it; a 403 in HTML is the block for
flooding, which only support lifts; 402 may be spurious for minutes around the nightly token rotation; a 429
is refused before it is processed; whatever else fails after a POST left may have been written.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tasks.errors import (
    AmbiguousWriteError,
    AmoCrmUnavailableError,
    AuthenticationError,
    BlockedError,
    ConfigurationError,
    IdentAmocrmError,
    PaymentRequiredError,
    RateLimitedError,
    RowError,
    UnexpectedAnswerError,
    ValidationRejectedError,
)

__all__ = ["AMO_ERROR_TABLE", "Body", "Method", "Rule", "Verdict", "judge"]


class Body(StrEnum):
    """What kind of body an answer has."""

    JSON = "json"
    EMPTY = "empty"
    FOREIGN = "foreign"  # HTML, or JSON that ends in the middle


class Method(StrEnum):
    """Whether a request may be repeated when its answer is lost."""

    REPEATABLE = "repeatable"  # GET, and PATCH with absolute values
    CREATING = "creating"  # POST


class Verdict(StrEnum):
    """What to do with an answer."""

    OK = "ok"
    REPEAT = "repeat"  # wait and send again; raise the rule's error when time is up
    RAISE = "raise"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table; ``None`` matches anything.

    Attributes:
        statuses: First and last HTTP status.
        body: Kind of the body.
        method: Kind of the request.
        verdict: What to do.
        error: What to raise in the end.
        problem: What happened, without any of amoCRM's own text, which may echo values.
        remedy: What to do next.
        code: Code of the error, where the class's own is too general.
    """

    statuses: tuple[int, int]
    body: Body | None
    method: Method | None
    verdict: Verdict
    error: type[IdentAmocrmError] | None = None
    problem: str = ""
    remedy: str = ""
    code: str | None = None


_LATER = (
    "Nothing is lost: the next run sends it again. If it lasts, ask amoCRM's support with the X-Request-Id."
)
_NEW_KEY = (
    "Create a new long-lived token in the integration's «Ключи и доступы» and run: "
    "ident-amocrm connect-amocrm --base-url URL --token-file FILE"
)
_ADDRESS = "Check the account's address (https://NAME.amocrm.ru), a proxy in between and the network."
_PAY = "Pay for the amoCRM account; the transfer then goes on from where it stopped."
_BLOCK = "Ask amoCRM's support to lift the block (or give the integration its rights); do not keep trying."
_LOST = "Nothing is sent twice: the next run looks for it in amoCRM before it sends anything."

AMO_ERROR_TABLE: Final[tuple[Rule, ...]] = (
    Rule((200, 299), Body.JSON, None, Verdict.OK),
    Rule((200, 299), Body.EMPTY, None, Verdict.OK),
    Rule(
        (200, 299), Body.FOREIGN, Method.CREATING, Verdict.RAISE, AmbiguousWriteError,
        "amoCRM accepted a request but its answer cannot be read", _LOST, "answer_lost",
    ),
    Rule(
        (200, 299), Body.FOREIGN, None, Verdict.REPEAT, UnexpectedAnswerError,
        "This address does not answer like amoCRM's API", _ADDRESS,
    ),
    Rule(
        (300, 399), None, None, Verdict.RAISE, ConfigurationError,
        "amoCRM redirects to another address", _ADDRESS, "wrong_host",
    ),
    Rule(
        (400, 400), None, None, Verdict.RAISE, ValidationRejectedError,
        "amoCRM refused a batch as invalid", "See: ident-amocrm rejects list",
    ),
    Rule(
        (401, 401), None, None, Verdict.RAISE, AuthenticationError,
        "amoCRM does not accept the token: it expired or was revoked", _NEW_KEY, "token_refused",
    ),
    Rule(
        (402, 402), None, None, Verdict.RAISE, PaymentRequiredError,
        "The amoCRM account is not paid", _PAY,
    ),
    Rule(
        (403, 403), None, None, Verdict.RAISE, BlockedError,
        "amoCRM refuses every request of this integration", _BLOCK,
    ),
    Rule(
        (404, 404), Body.JSON, None, Verdict.RAISE, RowError,
        "amoCRM has no such entity", "It was deleted there; see: ident-amocrm rejects list", "not_found",
    ),
    Rule(
        (404, 404), None, Method.CREATING, Verdict.RAISE, UnexpectedAnswerError,
        "This address does not answer like amoCRM's API", _ADDRESS,
    ),
    Rule(
        (404, 404), None, None, Verdict.REPEAT, UnexpectedAnswerError,
        "This address does not answer like amoCRM's API", _ADDRESS,
    ),
    Rule(
        (405, 428), None, None, Verdict.RAISE, RowError,
        "amoCRM cannot process a request", "See: ident-amocrm rejects list", "not_processed",
    ),
    Rule(
        (429, 429), None, None, Verdict.REPEAT, RateLimitedError,
        "amoCRM says that requests come too fast", "Lower IDENT_AMOCRM_REQUESTS_PER_SECOND.",
    ),
    Rule(
        (430, 499), None, None, Verdict.RAISE, RowError,
        "amoCRM cannot process a request", "See: ident-amocrm rejects list", "not_processed",
    ),
    Rule(
        (500, 599), None, Method.CREATING, Verdict.RAISE, AmbiguousWriteError,
        "amoCRM failed while it processed a request", _LOST, "answer_lost",
    ),
    Rule(
        (500, 599), None, None, Verdict.REPEAT, AmoCrmUnavailableError,
        "amoCRM answers with an error of its own", _LATER,
    ),
)  # fmt: skip


def judge(status: int, body: Body, method: Method) -> Rule:
    """Return the first rule that fits an answer.

    Raises:
        UnexpectedAnswerError: For a status that HTTP does not know.
    """
    for rule in AMO_ERROR_TABLE:
        first, last = rule.statuses
        if first <= status <= last and rule.body in {None, body} and rule.method in {None, method}:
            return rule
    raise UnexpectedAnswerError(problem=f"Status {status} is none of amoCRM's.", remedy=_ADDRESS)
