"""The breaker: after amoCRM blocked the account, or says it is unpaid, scheduled runs send nothing.

amoCRM takes repeated calls of a blocked integration as one more reason to block it (``amocrm.md`` 1). The
health check of every five minutes is the only one that still asks; the first good answer, to it or to a run
that a person started, ends the break.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from tasks.errors import BlockedError, IdentAmocrmError, PaymentRequiredError
from tasks.ledger.store import Ledger

__all__ = ["BREAKER", "close_breaker", "refuse_while_open", "trip"]

INSTALLATION: Final = "installation"
BREAKER: Final = "breaker"
TRIPPING: Final[dict[str, type[IdentAmocrmError]]] = {
    PaymentRequiredError.default_code: PaymentRequiredError,
    BlockedError.default_code: BlockedError,
}


def trip(ledger: Ledger, error: IdentAmocrmError) -> None:
    """Open the breaker where an error is of that kind."""
    if error.code in TRIPPING and not _state(ledger):
        now = datetime.now(tz=UTC).isoformat(timespec="seconds")
        ledger.put_setting(INSTALLATION, BREAKER, {"code": error.code, "since": now}, by="sync")


def close_breaker(ledger: Ledger) -> None:
    """Close the breaker: amoCRM answers again."""
    if _state(ledger):
        ledger.put_setting(INSTALLATION, BREAKER, {}, by="amocrm")


def refuse_while_open(ledger: Ledger) -> None:
    """Refuse a scheduled run while the breaker is open; nothing is sent.

    Raises:
        StopRunError: Of the kind that opened it.
    """
    state = _state(ledger)
    if state:
        what = "is not paid" if state["code"] == PaymentRequiredError.default_code else "refuses us"
        raise TRIPPING[state["code"]](
            problem=f"amoCRM {what} since {state['since']}; scheduled runs send nothing until it answers.",
            remedy=(
                "Pay the account, or ask amoCRM's support to lift the block. The health check asks every "
                "five minutes and the transfer goes on by itself; to try at once: ident-amocrm sync NAME"
            ),
        )


def _state(ledger: Ledger) -> dict[str, str]:
    return ledger.setting(INSTALLATION, BREAKER) or {}
