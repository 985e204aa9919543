"""A long load tells how far it is; telling it never harms the load, and a short one tells nothing."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from deployments.sandbox.amocrm.server import StandIn
from tasks import progress
from tasks.errors import LedgerUnavailableError, PaymentRequiredError
from tasks.load import apply_plan
from tasks.loading.ports import Load
from tasks.progress import progress_shown
from tasks.transfer import clinic_state
from tasks.workspace import Workspace
from tests.support import sandbox_installation as installed
from tests.support.sandbox_installation import CLINIC, TOKEN, SandboxInstallation, sandbox_installation

SLOW = {"mode": "slow", "seconds": 0.1, "count": 1000, "method": "POST"}
UNPAID = {"mode": "status", "status": 402, "method": "POST", "path_prefix": "/api/v4/leads"}


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxInstallation]:
    with (
        pytest.MonkeyPatch.context() as patch,
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        sandbox_installation(tmp_path_factory.mktemp("clinic"), crm, patch, appointments=120) as found,
    ):
        patch.setenv("IDENT_AMOCRM_BATCH_SIZE", "5")
        patch.setenv("IDENT_AMOCRM_WORKERS", "2")
        patch.setattr(installed, "apply_plan", shown)
        patch.setattr(progress, "EVERY", 0.05)
        found.connect()
        found.remember()
        yield found


@pytest.fixture
def connected(once: SandboxInstallation) -> Iterator[SandboxInstallation]:
    once.recall()
    yield once
    once.crm.admin("faults", method="DELETE")


def shown(space: Workspace) -> Load:
    """What the step does, without Prefect."""
    with progress_shown(space):
        return apply_plan(space)


class Prefect:
    """The artifacts of a Prefect server; ``before`` plays what befalls a request."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.ids: list[UUID] = []
        self.told: list[tuple[float, str]] = []
        self.before: Callable[[], None] = lambda: None

    def create(self, percent: float, *, key: str, description: str) -> UUID:
        self.before()
        self.made.append(key)
        self.ids.append(uuid4())
        self.told.append((percent, description))
        return self.ids[-1]

    def update(self, artifact_id: UUID, percent: float, *, description: str) -> None:
        self.before()
        assert artifact_id == self.ids[-1]
        self.told.append((percent, description))


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Prefect:
    found = Prefect()
    monkeypatch.setattr(progress, "create_progress_artifact", found.create)
    monkeypatch.setattr(progress, "update_progress_artifact", found.update)
    monkeypatch.setattr(progress, "get_run_logger", lambda: logging.getLogger("run"))
    return found


def test_a_first_load_is_followed_to_its_end_in_one_artifact(
    connected: SandboxInstallation, prefect: Prefect
) -> None:
    connected.crm.admin("faults", SLOW)
    states: list[dict[str, Any]] = []

    def look() -> None:
        record = connected.ledger.connection(CLINIC)
        states.append({"load": clinic_state(connected.ledger, record).load})

    prefect.before = look
    report = connected.sync()
    cards = report.applied["contacts"]["create"], report.applied["leads"]["create"]
    assert prefect.made == [f"load-{CLINIC}"]
    percents = [percent for percent, _text in prefect.told]
    assert percents == sorted(percents)
    assert percents[0] < 50
    assert percents[-1] == 100
    assert len(set(percents)) > 4
    going, ended = prefect.told[1][1], prefect.told[-1][1]
    assert re.search(r"идёт.*сделки: \d+ из \d+\. .*Осталось .*\. Обновлено в \d\d:\d\d:\d\d\.$", going)
    assert ended == (
        f"**Передача «{CLINIC}» завершена.** Контакты: {cards[0]} из {cards[0]}, сделки: {cards[1]} из {cards[1]}. "
        "Всё запланированное выполнено."
    )
    # The status of a clinic tells the same while the load is under way, and nothing afterwards.
    middle = states[len(states) // 2]["load"]
    assert 0 < middle.percent < 100
    assert (middle.contacts[1], middle.deals[1]) == cards
    assert clinic_state(connected.ledger, connected.ledger.connection(CLINIC)).load is None

    prefect.told.clear()
    connected.hour(1)
    assert sum(connected.sync().planned["leads"].values()) > 0
    assert prefect.told == [], "a tick of a few cards is over before anybody looks"


def test_a_load_that_is_stopped_says_where(
    connected: SandboxInstallation, prefect: Prefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LONG", 5)  # also what is left over
    connected.crm.admin("faults", SLOW | {"seconds": 0.05, "count": 12})
    connected.crm.admin("faults", UNPAID)
    with pytest.raises(PaymentRequiredError):
        connected.sync()
    percent, text = prefect.told[-1]
    contacts, leads = (len(connected.cards()[kind]) for kind in ("contacts", "leads"))
    assert 0 < percent < 100
    assert f"прервана.** Контакты: {contacts} из {contacts}, сделки: {leads} из " in text
    assert text.endswith("Причина: `payment_required`. Остальное отправит следующий запуск.")
    connected.crm.admin("faults", method="DELETE")
    assert connected.sync().applied["leads"]["create"] > 0
    assert prefect.told[-1][0] == 100
    assert len(prefect.made) == 2, "each load has its own"


def test_a_server_that_is_gone_costs_one_line_of_the_log(
    connected: SandboxInstallation, prefect: Prefect, caplog: pytest.LogCaptureFixture
) -> None:
    """It comes back in the middle, then the ledger cannot be read for a moment."""
    connected.crm.admin("faults", SLOW)
    troubles = iter(
        [httpx.ConnectError("gone")] * 3 + [None, None] + [LedgerUnavailableError(problem="", remedy="")]
    )

    def fail() -> None:
        if error := next(troubles, None):
            raise error

    prefect.before = fail
    report = connected.sync()
    assert report.planned == report.applied
    assert [record.message for record in caplog.records if record.name == "run"] == [
        "The progress was not shown: ConnectError",
        "The progress was not shown: LedgerUnavailableError",
    ]
    assert len(prefect.made) == 1
    assert prefect.told[-1][0] == 100


def test_a_server_that_never_answers_holds_no_load_up(
    connected: SandboxInstallation, prefect: Prefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(progress, "LAST_WORD", 0.1)

    def hang() -> None:
        answers.wait(60)

    prefect.before = hang
    began = time.monotonic()
    report = connected.sync()
    assert report.planned == report.applied
    assert time.monotonic() - began < 30
    assert prefect.told == []
    (thread,) = (one for one in threading.enumerate() if one.name == "progress")
    answers.set()
    thread.join()
