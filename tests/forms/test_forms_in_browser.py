"""The forms in a real Prefect UI, in headless Chromium: opened, changed, submitted; the result in amoCRM."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from deployments.sandbox.amocrm.server import StandIn
from tasks.gate import load_mapping
from tasks.ledger.store import Ledger
from tasks.mapping.model import Policy
from tasks.settings import Settings
from tests.e2e.conftest import environment

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)
pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(sys.platform != "linux", reason="drives Debian's chromium"),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: make chromium"),
]

TOKEN = "stand-in-token"
UP = "import sys; from deployments.up import run_up; from tasks.settings import load_settings; sys.exit(run_up(load_settings(), port={port}))"
#: A machine that runs other tests beside takes its time.
PATIENCE = 240
#: Where pictures for the documentation go, when somebody wants new ones.
PICTURES = os.environ.get("IDENT_AMOCRM_PICTURES")


def eventually(found: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < deadline, what
        time.sleep(0.3)
    return value


@dataclass
class Operator:
    """Somebody at the Prefect UI, with an amoCRM account that has a little of what is needed."""

    home: Path
    crm: StandIn
    api: str = ""
    page: Page | None = None
    session: requests.Session = field(default_factory=requests.Session)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        for _ in range(20):
            answer = (
                self.session.get(f"{self.api}/{path}", timeout=30)
                if body is None
                else self.session.post(f"{self.api}/{path}", json=body, timeout=30)
            )
            if answer.status_code != 503:  # SQLite is locked for a moment
                break
            time.sleep(0.5)
        answer.raise_for_status()
        return answer.json()

    def start(self, name: str, parameters: dict[str, Any]) -> str:
        def deployed() -> Any:
            rows = self.ask("deployments/filter", {})
            return next((row["id"] for row in rows if row["name"] == name), None)

        number = eventually(deployed, f"{name} is not deployed")
        run: str = self.ask(f"deployments/{number}/create_flow_run", {"parameters": parameters})["id"]
        return run

    def state(self, run: str) -> dict[str, Any]:
        state: dict[str, Any] = self.ask(f"flow_runs/{run}")["state"]
        return state

    def logs(self, run: str) -> str:
        rows = self.ask("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
        return "\n".join(row["message"] for row in rows)

    def ends(self, run: str) -> dict[str, Any]:
        ended = {"COMPLETED", "FAILED", "CRASHED"}
        eventually(lambda: self.state(run)["type"] in ended, "the run does not end")
        return self.state(run)

    def opened(self, run: str, key: str) -> Locator:
        """Wait for a form and open it."""

        def waits() -> bool:
            state = self.state(run)
            assert state["type"] not in {"FAILED", "CRASHED"}, self.logs(run)
            return (state["name"], state["state_details"]["pause_key"]) == ("Suspended", key)

        eventually(waits, f"the form {key} does not come")
        assert self.page is not None
        self.page.goto(f"{self.api.removesuffix('/api')}/runs/flow-run/{run}")
        self.page.get_by_role("button", name="Resume").first.click(timeout=60_000)
        form = self.page.locator(".p-modal").filter(has_text="Resume Flow Run").last
        form.locator(".schema-form-property__label").first.wait_for(timeout=60_000)
        return form

    @staticmethod
    def question(form: Locator, title: str) -> Locator:
        label = form.page.locator(
            ".schema-form-property__label", has_text=re.compile(f"^{re.escape(title)} \\(Optional\\)$")
        )
        found = form.locator(".schema-form-property").filter(has=label).last
        found.scroll_into_view_if_needed()
        return found

    def choose(self, form: Locator, title: str, label: str) -> None:
        found = self.question(form, title)
        # With the keyboard: a synthetic click opens the list and closes it again.
        found.locator(".p-select-button__control").focus()
        form.page.keyboard.press("ArrowDown")
        form.page.locator(".p-select-option", has_text=label).last.click()
        assert label in found.inner_text()

    def offered(self, form: Locator, title: str) -> str:
        return self.question(form, title).locator(".p-select-button__value").inner_text()

    def write(self, form: Locator, title: str, text: str) -> None:
        self.question(form, title).locator("textarea").fill(text)

    def approve(self, form: Locator) -> None:
        self.question(form, "Подтверждаю этот блок").locator(".p-toggle__control").click()

    def submit(self, form: Locator) -> None:
        form.get_by_role("button", name="Submit").click()
        form.wait_for(state="hidden", timeout=60_000)

    def picture(self, form: Locator, name: str, *, top: bool = False) -> None:
        if PICTURES:
            if top:
                form.locator(".markdown-renderer").first.scroll_into_view_if_needed()
            form.page.wait_for_timeout(500)
            form.page.screenshot(path=str(Path(PICTURES) / name))


def furnish(crm: StandIn) -> None:
    """Put a pipeline and two fields into the account, under names that are only similar."""
    state = crm.sandbox.state
    pipeline = state.add_pipeline("Первичные приёмы", sort=10, is_main=False, is_unsorted_on=False)
    state.add_status(pipeline, "Записан на прием", 20, None)
    doctor = state.add_field("leads", "Доктор", "select", None)
    doctor.enums = {}
    state.add_enum(doctor, "Был до нас", 10, None)
    state.add_field("contacts", "День рождения", "birthday", None)


@contextmanager
def prefect_up(home: Path, around: dict[str, str]) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (home / "up.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", UP.format(port=port)], env=around, stdout=output, stderr=output
        )
        try:
            eventually((home / "up.json").exists, "Prefect does not start")
            yield str(json.loads((home / "up.json").read_text(encoding="utf-8"))["api"])
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here: make venv")
    home = tmp_path_factory.mktemp("home")
    (home / "token").write_text(TOKEN, encoding="utf-8")
    around = environment(home)
    with StandIn(token=TOKEN, limit=None, index_lag=0) as crm, prefect_up(home, around) as api:
        furnish(crm)
        connect = ("connect-amocrm", "--base-url", crm.url, "--token-file", str(home / "token"))
        subprocess.run(
            [sys.executable, "-m", "deployments.cli.main", *connect],
            env=around | {"PREFECT_API_URL": api},
            check=True,
            capture_output=True,
        )
        found = Operator(home, crm, api)
        found.session.trust_env = False
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            found.page = browser.new_page(viewport={"width": 1200, "height": 1000}, locale="ru-RU")
            yield found
            browser.close()


def mapping_of(operator: Operator) -> Any:
    ledger = Ledger(Settings(home=operator.home).ledger_url).open()
    try:
        known = ledger.setting("installation", "amocrm") or {}
        return load_mapping(ledger, int(known["account_id"]))
    finally:
        ledger.close()


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
