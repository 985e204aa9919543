"""An analyst at the pages of data quality, in headless Chromium, in a network without internet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.support.in_browser import BROWSED, CHROMIUM
from tests.support.serving_pages import serving
from tests.support.validated import MARKS, UID, dirty, published, verdict_on

if TYPE_CHECKING:
    from playwright.sync_api import Page

# The pages are served without Prefect.
pytestmark = [mark for mark in BROWSED if mark.name != "server"]
LOOPBACK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("docs")
    verdict = verdict_on(dirty(640))
    for number in range(3):
        published(folder, verdict, number)
    clean = dirty(640)
    published(folder, verdict_on(clean[clean["patient_id"] % 2 == 1].reset_index(drop=True)), 3)
    with serving(folder / "pages") as url:
        yield url


@pytest.fixture
def page(site: str) -> Iterator[Page]:
    """A page that may reach nothing but this machine; whatever it asks for or complains about is kept."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here: make venv")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking", LOOPBACK]
        )
        opened = browser.new_page(viewport={"width": 1280, "height": 600}, locale="ru-RU", base_url=site)
        yield opened
        browser.close()


def test_an_analyst_reads_the_pages_without_internet(page: Page, site: str) -> None:
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto("/")
    page.get_by_role("link", name="Клиника «Север & Юг»").click()
    assert page.url.endswith(f"/{UID}/index.html")
    rows = page.locator("tbody tr")
    assert rows.count() == 4
    assert "Всё в порядке" in rows.first.inner_text()
    assert "Не всё передаётся" in rows.last.inner_text()
    rows.last.get_by_role("link").click()
    broken = page.locator("#phone_mobile_e164")
    assert "Исправьте мобильный телефон" in broken.inner_text()
    assert "320" in broken.inner_text()
    assert not broken.locator("code").last.is_visible()
    broken.locator("summary").click()
    assert "и ещё 270" in broken.inner_text()
    # The style sheet was applied: a page without it is complete, but no pleasure.
    assert broken.locator("td").first.evaluate("cell => getComputedStyle(cell).borderBottomStyle") == "solid"
    assert not any(mark in page.content() for mark in MARKS)
    page.get_by_role("link", name="Все проверки").click()
    page.get_by_role("link", name="Все клиники").click()
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(site).netloc}
    assert len(asked) > 8
    assert [text for text in complaints if "favicon" not in text] == []


def test_the_pages_would_not_be_let_out(page: Page) -> None:
    """What the test above relies on: a foreign image is refused by the pages' own policy."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto("/")
    page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://foreign.test/x.png'}))")
    page.wait_for_timeout(300)
    assert any("Content Security Policy" in text for text in complaints)
