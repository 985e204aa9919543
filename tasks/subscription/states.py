"""How the subscription stands: a pure function of what was paid, who uses amoCRM, and the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from tasks.records import Period
from tasks.subscription.terms import minimum_users, payable_users

__all__ = ["EXPIRING", "TRIAL", "Cause", "Standing", "State", "covered_until", "next_start", "stand"]

#: So long before the end a subscription counts as expiring.
EXPIRING: Final = timedelta(days=14)
#: ``Period.kind`` of the free trial; every other period was paid.
TRIAL: Final = "trial"


class State(StrEnum):
    """States of the subscription, as the operator sees them."""

    TRIAL = "trial"
    ACTIVE = "active"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    OFF = "off"  # switched off in the settings of an installation for one's own clinic


class Cause(StrEnum):
    """Why a subscription is suspended."""

    NONE = ""
    USERS = "users"
    DATABASES = "databases"


@dataclass(frozen=True, slots=True)
class Standing:
    """How the subscription stands.

    Attributes:
        state: The state.
        ends_at: When what is running ends; ``None`` when it does not end, or never began.
        paid_users: Users that are paid now; 0 in the trial.
        required_users: Users that would have to be paid now.
        cause: Why it is suspended.
    """

    state: State
    ends_at: datetime | None = None
    paid_users: int = 0
    required_users: int = 0
    cause: Cause = Cause.NONE

    @property
    def lets_transfer(self) -> bool:
        """Whether the transfer may run."""
        return self.state not in {State.EXPIRED, State.SUSPENDED}

    @property
    def missing_users(self) -> int:
        """How many users have to be paid in addition."""
        return max(0, self.required_users - self.paid_users) if self.paid_users else 0


def stand(
    periods: Sequence[Period], active_users: int | None, databases: int, now: datetime, *, enabled: bool
) -> Standing:
    """Tell how the subscription stands.

    Args:
        periods: The trial and everything that was paid.
        active_users: Active users of amoCRM; ``None`` while nobody could count them.
        databases: Connected databases.
        now: The time.
        enabled: Whether this installation needs a subscription at all.
    """
    required = payable_users(active_users or 0, databases)
    if not enabled:
        return Standing(State.OFF, required_users=required)
    if not periods:
        return Standing(State.TRIAL, required_users=required)  # it begins with the first connection
    # A clock that was put back to before the first day takes nothing away.
    moment = max(now.timestamp(), min(period.starts_at for period in periods))
    now = datetime.fromtimestamp(moment, tz=UTC)
    running = [period for period in periods if period.starts_at <= moment < period.ends_at]
    ends_at = covered_until(periods, now)
    if not running or ends_at is None:
        last = max(period.ends_at for period in periods)
        return Standing(State.EXPIRED, datetime.fromtimestamp(last, tz=UTC), required_users=required)
    paid = max((period.users for period in running if period.kind != TRIAL), default=0)
    if not paid and not any(period.kind != TRIAL and period.starts_at > moment for period in periods):
        return Standing(State.TRIAL, ends_at, required_users=required)
    if paid and required > paid:
        too_few = minimum_users(databases) > paid
        return Standing(State.SUSPENDED, ends_at, paid, required, Cause.DATABASES if too_few else Cause.USERS)
    soon = ends_at - now < EXPIRING
    return Standing(State.EXPIRING if soon else State.ACTIVE, ends_at, paid, required)


def covered_until(periods: Sequence[Period], now: datetime) -> datetime | None:
    """Return until when periods follow one another without a gap; ``None`` when none runs now."""
    end = moment = now.timestamp()
    for period in sorted(periods, key=lambda one: one.starts_at):
        if period.starts_at <= end < period.ends_at:
            end = period.ends_at
    return datetime.fromtimestamp(end, tz=UTC) if end > moment else None


def next_start(periods: Sequence[Period], now: datetime) -> datetime:
    """Return when a period that is paid now begins: after what runs, the trial included."""
    return covered_until(periods, now) or now
