"""What a run tells of the data: pages, the trend and its table; and that none of it can stop a transfer."""

from __future__ import annotations

import errno
import logging
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import expectations.pages.site as pages
from deployments.sandbox.amocrm.server import StandIn
from tasks import data_docs
from tasks.data_docs import show_verdicts
from tasks.errors import GuardError
from tasks.extract import read_changes
from tasks.frames import Entity
from tasks.gate import pass_gate
from tasks.hints import hint
from tasks.ledger.quality import RuleCount
from tasks.records import Waiver
from tasks.report import build_report, sync_markdown
from tasks.settings import load_settings
from tasks.trend import PAST_RUNS, spark, trends
from tasks.validate import apply_expectations
from tasks.workspace import Workspace, close_workspace
from tests.faults.clinic import Clinic
from tests.faults.clock import Clock
from tests.support.sandbox_installation import CLINIC, TOKEN, SandboxInstallation, sandbox_installation
from tests.support.validated import traces

BROKEN_PHONE = "8 916 МеткаТелефон"
RULE = "phone_mobile_e164"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxInstallation]:
    with (
        pytest.MonkeyPatch.context() as patch,
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        sandbox_installation(
            tmp_path_factory.mktemp("clinic"), crm, patch, appointments=60, has_suites=True
        ) as found,
    ):
        found.connect()
        found.sync()
        spoil(found)
        found.remember()
        yield found


@pytest.fixture
def clinic(installed: SandboxInstallation) -> Iterator[SandboxInstallation]:
    installed.recall()
    yield installed
    load_settings.cache_clear()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Tables that were published, instead of a Prefect server."""
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(
        data_docs, "create_table_artifact", lambda table, **named: made.append({"table": table, **named})
    )
    monkeypatch.setattr(data_docs, "get_run_logger", lambda: logging.getLogger("run"))
    return made


def spoil(found: SandboxInstallation, share: int = 5) -> None:
    with closing(sqlite3.connect(found.database)) as link, link:
        link.execute(f"UPDATE Persons SET MobilePhone = ? WHERE ID % {share} = 0", (BROKEN_PHONE,))


@contextmanager
def run(found: SandboxInstallation, run_id: str, mode: str = "full", **options: Any) -> Iterator[Workspace]:
    """The steps up to the validation, told as the task does."""
    space = pass_gate(run_id, CLINIC, mode, dry_run=options.get("dry_run", False))
    try:
        read_changes(space)
        apply_expectations(space)
        show_verdicts(space)
        yield space
    finally:
        close_workspace(run_id)


def events(found: SandboxInstallation) -> list[tuple[str, str, dict[str, Any]]]:
    rows = found.ledger.audit(event_prefix="ident-amocrm.quality.", order="asc")
    return [(row.event, row.level, row.payload) for row in rows]


def test_a_run_links_to_its_pages(clinic: SandboxInstallation, told: list[dict[str, Any]]) -> None:
    with run(clinic, "run-1") as space:
        report = build_report(space)
        docs = space.settings.data_docs_pages
    assert set(report.pages) == {"patient", "appointment"}
    base = "http://127.0.0.1:4280/"
    for address in report.pages.values():
        assert (docs / address.removeprefix(base)).is_file()
    text = sync_markdown(report, "https://crm.test")
    assert f"[пациенты]({report.pages['patient']})" in text
    assert CLINIC in (docs / "index.html").read_text(encoding="utf-8")
    assert traces(clinic.home / "data-docs", (BROKEN_PHONE, "МеткаТелефон")) == {}


def test_the_address_is_the_one_that_is_served(
    clinic: SandboxInstallation, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENT_AMOCRM_DATA_DOCS_URL", "https://quality.test/docs/")
    load_settings.cache_clear()
    with run(clinic, "run-1") as space:
        assert build_report(space).pages["patient"].startswith(f"https://quality.test/docs/{clinic.uid}/")
    assert f"(https://quality.test/docs/{clinic.uid}/index.html)" in told[0]["description"]


def test_the_table_shows_the_trend(clinic: SandboxInstallation, told: list[dict[str, Any]]) -> None:
    with run(clinic, "run-1"):
        pass
    before = told[-1]["table"]
    line = next(line for line in before if line["Правило"] == f"{RULE} (пациенты)")
    assert line["Изменение"] == "впервые"
    assert line["Что делать"] == "Исправьте мобильный телефон в карточке пациента."
    assert line["Передача"] == "передаётся без значения"
    count = int(line["Сейчас"].split(" из ")[0])
    assert count >= 5
    spoil(clinic, 2)
    with run(clinic, "run-2"):
        pass
    line = next(line for line in told[-1]["table"] if line["Правило"] == f"{RULE} (пациенты)")
    now = int(line["Сейчас"].split(" из ")[0])
    assert now > count
    assert line["Прошлые запуски"] == f"█ {count}"
    assert line["Изменение"] == f"▲ +{now - count}"
    assert {item["key"] for item in told} == {f"quality-{CLINIC}"}
    assert BROKEN_PHONE not in repr(told)


def test_a_tick_tells_of_its_changes_only_and_a_quiet_one_nothing(
    clinic: SandboxInstallation, told: list[dict[str, Any]]
) -> None:
    with run(clinic, "run-1"):
        pass
    clinic.sync()  # what was spoiled is known from here on
    files, tables = snapshot(clinic), len(told)
    with run(clinic, "quiet", "incremental") as space:
        assert not space.full
        assert space.verdicts == []
        assert space.pages == {}
    assert (snapshot(clinic), len(told)) == (files, tables)
    visitor = Clinic(clinic.database, Clock(), random.Random(1))
    visitor.latest_patient_corrected()
    person = visitor.store.rows("Persons")[-1]["ID"]
    with closing(sqlite3.connect(clinic.database)) as link, link:
        link.execute("UPDATE Persons SET MobilePhone = ? WHERE ID = ?", (BROKEN_PHONE, person))
    with run(clinic, "tick", "incremental") as space:
        assert set(space.pages) == {"patient"}
    line = next(line for line in told[-1]["table"] if line["Правило"] == f"{RULE} (пациенты)")
    assert line["Сейчас"].endswith("в изменениях с тех пор: 1")
    ticks = {
        (row.run_id, row.rule, row.failed) for row in clinic.ledger.quality(clinic.uid) if not row.is_whole
    }
    assert ticks == {("tick", RULE, 1)}


def snapshot(found: SandboxInstallation) -> dict[str, float]:
    root = found.home / "data-docs"
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*")}


def test_what_an_analyst_accepted_leaves_the_trend(
    clinic: SandboxInstallation, told: list[dict[str, Any]]
) -> None:
    with run(clinic, "run-1"):
        pass
    now = time.time()
    waiver = Waiver(Entity.PATIENT.value, None, RULE, "", "test", until=now + 3600, waived_at=now)
    clinic.ledger.waive(clinic.uid, [waiver])
    with run(clinic, "run-2"):
        pass
    (accepted,) = [
        row for row in clinic.ledger.quality(clinic.uid) if (row.run_id, row.rule) == ("run-2", RULE)
    ]
    assert accepted.failed == 0
    line = next(line for line in told[-1]["table"] if line["Правило"] == f"{RULE} (пациенты)")
    assert line["Сейчас"].startswith("0 из")


def test_a_dry_run_is_shown_and_not_counted(clinic: SandboxInstallation, told: list[dict[str, Any]]) -> None:
    with run(clinic, "run-1", dry_run=True) as space:
        path = space.settings.data_docs_pages / space.pages["patient"]
        assert "Пробный прогон" in path.read_text(encoding="utf-8")
    assert told == []
    assert clinic.ledger.quality(clinic.uid) == []


def test_what_stops_a_run_is_shown(
    clinic: SandboxInstallation, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = pass_gate("stopped", CLINIC, "full", dry_run=False)
    try:
        read_changes(space)
        space.patients = space.patients.drop(columns="city")
        with pytest.raises(GuardError, match="columns"):
            apply_expectations(space)
        show_verdicts(space)
        text = (space.settings.data_docs_pages / space.pages["patient"]).read_text(encoding="utf-8")
    finally:
        close_workspace("stopped")
    assert "Запуск остановлен" in text
    assert told[0]["table"][0]["Правило"] == "columns (пациенты)"
    assert told[0]["table"][0]["Передача"] == "останавливает запуск"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (ValueError(f"cannot parse {BROKEN_PHONE}"), "data_docs_failed"),
    ],
)
def test_trouble_with_the_pages_is_told_once_and_stops_nothing(
    clinic: SandboxInstallation,
    told: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    code: str,
) -> None:
    def fail(*_arguments: object, **_named: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(pages, "publish", fail)
        for number in range(2):
            with run(clinic, f"run-{number}") as space:
                assert hint(code) in space.warnings
                assert build_report(space).pages == {}
    assert events(clinic) == [("ident-amocrm.quality.unpublished", "warning", {"code": code})]
    assert f"{code} ({type(error).__name__})" in caplog.text
    assert BROKEN_PHONE not in caplog.text
    assert {row.run_id for row in clinic.ledger.quality(clinic.uid)} == {"run-0", "run-1"}, (
        "the trend goes on"
    )
    with run(clinic, "run-2") as space:
        assert space.pages
    with monkeypatch.context() as patch:
        patch.setattr(pages, "publish", fail)
        with run(clinic, "run-3"):
            pass
    assert len(events(clinic)) == 2, "trouble that comes back is news"


def test_each_trouble_has_its_remedy() -> None:
    codes = {
        PermissionError(errno.EACCES, "Permission denied"): "data_docs_not_writable",
        OSError(errno.EROFS, "Read-only file system"): "data_docs_not_writable",
        OSError(errno.EDQUOT, "Quota exceeded"): "disk_full",
        OSError(errno.EIO, "I/O error"): "data_docs_failed",
        KeyError("x"): "data_docs_failed",
    }
    assert {error: data_docs._code(error) for error in codes} == codes
    assert all(hint(code) != f"Ошибка {code}. Подробности — в журнале запуска." for code in codes.values())


def test_a_broken_folder_is_told_and_heals_when_it_is_removed(
    clinic: SandboxInstallation, told: list[dict[str, Any]]
) -> None:
    root: Path = clinic.home / "data-docs"
    root.write_text("not a folder", encoding="utf-8")
    with run(clinic, "run-1") as space:
        assert space.pages == {}
        assert hint("data_docs_failed") in space.warnings
    root.unlink()
    with run(clinic, "run-2") as space:
        assert space.pages
    # Half a result, as a killed run leaves it, and a stranger's file beside.
    (result,) = [path for path in (root / "results").rglob("*.json") if "patient" in path.parts]
    result.write_text(result.read_text(encoding="utf-8")[:100], encoding="utf-8")
    (root / "results" / clinic.uid / "stray.json").write_text("{", encoding="utf-8")
    with run(clinic, "run-3") as space:
        assert space.pages
        index = (space.settings.data_docs_pages / clinic.uid / "index.html").read_text(encoding="utf-8")
    assert index.count("<td><a ") == 3


def counts(rule: str, *failed: int, since: int = 0, entity: str = "patient") -> list[RuleCount]:
    whole = [
        RuleCount(rule, 100, number, entity, f"run{place}", is_whole=True, at=place)
        for place, number in enumerate(failed)
    ]
    return [*whole, *([RuleCount(rule, 5, since, entity, "tick", at=1000)] if since else [])]


def test_the_worst_comes_first_and_what_is_well_is_left_out() -> None:
    actions = {("patient", rule): action for rule, action in ACTIONS.items()}
    found = trends(
        [
            *counts("slot", 50),
            *counts("phone", 3, 9),
            *counts("mail", 30, 4),
            *counts("name", 1, 1),
            *counts("well", 0, 0),
            *counts("cured", 2, 0),
            *counts("long_cured", 2, 0, 0),
            *counts("fresh", 0, since=2),
            *counts("gone", 7),
        ],
        actions,
    )
    assert [trend.rule for trend in found] == ["name", "phone", "mail", "fresh", "cured", "slot"]
    lines = {trend.rule: trend.line(actions["patient", trend.rule], "", "") for trend in found}
    assert lines["phone"]["Изменение"] == "▲ +6"
    assert lines["mail"]["Изменение"] == "▼ −26"
    assert lines["name"]["Изменение"] == "без изменений"
    assert lines["cured"]["Сейчас"] == "0 из 100"
    assert lines["fresh"]["Сейчас"] == "0 из 100, в изменениях с тех пор: 2"


ACTIONS = {
    "name": "quarantine",
    "phone": "withhold",
    "mail": "withhold",
    "well": "withhold",
    "fresh": "withhold",
    "cured": "withhold",
    "long_cured": "withhold",
    "slot": "skip",
}


def test_the_past_is_short_and_drawn() -> None:
    (trend,) = trends(counts("phone", *range(20)), {("patient", "phone"): "withhold"})
    assert trend.past == list(range(20 - PAST_RUNS - 1, 20))
    assert trend.line("withhold", "", "")["Прошлые запуски"] == "▆▇▇▇███ 12 · 13 · 14 · 15 · 16 · 17 · 18"
    assert spark([0, 0]) == "▁▁"
    assert spark([0, 1, 100]) == "▁▂█"
    assert spark([]) == ""
