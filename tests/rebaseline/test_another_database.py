"""A database that is another one, or not where it was; a token of another account: refused with the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from deployments.sandbox.amocrm import state as crm_state
from deployments.sandbox.amocrm.server import StandIn
from tasks import blocks, connections
from tasks.connections import connect_amocrm, connect_database
from tasks.errors import ConfigurationError, GuardError
from tasks.ident.fingerprint import Fingerprint, read_fingerprint
from tasks.ident.reader import IdentReader
from tests.support.sandbox_installation import CLINIC, TOKEN, SandboxInstallation, sandbox_installation

SERVER = Fingerprint("CLINIC\\PZSQLSERVER", "PZ", "2024-05-01 10:00:00")


@pytest.fixture(scope="module")
def transferred(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxInstallation]:
    """An installation after its first transfer; the database tells what a SQL Server would."""
    with (
        pytest.MonkeyPatch.context() as patch,
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        sandbox_installation(
            tmp_path_factory.mktemp("clinic"), crm, patch, patients=20, appointments=80
        ) as found,
    ):
        identify(patch, SERVER)
        found.connect()
        found.sync()
        found.remember()
        yield found


@pytest.fixture
def loaded(transferred: SandboxInstallation, monkeypatch: pytest.MonkeyPatch) -> SandboxInstallation:
    transferred.recall()
    identify(monkeypatch, SERVER)
    return transferred


def identify(patch: pytest.MonkeyPatch, told: Fingerprint) -> None:
    patch.setattr(
        connections,
        "read_fingerprint",
        lambda engine: replace(told, highest=read_fingerprint(engine).highest),
    )


def delete_newest(found: SandboxInstallation, receptions: int) -> None:
    """Put the clinic's database back to before its latest appointments."""
    engine = sa.create_engine(f"sqlite:///{found.database}")
    with engine.begin() as link:
        newest = f"SELECT ID FROM Receptions ORDER BY ID DESC LIMIT {receptions}"
        for table in ("CurrentTimeTable", "Orders"):
            link.exec_driver_sql(f"UPDATE {table} SET ID_Receptions = NULL WHERE ID_Receptions IN ({newest})")
        link.exec_driver_sql(f"DELETE FROM Receptions WHERE ID IN ({newest})")
    engine.dispose()


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (replace(SERVER, server="OTHER"), "on another server"),
        (replace(SERVER, database="PZ_TEST"), "of another name"),
        (replace(SERVER, created="2026-01-01 00:00:00"), "created at another time"),
    ],
)
def test_a_swapped_database_stops_the_run(
    told: Fingerprint, words: str, loaded: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    identify(monkeypatch, told)
    writes = loaded.writes()
    for refused in (loaded.sync, lambda: connect_database(CLINIC, loaded.connection(), loaded.ledger)):
        with pytest.raises(ConfigurationError, match=words) as error:
            refused()
        assert error.value.code == "database_swapped"
        assert "--same-clinic" in error.value.remedy
    assert loaded.writes() == writes


def test_a_part_that_the_login_may_not_see_any_more_is_no_difference(
    loaded: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    identify(monkeypatch, replace(SERVER, created=""))
    assert loaded.sync().writes == 0


def test_a_moved_database_of_the_same_clinic_goes_on_without_twins(
    loaded: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, cards = loaded.uid, loaded.cards()
    identify(monkeypatch, replace(SERVER, server="NEW", created="2026-01-01 00:00:00"))
    connect_database(CLINIC, loaded.connection(), loaded.ledger, same_clinic=True)
    assert loaded.uid == uid
    with pytest.raises(GuardError, match="the clinic's database was replaced"):
        loaded.sync()
    assert loaded.sync(rebaseline=True).writes == 0
    assert loaded.cards() == cards


def test_a_database_put_back_to_an_earlier_day_stops_the_run(loaded: SandboxInstallation) -> None:
    delete_newest(loaded, 11)
    writes = loaded.writes()
    for refused in (loaded.sync, lambda: connect_database(CLINIC, loaded.connection(), loaded.ledger)):
        with pytest.raises(ConfigurationError, match="put back to an earlier day") as error:
            refused()
        assert error.value.code == "database_restored"
        assert f"connect-database {CLINIC}" in error.value.remedy
    assert loaded.writes() == writes
    connect_database(CLINIC, loaded.connection(), loaded.ledger, same_clinic=True)
    with pytest.raises(GuardError, match="0 to create") as due:
        loaded.sync()
    assert due.value.code == "rebaseline_due"
    assert loaded.sync(rebaseline=True).applied["leads"]["create"] == 0


def test_a_few_newest_rows_deleted_by_hand_are_no_restored_database(loaded: SandboxInstallation) -> None:
    before = loaded.ledger.connection(CLINIC).fingerprint["highest"]["Receptions"]
    delete_newest(loaded, 2)
    loaded.sync()
    assert loaded.ledger.connection(CLINIC).fingerprint["highest"]["Receptions"] < before


@pytest.mark.parametrize(("now", "refused"), [("00000000000000ff", True), ("0000000000000101", False)])
def test_the_row_version_tells_a_restore_from_deleted_rows(
    now: str, refused: bool, loaded: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = loaded.ledger.watermark(loaded.uid) or {}
    mark["mark"]["row_version"] = "0000000000000100"
    loaded.ledger.move_watermark(loaded.uid, mark)
    monkeypatch.setattr(IdentReader, "row_version", lambda _reader: now)
    delete_newest(loaded, 1 if refused else 11)
    if refused:
        with pytest.raises(ConfigurationError, match="put back to an earlier day"):
            loaded.sync()
    else:
        loaded.sync()


def test_a_successful_run_remembers_how_far_the_numbers_came(loaded: SandboxInstallation) -> None:
    known = loaded.ledger.connection(CLINIC).fingerprint["highest"]
    with sa.create_engine(f"sqlite:///{loaded.database}").connect() as link:
        highest = link.exec_driver_sql("SELECT max(ID) FROM Receptions").scalar()
    assert known["Receptions"] == highest


def test_one_database_under_a_second_name_is_refused(loaded: SandboxInstallation) -> None:
    with pytest.raises(ConfigurationError, match=f"already connected as '{CLINIC}'") as error:
        connect_database("clinic2", loaded.connection(), loaded.ledger)
    assert error.value.code == "database_twice"
    assert f"disconnect-database {CLINIC}" in error.value.remedy
    assert [record.name for record in loaded.ledger.connections()] == [CLINIC]


def test_a_renamed_clinic_keeps_its_uid(loaded: SandboxInstallation) -> None:
    uid = loaded.uid
    loaded.ledger.remove_connection(CLINIC)
    connect_database("new name", loaded.connection(), loaded.ledger)
    assert loaded.ledger.connection("new name").clinic_uid == uid


def test_a_lost_ledger_under_another_name_is_noticed(
    loaded: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, cards = loaded.uid, loaded.cards()
    identify(monkeypatch, replace(SERVER, created="2026-01-01 00:00:00"))  # restored, and the ledger lost
    loaded.forget_ledger()
    loaded.connect()
    assert loaded.uid != uid
    with pytest.raises(GuardError, match=r"a clinic that is not connected here.*--clinic-uid"):
        loaded.sync()
    loaded.forget_ledger()
    connect_database(CLINIC, loaded.connection(), loaded.ledger, clinic_uid=uid)
    loaded.connect()
    assert loaded.uid == uid
    assert loaded.sync(rebaseline=True).writes == 0
    assert loaded.cards() == cards


def test_a_token_of_another_account_is_refused(
    loaded: SandboxInstallation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    number = crm_state.ACCOUNT_ID + 1
    monkeypatch.setattr("deployments.sandbox.amocrm.api_account.ACCOUNT_ID", number)
    for refused in (
        loaded.sync,  # somebody typed it into the block
        lambda: connect_amocrm(loaded.crm.url, SecretStr(TOKEN), loaded.ledger),
    ):
        with pytest.raises(ConfigurationError, match=str(number)) as error:
            refused()
        assert error.value.code == "another_account"
        assert "connected account" in error.value.remedy
    assert blocks.load_account().base_url == loaded.crm.url
