"""Connecting, renaming, starting and stopping, as the flows of the Prefect UI do it; blocks are kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prefect.logging import disable_run_logger

from deployments.sandbox.amocrm.server import StandIn
from tasks import blocks, connect, connections, starting
from tasks.clinics import chosen_clinic, disconnect, rename
from tasks.errors import ConfigurationError, NotConnectedError
from tasks.hints import HINTS
from tasks.launch import LAUNCH, NOTIFY, Launch, Window
from tasks.lights import DONE, FAILED
from tasks.mapping.stages import LOST, WON
from tasks.records import Kind
from tasks.settings import load_settings
from tasks.starting import begin, consider, halt
from tasks.transfer import clinic_state, is_started
from tests.support.sandbox_installation import (
    CLINIC,
    TOKEN,
    SandboxInstallation,
    sandbox_installation,
)

ALL: Window = {"history_days": None, "ahead_days": None}
TODAY: Window = {"history_days": 0, "ahead_days": None}


@pytest.fixture
def crm() -> Iterator[StandIn]:
    with StandIn(token=TOKEN, limit=None, index_lag=0) as found:
        yield found


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The artifacts by key."""
    found: dict[str, str] = {}

    def keep(markdown: str, *, key: str, description: str) -> None:
        assert description
        found[key] = markdown

    for module in (connect, starting):
        monkeypatch.setattr(module, "create_markdown_artifact", keep)
    return found


@pytest.fixture
def clinic(
    tmp_path: Path, crm: StandIn, monkeypatch: pytest.MonkeyPatch, shown: dict[str, str]
) -> Iterator[SandboxInstallation]:
    with (
        sandbox_installation(tmp_path, crm, monkeypatch, patients=30, appointments=90) as found,
        disable_run_logger(),
    ):
        found.secrets["filled-in"] = found.connection()
        yield found


def events(clinic: SandboxInstallation) -> list[str]:
    return [row.event.removeprefix("ident-amocrm.") for row in clinic.ledger.audit(order="asc")]


def test_a_filled_in_block_becomes_a_clinic(clinic: SandboxInstallation, shown: dict[str, str]) -> None:
    done, message = connect.try_database.fn("Север", "filled-in", same_clinic=False)
    assert done, message
    assert "пациентов 30" in message
    record = clinic.ledger.connection("Север")
    assert record.block_name == "filled-in"
    page = shown[f"connect-{blocks.slug('Север')}"]
    assert page.count(DONE) == 2
    assert "только чтение" in page


def test_what_cannot_be_reached_is_told_as_a_light_and_not_saved(
    clinic: SandboxInstallation, shown: dict[str, str]
) -> None:
    clinic.secrets["broken"] = replace_database(clinic, "nowhere.db")
    done, message = connect.try_database.fn("Север", "broken", same_clinic=False)
    assert not done
    assert message == HINTS["database_missing"]
    page = shown[f"connect-{blocks.slug('Север')}"]
    assert (page.count(DONE), page.count(FAILED)) == (1, 1)
    assert connect.try_database.fn("Север", "missing", same_clinic=False) == (False, HINTS["block_missing"])
    assert clinic.ledger.connections() == []


def replace_database(clinic: SandboxInstallation, name: str) -> Any:
    return clinic.connection().model_copy(update={"database": str(clinic.home / name)})


def test_no_two_clinics_share_a_block(clinic: SandboxInstallation, tmp_path: Path) -> None:
    assert connect.try_database.fn("north", "filled-in", same_clinic=False)[0]
    assert connect.try_database.fn("south", "filled-in", same_clinic=False) == (
        False,
        HINTS["database_twice"],
    )
    record = clinic.ledger.connection("north")
    with pytest.raises(ConfigurationError) as refusal:
        connections._block(replace(record, clinic_uid="other", block_name=""), "filled-in", clinic.ledger)
    assert refusal.value.code == "block_in_use"
    # A clinic that takes the former name of another one does not take its password.
    rename(clinic.ledger, "north", "filled-in-2")
    other = replace(record, clinic_uid="other", name="filled-in", block_name="")
    assert connections._block(other, None, clinic.ledger) == "filled-in-other"


def test_the_account_is_connected_by_its_block(
    clinic: SandboxInstallation, crm: StandIn, shown: dict[str, str]
) -> None:
    from pydantic import SecretStr

    clinic.secrets["account"] = blocks.AmoCrmAccount(base_url=crm.url)
    assert connect.try_account.fn() == (False, HINTS["access_options"])
    clinic.secrets["account"] = blocks.AmoCrmAccount(base_url=crm.url, token=SecretStr(TOKEN))
    done, message = connect.try_account.fn()
    assert done, message
    assert DONE in shown["connect-amocrm"]
    assert "Пользователей amoCRM" in shown["connect-amocrm"]
    assert TOKEN not in shown["connect-amocrm"]
    crm.admin("settings", {"paid": False})
    assert connect.try_account.fn() == (False, HINTS["payment_required"])
    assert FAILED in shown["connect-amocrm"]


def test_a_renamed_clinic_keeps_its_cards(clinic: SandboxInstallation) -> None:
    clinic.connect()
    clinic.sync()
    uid, writes = clinic.uid, clinic.writes()
    assert connect.rename_clinic.fn(CLINIC, "Новая")[0]
    assert clinic.ledger.connection("Новая").clinic_uid == uid
    assert connect.rename_clinic.fn(CLINIC, "x") == (False, HINTS["not_connected"])
    assert connect.rename_clinic.fn("Новая", " ") == (False, HINTS["name_in_use"])
    assert connect.rename_clinic.fn("Новая", CLINIC)[0]
    clinic.sync("full")
    assert clinic.writes() == writes
    assert events(clinic).count("database.renamed") == 2


def test_a_disconnected_clinic_keeps_its_ledger(clinic: SandboxInstallation) -> None:
    clinic.connect()
    clinic.sync()
    uid, writes = clinic.uid, clinic.writes()
    assert begin.fn("", ALL, by="test", notify="")[0]
    assert connect.disconnect_clinic.fn(CLINIC)[0]
    assert CLINIC not in clinic.secrets
    assert connect.disconnect_clinic.fn(CLINIC) == (False, HINTS["not_connected"])
    assert clinic.ledger.applied_count(uid, Kind.CONTACT)
    assert events(clinic)[-2:] == ["transfer.stopped", "database.disconnected"]
    clinic.connect()
    assert clinic.uid == uid
    clinic.sync("full")
    assert clinic.writes() == writes


def test_a_form_may_leave_the_only_clinic_out(clinic: SandboxInstallation) -> None:
    with pytest.raises(NotConnectedError) as nothing:
        chosen_clinic(clinic.ledger, "")
    assert nothing.value.code == "no_clinics"
    clinic.connect()
    assert chosen_clinic(clinic.ledger, "").name == CLINIC
    clinic.ledger.save_connection(replace(clinic.ledger.connection(CLINIC), name="b", clinic_uid="b"))
    with pytest.raises(NotConnectedError) as several:
        chosen_clinic(clinic.ledger, "")
    assert several.value.code == "clinic_unnamed"
    disconnect(clinic.ledger, "b", by="test")


def test_the_start_is_refused_with_every_reason(clinic: SandboxInstallation, crm: StandIn) -> None:
    clinic.connect()
    clinic.ledger.put_setting("account:1", "mapping", {}, by="test")
    clinic.database.rename(clinic.database.with_suffix(".away"))
    crm.admin("settings", {"token_valid": False})
    told = consider.fn("run", CLINIC, TODAY, rehearse=False)["refused"]
    assert HINTS["authentication"] in told
    assert HINTS["database_missing"] in told
    assert not is_started(clinic.ledger, clinic.ledger.connection(CLINIC))
    assert events(clinic)[-1] == "transfer.refused"
    assert not begin.fn(CLINIC, TODAY, by="test", notify="")[0], "what broke while the form waited"


def test_nothing_is_connected_nothing_is_configured(clinic: SandboxInstallation) -> None:
    connections.connect_database(CLINIC, clinic.connection(), clinic.ledger)
    told = consider.fn("run", CLINIC, TODAY, rehearse=False)["refused"]
    assert HINTS["amocrm_not_connected"] in told
    assert HINTS["not_configured"] in told


def test_a_first_load_is_counted_and_confirmed(
    clinic: SandboxInstallation, shown: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic.connect()
    clinic.ledger.put_setting(f"clinic:{clinic.uid}", LAUNCH, {}, by="test")
    before = clinic.writes()
    found = consider.fn("run", CLINIC, ALL, rehearse=False)
    assert (found["refused"], found["ask"]) == ("", False), "few deals need no confirmation"
    monkeypatch.setenv("IDENT_AMOCRM_CONFIRM_DEALS", "0")
    load_settings.cache_clear()
    found = consider.fn("run", CLINIC, ALL, rehearse=False)
    assert found["ask"]
    page = shown[f"start-{CLINIC}"]
    assert found["markdown"] == page
    assert "роботы" in page
    assert "Вне этого окна остаётся приёмов: 0" in page
    assert clinic.writes() == before
    assert clinic.ledger.applied_count(clinic.uid, Kind.LEAD) == 0

    # Resumed, the run starts from the top: it asks about what it showed, and counts nothing again.
    shown.clear()
    assert consider.fn("run", CLINIC, ALL, rehearse=False) == found
    assert shown == {}

    done, message = begin.fn(CLINIC, ALL, by="Анна", notify="telegram-webhook/clinic")
    assert done, message
    state = clinic_state(clinic.ledger, clinic.ledger.connection(CLINIC))
    assert (state.started, state.last_started_by) == (True, "Анна")
    assert clinic.ledger.setting(f"clinic:{clinic.uid}", NOTIFY) == {"block": "telegram-webhook/clinic"}

    clinic.sync("full")
    placed = clinic.cards()["leads"]
    shown_deals = sum(
        int(line.split("|")[3]) for line in page.splitlines() if line.startswith("| ") and "Этап" not in line
    )
    assert shown_deals == len(placed)
    later = consider.fn("another run", CLINIC, ALL, rehearse=False)
    assert not later["ask"], "no first load any more"
    assert consider.fn("third run", CLINIC, ALL, rehearse=True)["ask"]


def test_history_goes_directly_into_final_stages(clinic: SandboxInstallation, crm: StandIn) -> None:
    clinic.connect()
    clinic.sync("full")
    deals = clinic.cards()["leads"].values()
    assert any(deal["status_id"] in {WON, LOST} for deal in deals)
    asked = [(one["method"], one["path"]) for one in crm.admin("stats")["log"]]
    assert ("POST", "/api/v4/leads") in asked
    moved = [path for method, path in asked if method == "PATCH" and path == "/api/v4/leads"]
    assert moved == [], "no deal was created elsewhere and moved: that would set off the account's bots"


def test_a_narrow_window_leaves_out_and_says_so(clinic: SandboxInstallation, shown: dict[str, str]) -> None:
    clinic.connect()
    clinic.ledger.put_setting(f"clinic:{clinic.uid}", LAUNCH, {"from_day": "2999-01-01"}, by="test")
    found = consider.fn("run", CLINIC, {"history_days": 0, "ahead_days": 30}, rehearse=True)
    assert found["ask"]
    assert "не передаются, пока передачу не запустят снова" not in shown[f"start-{CLINIC}"], "it was open"
    left = int(shown[f"start-{CLINIC}"].split("остаётся приёмов: ")[1].split(".")[0])
    assert left > 0


def test_starting_again_widens_and_never_narrows(clinic: SandboxInstallation) -> None:
    clinic.connect()
    scope = f"clinic:{clinic.uid}"
    assert begin.fn(CLINIC, {"history_days": 7, "ahead_days": 30}, by="t", notify="")[0]
    assert clinic.ledger.setting(scope, LAUNCH) == Launch().model_dump(mode="json"), "it was open before"
    clinic.ledger.put_setting(scope, LAUNCH, {"from_day": "2026-01-10", "to_day": "2026-02-01"}, by="t")
    assert begin.fn(CLINIC, {"history_days": 0, "ahead_days": 30}, by="t", notify="")[0]
    launch = Launch.model_validate(clinic.ledger.setting(scope, LAUNCH))
    assert str(launch.from_day) == "2026-01-10"
    assert str(launch.to_day) > "2026-02-01"


def test_patients_alone_are_a_choice_that_can_be_taken_back(clinic: SandboxInstallation) -> None:
    clinic.connect()
    done, message = begin.fn(CLINIC, {**ALL, "deals": False}, by="t", notify="")
    assert (done, "только пациенты" in message) == (True, True), message
    report = clinic.sync()
    assert report.applied["contacts"]["create"] > 0
    assert clinic.crm.admin("dump")["leads"] == []
    assert clinic.sync().applied["leads"]["create"] == 0
    assert begin.fn(CLINIC, ALL, by="t", notify="")[0]
    assert clinic.sync().mode == "full", "no increment names what was left out"
    assert clinic.differences() == []


def test_stop(clinic: SandboxInstallation) -> None:
    clinic.connect()
    assert halt.fn("")[1].endswith("уже остановлена")
    assert begin.fn("", ALL, by="test", notify="")[0]
    assert halt.fn("")[0]
    record = clinic.ledger.connection(CLINIC)
    assert not is_started(clinic.ledger, record)
    assert clinic_state(clinic.ledger, record).last_started_by == "test", "stopping forgets no start"
    assert halt.fn("nowhere") == (False, "1) " + HINTS["not_connected"])
