"""The page about data quality: it explains every rule in the code's own words, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from expectations.rules import PAGE, Rule
from expectations.suites import SUITES
from expectations.thresholds import Thresholds

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")
SECTIONS = {
    name: " ".join(body.split())
    for name, body in re.findall(r"^### (\w+)\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
}
RULES = [(entity, rule) for entity, rules in SUITES.items() for rule in rules]
SEVERITIES = {
    "critical": "Критично",
    "error": "Ошибка",
    "warning": "Предупреждение",
    "info": "Не ошибка",
}
#: What follows, as the page tells it; a rule about the table either stops the run or is told in its report.
FOLLOWS = {
    "stop": "останавливается до первого запроса",
    "quarantine": "Строка не передаётся и стоит в списке",
    "withhold": "передаётся без этого значения",
    "skip": "это не ошибка",
    "report": "правило только считает",
}


def test_every_rule_has_its_section_and_no_other_has() -> None:
    assert set(SECTIONS) == {rule.code for _entity, rule in RULES}


@pytest.mark.parametrize(("entity", "rule"), RULES, ids=[f"{entity}-{rule.code}" for entity, rule in RULES])
def test_the_section_says_what_the_rule_says(entity: str, rule: Rule) -> None:
    section = SECTIONS[rule.code]
    assert rule.link == f"{PAGE}#{rule.code}"
    assert rule.explanation in section
    assert rule.remedy in section
    assert SEVERITIES[rule.severity] in section
    follows = "сообщает отчёт" if rule.is_table and rule.action == "report" else FOLLOWS[rule.action]
    assert follows in section
    assert ("Принять это нельзя" in section) is not rule.waivable


@pytest.mark.parametrize("name", list(Thresholds.model_fields))
def test_every_threshold_is_listed_with_its_default(name: str) -> None:
    default = Thresholds.model_fields[name].default
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    assert f"| `{name}` | {shown} | {Thresholds.model_fields[name].description} |" in TEXT


def test_severity_and_action_belong_together() -> None:
    pairs = {(rule.action, rule.severity) for _entity, rule in RULES}
    assert pairs == {
        ("stop", "critical"),
        ("quarantine", "error"),
        ("withhold", "error"),
        ("skip", "info"),
        ("report", "warning"),
    }
