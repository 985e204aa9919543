"""An operator's first day in a real Prefect UI, in headless Chromium.

Log in, connect, be refused, configure in forms, start, watch, ask, lose the database and have it back, stop,
review, pay, rename, disconnect. The tests of this file are one story, in their order; each takes the pictures
of the manual's steps (docs/ru) that it takes itself.
tests/deployments/test_operating_server.py has the same day through the API, with three clinics and what goes wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import requests

from deployments.doors import make_password
from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.store import write_sqlite
from tasks.basis import MEANINGS, Basis
from tasks.blocks import slug
from tasks.hints import HINTS
from tasks.lights import DATABASE, DONE, FAILED
from tasks.mapping.model import Policy
from tasks.records import Kind
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
    make_password(home)  # as the installation of the service does
    with StandIn(token=TOKEN, limit=None, index_lag=0) as crm, operating(home, crm) as operator:
        furnish(crm)
        yield Day(operator, database)


def test_only_who_knows_the_password_comes_in(day: Day) -> None:
    operator = day.operator
    refused = requests.post(f"{operator.api}/deployments/filter", json={}, timeout=60)
    assert refused.status_code == 401
    with operator.page.expect_response(lambda one: one.url.endswith("/admin/version")):
        page = operator.goes_to("")
    page.get_by_placeholder("admin:pass").wait_for()
    operator.picture(page.locator("body"), "login.png")
    assert operator.logs_in("operator:somebody-guesses") == 401
    assert operator.logs_in((operator.home / "prefect.auth").read_text(encoding="ascii")) == 200
    page.get_by_role("button", name="Deployments").wait_for()


def test_a_process_is_found_by_its_name_and_started_by_its_menu(day: Day) -> None:
    operator = day.operator
    operator.deployment("subscription-quote")
    page = operator.goes_to("deployments")
    page.get_by_role("link", name="autoconfigure").first.wait_for()
    operator.picture(page.locator("body"), "deployments.png")
    # Ten stand on a page: the manual sends to the search.
    page.get_by_placeholder("Search deployments").fill("start-transfer")
    page.get_by_role("link", name="start-transfer").first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Quick run").wait_for()
    operator.picture(page.locator("body"), "run-menu.png")
    page.get_by_text("Custom run").click()
    page.locator(".schema-form-property__label", has_text="Кто запускает").wait_for()


def test_the_blocks_form_is_filled_in(day: Day) -> None:
    operator = day.operator
    operator.deployment("connect-database")  # the blocks are made known at the same time
    page = operator.goes_to("blocks/catalog")
    page.get_by_placeholder("Search blocks").fill("IDENT")
    page.get_by_text("пользователь только для чтения").wait_for()
    page.get_by_text("AWS Credentials").wait_for(state="hidden")
    operator.picture(page.locator("body"), "block-catalog.png", height=480)
    form = operator.block_form("ident-database", BLOCK)
    for title, value in (("Сервер", "127.0.0.1"), ("Имя базы", "PZ"), ("Пользователь", "readonly_user")):
        assert operator.question(form, title).locator("textarea").input_value() == value
    operator.picture_of(form, "operate-block.png")
    operator.write(form, "Имя базы", str(day.database))
    operator.write(form, "Драйвер ODBC", "sqlite")
    operator.write(form, "Часовой пояс клиники", TIMEZONE)
    operator.write(form, "Пароль", PASSWORD)
    operator.saves(form)
    page.get_by_text("readonly_user").first.wait_for()
    page.locator("header button").last.click()
    page.get_by_text("Edit", exact=True).wait_for()
    operator.picture(page.locator("body"), "block-menu.png", height=240)
    assert PASSWORD not in operator.page.content() + remembered(operator)


def test_the_database_is_connected_from_its_form(day: Day) -> None:
    form = day.operator.start_form("connect-database")
    day.operator.write(form, "Клиника", CLINIC)
    day.operator.write(form, "Блок «IDENT Database»", BLOCK)
    day.operator.picture_of(form, "connect-database.png")
    run = day.operator.starts(form)
    day.ended(run, f"Подключено: пациентов {PATIENTS}, приёмов {APPOINTMENTS}")
    assert day.artifact("connect")["data"].count(DONE) == 2


def launch(day: Day, *, rehearsed: bool = False) -> str:
    """Start the transfer from its form."""
    form = day.operator.start_form("start-transfer")
    day.operator.write(form, "Клиника", CLINIC)
    day.operator.choose(form, "Прошедшие приёмы", "за 30 дней")
    day.operator.choose(form, "Основание передачи", MEANINGS[Basis.CONSENT])
    day.operator.write(form, "Кто запускает", "Администратор")
    if rehearsed:
        day.operator.switch(form, "Сначала пробный прогон")
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

    form = operator.opened(run, "pipelines", pictured="suspended.png")
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


def test_the_same_start_is_accepted_once_its_rehearsal_was_confirmed(day: Day) -> None:
    operator = day.operator
    run = launch(day, rehearsed=True)
    form = operator.opened(run, "confirm")
    operator.picture(operator.page.locator("body"), "start-confirm.png")
    operator.switch(form, "Запустить передачу")
    operator.submit(form)
    day.ended(run, f"Передача «{CLINIC}» запущена")


def test_runs_appear_by_themselves_and_health_is_green(day: Day) -> None:
    eventually(day.transferred, "no run of the transfer completes")
    runs = f"deployments/deployment/{day.operator.deployment(CLINIC, 'sync')}?tab=Runs"
    day.operator.shown(runs, ".state-list-item", re.compile(f"{CLINIC}: .*Completed", re.DOTALL))
    day.operator.picture(day.operator.page.locator("body"), "runs.png")
    shown = day.health()
    assert shown.count(DONE) == 3, shown
    assert "✅ Работает" in shown
    day.operator.picture_of(day.operator.page.locator(".artifact-data-markdown").last, "operate-green.png")


def test_a_row_tells_its_story(day: Day) -> None:
    operator = day.operator
    with day.ledger() as ledger:
        number = ledger.applied_index(ledger.connection(CLINIC).clinic_uid, Kind.CONTACT).source_ids[0]
    form = operator.start_form("explain")
    operator.choose(form, "Что", "пациент")
    operator.write_number(form, "Номер в IDENT", int(number))
    operator.picture_of(form, "explain-form.png")
    run = operator.starts(form)
    assert operator.ends(run)["type"] == "COMPLETED", operator.logs(run)
    shown = operator.artifact_of(run)
    assert "Передано" in shown.inner_text(), shown.inner_text()
    operator.picture_of(shown, "explain.png")


def test_events_stand_in_the_feed_and_in_the_journal(day: Day) -> None:
    operator = day.operator
    page = operator.goes_to("events")
    kinds = page.locator(".events__filters .p-label", has_text="Events")
    kinds.locator(".p-select-button__control").focus()
    page.keyboard.press("ArrowDown")
    page.locator(".p-select-option", has_text="ident-amocrm.*").first.click()
    page.keyboard.press("Escape")
    page.get_by_text("ident-amocrm.transfer.started").first.wait_for()
    page.get_by_text("prefect.worker.").first.wait_for(state="hidden")
    operator.picture(page.locator("body"), "event-feed.png")
    form = operator.start_form("journal")
    operator.choose(form, "Область", "запуск и остановка")
    operator.picture_of(form, "journal-form.png")
    run = operator.starts(form)
    assert operator.ends(run)["type"] == "COMPLETED", operator.logs(run)
    assert "ident-amocrm.transfer.started" in operator.artifact_of(run, ".p-table").inner_text()
    operator.picture(page.locator("body"), "journal.png", height=420)


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


def test_the_subscription_is_ordered_and_paid(day: Day) -> None:
    operator = day.operator
    quote = operator.start("subscription-quote", {})
    assert operator.ends(quote)["type"] == "COMPLETED", operator.logs(quote)
    operator.picture_of(operator.artifact_of(quote), "subscription-quote.png")
    form = operator.start_form("subscription-activate")
    operator.switch(form, "Согласен с условиями оферты")
    operator.picture_of(form, "subscription-activate.png")
    run = operator.starts(form)
    form = operator.opened(run, "paid")
    operator.picture(operator.page.locator("body"), "subscription-paid.png")
    operator.switch(form, "Деньги поступили, счёт оплачен")
    operator.submit(form)
    day.ended(run, "Активная")


def test_the_clinic_is_renamed_and_disconnected(day: Day) -> None:
    operator = day.operator
    form = operator.start_form("rename-clinic")
    operator.write(form, "Клиника", CLINIC)
    operator.write(form, "Новое имя", "Улыбка-1")
    operator.picture_of(form, "rename-clinic.png")
    day.ended(operator.starts(form), "Улыбка-1")
    form = operator.start_form("disconnect-database")
    operator.write(form, "Клиника", "Улыбка-1")
    operator.picture_of(form, "disconnect-database.png")
    day.ended(operator.starts(form), "Улыбка-1")
    with day.ledger() as ledger:
        assert ledger.connections() == []


def test_no_request_of_the_day_met_a_locked_database(day: Day) -> None:
    """Prefect's own transactions do, see ``deployments/server.py``; the UI shows it as a passing message."""
    log = (day.operator.home / "logs" / "server.log").read_text(encoding="utf-8")
    assert "Uvicorn running" in log or "Check out the dashboard" in log
    assert "database is locked" not in log
