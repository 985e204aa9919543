"""Every error this project raises on purpose, classified by what the caller can do about it.

The branches answer one question each:

* ``ConfigurationError`` - a person must change a setting or a connection; trying again is useless.
* ``TransientError`` - the same call may succeed later; nothing was changed by it.
* ``StopRunError`` - the run must end now, and a person must act before the next one (blocked, unpaid).
* ``RowError`` - one entity is at fault; the others may go on.
* ``AmbiguousWriteError`` - the request left, the answer did not come: the write may or may not exist.
* ``GuardError`` - our own safety rule stopped the run.

The text of an error says what happened, to which entity (ids only) and what to do next. A value read from
IDENT or amoCRM never enters an exception: ``str(error)`` ends up in logs, events and run states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "AmbiguousWriteError",
    "AmoCrmUnavailableError",
    "AuthenticationError",
    "BlockedError",
    "ConfigurationError",
    "DatabaseUnavailableError",
    "FieldProblem",
    "GuardError",
    "IdentAmocrmError",
    "LeaseHeldError",
    "LedgerUnavailableError",
    "MappingError",
    "NotConnectedError",
    "PaymentRequiredError",
    "RateLimitedError",
    "RowError",
    "RunStoppedError",
    "SchemaError",
    "StopRunError",
    "TransferRefusedError",
    "TransientError",
    "UnexpectedAnswerError",
    "ValidationRejectedError",
]


class IdentAmocrmError(Exception):
    """Root of the project's errors.

    Attributes:
        problem: What happened, in one sentence, without personal values.
        remedy: What to do next, naming the command or setting.
        code: Stable identifier; docs and the Russian hints of ``tasks.hints`` are keyed by it.
    """

    default_code: ClassVar[str] = "error"

    def __init__(self, *, problem: str, remedy: str, code: str | None = None) -> None:
        self.problem = problem
        self.remedy = remedy
        self.code = code or self.default_code
        super().__init__(f"{problem} {remedy}".strip())

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling between processes, which Exception does not with keyword arguments."""
        return (_rebuild, (type(self), {"problem": self.problem, "remedy": self.remedy, "code": self.code}))


def _rebuild(kind: type[IdentAmocrmError], attributes: dict[str, str]) -> IdentAmocrmError:
    return kind(**attributes)


class ConfigurationError(IdentAmocrmError):
    """A setting or connection is wrong; a person has to change it."""

    default_code = "configuration"


class NotConnectedError(ConfigurationError):
    """No such clinic or account is connected."""

    default_code = "not_connected"


class AuthenticationError(ConfigurationError):
    """A login or token was refused."""

    default_code = "authentication"


class SchemaError(ConfigurationError):
    """The database lacks a table or column that the transfer cannot do without."""

    default_code = "schema"


class MappingError(ConfigurationError):
    """The mapping names a pipeline, stage or field that amoCRM does not have, or is not made yet."""

    default_code = "mapping"


class TransferRefusedError(ConfigurationError):
    """The gate does not let the transfer run; ``problem`` lists each unmet condition.

    Attributes:
        unmet: The conditions one by one, where there are several.
    """

    default_code = "refused"

    def __init__(
        self,
        *,
        problem: str,
        remedy: str,
        code: str | None = None,
        unmet: tuple[IdentAmocrmError, ...] = (),
    ) -> None:
        super().__init__(problem=problem, remedy=remedy, code=code)
        self.unmet = unmet


class TransientError(IdentAmocrmError):
    """The same call may succeed later."""

    default_code = "transient"


class DatabaseUnavailableError(TransientError):
    """The database server cannot be reached, or did not answer in time."""

    default_code = "database_unavailable"


class AmoCrmUnavailableError(TransientError):
    """amoCRM cannot be reached, or answers with 5xx."""

    default_code = "amocrm_unavailable"


class RateLimitedError(TransientError):
    """amoCRM answered 429 more often than the client was ready to wait."""

    default_code = "rate_limited"


class LeaseHeldError(TransientError):
    """Another process is transferring this clinic now."""

    default_code = "lease_held"


class LedgerUnavailableError(TransientError):
    """Our own state cannot be read or written: a full disk, a read-only file, a lost database."""

    default_code = "ledger_unavailable"


class StopRunError(IdentAmocrmError):
    """The run must end: going on would make things worse."""

    default_code = "stop"


class RunStoppedError(StopRunError):
    """The operator stopped the transfer; the batch in flight was finished."""

    default_code = "stopped_by_operator"


class PaymentRequiredError(StopRunError):
    """amoCRM answered 402: the account is not paid."""

    default_code = "payment_required"


class BlockedError(StopRunError):
    """amoCRM answered 403: no right, or the integration is blocked for flooding."""

    default_code = "blocked"


class UnexpectedAnswerError(StopRunError):
    """amoCRM answered something that its API never answers (HTML, truncated JSON, a redirect)."""

    default_code = "unexpected_answer"


class GuardError(StopRunError):
    """A safety rule of ours tripped; the text names the override, where there is one."""

    default_code = "guard"


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One complaint of amoCRM about one entity of a batch.

    Attributes:
        request_id: The ``request_id`` that was sent with the entity, or its index as text.
        code: amoCRM's code, such as ``NotSupportedChoice``.
        path: Dot path inside the entity, such as ``custom_fields_values.6.values.0.value``.
    """

    request_id: str
    code: str
    path: str


class RowError(IdentAmocrmError):
    """One entity is at fault; the rest of its batch may go on."""

    default_code = "row"


class ValidationRejectedError(RowError):
    """amoCRM answered 400 for a batch: nothing of it was written.

    Attributes:
        problems: Complaints by entity; empty when amoCRM named none (bisect then).
    """

    default_code = "validation_rejected"

    def __init__(
        self,
        *,
        problem: str,
        remedy: str,
        code: str | None = None,
        problems: tuple[FieldProblem, ...] = (),
    ) -> None:
        super().__init__(problem=problem, remedy=remedy, code=code)
        self.problems = problems


class AmbiguousWriteError(IdentAmocrmError):
    """The request left and no usable answer came: whether it was written is unknown."""

    default_code = "ambiguous"
