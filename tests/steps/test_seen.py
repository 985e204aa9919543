"""What an increment reads again because IDENT's stamps may be late is judged and compared once."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import requests

import expectations.gate
from deployments.sandbox.amocrm.server import StandIn
from tasks import seen
from tasks.errors import GuardError
from tasks.settings import load_settings
from tests.faults.clinic import Clinic
from tests.faults.clock import Clock
from tests.support.sandbox_installation import TOKEN, SandboxInstallation, sandbox_installation


@pytest.fixture(scope="module")
def transferred(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxInstallation]:
    with (
        pytest.MonkeyPatch.context() as patch,
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        sandbox_installation(
            tmp_path_factory.mktemp("clinic"), crm, patch, appointments=60, has_suites=True
        ) as found,
    ):
        found.connect()
        found.sync()
        clinic_of(found).new_patient()
        found.sync()
        found.remember()
        yield found


@pytest.fixture
def loaded(transferred: SandboxInstallation) -> Iterator[SandboxInstallation]:
    transferred.recall()
    yield transferred
    load_settings.cache_clear()


def clinic_of(found: SandboxInstallation) -> Clinic:
    return Clinic(found.database, Clock(), random.Random(1))


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each frame had that was judged."""
    counts: list[int] = []
    judge = expectations.gate.validate

    def counting(frame: object, *arguments: object, **named: object) -> object:
        counts.append(len(frame))  # type: ignore[arg-type]
        return judge(frame, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(expectations.gate, "validate", counting)
    return counts


def test_a_tick_without_news_judges_nothing(loaded: SandboxInstallation, judged: list[int]) -> None:
    report = loaded.sync()
    assert report.extracted["patients"] >= 1, "nothing was read again: the test proves nothing"
    assert report.extracted["appointments"] >= 1
    assert judged == []
    assert report.writes == 0


def test_the_tick_after_a_full_read_judges_nothing(loaded: SandboxInstallation, judged: list[int]) -> None:
    loaded.sync("full")
    assert sum(judged) > 60, "the full read judged nothing: the test proves nothing"
    judged.clear()
    report = loaded.sync()
    assert report.extracted["patients"] >= 1, "nothing was read again: the test proves nothing"
    assert judged == []
    clinic_of(loaded).latest_patient_corrected()
    assert loaded.sync().applied["contacts"]["update"] == 1
    assert judged == [1]


def test_one_change_judges_one_row(loaded: SandboxInstallation, judged: list[int]) -> None:
    clinic_of(loaded).latest_patient_corrected()
    report = loaded.sync()
    assert judged == [1]
    assert report.applied["contacts"]["update"] == 1
    assert loaded.differences() == []


def test_there_and_back_is_two_changes(loaded: SandboxInstallation) -> None:
    clinic = clinic_of(loaded)
    person = clinic.store.rows("Persons")[-1]
    for city in ("Суздаль", person["City"], "Суздаль"):
        clinic.city(person, city)
        assert loaded.sync().applied["contacts"]["update"] == 1
    assert loaded.differences() == []


def test_a_chain_is_whole_when_one_of_its_rows_is_new(loaded: SandboxInstallation) -> None:
    clinic = clinic_of(loaded)
    clinic.latest_moved_to_new_row()
    report = loaded.sync()
    assert (report.applied["leads"]["move"], report.applied["leads"]["create"]) == (1, 0)
    # A word in the row that was replaced says nothing about the deal, which the latest row makes.
    replaced = clinic.store.rows("Receptions")[-1]["ID_ReceptionsTransferFrom"]
    clinic.store.update("Receptions", {"ID": replaced}, {"Comment": "Слово", "DateTimeChanged": clinic.now})
    report = loaded.sync()
    assert (sum(report.planned["leads"].values()), report.writes) == (0, 0)


@pytest.mark.parametrize(
    "place",
    ["tests.support.sandbox_installation.build_plan", "tasks.plan.seen_now"],
    ids=["before the plan", "after it"],
)
def test_what_a_failed_run_read_is_read_again(
    loaded: SandboxInstallation, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    clinic_of(loaded).latest_patient_corrected()

    def die(*_arguments: object) -> object:
        raise GuardError(problem="Died.", remedy="Again.")

    with monkeypatch.context() as patch:
        patch.setattr(place, die)
        with pytest.raises(GuardError, match="Died"):
            loaded.sync()
    assert loaded.sync().applied["contacts"]["update"] == 1
    assert loaded.differences() == []


def test_another_field_in_amocrm_lets_everything_be_judged_again(
    loaded: SandboxInstallation, judged: list[int]
) -> None:
    answer = requests.post(
        f"{loaded.crm.url}/api/v4/contacts/custom_fields",
        json=[{"name": "Новое", "type": "text"}],
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=10,
    )
    answer.raise_for_status()
    loaded.sync()
    assert judged


def test_a_bulk_change_is_not_remembered(
    loaded: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "LIMIT", 0)
    loaded.sync()
    stored = loaded.ledger.watermark(loaded.uid) or {}
    assert stored[seen.SEEN] == {}
