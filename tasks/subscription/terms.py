"""What a subscription costs: 990 ₽ a user and month, never fewer than five users a database."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tasks.errors import ConfigurationError

__all__ = [
    "MONTHS",
    "PRICE",
    "USERS_PER_DATABASE",
    "Quote",
    "add_months",
    "minimum_users",
    "months_left",
    "payable_users",
    "quote",
    "top_up",
]

#: Roubles for one user and one month.
PRICE: Final = 990
USERS_PER_DATABASE: Final = 5
#: The terms on offer.
MONTHS: Final = (6, 10)


@dataclass(frozen=True, slots=True)
class Quote:
    """An amount with what it is made of.

    Attributes:
        months: For how long.
        users: For how many users.
        amount: Whole roubles.
    """

    months: int
    users: int

    @property
    def amount(self) -> int:
        """Roubles to pay."""
        return PRICE * self.months * self.users


def minimum_users(databases: int) -> int:
    """Return how many users must at least be paid for this number of databases."""
    return USERS_PER_DATABASE * max(databases, 1)


def payable_users(active_users: int, databases: int) -> int:
    """Return how many users have to be paid."""
    return max(active_users, minimum_users(databases))


def quote(months: int, active_users: int, databases: int) -> Quote:
    """Return the price of a term.

    Raises:
        ConfigurationError: When the term is not on offer.
    """
    if months not in MONTHS:
        offered = " or ".join(map(str, MONTHS))
        raise ConfigurationError(
            problem=f"There is no subscription of {months} months.",
            remedy=f"Choose {offered} months.",
            code="subscription_months",
        )
    return Quote(months, payable_users(active_users, databases))


def top_up(users: int, now: datetime, ends_at: datetime) -> Quote:
    """Return the price of extra users until the end of what is paid; a month begun counts as a whole one.

    Raises:
        ConfigurationError: When nobody is to be added, or nothing is paid any more.
    """
    months = months_left(now, ends_at)
    if users < 1 or not months:
        raise ConfigurationError(
            problem="There are no users to add to a running subscription.",
            remedy="Without a running subscription activate one: ident-amocrm subscription activate --help",
            code="subscription_top_up",
        )
    return Quote(months, users)


def add_months(moment: datetime, months: int) -> datetime:
    """Return the same day of a later month, or its last day where it has no such day."""
    number = moment.year * 12 + moment.month - 1 + months
    year, month = divmod(number, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return moment.replace(year=year, month=month + 1, day=min(moment.day, last))


def months_left(now: datetime, ends_at: datetime) -> int:
    """Return the months until the end, rounded up; 0 when it is over."""
    months = 0
    while add_months(now, months) < ends_at:
        months += 1
    return months
