"""Nothing is sent before somebody attested on which legal basis; what ran before that is not cut off silently."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli.main import app
from deployments.sandbox.amocrm.server import StandIn
from flows.transfer import BASES, LaunchForm
from tasks import starting
from tasks.basis import BASIS, DUE, GRACE, Basis, attest, check_basis, standing, withdraw
from tasks.checks import CheckState
from tasks.errors import ConfigurationError, TransferRefusedError
from tasks.gate import pass_gate
from tasks.hints import HINTS
from tasks.ledger.store import ConnectionRecord
from tasks.transfer import start_transfer
from tasks.vitals import check_basis_of
from tasks.workspace import close_workspace
from tests.support.sandbox_installation import CLINIC, TOKEN, SandboxInstallation, sandbox_installation


@pytest.fixture(scope="module")
def transferred(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxInstallation]:
    """A clinic that was transferred by a version that asked for no basis."""
    folder = tmp_path_factory.mktemp("law")
    with (
        pytest.MonkeyPatch.context() as patch,
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        sandbox_installation(folder, crm, patch, patients=5, appointments=10) as found,
    ):
        found.connect()
        found.sync()
        forget(found)
        found.remember()
        yield found


@pytest.fixture
def clinic(transferred: SandboxInstallation, monkeypatch: pytest.MonkeyPatch) -> SandboxInstallation:
    """The same, its amoCRM somewhere else, as a real one is."""
    transferred.recall()
    monkeypatch.setattr("tasks.basis.is_here", lambda _address: False)
    return transferred


def forget(place: SandboxInstallation) -> None:
    place.ledger.drop_settings(f"clinic:{place.uid}")
    place.launch()


def record_of(place: SandboxInstallation) -> ConnectionRecord:
    return place.ledger.connection(CLINIC)


def events(place: SandboxInstallation) -> list[tuple[str, dict[str, Any]]]:
    rows = place.ledger.audit(event_prefix="ident-amocrm.basis.", order="asc")
    return [(row.event.rpartition(".")[2], row.payload) for row in rows]


def enter(place: SandboxInstallation) -> list[str]:
    space = pass_gate("run", CLINIC, "incremental", dry_run=True)
    close_workspace("run")
    return space.warnings


def test_a_new_clinic_is_refused_with_the_remedy(clinic: SandboxInstallation) -> None:
    new = ConnectionRecord("новая", "uidofthenew", "b", "Europe/Moscow")
    with pytest.raises(TransferRefusedError) as refusal:
        check_basis(clinic.ledger, new)
    assert refusal.value.code == "basis_missing"
    assert "ident-amocrm basis attest новая" in refusal.value.remedy
    assert clinic.ledger.setting(f"clinic:{new.clinic_uid}", DUE) is None
    attest(clinic.ledger, new, Basis.CONSENT, by="Главный врач")
    check_basis(clinic.ledger, new)


def test_an_amocrm_on_this_machine_needs_none(transferred: SandboxInstallation) -> None:
    transferred.recall()
    record = record_of(transferred)
    assert not any("attested" in line for line in enter(transferred))
    assert [name for name, _payload in events(transferred) if name == "due"] == []
    assert check_basis_of(transferred.ledger, record).state is CheckState.OK
    withdraw(transferred.ledger, record, by="Юрист")
    with pytest.raises(TransferRefusedError):
        enter(transferred)


def test_what_ran_before_goes_on_for_two_weeks_and_says_so(clinic: SandboxInstallation) -> None:
    assert any("is not attested: the transfer stops on" in line for line in enter(clinic))
    enter(clinic)
    assert [name for name, _payload in events(clinic) if name == "due"] == ["due"], (
        "told once, not every tick"
    )
    record = record_of(clinic)
    assert (check_basis_of(clinic.ledger, record).state, check_basis_of(clinic.ledger, record).code) == (
        CheckState.WARNING,
        "basis_due",
    )
    until = standing(clinic.ledger, record, datetime.now(tz=UTC)).until
    assert until is not None
    assert timedelta(0) <= GRACE - (until - datetime.now(tz=UTC)) < timedelta(minutes=1)

    clinic.ledger.put_setting(
        f"clinic:{clinic.uid}", DUE, {"until": datetime.now(tz=UTC).isoformat()}, by="the 14 days are over"
    )
    with pytest.raises(TransferRefusedError, match="Nobody attested"):
        enter(clinic)
    attest(clinic.ledger, record, Basis.PROCESSOR, by="Юрист")
    assert not any("attested" in line for line in enter(clinic))


def test_a_withdrawn_basis_stops_the_next_run_and_gets_no_grace(clinic: SandboxInstallation) -> None:
    record = record_of(clinic)
    attest(clinic.ledger, record, Basis.CONSENT, by="Юрист")
    enter(clinic)
    start_transfer(clinic.ledger, record, datetime.now(tz=UTC).date(), history_days=None, by="test")
    withdraw(clinic.ledger, record, by="Юрист")
    with pytest.raises(TransferRefusedError) as refusal:
        enter(clinic)
    assert refusal.value.code == "basis_missing"
    assert check_basis_of(clinic.ledger, record).state is CheckState.FAILED
    history = clinic.ledger.setting_history(f"clinic:{clinic.uid}", BASIS)
    assert [(row["value"]["basis"], row["changed_by"]) for row in history][-2:] == [
        ("consent", "Юрист"),
        ("", "Юрист"),
    ]
    assert events(clinic)[-2:] == [("attested", {"basis": "consent"}), ("withdrawn", {})]


def test_a_run_under_way_sends_nothing_more_once_the_basis_is_withdrawn(clinic: SandboxInstallation) -> None:
    """A first load lasts hours, and where a person started it by hand the schedule's stop does not end it."""
    record = record_of(clinic)
    attest(clinic.ledger, record, Basis.CONSENT, by="Юрист")
    space = pass_gate("run", CLINIC, "full", dry_run=False)
    space.guard()
    withdraw(clinic.ledger, record, by="Юрист")
    with pytest.raises(TransferRefusedError) as refusal:
        space.client.patch("contacts", [{"id": 1}])
    close_workspace("run")
    assert refusal.value.code == "basis_missing"


@pytest.mark.parametrize("by", ["", "8 916 123-45-67", "somebody@example.org"])
def test_a_person_is_named_and_nothing_else(clinic: SandboxInstallation, by: str) -> None:
    with pytest.raises(ConfigurationError):
        attest(clinic.ledger, record_of(clinic), Basis.CONSENT, by=by)
    assert clinic.ledger.setting(f"clinic:{clinic.uid}", BASIS) is None


def test_the_form_attests_in_the_name_of_who_starts(
    clinic: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "get_run_logger", lambda: logging.getLogger("test"))
    assert set(LaunchForm.model_json_schema()["properties"]["basis"]["enum"]) == set(BASES)
    assert {one for one in BASES.values() if one} == set(Basis)
    assert starting.note_basis.fn("", "consent", by=" ") == f"1) {HINTS['basis_unnamed']}"
    assert starting.note_basis.fn("", "consent", by="Администратор") == ""
    found = standing(clinic.ledger, record_of(clinic), datetime.now(tz=UTC)).attested
    assert found is not None
    assert (found.basis, found.by) == (Basis.CONSENT, "Администратор")


def test_the_commands(clinic: SandboxInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.cli.basis.open_session", lambda **_options: clinic.ledger)
    run = CliRunner().invoke
    attested = run(app, ["basis", "attest", CLINIC, "--basis", "consent", "--by", "Юрист"])
    assert attested.exit_code == 0, attested.output
    assert '"by": "Юрист"' in run(app, ["basis", "show", "--output", "json"]).output
    assert "письменное согласие" in run(app, ["basis", "show"]).output
    assert run(app, ["basis", "withdraw", CLINIC, "--by", "Юрист"]).exit_code == 0
    assert "не подтверждено" in run(app, ["basis", "show"]).output
    wrong = run(app, ["basis", "attest", CLINIC, "--basis", "hope", "--by", "Юрист"])
    assert isinstance(wrong.exception, ConfigurationError)
