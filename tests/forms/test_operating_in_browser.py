"""An operator's first day in a real Prefect UI, in headless Chromium: connect, start, watch, lose, recover, stop.

The tests of this file are one story, in their order. tests/deployments/test_operating_server.py has the same
day through the API, with three clinics and what goes wrong.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.store import write_sqlite
from tasks.blocks import slug
from tasks.hints import HINTS
from tasks.lights import DATABASE, DONE, FAILED
from tests.support.clinic_database import TIMEZONE, clinic_now
from tests.support.in_browser import BROWSED, TOKEN, Operator, eventually, operating

pytestmark = [*BROWSED, pytest.mark.soak, pytest.mark.timeout(900)]

CLINIC, BLOCK, PASSWORD = "Улыбка", "ulybka", "password-of-the-clinic"
PATIENTS, APPOINTMENTS = 12, 36


@dataclass
class Day:
    """The operator and the file that stands for the clinic's database."""

    operator: Operator
    database: Path

    @property
    def away(self) -> Path:
        return self.database.with_suffix(".away")

    def ended(self, run: str, *wanted: str) -> None:
        """Wait for the end of a run, and read what it says on its page."""
        state = self.operator.ends(run)
        assert all(text in state["message"] for text in wanted), self.operator.logs(run)
        message = self.operator.shown(f"runs/flow-run/{run}?tab=Details", ".p-key-value", "State Message")
        if (more := message.get_by_text("See More")).count():
            more.click()
        shown = " ".join(message.inner_text().split())
        assert all(text in shown for text in wanted), shown

    def health(self) -> str:
        """Run the health check now, and read the clinic's page; a check that meets the scheduled one gives way."""
        while self.operator.ends(self.operator.start("health-check", {}))["type"] == "CANCELLED":
            time.sleep(1)
        path = f"artifacts/artifact/{self.artifact('health')['id']}"
        return self.operator.shown(path, ".markdown-renderer", "Проверено").inner_text()

    def artifact(self, what: str) -> Any:
        """The clinic's newest artifact of a kind."""
        body = {
            "artifacts": {"key": {"any_": [f"{what}-{slug(CLINIC)}"]}},
            "sort": "CREATED_DESC",
            "limit": 1,
        }
        (found,) = self.operator.ask("artifacts/filter", body)
        return found

    def transferred(self) -> int:
        """How many runs that nobody started completed."""
        body = {
            "deployments": {"id": {"any_": [self.operator.deployment(CLINIC, "sync")]}},
            "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}, "tags": {"all_": ["auto-scheduled"]}},
        }
        return len(self.operator.ask("flow_runs/filter", body))


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    database = tmp_path_factory.mktemp("clinic") / f"{BLOCK}.db"
    spec = ClinicSpec(today=clinic_now().date(), patients=PATIENTS, appointments=APPOINTMENTS)
    write_sqlite(generate(spec), database)
    home = tmp_path_factory.mktemp("home")
    with StandIn(token=TOKEN, limit=None, index_lag=0) as crm, operating(home, crm) as operator:
        yield Day(operator, database)


def remembered(operator: Operator) -> str:
    """What the browser keeps: Prefect's UI keeps a form that was left half filled in."""
    return str(operator.page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}])"))


def test_the_blocks_form_is_filled_in(day: Day) -> None:
    operator = day.operator
    operator.deployment("connect-database")  # the blocks are made known at the same time
    form = operator.block_form("ident-database", BLOCK)
    for title, value in (("Сервер", "127.0.0.1"), ("Имя базы", "PZ"), ("Пользователь", "readonly_user")):
        assert operator.question(form, title).locator("textarea").input_value() == value
    operator.picture_of(form, "operate-block.png")
    operator.write(form, "Имя базы", str(day.database))
    operator.write(form, "Драйвер ODBC", "sqlite")
    operator.write(form, "Часовой пояс клиники", TIMEZONE)
    operator.write(form, "Пароль", PASSWORD)
    operator.saves(form)
    operator.page.get_by_text("readonly_user").first.wait_for()
    assert PASSWORD not in operator.page.content() + remembered(operator)


def test_the_database_is_connected_from_its_form(day: Day) -> None:
    form = day.operator.start_form("connect-database")
    day.operator.write(form, "Клиника", CLINIC)
    day.operator.write(form, "Блок «IDENT Database»", BLOCK)
    run = day.operator.starts(form)
    day.ended(run, f"Подключено: пациентов {PATIENTS}, приёмов {APPOINTMENTS}")
    assert day.artifact("connect")["data"].count(DONE) == 2


def launch(day: Day) -> str:
    """Start the transfer from its form."""
    form = day.operator.start_form("start-transfer")
    day.operator.write(form, "Клиника", CLINIC)
    day.operator.choose(form, "Прошедшие приёмы", "за 30 дней")
    day.operator.write(form, "Кто запускает", "Администратор")
    day.operator.picture_of(form, "operate-start.png")
    return day.operator.starts(form)


def test_a_start_is_refused_with_every_reason(day: Day) -> None:
    day.ended(launch(day), "Запуск отклонён", HINTS["amocrm_not_connected"], HINTS["not_configured"])


def test_amocrm_is_connected_by_its_block(day: Day) -> None:
    operator = day.operator
    form = operator.block_form("amocrm-account", "amocrm")
    operator.write(form, "Адрес аккаунта", operator.crm.url)
    operator.write(form, "Долгосрочный токен", TOKEN)
    operator.saves(form)
    operator.page.get_by_text(operator.crm.url).first.wait_for()
    assert TOKEN not in operator.page.content() + remembered(operator)
    day.ended(operator.start("connect-amocrm", {}))
    operator.command("autoconfigure", "--yes")


def test_the_same_start_is_accepted(day: Day) -> None:
    day.ended(launch(day), f"Передача «{CLINIC}» запущена")


def test_runs_appear_by_themselves_and_health_is_green(day: Day) -> None:
    eventually(day.transferred, "no run of the transfer completes")
    runs = f"deployments/deployment/{day.operator.deployment(CLINIC, 'sync')}?tab=Runs"
    day.operator.shown(runs, ".state-list-item", re.compile(f"{CLINIC}: .*Completed", re.DOTALL))
    shown = day.health()
    assert shown.count(DONE) == 3, shown
    assert "✅ Работает" in shown
    day.operator.picture_of(day.operator.page.locator(".artifact-data-markdown").last, "operate-green.png")


def test_a_database_taken_away_is_red_with_its_cause(day: Day) -> None:
    day.database.rename(day.away)
    shown = day.health()
    assert FAILED in shown, shown
    assert HINTS["database_missing"] in shown
    page = day.operator.page
    day.operator.picture_of(page.locator(".artifact-data-markdown").last, "operate-red.png")


def test_it_recovers_when_the_database_is_back(day: Day) -> None:
    before = day.transferred()
    day.away.rename(day.database)
    shown = day.health()
    assert shown.count(DONE) == 3, shown
    assert DATABASE in shown
    eventually(lambda: day.transferred() > before, "the transfer does not go on")


def test_stop(day: Day) -> None:
    form = day.operator.start_form("stop-transfer")
    day.operator.write(form, "Клиника", CLINIC)
    day.ended(day.operator.starts(form), f"Передача «{CLINIC}» остановлена")
    scheduled = {
        "deployments": {"id": {"any_": [day.operator.deployment(CLINIC, "sync")]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    eventually(lambda: not day.operator.ask("flow_runs/filter", scheduled), "runs stay scheduled")
