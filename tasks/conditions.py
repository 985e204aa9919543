"""Conditions of the transfer: all of them are looked at, and every unmet one is named with its remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tasks.breaker import trip
from tasks.errors import IdentAmocrmError, LedgerUnavailableError, TransferRefusedError
from tasks.hints import hint
from tasks.ledger.store import Ledger

__all__ = ["Conditions", "refusal_text"]

Found = TypeVar("Found")


@dataclass(slots=True)
class Conditions:
    """Collects what is not fulfilled.

    Attributes:
        unmet: One error a condition, in the order in which they were looked at.
    """

    unmet: list[IdentAmocrmError] = field(default_factory=list)

    def attempt(self, check: Callable[[], Found]) -> Found | None:
        """Return what a check found, ``None`` when its condition is not met."""
        try:
            return check()
        except LedgerUnavailableError:
            raise  # without the ledger nothing can be said about the others
        except IdentAmocrmError as error:
            # The same cause may stand behind two conditions: it is named once.
            if str(error) not in {str(known) for known in self.unmet}:
                self.unmet.append(error)
            return None

    def demand(self, ledger: Ledger) -> None:
        """Refuse when a condition is not met.

        Raises:
            IdentAmocrmError: The only unmet condition as it is.
            TransferRefusedError: Several, each with its remedy.
        """
        if not self.unmet:
            return
        if len(self.unmet) == 1:
            raise self.unmet[0]
        for error in self.unmet:
            trip(ledger, error)
        listed = " ".join(f"({number}) {error}" for number, error in enumerate(self.unmet, start=1))
        raise TransferRefusedError(
            problem=f"{len(self.unmet)} conditions of the transfer are not met: {listed}",
            remedy="Nothing was changed.",
            unmet=tuple(self.unmet),
        )


def refusal_text(error: IdentAmocrmError) -> str:
    """Return what an operator reads about a refusal: every unmet condition with what to do, in Russian."""
    unmet = (error.unmet if isinstance(error, TransferRefusedError) else ()) or (error,)
    return " ".join(f"{number}) {hint(one.code)}" for number, one in enumerate(unmet, start=1))
