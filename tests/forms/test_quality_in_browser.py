"""The table of data quality in a real Prefect UI, in headless Chromium, on a clinic full of defects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.store import write_sqlite
from tasks.blocks import slug
from tests.support.clinic_database import clinic_now
from tests.support.in_browser import BROWSED, TOKEN, Operator, eventually, operating

pytestmark = [*BROWSED, pytest.mark.soak, pytest.mark.timeout(900)]


@pytest.fixture
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    home = tmp_path_factory.mktemp("home")
    (home / "token").write_text(TOKEN, encoding="utf-8")
    with StandIn(token=TOKEN, limit=None, index_lag=0) as crm, operating(home, crm) as found:
        found.command("connect-amocrm", "--base-url", crm.url, "--token-file", str(home / "token"))
        found.command("autoconfigure", "--yes", "--special", "all")
        yield found


def test_the_table_of_quality_leads_to_the_pages(operator: Operator) -> None:
    database = operator.home / "clinic.db"
    today = clinic_now().date()
    write_sqlite(generate(ClinicSpec(today=today, patients=120, appointments=360, dirty=True)), database)
    operator.command("connect-database", "Север", "--driver", "sqlite", "--database", str(database))
    operator.command("basis", "attest", "Север", "--basis", "consent", "--by", "Главный врач")
    operator.command("start", "Север", "--all-history")

    def table() -> Any:
        wanted = {"artifacts": {"key": {"any_": [f"quality-{slug('Север')}"]}}}
        return next(iter(operator.ask("artifacts/filter", wanted)), None)

    artifact = eventually(table, "no run told of the data")
    shown = operator.shown(f"artifacts/artifact/{artifact['id']}", "table", "Что делать")
    assert "phone_mobile_e164 (пациенты)" in shown.inner_text()
    operator.page.set_viewport_size({"width": 1900, "height": 900})
    operator.picture(shown, "quality-table.png")
    link = operator.page.get_by_role("link", name="Страницы проверки").first
    address = str(link.get_attribute("href"))
    operator.page.goto(address)
    page = operator.page
    page.locator("tbody tr", has_text="Проверка пациентов").last.get_by_role("link").click()
    assert "Исправьте мобильный телефон" in page.locator("body").inner_text()
    page.set_viewport_size({"width": 1280, "height": 700})
    operator.picture(page.locator("body"), "quality-page.png")
