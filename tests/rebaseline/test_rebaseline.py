"""A ledger that is lost, re-keyed or older than amoCRM: nothing twice, nothing lost, real differences only."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.sandbox.amocrm.server import StandIn
from tasks.errors import GuardError
from tasks.ledger import hashing
from tasks.records import Kind
from tests.support.sandbox_installation import (
    CLINIC,
    TOKEN,
    SandboxInstallation,
    sandbox_installation,
)


@pytest.fixture(scope="module")
def transferred(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxInstallation]:
    """An installation after its first transfer and an hour of the clinic's work."""
    with (
        pytest.MonkeyPatch.context() as patch,
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        sandbox_installation(tmp_path_factory.mktemp("clinic"), crm, patch, appointments=150) as found,
    ):
        found.connect()
        found.sync()
        assert found.differences() == []
        found.hour(1)
        found.sync()
        assert found.differences() == []
        found.remember()
        yield found


@pytest.fixture
def loaded(transferred: SandboxInstallation) -> SandboxInstallation:
    transferred.recall()
    return transferred


def lose_the_ledger(found: SandboxInstallation, _patch: pytest.MonkeyPatch) -> None:
    found.forget_ledger()
    found.connect()


def lose_the_key(found: SandboxInstallation, _patch: pytest.MonkeyPatch) -> None:
    (found.home / "installation.key").unlink()


def change_the_scheme(_found: SandboxInstallation, patch: pytest.MonkeyPatch) -> None:
    for module in ("tasks.rebaseline", "tasks.ledger.snapshot", "tasks.ledger.hashing"):
        patch.setattr(f"{module}.SCHEME", hashing.SCHEME + 1)


Cards = dict[str, dict[int, dict[str, Any]]]
LOSSES = {"ledger": lose_the_ledger, "key": lose_the_key, "scheme": change_the_scheme}


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_is_sent_before_a_person_confirms(
    loss: str, loaded: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards, count = loaded.cards(), cards_of(loaded)
    LOSSES[loss](loaded, monkeypatch)
    writes = loaded.writes()
    for _ in range(2):
        with pytest.raises(
            GuardError, match=f"{count} cards to adopt, {count} to compare.* 0 to create"
        ) as refused:
            loaded.sync()
        assert refused.value.code == "rebaseline_due"
        assert f"sync {CLINIC} --dry-run" in refused.value.remedy
        assert f"sync {CLINIC} --rebaseline" in refused.value.remedy
    assert loaded.writes() == writes
    assert loaded.cards() == cards


def cards_of(found: SandboxInstallation) -> int:
    return sum(found.ledger.applied_count(found.uid, kind) for kind in (Kind.CONTACT, Kind.LEAD))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_confirmed_comparison_writes_nothing_where_nothing_differs(
    loss: str, loaded: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards, count = loaded.cards(), cards_of(loaded)
    LOSSES[loss](loaded, monkeypatch)
    writes = loaded.writes()
    report = loaded.sync(rebaseline=True)
    assert report.mode == "full"
    assert (report.planned["contacts"]["create"], report.planned["leads"]["create"]) == (0, 0)
    assert (report.rejected, report.deferred, report.ambiguous) == (0, 0, 0)
    assert loaded.cards() == cards
    assert loaded.writes() == writes
    assert cards_of(loaded) == count
    again = loaded.sync("full")
    assert again.planned["contacts"]["update"] == again.planned["leads"]["update"] == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_what_changed_meanwhile_follows_and_the_transfer_goes_on(
    loss: str, loaded: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = loaded.cards()
    LOSSES[loss](loaded, monkeypatch)
    loaded.hour(2)
    report = loaded.sync(rebaseline=True)
    new = loaded.cards()
    assert len(new["contacts"]) - len(before["contacts"]) == report.applied["contacts"]["create"]
    assert touched_few(before, new)
    loaded.hour(3)
    loaded.sync()
    assert [found for found in loaded.differences() if not is_left_to_a_person(found)] == []


def touched_few(before: Cards, after: Cards) -> bool:
    changed = sum(before["leads"][key] != after["leads"][key] for key in before["leads"])
    return 0 < changed < len(before["leads"]) / 2


def is_left_to_a_person(difference: str) -> bool:
    """Fields that a person may edit: what stands there yields when nobody knows any more who wrote it."""
    return difference.endswith(("Фамилия", "Имя", "Название", "Телефоны"))


def test_a_dry_run_shows_the_comparison_and_stores_nothing(
    loaded: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_the_key(loaded, monkeypatch)
    row = loaded.ledger.applied_index(loaded.uid, Kind.LEAD).row_hashes.tolist()
    report = loaded.sync(dry_run=True)
    assert report.planned["contacts"]["create"] == report.planned["leads"]["create"] == 0
    assert report.planned["leads"]["move"] == len(row)
    assert loaded.ledger.applied_index(loaded.uid, Kind.LEAD).row_hashes.tolist() == row
    assert list(loaded.home.glob("dry-run-*")) == []
    with pytest.raises(GuardError):
        loaded.sync()


def test_an_empty_account_is_an_ordinary_first_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        sandbox_installation(tmp_path, crm, monkeypatch, patients=10, appointments=30) as found,
    ):
        found.connect()
        assert found.sync(dry_run=True).planned["contacts"]["create"] > 0
        assert found.sync().applied["contacts"]["create"] > 0
        assert found.sync().writes == 0


def test_an_older_ledger_copied_back_makes_no_twins(loaded: SandboxInstallation) -> None:
    kept = loaded.keep_ledger()
    loaded.hour(2)
    loaded.sync()
    loaded.hour(3)
    loaded.sync()
    cards = loaded.cards()
    loaded.put_ledger(kept)
    report = loaded.sync()
    assert report.applied["contacts"]["create"] == report.applied["leads"]["create"] == 0
    assert any("older" in warning for warning in report.warnings)
    assert loaded.cards() == cards
    loaded.hour(4)
    loaded.sync()
    assert [found for found in loaded.differences() if not is_left_to_a_person(found)] == []


def test_twins_are_told_and_the_lowest_id_is_kept(
    loaded: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = loaded.crm.sandbox.state
    leads = loaded.ledger.applied_index(loaded.uid, Kind.LEAD)
    original = int(leads.amo_ids[0])
    twin = copy.deepcopy(state.records["leads"][original])
    twin.id = max(state.records["leads"]) + 1
    state.records["leads"][twin.id] = twin
    lose_the_ledger(loaded, monkeypatch)
    loaded.sync(rebaseline=True)
    rows = loaded.ledger.audit(event_prefix="ident-amocrm.twin.found")
    assert [(row.payload["kind"], row.payload["amo_id"]) for row in rows] == [("lead", twin.id)]
    assert original in loaded.ledger.applied_index(loaded.uid, Kind.LEAD).amo_ids


def test_a_manager_s_work_survives_the_comparison(
    loaded: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    contact = int(loaded.ledger.applied_index(loaded.uid, Kind.CONTACT).amo_ids[0])
    lead = int(loaded.ledger.applied_index(loaded.uid, Kind.LEAD).amo_ids[0])
    loaded.crm.admin("edit", {"entity": "contacts", "id": contact, "changes": {"last_name": "Иная"}})
    loaded.crm.admin("edit", {"entity": "leads", "id": lead, "changes": {"status_id": 143}})
    lose_the_ledger(loaded, monkeypatch)
    loaded.sync(rebaseline=True)
    cards = loaded.cards()
    assert cards["contacts"][contact]["last_name"] == "Иная"
    assert cards["leads"][lead]["status_id"] == 143
