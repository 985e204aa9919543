"""The forms in a real Prefect UI, in headless Chromium: opened, changed, submitted; the result in amoCRM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.store import write_sqlite
from tasks.blocks import slug
from tasks.gate import load_mapping
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.mapping.model import Policy
from tasks.records import Reject
from tasks.settings import Settings
from tests.support.clinic_database import clinic_now
from tests.support.in_browser import BROWSED, TOKEN, Operator, eventually, operating

pytestmark = BROWSED


def furnish(crm: StandIn) -> None:
    """Put a pipeline and two fields into the account, under names that are only similar."""
    state = crm.sandbox.state
    pipeline = state.add_pipeline("Первичные приёмы", sort=10, is_main=False, is_unsorted_on=False)
    state.add_status(pipeline, "Записан на прием", 20, None)
    doctor = state.add_field("leads", "Доктор", "select", None)
    doctor.enums = {}
    state.add_enum(doctor, "Был до нас", 10, None)
    state.add_field("contacts", "День рождения", "birthday", None)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    home = tmp_path_factory.mktemp("home")
    (home / "token").write_text(TOKEN, encoding="utf-8")
    with StandIn(token=TOKEN, limit=None, index_lag=0) as crm, operating(home, crm) as found:
        furnish(crm)
        found.command("connect-amocrm", "--base-url", crm.url, "--token-file", str(home / "token"))
        yield found


@contextmanager
def ledger_of(operator: Operator) -> Iterator[Ledger]:
    ledger = Ledger(Settings(home=operator.home).ledger_url).open()
    try:
        yield ledger
    finally:
        ledger.close()


def mapping_of(operator: Operator) -> Any:
    with ledger_of(operator) as ledger:
        known = ledger.setting("installation", "amocrm") or {}
        return load_mapping(ledger, int(known["account_id"]))


@pytest.mark.timeout(900)
def test_three_forms_configure_the_account(operator: Operator) -> None:
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
    mapping = mapping_of(operator)
    assert next(rule for rule in mapping.contact if rule.datum == "city").policy is Policy.NEVER
    (table,) = operator.ask("artifacts/filter", {"artifacts": {"key": {"any_": ["mapping-configured"]}}})
    assert "Связка настроена" in table["data"]


@pytest.mark.timeout(900)
def test_the_flexible_form_saves_a_new_field(operator: Operator) -> None:
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
    city = next(rule for rule in mapping_of(operator).contact if rule.datum == "city")
    assert (city.field_id, city.field_type) == (fields["IDENT: Город"]["id"], "text")
    (page,) = operator.ask("artifacts/filter", {"artifacts": {"key": {"any_": ["mapping-changed"]}}})
    assert "Контакт / Город: не передавать → «IDENT: Город»" in page["data"]


def keep_back(operator: Operator) -> None:
    """List rows of a clinic as the runs do."""
    rows = [Reject("patient", key, "phone_mobile_e164", "phone_mobile") for key in range(811, 834)]
    rows += [Reject("patient", key, "name_present", "last_name") for key in (902, 907)]
    rows += [
        Reject("appointment", key, "patient_kept_back", "patient_id", held_by=902) for key in (4711, 4712)
    ]
    rows += [Reject("appointment", 4801, "end_not_before_start", "end_at")]
    rows += [Reject("contact", 640, "NotSupportedChoice", "Пол", 5)]
    with ledger_of(operator) as ledger:
        ledger.save_connection(ConnectionRecord("Улыбка", "ulybka", "ulybka", "Europe/Moscow"))
        ledger.add_rejects("ulybka", rows)


@pytest.mark.timeout(900)
def test_an_analyst_waives_two_rows(operator: Operator) -> None:
    keep_back(operator)
    run = operator.start("review-rejects", {"review": {}})
    form = operator.opened(run, "decision")
    assert operator.offered(form, "Что сделать") == "Ничего не менять"
    assert "811, 812" in form.locator(".markdown-renderer").first.inner_text()
    operator.choose(form, "Правило", "Мобильный телефон не похож на номер — 23 (phone_mobile_e164)")
    operator.choose(form, "Что сделать", "Принять как есть на время")
    operator.write(form, "Номера строк", "811, 812")
    operator.write(form, "Почему можно принять", "Номера другой страны, проверены по договору")
    operator.write(form, "Кто решает", "Аналитик")
    operator.picture(form, "review-rejects.png", top=True)
    operator.submit(form)
    state = operator.ends(run)
    assert state["type"] == "COMPLETED", operator.logs(run)
    assert state["message"].startswith("Приняты как есть: 2 строк, до ")
    with ledger_of(operator) as ledger:
        assert [one.source_id for one in ledger.waivers("ulybka")] == [811, 812]
        [event] = ledger.audit(event_prefix="ident-amocrm.rejects.")
    assert event.emitted, "it stands in Prefect's feed too"
    body = {"artifacts": {"flow_run_id": {"any_": [run]}}}
    table, result = sorted(operator.ask("artifacts/filter", body), key=lambda one: str(one["key"]))
    name = slug("Улыбка")
    assert (table["type"], table["key"], result["key"]) == ("table", f"rejects-{name}", f"review-{name}")
    operator.shown(f"artifacts/artifact/{table['id']}", ".p-table", "phone_mobile_e164")
    everything = [table, result, operator.ask(f"flow_runs/{run}"), operator.logs(run), event.payload]
    everything += [operator.ask(f"flow_runs/{run}/input/filter", {"prefix": "suspended", "limit": 50})]
    assert "другой страны" not in str(everything)
    assert "Аналитик" not in str(everything)


@pytest.mark.timeout(900)
def test_the_table_of_quality_leads_to_the_pages(operator: Operator) -> None:
    database = operator.home / "clinic.db"
    today = clinic_now().date()
    write_sqlite(generate(ClinicSpec(today=today, patients=120, appointments=360, dirty=True)), database)
    operator.command("connect-database", "Север", "--driver", "sqlite", "--database", str(database))
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
