"""How a validation and the list of them look; Great Expectations calls these classes by their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jinja2 import Environment, PackageLoader

__all__ = ["INDEX_LIMIT", "IndexRenderer", "IndexView", "ValidationRenderer", "ValidationView", "render"]

#: Validations that the index lists; each of them is read again whenever it is built.
INDEX_LIMIT: Final = 50
TITLES: Final = {"patient": "Проверка пациентов", "appointment": "Проверка приёмов"}
#: Action of a rule -> how its failure looks, what it does to the transfer, and its place in the list.
EFFECTS: Final = {
    "stop": ("bad", "запуск остановлен"),
    "quarantine": ("bad", "строка не передаётся"),
    "withhold": ("warn", "передаётся без этого значения"),
    "report": ("warn", "передаётся"),
    "skip": ("soft", "не передаётся, пока не заполнено"),
}
ORDER: Final = list(EFFECTS)
ENVIRONMENT: Final = Environment(
    loader=PackageLoader("expectations", "pages"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
ENVIRONMENT.filters["number"] = lambda value: f"{int(value):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def render(template: str, content: Mapping[str, Any]) -> str:
    """Return a page."""
    return ENVIRONMENT.get_template(template).render(content)


class ValidationRenderer:
    """Turns a stored result into what its page shows."""

    def __init__(self, data_context: Any = None) -> None:
        self.data_context = data_context

    def render(self, outcome: Any) -> dict[str, Any]:
        """Return the content of a page."""
        facts = dict(outcome.meta["batch_spec"])
        rules = [_rule(result) for result in outcome.results]
        broken = sorted(
            (rule for rule in rules if not rule["success"]),
            key=lambda rule: (ORDER.index(rule["action"]), -rule["failed"]),
        )
        verdict, tone = verdict_of(facts)
        return {
            **facts,
            "title": TITLES[facts["entity"]],
            "scope": scope_of(facts),
            "version": outcome.meta["great_expectations_version"],
            "verdict": verdict,
            "tone": tone,
            "advice": _advice(facts),
            "broken": broken,
            "kept": [rule for rule in rules if rule["success"]],
            # Pages lie at validations/<suite>/<run>/<time>/<batch>.html.
            "root": "../../../../",
        }


class ValidationView:
    """Writes the page of a validation."""

    def __init__(self, **_directories: Any) -> None:
        """Take no notice of upstream's folders of styles."""

    def render(self, content: dict[str, Any], **_upstream: Any) -> str:
        """Return the page."""
        return render("validation.html", {"page": content})


class IndexRenderer:
    """Turns the links that Great Expectations collected into what the index shows."""

    def __init__(self, data_context: Any = None) -> None:
        self.data_context = data_context

    def render(self, links: Mapping[str, Any]) -> dict[str, Any]:
        """Return the content of the index."""
        checks = [_check(link) for link in links.get("validations_links", ())]
        return {"clinic": links["site_name"], "checks": checks, "limit": INDEX_LIMIT}


class IndexView:
    """Writes the index."""

    def __init__(self, **_directories: Any) -> None:
        """Take no notice of upstream's folders of styles."""

    def render(self, content: dict[str, Any], **_upstream: Any) -> str:
        """Return the page."""
        return render("index.html", content)


def verdict_of(facts: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a validation came to, and how that looks."""
    if facts["stopped"]:
        return "Запуск остановлен", "bad"
    if facts["held"]:
        return "Не всё передаётся", "bad"
    if facts["failures"]:
        return "Передаётся, есть замечания", "warn"
    return "Всё в порядке", "good"


def scope_of(facts: Mapping[str, Any]) -> str:
    """Return what was validated."""
    scope = "Полное чтение: все строки." if facts["is_whole"] else "Только изменившиеся строки."
    return f"{scope} Пробный прогон." if facts["dry_run"] else scope


def _advice(facts: Mapping[str, Any]) -> str:
    if facts["stopped"]:
        return "Правило о таблице в целом не выполнено. Исправьте причину: следующий запуск проверит снова."
    if facts["held"]:
        return "Исправьте в IDENT то, что ниже: исправленное уйдёт в amoCRM со следующим запуском само."
    if facts["failures"]:
        return "Передаче это не мешает, но данные стоит исправить."
    return "Все правила выполнены."


def _check(link: Mapping[str, Any]) -> dict[str, Any]:
    facts = link["batch_spec"]
    verdict, tone = verdict_of(facts)
    shown = {"path": link["filepath"], "title": TITLES[facts["entity"]], "scope": scope_of(facts)}
    return {**facts, **shown, "verdict": verdict, "tone": tone}


def _rule(result: Any) -> dict[str, Any]:
    meta, found = result.expectation_config.meta, result.result
    tone, effect = EFFECTS[meta["action"]]
    checked, failed = found["element_count"], found["unexpected_count"]
    ids = found["unexpected_index_list"]
    return {
        **meta,
        "success": result.success,
        "checked": checked,
        "failed": failed,
        "share": _share(failed, checked) if ids else "",
        "ids": ids,
        "more": max(0, failed - len(ids)),
        "raised": result.exception_info["raised_exception"],
        "tone": tone,
        "effect": effect,
    }


def _share(failed: int, checked: int) -> str:
    """Return a share in per cent; a few rows of many are not none."""
    percent = 100 * failed / checked if checked else 0.0
    return f"{percent:.1f} %".replace(".", ",") if percent >= 0.1 else "менее 0,1 %"
