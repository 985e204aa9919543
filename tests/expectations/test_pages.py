"""Data Docs: what stands in them, what never does, and how many of them are kept."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from expectations.gate import Verdict
from expectations.pages.outcome import IDS
from expectations.pages.site import remove_abandoned
from expectations.pages.view import INDEX_LIMIT
from expectations.suites import load_rules
from expectations.whole import Whole
from tasks.errors import GuardError
from tasks.frames import Entity
from tests.support.validated import CLINIC, MARKS, UID, dirty, published, traces, verdict_on


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    return verdict_on(dirty())


def page(folder: Path, path: str) -> str:
    return (folder / "pages" / path).read_text(encoding="utf-8")


def test_a_page_tells_what_is_wrong_and_what_to_do(verdict: Verdict, tmp_path: Path) -> None:
    text = page(tmp_path, published(tmp_path, verdict))
    rules = {rule.code: rule for rule in load_rules(Entity.PATIENT)}
    for code in ("phone_mobile_e164", "email_shape", "birth_date_plausible", "name_present"):
        assert rules[code].explanation in text
        assert rules[code].remedy in text
    assert all(rule.code in text for rule in rules.values())
    assert "Не всё передаётся" in text
    assert "передаётся без этого значения" in text
    assert "Север &amp; Юг" in text, "a clinic's name is text, not markup"
    assert CLINIC.split()[0] in page(tmp_path, "index.html")


def test_only_the_first_ids_are_listed_and_the_rest_counted(verdict: Verdict, tmp_path: Path) -> None:
    text = page(tmp_path, published(tmp_path, verdict))
    row = re.search(r'<tr id="phone_mobile_e164">.*?</tr>', text, re.DOTALL)
    assert row is not None
    listed = re.search(r"<code>([\d, ]+)</code> <small>и ещё (\d+)</small>", row[0])
    assert listed is not None
    assert [int(key) for key in listed[1].split(",")] == list(range(2, 2 * IDS + 1, 2))
    assert int(listed[2]) == 100 - IDS
    (stored,) = (tmp_path / "results").rglob("*.json")
    longest = max(
        len(result["result"]["unexpected_index_list"])
        for result in json.loads(stored.read_text(encoding="utf-8"))["results"]
    )
    assert longest == IDS


def test_no_value_stands_in_any_file(verdict: Verdict, tmp_path: Path) -> None:
    path = published(tmp_path / "docs", verdict)
    assert traces(tmp_path / "docs") == {}
    # The scan finds what it looks for, in both spellings.
    (tmp_path / "docs" / "pages" / path).write_text(MARKS[0], encoding="utf-8")
    (tmp_path / "docs" / "results" / "x.json").write_text(json.dumps({"x": MARKS[1]}), encoding="utf-8")
    assert sorted(traces(tmp_path / "docs")) == sorted(MARKS[:2])


def test_an_exception_that_quotes_a_value_does_not_reach_the_files(tmp_path: Path) -> None:
    frame = dirty(20)
    frame["birth_date"] = frame["comment"].astype(object)  # a date rule cannot bear a text
    verdict = verdict_on(frame)
    assert "birth_date_plausible" in verdict.stop
    for result in verdict.outcome.results:
        if not result.success and result.exception_info:
            # As upstream writes it where a metric could not bear a text.
            quoted = f'ValueError: Unable to parse string "{MARKS[4]}" at position 0'
            result.exception_info = {"some.metric": {"raised_exception": True, "exception_message": quoted}}
            result.result["observed_value"] = MARKS[0]
    text = page(tmp_path, published(tmp_path, verdict))
    assert "Правило не удалось вычислить" in text
    assert "Запуск остановлен" in text
    assert traces(tmp_path) == {}


def test_a_rule_about_the_table_names_its_columns(tmp_path: Path) -> None:
    frame = dirty(40)
    whole = Whole(filled_before={"city": 0.9}, is_full=True)
    verdict = verdict_on(frame, whole=whole)
    assert verdict.stop == ["columns_emptied"]
    row = re.search(
        r'<tr id="columns_emptied">.*?</tr>', page(tmp_path, published(tmp_path, verdict)), re.DOTALL
    )
    assert row is not None
    assert "<code>city</code>" in row[0]
    assert "запуск остановлен" in row[0]
    accepted = verdict_on(frame, whole=whole, accepted={(None, "columns_emptied")})
    text = page(tmp_path, published(tmp_path, accepted, 1))
    assert '<tr id="columns_emptied">' not in text
    assert "Запуск остановлен" not in text


def test_what_an_analyst_accepted_is_told_apart(tmp_path: Path) -> None:
    frame = dirty(20)
    accepted = {(None, "phone_mobile_e164"), (2, "email_shape")}
    verdict = verdict_on(frame, accepted=accepted)
    text = page(tmp_path, published(tmp_path, verdict))
    assert '<tr id="phone_mobile_e164">' not in text, "an accepted rule counts as kept"
    email = re.search(r'<tr id="email_shape">.*?</tr>', text, re.DOTALL)
    assert email is not None
    assert "принято: 1" in email[0]
    assert re.search(r'<td class="number">9<br>', email[0])


def test_pages_need_no_other_host(verdict: Verdict, tmp_path: Path) -> None:
    published(tmp_path, verdict)
    files = [path for path in (tmp_path / "pages").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".html", ".css"}
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?:|//\w|<script|<img|@import|url\(|style=", text), path.name
        # Upstream's pages carry an id of the installation.
        assert "dataContextId" not in text
    assert sum(path.stat().st_size for path in files) < 60_000


def test_links_of_the_index_lead_to_pages(verdict: Verdict, tmp_path: Path) -> None:
    paths = [published(tmp_path, verdict, number) for number in range(3)]
    index = page(tmp_path, f"{UID}/index.html")
    links = re.findall(r'<td><a href="([^"]+)">', index)
    assert [f"{UID}/{link}" for link in links] == paths[::-1]
    text = page(tmp_path, paths[0])
    for link in re.findall(r'href="([^"]+)"', text):
        assert (tmp_path / "pages" / paths[0]).parent.joinpath(link).resolve().is_file()
    contents = page(tmp_path, "index.html")
    assert f'href="{UID}/index.html"' in contents
    assert "Без страниц" not in contents


def test_old_runs_go_and_the_others_stay(verdict: Verdict, tmp_path: Path) -> None:
    paths = [published(tmp_path, verdict, number, keep_runs=3) for number in range(6)]
    assert [(tmp_path / "pages" / path).is_file() for path in paths] == [False] * 3 + [True] * 3
    assert len(list((tmp_path / "results").rglob("*.json"))) == 3
    old = published(tmp_path, verdict, 7, at=datetime.now(UTC) - timedelta(days=31), keep_days=60)
    assert (tmp_path / "pages" / old).is_file()
    published(tmp_path, verdict, 8, keep_days=30)
    assert not (tmp_path / "pages" / old).exists()
    assert [path for path in tmp_path.rglob("*") if path.is_dir() and not any(path.iterdir())] == []


def test_a_clinic_that_is_no_more_goes_with_its_pages(verdict: Verdict, tmp_path: Path) -> None:
    published(tmp_path, verdict)
    remove_abandoned(tmp_path, 30)
    index = tmp_path / "pages" / UID / "index.html"
    assert index.is_file()
    long_ago = time.time() - 31 * 86_400
    os.utime(index, (long_ago, long_ago))
    remove_abandoned(tmp_path, 30)
    assert list((tmp_path / "pages").glob("*/")) == []
    assert list((tmp_path / "results").iterdir()) == []


def test_the_index_is_limited_but_pages_beyond_it_stay(
    verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expectations.pages.site.INDEX_LIMIT", 2)
    paths = [published(tmp_path, verdict, number) for number in range(4)]
    assert page(tmp_path, f"{UID}/index.html").count("<td><a ") == 2
    assert all((tmp_path / "pages" / path).is_file() for path in paths)
    assert INDEX_LIMIT == 50


def test_the_folder_is_its_owners_alone(verdict: Verdict, tmp_path: Path) -> None:
    if os.name != "posix":
        pytest.skip("folders have no mode here")
    (tmp_path / "docs").mkdir(mode=0o755)
    published(tmp_path / "docs", verdict)
    for part in ("docs", "docs/pages", "docs/results", f"docs/pages/{UID}", f"docs/results/{UID}"):
        assert (tmp_path / part).stat().st_mode & 0o777 == 0o700, part


def test_a_page_that_was_not_made_is_told(
    verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upstream logs the error and leaves no page, or an empty index."""
    monkeypatch.setattr("expectations.pages.view.TITLES", {})
    with pytest.raises(GuardError) as failure:
        published(tmp_path, verdict)
    assert failure.value.code == "data_docs_failed"
