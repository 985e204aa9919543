"""The subscription at the gate: it refuses, and goes on by itself after payment; nothing is bought twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployments.sandbox.amocrm.model import User
from deployments.sandbox.amocrm.server import StandIn
from tasks import subscribe
from tasks.connections import open_destination
from tasks.errors import ConfigurationError, TransferRefusedError
from tasks.gate import pass_gate
from tasks.records import Invoice
from tasks.settings import load_settings
from tasks.subscribe import mark_paid, offer, request_invoice, standing, write_invoice
from tasks.subscription.provider import OperatorPayment, invoice_markdown
from tasks.subscription.states import State
from tasks.subscription.texts import quote_markdown
from tasks.workspace import close_workspace
from tests.support.sandbox_installation import CLINIC, TOKEN, SandboxInstallation, sandbox_installation

TODAY = datetime.now(tz=UTC)


@pytest.fixture
def crm() -> Iterator[StandIn]:
    with StandIn(token=TOKEN, limit=None, index_lag=0) as found:
        yield found


@pytest.fixture
def clinic(tmp_path: Path, crm: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxInstallation]:
    with sandbox_installation(tmp_path, crm, monkeypatch, patients=30, appointments=90) as found:
        found.connect()
        yield found


class Calendar:
    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = TODAY
        patch.setattr(subscribe, "_now", lambda: self.now)

    def wait(self, days: float) -> None:
        self.now += timedelta(days=days)


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch) -> Calendar:
    return Calendar(monkeypatch)


def hire(crm: StandIn, count: int) -> None:
    """Let so many people more work in the account; one of them is switched off."""
    users = crm.sandbox.state.users
    users += [User(9000 + number, f"User {number}", f"u{number}@example.org") for number in range(count + 1)]
    users[-1].is_active = False


def invoice(clinic: SandboxInstallation, number: int, *, months: int = 6, extra_users: int = 0) -> Invoice:
    return request_invoice(
        clinic.ledger,
        clinic.settings,
        request_id=f"run-{number}",
        months=0 if extra_users else months,
        extra_users=extra_users,
        accepted=True,
    )


def enter(clinic: SandboxInstallation) -> None:
    """Pass the gate, as a run does first."""
    pass_gate("run", CLINIC, "incremental", dry_run=True)
    close_workspace("run")


def events(clinic: SandboxInstallation) -> list[str]:
    rows = clinic.ledger.audit(event_prefix="ident-amocrm.subscription.", order="asc")
    return [row.event.rpartition(".")[2] for row in rows]


def test_a_fresh_installation_is_in_trial_from_its_first_connection(
    clinic: SandboxInstallation, calendar: Calendar
) -> None:
    found = standing(clinic.ledger, clinic.settings)
    assert found.state is State.TRIAL
    assert found.ends_at is not None
    (trial,) = clinic.ledger.periods()
    assert trial.ends_at - trial.starts_at == timedelta(days=14).total_seconds()
    assert found.ends_at.timestamp() == trial.ends_at
    clinic.connect()
    assert len(clinic.ledger.periods()) == 1
    enter(clinic)


def test_expired_refuses_and_goes_on_by_itself_after_payment(
    clinic: SandboxInstallation, calendar: Calendar
) -> None:
    clinic.sync()
    calendar.wait(15)
    writes = clinic.writes()
    clinic.hour(1)
    with pytest.raises(TransferRefusedError) as refusal:
        clinic.sync()
    assert refusal.value.code == "subscription_expired"
    assert "subscription activate" in refusal.value.remedy
    assert clinic.writes() == writes
    made = invoice(clinic, 1)
    with pytest.raises(TransferRefusedError):
        clinic.sync()
    assert mark_paid(clinic.ledger, clinic.settings, made.number).state is State.ACTIVE
    clinic.sync()
    assert clinic.differences() == []
    calendar.wait(175)
    clinic.sync()
    assert standing(clinic.ledger, clinic.settings).state is State.EXPIRING
    assert events(clinic) == ["trial", "expired", "invoiced", "paid", "activated", "expiring"]


def test_too_many_users_suspend_and_a_top_up_or_fewer_users_lift_it(
    clinic: SandboxInstallation, crm: StandIn, calendar: Calendar
) -> None:
    client = open_destination(clinic.ledger, clinic.settings)
    before = len([user for user in crm.sandbox.state.users if user.is_active])
    subscribe.count_users(clinic.ledger, client)
    made = invoice(clinic, 1)
    assert (made.users, made.amount) == (5, 5 * 6 * 990)
    mark_paid(clinic.ledger, clinic.settings, made.number)
    calendar.wait(20)
    hire(crm, 300)  # more than a page of the list
    subscribe.count_users(clinic.ledger, client)
    with pytest.raises(TransferRefusedError) as refusal:
        enter(clinic)
    assert refusal.value.code == "subscription_suspended"
    assert f"--users {before + 300 - 5}" in refusal.value.remedy

    del crm.sandbox.state.users[-3:]
    crm.sandbox.state.users[:] = crm.sandbox.state.users[:5]
    enter(clinic)
    assert standing(clinic.ledger, clinic.settings).state is State.ACTIVE

    hire(crm, 2)
    subscribe.count_users(clinic.ledger, client)
    client.close()
    found = offer(clinic.ledger, clinic.settings)
    missing = found.standing.missing_users
    assert found.extra is not None
    assert found.extra.users == missing > 0
    assert (
        quote_markdown(found.standing, found.quotes, found.extra, found.active_users, found.databases).count(
            "| "
        )
        > 4
    )
    # The trial goes first: 14 days, then 6 months, of which 6 days are over.
    assert found.extra.amount == 990 * missing * 6
    extra = invoice(clinic, 2, extra_users=missing)
    assert mark_paid(clinic.ledger, clinic.settings, extra.number).lets_transfer
    enter(clinic)


def test_another_database_raises_the_minimum(clinic: SandboxInstallation, calendar: Calendar) -> None:
    mark_paid(clinic.ledger, clinic.settings, invoice(clinic, 1).number)
    calendar.wait(20)
    record = clinic.ledger.connections()[0]
    clinic.ledger.save_connection(replace(record, name="second", clinic_uid="second"))
    with pytest.raises(TransferRefusedError, match="databases were added"):
        enter(clinic)
    clinic.ledger.remove_connection("second")
    enter(clinic)


def test_switched_off_it_asks_for_nothing(
    clinic: SandboxInstallation, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENT_AMOCRM_SUBSCRIPTION", "false")
    load_settings.cache_clear()
    calendar.wait(500)
    enter(clinic)
    assert standing(clinic.ledger, clinic.settings).state is State.OFF


def test_an_invoice_is_made_once_and_booked_once(clinic: SandboxInstallation, calendar: Calendar) -> None:
    made = invoice(clinic, 1)
    calendar.wait(1)
    assert invoice(clinic, 1) == made
    assert made.number == f"{TODAY:%Y}-0001"
    first = mark_paid(clinic.ledger, clinic.settings, made.number)
    assert mark_paid(clinic.ledger, clinic.settings, made.number) == first
    assert len(clinic.ledger.periods()) == 2
    again = invoice(clinic, 2)
    assert again.starts_at == first.ends_at.timestamp() if first.ends_at else False
    with pytest.raises(ConfigurationError) as unknown:
        mark_paid(clinic.ledger, clinic.settings, "7")
    assert unknown.value.code == "invoice_unknown"


def test_no_invoice_without_the_offer(clinic: SandboxInstallation) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        request_invoice(clinic.ledger, clinic.settings, request_id="r", months=6, accepted=False)
    assert refusal.value.code == "offer_not_accepted"
    assert clinic.ledger.invoices() == []


def test_nothing_runs_nothing_is_extended(clinic: SandboxInstallation, calendar: Calendar) -> None:
    calendar.wait(30)
    with pytest.raises(ConfigurationError) as refusal:
        request_invoice(
            clinic.ledger, clinic.settings, request_id="r", months=6, accepted=True, kind="extend"
        )
    assert refusal.value.code == "subscription_not_running"


def test_the_invoice_is_a_page_and_an_artifact(clinic: SandboxInstallation) -> None:
    made = invoice(clinic, 1)
    page = write_invoice(made, clinic.settings).read_text(encoding="utf-8")
    told = invoice_markdown(made, OperatorPayment(clinic.settings.sales_contact).request(made))
    for text in (page, told):
        assert made.number in text
        assert "29\u00a0700\u00a0₽" in text
        assert clinic.settings.sales_contact in text
    assert "ожидает оплаты" in told


def test_a_provider_that_knows_of_the_payment_is_enough(
    clinic: SandboxInstallation, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Online(OperatorPayment):
        name = "online"

        def is_paid(self, invoice: Invoice) -> bool:
            return True

    calendar.wait(20)
    invoice(clinic, 1)
    monkeypatch.setattr(subscribe, "payment_provider", lambda _settings: Online(""))
    enter(clinic)


def test_two_unmet_conditions_are_both_named(clinic: SandboxInstallation, calendar: Calendar) -> None:
    calendar.wait(20)
    clinic.database.rename(clinic.database.with_suffix(".away"))
    clinic.crm.admin("settings", {"token_valid": False})
    with pytest.raises(TransferRefusedError) as refusal:
        enter(clinic)
    assert refusal.value.code == "refused"
    for word in ("3 conditions", "subscription expired", "no database file", "expired or was revoked"):
        assert word in refusal.value.problem
    assert refusal.value.problem.count("ident-amocrm") >= 2
