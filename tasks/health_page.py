"""The page of a clinic's health: what an operator reads in the Prefect UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from tasks.checks import Check, CheckState, worst
from tasks.hints import hint
from tasks.lights import DATABASE, DONE, FAILED, SERVER
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
        f"## Состояние «{clinic}»: {TITLES[worst(list(checks))]}",
        "",
        "| Проверка | Состояние | С какого времени (UTC) | Что делать |",
        "|---|---|---|---|",
    ]
    for item in checks:
        advice = item.detail or (hint(item.code) if item.code else "")
        if item.code and item.code != "server_first":
            link = instruction(item.code, settings)
            advice += f" [Инструкция]({link})" if "://" in link else f" Инструкция: `{link}`"
        shown = advice.replace("|", "/").replace("\n", " ")
        lines.append(f"| {item.name} | {_label(item)} | {_moment(since.get(item.name))} | {shown} |")
    return "\n".join(
        [
            *lines,
            "",
            f"Проверено {at:%d.%m.%Y %H:%M:%S} UTC; проверка идёт каждые 5 минут.",
            "",
            f"Поддержка: {settings.support_contact}. Отдел продаж: {settings.sales_contact}.",
        ]
    )


def _label(item: Check) -> str:
    if item.name in LIGHTS and item.state is not CheckState.WARNING:
        return DONE if item.state is CheckState.OK else FAILED
    return OWN.get((item.name, item.state), WORDS[item.state])


def _moment(text: str | None) -> str:
    return f"{datetime.fromisoformat(text):%d.%m.%Y %H:%M}" if text else ""
