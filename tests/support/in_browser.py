"""An operator at the Prefect UI, in headless Chromium, with a real Prefect server and worker."""

from __future__ import annotations

import json
import os
import re
import shutil
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

from deployments.doors import read_password
from deployments.sandbox.amocrm.server import StandIn
from tests.e2e.conftest import environment
from tests.support.migrated import begin_migrated
from tests.support.ports import free_port
from tests.support.warm_commands import run_warm

if TYPE_CHECKING:
    from playwright.sync_api import FloatRect, Locator, Page, Response, ViewportSize

__all__ = ["BROWSED", "TOKEN", "Operator", "eventually", "operating", "prefect_up"]

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)
#: Marks of a test that drives the browser.
BROWSED = [
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
#: The graph of a run is drawn by WebGL, and without a graphics card that takes a third of a core all the time.
PLAIN = () if PICTURES else ("--disable-gpu", "--disable-software-rasterizer")
#: Prefect's server on SQLite may stand still for a minute: so long it waits for a lock before it gives up.
STANDSTILL = 150
VIEWPORT: ViewportSize = {"width": 1200, "height": 1000}


def eventually(found: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < deadline, what
        time.sleep(0.3)
    return value


@dataclass
class Operator:
    """Somebody at the Prefect UI, with an amoCRM account."""

    home: Path
    crm: StandIn
    api: str
    page: Page
    session: requests.Session = field(default_factory=requests.Session)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        for _ in range(20):
            answer = (
                self.session.get(f"{self.api}/{path}", timeout=STANDSTILL)
                if body is None
                else self.session.post(f"{self.api}/{path}", json=body, timeout=STANDSTILL)
            )
            if answer.status_code != 503:  # SQLite is locked for a moment
                break
            time.sleep(0.5)
        answer.raise_for_status()
        return answer.json()

    def command(self, *arguments: str) -> None:
        """Run a command of the same installation."""
        done = run_warm(arguments, environment(self.home) | {"PREFECT_API_URL": self.api}, self.home)
        assert done.returncode == 0, done.stderr

    # ---- flows and their runs ------------------------------------------------------------------------

    def deployment(self, name: str, flow: str = "") -> str:
        """Wait for a deployment, and return its id; a clinic's has its flow's name beside."""

        def deployed() -> Any:
            rows = self.ask("deployments/filter", {})
            fitting = (row for row in rows if row["entrypoint"].endswith(f":{flow}" if flow else ""))
            return next((row["id"] for row in fitting if row["name"] == name), None)

        return str(eventually(deployed, f"{name} is not deployed"))

    def start(self, name: str, parameters: dict[str, Any]) -> str:
        path = f"deployments/{self.deployment(name)}/create_flow_run"
        return str(self.ask(path, {"parameters": parameters})["id"])

    def state(self, run: str) -> dict[str, Any]:
        state: dict[str, Any] = self.ask(f"flow_runs/{run}")["state"]
        return state

    def logs(self, run: str) -> str:
        rows = self.ask("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
        return "\n".join(row["message"] for row in rows)

    def ends(self, run: str) -> dict[str, Any]:
        ended = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        eventually(lambda: self.state(run)["type"] in ended, "the run does not end")
        return self.state(run)

    # ---- pages ---------------------------------------------------------------------------------------

    def logs_in(self, password: str) -> int:
        """Type this into the page that asks for what stands in ``prefect.auth``; return the server's answer."""
        self.page.get_by_placeholder("admin:pass").fill(password.strip())
        with self.page.expect_response(lambda one: one.url.endswith("/admin/version")) as answer:
            self.page.get_by_role("button", name="Login").click()
        return answer.value.status

    def goes_to(self, path: str) -> Page:
        self.page.goto(f"{self.api.removesuffix('/api')}/{path}")
        return self.page

    def shown(self, path: str, part: str, text: str | re.Pattern[str] = "") -> Locator:
        """Open a page, and again while the part is missing: the UI does not ask a busy server twice."""
        from playwright.sync_api import TimeoutError as TooLateError

        def found() -> Locator | None:
            located = self.goes_to(path).locator(part).filter(has_text=text).last
            try:
                located.wait_for(timeout=15_000)
            except TooLateError:
                return None
            return located

        found_at_last: Locator = eventually(found, f"{path} does not show {text or part}")
        return found_at_last

    def opened(self, run: str, key: str, *, pictured: str = "") -> Locator:
        """Wait for a form of a run and open it, the page that asks for it kept as a picture where one is named."""

        def waits() -> bool:
            state = self.state(run)
            assert state["type"] not in {"FAILED", "CRASHED"}, self.logs(run)
            return (state["name"], state["state_details"]["pause_key"]) == ("Suspended", key)

        eventually(waits, f"the form {key} does not come")
        page = self.goes_to(f"runs/flow-run/{run}")
        resume = page.get_by_role("button", name="Resume").first
        resume.wait_for(timeout=1000 * STANDSTILL)
        if pictured:
            self.picture(page.locator("body"), pictured)
        resume.click(timeout=1000 * STANDSTILL)
        form = page.locator(".p-modal").filter(has_text="Resume Flow Run").last
        form.locator(".schema-form-property__label").first.wait_for(timeout=1000 * STANDSTILL)
        return form

    def artifact_of(self, run: str, part: str = ".artifact-data-markdown") -> Locator:
        """Open what a run has shown."""
        (found,) = self.ask("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
        return self.shown(f"artifacts/artifact/{found['id']}", part)

    def start_form(self, name: str) -> Locator:
        """Open the form that starts a flow."""
        path = f"deployments/deployment/{self.deployment(name)}/run"
        self.shown(path, ".schema-form-property__label")
        return self.page.locator("form.flow-run-create-form-v2")

    def block_form(self, kind: str, name: str) -> Locator:
        """Open the form of a new block, and name the block."""
        self.shown(f"blocks/catalog/{kind}/create", ".schema-form-property")
        form = self.page.locator("form.block-schema-create-form")
        form.locator(".p-label", has_text="Block Name").locator("input").first.fill(name)
        return form

    @staticmethod
    def question(form: Locator, title: str) -> Locator:
        label = form.page.locator(
            ".schema-form-property__label, .p-label__label",
            has_text=re.compile(f"^{re.escape(title)}( \\(Optional\\))?$"),
        )
        found = form.locator(".schema-form-property").filter(has=label).last
        found.scroll_into_view_if_needed()
        return found

    def choose(self, form: Locator, title: str, label: str) -> None:
        found = self.question(form, title)

        def chosen() -> bool:
            # With the keyboard: a synthetic click opens the list and closes it again.
            found.locator(".p-select-button__control").focus()
            form.page.keyboard.press("ArrowDown")
            form.page.locator(".p-select-option", has_text=label).last.click()
            form.page.wait_for_timeout(200)  # a form that has just come may put its default back
            return label in found.inner_text()

        eventually(chosen, f"{label} cannot be chosen")

    def offered(self, form: Locator, title: str) -> str:
        return self.question(form, title).locator(".p-select-button__value").inner_text()

    def write(self, form: Locator, title: str, text: str) -> None:
        self.question(form, title).locator("textarea").fill(text)

    def write_number(self, form: Locator, title: str, number: int) -> None:
        self.question(form, title).locator("input").fill(str(number))

    def switch(self, form: Locator, title: str) -> None:
        self.question(form, title).locator(".p-toggle__control").click()

    def approve(self, form: Locator) -> None:
        self.switch(form, "Подтверждаю этот блок")

    def submit(self, form: Locator) -> None:
        self._presses(form, "Submit")

    def saves(self, form: Locator) -> None:
        """Save a block's form."""
        self._presses(form, "Create")

    def _presses(self, form: Locator, button: str) -> None:
        """Press a form's button until the form goes, again only where the server answered that it is busy.

        The UI asks twice, whether the answers are valid and then to take them, and shows of a failure no more
        than a passing message; what the server said is kept here for whoever reads a failed test.
        """
        refusals: list[Response] = []

        def hears(answer: Response) -> None:
            if answer.request.method in {"POST", "PATCH"} and answer.status >= 400:
                refusals.append(answer)

        form.page.on("response", hears)
        deadline = time.monotonic() + PATIENCE
        try:
            while True:
                heard = len(refusals)
                for message in form.page.locator(".p-toast__close-btn").all():
                    message.click()  # it may cover the button
                form.get_by_role("button", name=button).click()
                waited_until = time.monotonic() + STANDSTILL
                while form.is_visible() and len(refusals) == heard and time.monotonic() < waited_until:
                    form.page.wait_for_timeout(200)
                if not form.is_visible():
                    return
                busy = any(answer.status in {500, 503} for answer in refusals[heard:])
                said = [(answer.url, answer.status, answer.text()) for answer in refusals]
                told = f"the form stays: {said}\n{form.page.locator('body').inner_text()}"
                assert busy, told
                assert time.monotonic() < deadline, told
        finally:
            form.page.remove_listener("response", hears)

    def starts(self, form: Locator) -> str:
        """Submit the form that starts a flow, and return the run."""
        with form.page.expect_response(lambda one: one.ok and one.url.endswith("/create_flow_run")) as answer:
            self.submit(form)
        return str(answer.value.json()["id"])

    def picture(self, form: Locator, name: str, *, top: bool = False, height: int = 1000) -> None:
        """Keep the page, or its upper part, for the documentation."""
        if PICTURES:
            if top:
                form.locator(".markdown-renderer").first.scroll_into_view_if_needed()
            form.page.wait_for_timeout(500)
            size = form.page.viewport_size or VIEWPORT
            clip: FloatRect = {"x": 0, "y": 0, "width": size["width"], "height": min(height, size["height"])}
            form.page.screenshot(path=str(Path(PICTURES) / name), clip=clip)

    def picture_of(self, part: Locator, name: str) -> None:
        """Keep a part of the page for the documentation, with a little of what is around it."""
        if PICTURES:
            part.page.set_viewport_size({"width": 1000, "height": 1500})
            part.page.wait_for_timeout(500)
            box = part.bounding_box()
            assert box is not None
            clip: FloatRect = {
                "x": box["x"] - 16,
                "y": box["y"] - 16,
                "width": box["width"] + 32,
                "height": box["height"] + 32,
            }
            part.page.screenshot(path=str(Path(PICTURES) / name), clip=clip)
            part.page.set_viewport_size(VIEWPORT)


@contextmanager
def prefect_up(home: Path, around: dict[str, str]) -> Iterator[str]:
    """Run ``up``, and yield the address of its API."""
    port = free_port()
    begin_migrated(home)
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


@contextmanager
def operating(home: Path, crm: StandIn) -> Iterator[Operator]:
    """An installation that runs, and a browser that shows its UI."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here: make venv")
    with prefect_up(home, environment(home)) as api, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *PLAIN])
        page = browser.new_page(viewport=VIEWPORT, locale="ru-RU")
        page.set_default_timeout(1000 * STANDSTILL)
        found = Operator(home, crm, api, page)
        found.session.trust_env = False
        if password := read_password(home):
            user, _, secret = password.partition(":")
            found.session.auth = (user, secret)
        yield found
        browser.close()
