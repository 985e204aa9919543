"""Names are anybody's: of a clinic, a stage, a field, a branch. The pages show them as text, and nothing runs."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from markdown_it import MarkdownIt

from expectations.pages.view import render
from tasks import blocks, letters
from tasks.checks import Check, CheckState
from tasks.connect import _lights
from tasks.explain import story_markdown
from tasks.health_page import health_markdown
from tasks.ident.connection import IdentConnection
from tasks.journal import Line
from tasks.journal import as_csv as events_csv
from tasks.launch import Launch
from tasks.letters import letter_markdown
from tasks.mapping.proposal_forms import _cell
from tasks.markdown import plain
from tasks.preview import Preview, StageCount, preview_markdown
from tasks.reconcile_report import Line as Difference
from tasks.reconcile_report import ReconcileReport, reconcile_markdown
from tasks.records import Invoice
from tasks.report import SyncReport, sync_markdown
from tasks.settings import Settings
from tasks.spreadsheet import as_table
from tasks.subscription.provider import invoice_html
from tests.support.hostile import NAMES

NOW = datetime(2026, 3, 12, tzinfo=UTC)
#: As Prefect's pages read it: HTML and bare links included.
READER = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable(["table", "strikethrough"])
EVERY = pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)


def shown(page: str) -> str:
    """A page of Markdown as HTML; nothing of it may be a tag, a link or a style that our own words do not make."""
    return str(READER.render(page))


def words(name: str) -> list[str]:
    """What of a name is left to be read: the letters between what cannot be seen."""
    return re.findall(r"\w+", re.sub(r"[^\w<>&|`*\[\]()=+@#-]", " ", name))


def refuse_markup(page: str, name: str, *, tags: set[str]) -> None:
    rendered = shown(page)
    found = set(re.findall(r"<(/?[a-z0-9]+)", rendered))
    assert {tag.strip("/") for tag in found} <= tags, rendered
    assert [link for link in re.findall(r'href="([^"]*)"', rendered) if link.startswith("javascript")] == []
    text = html.unescape(re.sub(r"<[^>]+>", "", rendered))
    for word in words(name):
        assert word in text, (word, text)


@EVERY
@pytest.mark.parametrize("place", ["{}", "- {}", "## «{}»", "**{}**", "| {} | b |\n|---|---|\n| {} | d |"])
def test_a_name_is_text_wherever_it_stands(place: str, name: str) -> None:
    page = place.replace("{}", plain(name))
    tags = {"p", "ul", "li", "h2", "strong", "table", "thead", "tbody", "tr", "th", "td"}
    refuse_markup(page, name, tags=tags)
    if place.startswith("|"):
        assert shown(page).count("<td>") == 2
        assert shown(page).count("<th>") == 2
    assert len(shown(plain(name)).strip().splitlines()) == 1


def test_an_ordinary_name_is_left_as_it_is() -> None:
    for name in (
        "Улыбка на Мира, 5 (север) № 2",
        "Dr. O'Neil & Co".replace("&", "and"),
        "primary_visit",
        "10:30",
    ):
        assert plain(name) == name


def sync_report(name: str) -> SyncReport:
    counts = {key: dict.fromkeys(("create", "update", "move"), 0) for key in ("contacts", "leads")}
    told: dict[str, Any] = {**counts, "links": 0, "notes": 0}
    read = {"patients": 1, "appointments": 1}
    return SyncReport(name, "r1", "full", read, 0, 0, told, told, 0, 0, 0, 0, 0.0, warnings=(name,))


def reconcile_report(name: str) -> str:
    rows: tuple[dict[str, Any], ...] = ({"source_id": 1, "amo_ids": [5], "fields": ["city"]},)
    lines = (Difference("field", "contact", "leave", 1, 0, rows),)
    compared = {"patients": 1, "appointments": 1, "contacts": 1, "leads": 1}
    report = ReconcileReport(name, "r1", False, compared, lines, 0, 0, 0, 0, 1, 1, 0, 0.0)
    return reconcile_markdown(report, "https://x.amocrm.ru", {"contact.city": name})


def story(name: str) -> str:
    line = SimpleNamespace(heading=lambda _l: "История", text=lambda _l: name, values={})
    facts = SimpleNamespace(entity=SimpleNamespace(value="patient"), source_id=7, clinic=name, card_url="")
    told: Any = SimpleNamespace(
        facts=facts,
        judgement=SimpleNamespace(is_transferred=True),
        lines=[line],
        verdict=lambda _l: name,
        remedy=lambda _l: name,
        next_try=lambda _l: name,
    )
    return story_markdown(told)


PAGES: dict[str, Callable[[str], str]] = {
    "sync": lambda name: sync_markdown(sync_report(name), "https://x.amocrm.ru"),
    "reconcile": reconcile_report,
    "preview": lambda name: preview_markdown(
        name, Launch(from_day=date(2026, 3, 1)), Preview(1, 1, 0, 1, 0, (StageCount(name, name, 1, True),))
    ),
    "health": lambda name: health_markdown(
        name, [Check("Настройка", CheckState.FAILED, "mapping_drift", name)], {}, NOW, Settings()
    ),
    "connect": lambda name: _lights(f"Подключение базы «{name}»", [("amoCRM", "tls")], [plain(name)]),
    "explain": story,
    "configured": lambda name: f"| a |\n|---|\n| {_cell(name)} |",
}
TAGS = {
    *("h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "strong", "code", "a"),
}


@EVERY
@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_an_operator_shows_a_name_as_text(page: str, name: str) -> None:
    usual, written = (shown(PAGES[page](one)) for one in ("Улыбка", name))
    refuse_markup(PAGES[page](name), name, tags=TAGS)
    # A name adds no row, no column, no link and no paragraph.
    for tag in TAGS:
        assert written.count(f"<{tag}") == usual.count(f"<{tag}"), tag


@EVERY
def test_the_letter_to_idents_support_quotes_names_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = IdentConnection(host=name, database=name, user=name)
    monkeypatch.setattr(blocks, "load_database", lambda _block: connection)
    record: Any = SimpleNamespace(block_name="b")
    page = "\n".join(letter_markdown(record))
    refuse_markup(page, name, tags={"p", "strong", "a", "blockquote"})
    assert shown(page).count("<a ") == 1
    assert letters.IDENT_SUPPORT in page


@EVERY
def test_pages_of_html_escape_names(name: str) -> None:
    invoice = Invoice(name, "paid", 6, 1, 1, 0.0, 1.0, 0.0, "r", "manual")
    index = render("index.html", {"clinic": name, "checks": [], "limit": 1})
    contents = render("contents.html", {"clinics": [("uid", name)]})
    pages = [(invoice_html(one, one.number), invoice_html(invoice_of("N"), "N")) for one in (invoice,)]
    pages += [
        (index, render("index.html", {"clinic": "N", "checks": [], "limit": 1})),
        (contents, render("contents.html", {"clinics": [("uid", "N")]})),
    ]
    for written, usual in pages:
        assert re.findall(r"<[^>]*>", written) == re.findall(r"<[^>]*>", usual)


def invoice_of(number: str) -> Invoice:
    return Invoice(number, "paid", 6, 1, 1, 0.0, 1.0, 0.0, "r", "manual")


@EVERY
def test_no_cell_of_a_file_is_a_formula(name: str) -> None:
    line = Line("2026-03-12", "sync.completed", name, "r", "info", {"x": name})
    for text in (events_csv([line]), as_table(("a", "b"), [(name, None), (3, -5)])):
        rows = list(csv.reader(io.StringIO(text)))
        cells = [cell for row in rows for cell in row if not cell.lstrip("-").isdigit()]
        assert [cell for cell in cells if cell.lstrip().startswith(("=", "+", "-", "@", "|", "%"))] == []
        assert len({len(row) for row in rows}) == 1
        text.encode()


def test_half_a_character_can_be_written() -> None:
    assert plain("a\ud83d") == "a"
    as_table(("a",), [("\ud83d",)]).encode()
