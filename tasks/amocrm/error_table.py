"""What an answer of amoCRM, or its absence, means: a table.

Facts of the API: HTML never comes from it but from the front before it; a 403 in HTML is the block for
flooding, which only support lifts; 402 may be spurious for minutes around the nightly token rotation; a 429
is refused before it is processed; whatever else fails after a POST left may have been written.
"""

from __future__ import annotations

from collections.abc import Sequence
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

__all__ = ["AMO_ERROR_TABLE", "Body", "Failure", "Method", "Rule", "Verdict", "judge"]


class Body(StrEnum):
    """What kind of body an answer has."""

    JSON = "json"
    EMPTY = "empty"
    FOREIGN = "foreign"  # HTML, or JSON that ends in the middle


class Failure(StrEnum):
    """Why there is no answer."""

    UNREACHABLE = "unreachable"  # no connection was made: nothing was sent
    TIMEOUT = "timeout"  # sent, but no answer in time
    LOST = "lost"  # sent, but the connection broke
    UNTRUSTED = "untrusted"  # the certificate cannot be verified: nothing was sent
    NO_CA_FILE = "no_ca_file"  # the file of trusted certificates cannot be read: nothing was sent


class Method(StrEnum):
    """Whether a request may be repeated when its answer is lost."""

    REPEATABLE = "repeatable"  # GET, PATCH with absolute values, linking
    CREATING = "creating"  # POST


class Verdict(StrEnum):
    """What to do."""

    OK = "ok"
    REPEAT = "repeat"  # wait and send again; raise the rule's error when time is up
    RAISE = "raise"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table; ``None`` matches anything.

    Attributes:
        when: First and last HTTP status, or why there was no answer.
        body: Kind of the body.
        method: Kind of the request.
        verdict: What to do.
        error: What to raise in the end.
        problem: What happened, without any of amoCRM's own text, which may echo values; ``{host}`` stands
            for host and port.
        remedy: What to do next; ``{base_url}`` stands for the account's address.
        code: Code of the error, where the class's own is too general.
        doubtful: Whether it most likely means a wrong address, as long as this one never answered properly.
    """

    when: tuple[int, int] | Failure
    body: Body | None
    method: Method | None
    verdict: Verdict
    error: type[IdentAmocrmError] = IdentAmocrmError
    problem: str = ""
    remedy: str = ""
    code: str | None = None
    doubtful: bool = False

    def fits(self, happened: int | Failure, body: Body | None, method: Method) -> bool:
        """Tell whether the line is about this answer."""
        if isinstance(happened, Failure) or isinstance(self.when, Failure):
            right = self.when == happened
        else:
            right = self.when[0] <= happened <= self.when[1]
        return right and self.body in {None, body} and self.method in {None, method}


_LATER = (
    "Nothing is lost: the next run sends it again. If it lasts, ask amoCRM's support with the X-Request-Id."
)
_REACH = "Check the address, the internet connection and the proxy (HTTPS_PROXY); then try again."
_NEW_KEY = (
    "Create a new long-lived token in the integration's «Ключи и доступы» and run: "
    "ident-amocrm connect-amocrm --base-url {base_url} --token-file FILE"
)
_ADDRESS = (
    "Check the account's address (https://NAME.amocrm.ru) and any proxy in between; to correct it run: "
    "ident-amocrm connect-amocrm --base-url https://NAME.amocrm.ru --token-file FILE"
)
_CA = "Behind a company's proxy, name the file of its certificates in IDENT_AMOCRM_CA_BUNDLE."
_CA_FILE = "Correct IDENT_AMOCRM_CA_BUNDLE or REQUESTS_CA_BUNDLE."
_PROXY = "Set IDENT_AMOCRM_HTTPS_PROXY (or HTTPS_PROXY) with the proxy's login."
_PAY = "Pay for the amoCRM account; the transfer then goes on from where it stopped."
_BLOCK = "Ask amoCRM's support to lift the block; do not keep trying."
_RIGHTS = "Give the integration its rights, or ask amoCRM's support whether it is blocked."
_LOST = "Nothing is sent twice: the next run looks for it in amoCRM before it sends anything."
_ROWS = "See: ident-amocrm rejects list"
_STRANGE = "This address does not answer like amoCRM's API"
_GONE = "It was deleted there; see: ident-amocrm rejects list"

AMO_ERROR_TABLE: Final[tuple[Rule, ...]] = (
    # ---- no answer
    Rule(
        Failure.UNREACHABLE, None, None, Verdict.REPEAT, AmoCrmUnavailableError,
        "amoCRM at {host} cannot be reached", _REACH, doubtful=True,
    ),
    Rule(
        Failure.UNTRUSTED, None, None, Verdict.RAISE, ConfigurationError,
        "The certificate of {host} cannot be verified", _CA, "tls",
    ),
    Rule(
        Failure.NO_CA_FILE, None, None, Verdict.RAISE, ConfigurationError,
        "The file of trusted certificates cannot be read", _CA_FILE, "ca_bundle",
    ),
    Rule(
        Failure.TIMEOUT, None, Method.CREATING, Verdict.RAISE, AmbiguousWriteError,
        "amoCRM at {host} did not answer in time", _LOST, "answer_lost",
    ),
    Rule(
        Failure.TIMEOUT, None, None, Verdict.REPEAT, AmoCrmUnavailableError,
        "amoCRM at {host} did not answer in time", _REACH, doubtful=True,
    ),
    Rule(
        Failure.LOST, None, Method.CREATING, Verdict.RAISE, AmbiguousWriteError,
        "The connection to amoCRM at {host} broke before the answer came", _LOST, "answer_lost",
    ),
    Rule(
        Failure.LOST, None, None, Verdict.REPEAT, AmoCrmUnavailableError,
        "The connection to amoCRM at {host} broke before the answer came", _REACH, doubtful=True,
    ),
    # ---- success
    Rule((204, 204), None, None, Verdict.OK),
    Rule((200, 299), Body.JSON, None, Verdict.OK),
    Rule((202, 202), Body.EMPTY, None, Verdict.OK),
    Rule(
        (200, 299), None, Method.CREATING, Verdict.RAISE, AmbiguousWriteError,
        "amoCRM accepted a request but its answer cannot be read", _LOST, "answer_lost",
    ),
    Rule(
        # An empty 200 is a cut answer: taken for "no rows" it would make entities vanish.
        (200, 299), None, None, Verdict.REPEAT, UnexpectedAnswerError, _STRANGE, _ADDRESS, doubtful=True,
    ),
    Rule(
        (300, 399), None, None, Verdict.RAISE, ConfigurationError,
        "amoCRM redirects to another address", _ADDRESS, "wrong_host",
    ),
    # ---- refused
    Rule(
        (400, 400), Body.JSON, None, Verdict.RAISE, ValidationRejectedError,
        "amoCRM refused a request as invalid", _ROWS,
    ),
    Rule(
        (401, 401), None, None, Verdict.RAISE, AuthenticationError,
        "amoCRM does not accept the token: it expired or was revoked", _NEW_KEY,
    ),
    Rule(
        (402, 402), None, None, Verdict.RAISE, PaymentRequiredError,
        "amoCRM says that the account is not paid", _PAY,
    ),
    Rule(
        (403, 403), Body.JSON, None, Verdict.RAISE, BlockedError,
        "amoCRM denies the integration this request", _RIGHTS,
    ),
    Rule(
        (403, 403), None, None, Verdict.RAISE, BlockedError,
        "amoCRM blocks every request of this integration", _BLOCK,
    ),
    Rule(
        (404, 404), Body.JSON, None, Verdict.RAISE, RowError,
        "amoCRM has no such entity", _GONE, "not_found",
    ),
    Rule(
        (404, 404), None, Method.REPEATABLE, Verdict.REPEAT, UnexpectedAnswerError,
        _STRANGE, _ADDRESS, doubtful=True,
    ),
    Rule(
        (407, 407), None, None, Verdict.RAISE, ConfigurationError,
        "The proxy before amoCRM asks for a login", _PROXY, "proxy",
    ),
    Rule(
        (408, 408), None, Method.CREATING, Verdict.RAISE, AmbiguousWriteError,
        "amoCRM gave a request up", _LOST, "answer_lost",
    ),
    Rule(
        (408, 408), None, None, Verdict.REPEAT, AmoCrmUnavailableError,
        "amoCRM gave a request up", _LATER,
    ),
    Rule(
        (429, 429), None, None, Verdict.REPEAT, RateLimitedError,
        "amoCRM says that requests come too fast", "Lower IDENT_AMOCRM_REQUESTS_PER_SECOND.",
    ),
    Rule(
        (400, 499), Body.JSON, None, Verdict.RAISE, RowError,
        "amoCRM cannot process a request", _ROWS, "not_processed",
    ),
    Rule((400, 499), None, None, Verdict.RAISE, UnexpectedAnswerError, _STRANGE, _ADDRESS),
    # ---- broken
    Rule(
        (500, 599), None, Method.CREATING, Verdict.RAISE, AmbiguousWriteError,
        "amoCRM failed while it processed a request", _LOST, "answer_lost",
    ),
    Rule(
        (500, 599), None, None, Verdict.REPEAT, AmoCrmUnavailableError,
        "amoCRM answers with an error of its own", _LATER,
    ),
    # ---- a status that HTTP does not know
    Rule((0, 999), None, Method.CREATING, Verdict.RAISE, AmbiguousWriteError, _STRANGE, _LOST, "answer_lost"),
    Rule((0, 999), None, None, Verdict.RAISE, UnexpectedAnswerError, _STRANGE, _ADDRESS),
)  # fmt: skip


def judge(
    happened: int | Failure, body: Body | None, method: Method, table: Sequence[Rule] = AMO_ERROR_TABLE
) -> Rule:
    """Return the first rule that fits; the last lines of a table fit every status.

    Args:
        happened: HTTP status, or why there is none.
        body: Kind of the body, where there is an answer.
        method: Kind of the request.
        table: What answers mean.
    """
    return next(rule for rule in table if rule.fits(happened, body, method))
