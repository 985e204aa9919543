"""The subscription's states over dates, users and databases, and what it costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tasks.errors import ConfigurationError
from tasks.records import Period
from tasks.subscription.states import EXPIRING, Cause, Standing, State, covered_until, next_start, stand
from tasks.subscription.terms import (
    MONTHS,
    PRICE,
    Quote,
    add_months,
    minimum_users,
    months_left,
    payable_users,
    quote,
    top_up,
)
from tasks.subscription.texts import action, explanation, label

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
DAY = timedelta(days=1)


def period(kind: str, users: int, starts_at: datetime, ends_at: datetime) -> Period:
    return Period(kind, users, starts_at.timestamp(), ends_at.timestamp())


TRIAL = period("trial", 0, START, START + 14 * DAY)
PAID = period("paid", 15, START + 14 * DAY, START + 200 * DAY)


def test_the_example_of_the_manual() -> None:
    assert minimum_users(3) == 15
    assert payable_users(12, 3) == 15
    assert payable_users(16, 3) == 16
    assert quote(6, 12, 3) == Quote(6, 15)
    assert quote(6, 12, 3).amount == 990 * 6 * 15
    assert quote(10, 17, 3).amount - quote(10, 15, 3).amount == 2 * 10 * 990
    assert quote(6, 3, 1).amount == 990 * 6 * 5


def test_only_two_terms_are_on_offer() -> None:
    assert MONTHS == (6, 10)
    with pytest.raises(ConfigurationError, match="6 or 10"):
        quote(12, 5, 1)


@pytest.mark.parametrize(
    ("moment", "months", "wanted"),
    [
        (datetime(2026, 8, 31, tzinfo=UTC), 6, datetime(2027, 2, 28, tzinfo=UTC)),
        (datetime(2027, 8, 31, tzinfo=UTC), 6, datetime(2028, 2, 29, tzinfo=UTC)),
        (datetime(2026, 3, 15, 7, tzinfo=UTC), 10, datetime(2027, 1, 15, 7, tzinfo=UTC)),
        (datetime(2026, 12, 1, tzinfo=UTC), 0, datetime(2026, 12, 1, tzinfo=UTC)),
    ],
)
def test_months(moment: datetime, months: int, wanted: datetime) -> None:
    assert add_months(moment, months) == wanted
    assert months_left(moment, wanted) == months


def test_a_top_up_counts_a_month_begun_as_a_whole_one() -> None:
    ends_at = add_months(START, 5)
    assert top_up(3, START, ends_at).amount == 990 * 3 * 5
    assert top_up(3, START + timedelta(seconds=1), ends_at).amount == 990 * 3 * 5
    assert top_up(3, START - timedelta(seconds=1), ends_at).amount == 990 * 3 * 6
    for users, now in ((0, START), (3, ends_at)):
        with pytest.raises(ConfigurationError):
            top_up(users, now, ends_at)


@pytest.mark.parametrize(
    ("after", "users", "databases", "state", "cause"),
    [
        (0 * DAY, 500, 9, State.TRIAL, Cause.NONE),
        (14 * DAY, 15, 3, State.ACTIVE, Cause.NONE),
        (14 * DAY, 16, 3, State.SUSPENDED, Cause.USERS),
        (100 * DAY, 2, 4, State.SUSPENDED, Cause.DATABASES),
        (200 * DAY - EXPIRING, 15, 3, State.ACTIVE, Cause.NONE),
        (200 * DAY - EXPIRING + timedelta(seconds=1), 15, 3, State.EXPIRING, Cause.NONE),
        (199 * DAY, 16, 3, State.SUSPENDED, Cause.USERS),
        (200 * DAY, 1, 1, State.EXPIRED, Cause.NONE),
    ],
)
def test_states(after: timedelta, users: int, databases: int, state: State, cause: Cause) -> None:
    periods = [TRIAL, PAID] if after >= 14 * DAY else [TRIAL]
    found = stand(periods, users, databases, START + after, enabled=True)
    assert (found.state, found.cause) == (state, cause)
    assert found.lets_transfer == (state not in {State.EXPIRED, State.SUSPENDED})


def test_paid_during_the_trial_nothing_of_it_is_lost() -> None:
    now = START + 3 * DAY
    assert next_start([TRIAL], now) == START + 14 * DAY
    assert stand([TRIAL, PAID], 99, 1, now, enabled=True).state is State.ACTIVE
    assert covered_until([TRIAL, PAID], now) == START + 200 * DAY


def test_nothing_is_asked_for_before_the_first_connection_or_where_it_is_off() -> None:
    assert stand([], None, 0, START, enabled=True).state is State.TRIAL
    off = stand([TRIAL], 99, 9, START + 900 * DAY, enabled=False)
    assert off.state is State.OFF
    assert off.lets_transfer
    assert "отключена" in label(off).lower()


def test_a_clock_put_back_takes_nothing_away() -> None:
    assert stand([TRIAL], 1, 1, START - 400 * DAY, enabled=True).lets_transfer


def test_users_that_nobody_could_count_suspend_nothing() -> None:
    assert stand([PAID], None, 3, START + 20 * DAY, enabled=True).state is State.ACTIVE


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("cause", Cause)
def test_every_state_is_explained(state: State, cause: Cause) -> None:
    found = Standing(state, START, 5, 7, cause)
    assert label(found)
    assert explanation(found)
    needed = state in {State.TRIAL, State.EXPIRING, State.EXPIRED, State.SUSPENDED}
    assert bool(action(found)) == needed


class Machine(RuleBasedStateMachine):
    """Days pass, users and databases come and go, terms and extra users are paid."""

    @initialize(trial=st.integers(1, 30))
    def install(self, trial: int) -> None:
        self.now = START
        self.users, self.databases = 3, 1
        self.periods = [period("trial", 0, START, START + trial * DAY)]
        self.paid: list[tuple[datetime, datetime, int]] = []

    @rule(days=st.integers(1, 90))
    def wait(self, days: int) -> None:
        self.now += days * DAY

    @rule(users=st.integers(0, 40))
    def change_users(self, users: int) -> None:
        self.users = users

    @rule(databases=st.integers(1, 6))
    def change_databases(self, databases: int) -> None:
        self.databases = databases

    @rule(months=st.sampled_from(MONTHS))
    def pay(self, months: int) -> None:
        before = self.standing()
        wanted = quote(months, self.users, self.databases)
        assert wanted.amount == PRICE * months * max(self.users, 5 * self.databases)
        starts_at = next_start(self.periods, self.now)
        assert starts_at >= self.now
        ends_at = add_months(starts_at, months)
        self.periods.append(period("paid", wanted.users, starts_at, ends_at))
        self.paid.append((starts_at, ends_at, wanted.users))
        if before.state is State.EXPIRED:
            assert self.standing().state is State.ACTIVE, "paid, it goes on by itself"
        assert self.standing().ends_at == ends_at

    @rule()
    def pay_for_extra_users(self) -> None:
        found = self.standing()
        if found.state is not State.SUSPENDED or found.ends_at is None:
            return
        extra = top_up(found.missing_users, self.now, found.ends_at)
        self.periods.append(period("top_up", found.paid_users + extra.users, self.now, found.ends_at))
        self.paid.append((self.now, found.ends_at, found.paid_users + extra.users))
        assert self.standing().lets_transfer

    def standing(self) -> Standing:
        return stand(self.periods, self.users, self.databases, self.now, enabled=True)

    @invariant()
    def the_state_is_what_was_paid_for(self) -> None:
        found = self.standing()
        running = [users for starts, ends, users in self.paid if starts <= self.now < ends]
        in_trial = self.now.timestamp() < self.periods[0].ends_at
        if not running and not in_trial:
            assert found.state is State.EXPIRED
        elif not running:
            assert found.state in {State.TRIAL, State.ACTIVE, State.EXPIRING}
            assert (found.state is State.TRIAL) == (not self.paid)
        elif max(self.users, 5 * self.databases) > max(running):
            assert found.state is State.SUSPENDED
            assert found.missing_users == max(self.users, 5 * self.databases) - max(running)
        else:
            last = max(ends for _starts, ends, _users in self.paid)
            assert found.state is (State.EXPIRING if last - self.now < EXPIRING else State.ACTIVE)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(days=st.integers(0, 5000), months=st.integers(0, 40))
def test_months_left_undoes_add_months(days: int, months: int) -> None:
    moment = START + days * DAY
    assert months_left(moment, add_months(moment, months)) == months
