"""The page of a clinic's health: what an operator reads in the Prefect UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from tasks.checks import Check, CheckState, worst
from tasks.hints import hint
from tasks.lights import DATABASE, DONE, FAILED, SERVER
from tasks.markdown import plain
from tasks.settings import Settings

__all__ = ["AMOCRM_LIGHT", "health_markdown", "instruction"]

AMOCRM_LIGHT: Final = "amoCRM"
#: Checks that the widget shows as lights, with its own words.
LIGHTS: Final = frozenset({SERVER, DATABASE, AMOCRM_LIGHT})
WORDS: Final = {
    CheckState.OK: "✅ В порядке",
    CheckState.WARNING: "⚠️ Требует внимания",
    CheckState.FAILED: "🔴 Не выполнено",
}
OWN: Final = {("Передача", CheckState.OK): "✅ Работает", ("Настройка", CheckState.OK): "✅ Связка настроена"}
MARKS: Final = {CheckState.OK: "✅", CheckState.WARNING: "⚠️", CheckState.FAILED: "🔴"}
TITLES: Final = {
    CheckState.OK: "✅ Всё работает",
    CheckState.WARNING: "⚠️ Требует внимания",
    CheckState.FAILED: "🔴 Есть проблема",
}
PAGE: Final = "docs/ru/problems.md"


def instruction(code: str, settings: Settings) -> str:
    """Return the address of an error's instruction."""
    base = settings.documentation_url.rstrip("/")
    return f"{base}/{PAGE}#{code}" if base else f"{PAGE}#{code}"


def health_markdown(
    clinic: str, checks: Sequence[Check], since: Mapping[str, str], at: datetime, settings: Settings
) -> str:
    """Return the page: every check with its state, since when, what to do, and where that is explained.

    Args:
        clinic: The clinic's name.
        checks: What was found.
        since: Since when each check stands so, by its name.
        at: When it was checked.
        settings: The installation's settings.
    """
    lines = [
        f"## Состояние «{plain(clinic)}»: {TITLES[worst(list(checks))]}",
        "",
        "| Проверка | Состояние | С какого времени (UTC) |",
        "|---|---|---|",
        *(f"| {item.name} | {_label(item)} | {_moment(since.get(item.name))} |" for item in checks),
    ]
    # Under the table, not in it: the UI does not break the lines of a table, and a remedy is a sentence.
    told = [(item, text) for item in checks if (text := _advice(item, settings))]
    for title, wrong in (("Что делать", True), ("Подробности", False)):
        shown = [(item, text) for item, text in told if (item.state is not CheckState.OK) is wrong]
        if shown:
            lines += ["", f"### {title}", ""]
            lines += [f"- {MARKS[item.state]} **{item.name}.** {text}" for item, text in shown]
    return "\n".join(
        [
            *lines,
            "",
            f"Проверено {at:%d.%m.%Y %H:%M:%S} UTC; проверка идёт каждые 5 минут.",
            "",
            f"Контакты поддержки: {settings.support_contact}. Отдела продаж: {settings.sales_contact}.",
        ]
    )


def _advice(item: Check, settings: Settings) -> str:
    """Return what to do and where that is explained, in one line."""
    advice = plain(item.detail) if item.detail else (hint(item.code) if item.code else "")
    if item.code and item.code != "server_first":
        link = instruction(item.code, settings)
        advice += f" [Инструкция]({link})" if "://" in link else f" Инструкция: `{link}`"
    return advice.replace("\n", " ").strip()


def _label(item: Check) -> str:
    if item.name in LIGHTS and item.state is not CheckState.WARNING:
        return DONE if item.state is CheckState.OK else FAILED
    return OWN.get((item.name, item.state), WORDS[item.state])


def _moment(text: str | None) -> str:
    return f"{datetime.fromisoformat(text):%d.%m.%Y %H:%M}" if text else ""
