"""An operator's first day in a real Prefect UI, in headless Chromium.

Connect, be refused, configure in forms, start, watch, lose the database and have it back, stop, review. The
tests of this file are one story, in their order.
tests/deployments/test_operating_server.py has the same day through the API, with three clinics and what goes wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.store import write_sqlite
from tasks.basis import MEANINGS, Basis
from tasks.blocks import slug
from tasks.hints import HINTS
from tasks.lights import DATABASE, DONE, FAILED
from tasks.mapping.model import Policy
from tests.support.clinic_database import TIMEZONE, clinic_now
from tests.support.in_browser import BROWSED, TOKEN, eventually, operating
from tests.support.operators_day import CLINIC, Day, furnish, keep_back, remembered

pytestmark = [*BROWSED, pytest.mark.timeout(900)]

BLOCK, PASSWORD = "ulybka", "password-of-the-clinic"
PATIENTS, APPOINTMENTS = 12, 36


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    database = tmp_path_factory.mktemp("clinic") / f"{BLOCK}.db"
    spec = ClinicSpec(today=clinic_now().date(), patients=PATIENTS, appointments=APPOINTMENTS)
    write_sqlite(generate(spec), database)
    home = tmp_path_factory.mktemp("home")
    with StandIn(token=TOKEN, limit=None, index_lag=0) as crm, operating(home, crm) as operator:
        furnish(crm)
        yield Day(operator, database)


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
    day.operator.picture_of(form, "connect-database.png")
    run = day.operator.starts(form)
    day.ended(run, f"Подключено: пациентов {PATIENTS}, приёмов {APPOINTMENTS}")
    assert day.artifact("connect")["data"].count(DONE) == 2


def launch(day: Day) -> str:
    """Start the transfer from its form."""
    form = day.operator.start_form("start-transfer")
    day.operator.write(form, "Клиника", CLINIC)
    day.operator.choose(form, "Прошедшие приёмы", "за 30 дней")
    day.operator.choose(form, "Основание передачи", MEANINGS[Basis.CONSENT])
    day.operator.write(form, "Кто запускает", "Администратор")
    day.operator.picture_of(form, "operate-start.png")
    return day.operator.starts(form)


def test_a_start_is_refused_with_every_reason(day: Day) -> None:
    day.ended(launch(day), "Запуск отклонён", HINTS["amocrm_not_connected"], HINTS["not_configured"])
    day.operator.picture(day.operator.page.locator("body"), "start-refused.png")


def test_amocrm_is_connected_by_its_block(day: Day) -> None:
    operator = day.operator
    form = operator.block_form("amocrm-account", "amocrm")
    operator.write(form, "Адрес аккаунта", operator.crm.url)
    operator.picture_of(form, "connect-account.png")
    operator.write(form, "Долгосрочный токен", TOKEN)
    operator.saves(form)
    operator.page.get_by_text(operator.crm.url).first.wait_for()
    assert TOKEN not in operator.page.content() + remembered(operator)
    day.ended(operator.start("connect-amocrm", {}))


def test_three_forms_configure_the_account(day: Day) -> None:
    operator = day.operator
    fields = operator.crm.admin("dump")["fields"]
    run = operator.start("autoconfigure", {"blocks": {}})

    form = operator.opened(run, "pipelines")
    operator.picture(form, "autoconfigure-pipelines.png", top=True)
    assert operator.offered(form, "Первичный приём *") == "Использовать «Первичные приёмы»"
    assert operator.offered(form, "Первичный приём: Запланирован") == "Использовать «Записан на прием»"
    operator.write(form, "Повторный приём: название нового", "Повторные визиты")
    operator.approve(form)
    operator.submit(form)

    form = operator.opened(run, "contact")
    operator.picture(form, "autoconfigure-contact.png")
    assert operator.offered(form, "Дата рождения — тип поля: день рождения") == "Использовать «День рождения»"
    operator.choose(form, "Город — тип поля: текст", "Не передавать")
    operator.approve(form)
    operator.submit(form)

    form = operator.opened(run, "lead")
    assert operator.crm.admin("dump")["fields"] == fields, (
        "nothing is made before the last block is confirmed"
    )
    assert operator.offered(form, "Врач — тип поля: текст") == "Использовать «Доктор»"
    operator.picture(form, "autoconfigure-deal.png")
    operator.approve(form)
    operator.submit(form)

    state = operator.ends(run)
    assert (state["type"], state["message"]) == ("COMPLETED", "Связка настроена"), operator.logs(run)
    account = operator.crm.admin("dump")
    assert {"Первичные приёмы", "Повторные визиты"} <= {one["name"] for one in account["pipelines"]}
    contacts = {one["name"] for one in account["fields"]["contacts"]}
    assert "IDENT: Город" not in contacts
    assert "IDENT: Дата рождения" not in contacts
    deals = {one["name"]: one for one in account["fields"]["leads"]}
    assert "IDENT: Врач" not in deals
    assert [one["value"] for one in deals["Доктор"]["enums"]] == ["Был до нас"]
    mapping = day.mapping()
    assert next(rule for rule in mapping.contact if rule.datum == "city").policy is Policy.NEVER
    (table,) = operator.ask("artifacts/filter", {"artifacts": {"key": {"any_": ["mapping-configured"]}}})
    assert "Связка настроена" in table["data"]


def test_the_flexible_form_saves_a_new_field(day: Day) -> None:
    operator = day.operator
    run = operator.start("configure-mapping", {"choice": {"block": "Карточка контакта"}})
    form = operator.opened(run, "block")
    title = "Город — тип поля: текст / текстовая область / список / мультисписок / переключатель"
    assert operator.offered(form, title) == "Не передавать"
    operator.choose(form, title, "Создать новое поле: «IDENT: Город»")
    operator.picture(form, "configure-mapping.png")
    operator.submit(form)
    state = operator.ends(run)
    assert (state["type"], state["message"]) == ("COMPLETED", "Настройка сохранена, изменений: 1."), (
        operator.logs(run)
    )
    fields = {one["name"]: one for one in operator.crm.admin("dump")["fields"]["contacts"]}
    city = next(rule for rule in day.mapping().contact if rule.datum == "city")
    assert (city.field_id, city.field_type) == (fields["IDENT: Город"]["id"], "text")
    (page,) = operator.ask("artifacts/filter", {"artifacts": {"key": {"any_": ["mapping-changed"]}}})
    assert "Контакт / Город: не передавать → «IDENT: Город»" in page["data"]


def test_the_same_start_is_accepted(day: Day) -> None:
    day.ended(launch(day), f"Передача «{CLINIC}» запущена")


def test_runs_appear_by_themselves_and_health_is_green(day: Day) -> None:
    eventually(day.transferred, "no run of the transfer completes")
    runs = f"deployments/deployment/{day.operator.deployment(CLINIC, 'sync')}?tab=Runs"
    day.operator.shown(runs, ".state-list-item", re.compile(f"{CLINIC}: .*Completed", re.DOTALL))
    day.operator.picture(day.operator.page.locator("body"), "runs.png")
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
    day.operator.picture_of(form, "stop-transfer.png")
    day.ended(day.operator.starts(form), f"Передача «{CLINIC}» остановлена")
    scheduled = {
        "deployments": {"id": {"any_": [day.operator.deployment(CLINIC, "sync")]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    eventually(lambda: not day.operator.ask("flow_runs/filter", scheduled), "runs stay scheduled")


def test_an_analyst_waives_two_rows(day: Day) -> None:
    operator = day.operator
    keep_back(day)
    run = operator.start("review-rejects", {"review": {}})
    form = operator.opened(run, "decision")
    assert operator.offered(form, "Что сделать") == "Ничего не менять"
    assert "811, 812" in form.locator(".markdown-renderer").first.inner_text()
    operator.choose(form, "Правило", "(phone_mobile_e164)")
    operator.choose(form, "Что сделать", "Принять как есть на время")
    operator.write(form, "Номера строк", "811, 812")
    operator.write(form, "Почему можно принять", "Номера другой страны, проверены по договору")
    operator.write(form, "Кто решает", "Аналитик")
    operator.picture(form, "review-rejects.png", top=True)
    operator.submit(form)
    state = operator.ends(run)
    assert state["type"] == "COMPLETED", operator.logs(run)
    assert state["message"].startswith("Приняты как есть: 2 строк, до ")
    with day.ledger() as ledger:
        assert [one.source_id for one in ledger.waivers(ledger.connection(CLINIC).clinic_uid)] == [811, 812]
        [event] = ledger.audit(event_prefix="ident-amocrm.rejects.")
    assert event.emitted, "it stands in Prefect's feed too"
    body = {"artifacts": {"flow_run_id": {"any_": [run]}}}
    table, result = sorted(operator.ask("artifacts/filter", body), key=lambda one: str(one["key"]))
    name = slug("Улыбка")
    assert (table["type"], table["key"], result["key"]) == ("table", f"rejects-{name}", f"review-{name}")
    operator.shown(f"artifacts/artifact/{table['id']}", ".p-table", "phone_mobile_e164")
    operator.picture(operator.page.locator("body"), "review-table.png")
    everything = [table, result, operator.ask(f"flow_runs/{run}"), operator.logs(run), event.payload]
    everything += [operator.ask(f"flow_runs/{run}/input/filter", {"prefix": "suspended", "limit": 50})]
    assert "другой страны" not in str(everything)
    assert "Аналитик" not in str(everything)


def test_no_request_of_the_day_met_a_locked_database(day: Day) -> None:
    """Prefect's own transactions do, see ``deployments/server.py``; the UI shows it as a passing message."""
    log = (day.operator.home / "logs" / "server.log").read_text(encoding="utf-8")
    assert "Uvicorn running" in log or "Check out the dashboard" in log
    assert "database is locked" not in log
