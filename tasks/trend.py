"""The worst rules of a clinic and how they went: the table that an analyst reads in the Prefect UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tasks.ledger.quality import RuleCount

__all__ = ["LINES", "PAST_RUNS", "Trend", "spark", "trends"]

#: Lines of the table; the rules beyond are counted.
LINES: Final = 20
#: Earlier full reads that the table shows.
PAST_RUNS: Final = 7
BARS: Final = "▁▂▃▄▅▆▇█"
#: What a broken rule does to the transfer, the worst first.
EFFECTS: Final = {
    "stop": "останавливает запуск",
    "quarantine": "строка не передаётся",
    "withhold": "передаётся без значения",
    "report": "передаётся",
    "skip": "пропускается",
}
ORDER: Final = list(EFFECTS)
ENTITIES: Final = {"patient": "пациенты", "appointment": "приёмы"}


@dataclass(slots=True)
class Trend:
    """How one rule went.

    Attributes:
        entity: What its rows are.
        rule: Its code.
        past: Rows that broke it in each full read, oldest first; the last one is now.
        checked: Rows that the last full read looked at.
        since: Rows of changes that broke it since.
    """

    entity: str
    rule: str
    past: list[int] = field(default_factory=list)
    checked: int = 0
    since: int = 0

    @property
    def now(self) -> int:
        """Rows that broke it in the last full read."""
        return self.past[-1] if self.past else 0

    @property
    def is_worth_showing(self) -> bool:
        """Whether something is broken, or was until the last full read."""
        return bool(self.now or self.since or self.past[-2:-1] not in ([], [0]))

    def line(self, action: str, explanation: str, remedy: str) -> dict[str, str]:
        """Return the line of the table, under Russian headings.

        Args:
            action: What the rule does to the transfer.
            explanation: What is wrong.
            remedy: What to do about it.
        """
        now = f"{self.now} из {self.checked}"
        return {
            "Правило": f"{self.rule} ({ENTITIES[self.entity]})",
            "Что значит": explanation,
            "Сейчас": f"{now}, в изменениях с тех пор: {self.since}" if self.since else now,
            "Прошлые запуски": _past(self.past[:-1]),
            "Изменение": _change(self.past),
            "Передача": EFFECTS[action],
            # Prefect's tables do not wrap: the longest text comes last.
            "Что делать": remedy,
        }


def trends(counts: Sequence[RuleCount], actions: Mapping[tuple[str, str], str]) -> list[Trend]:
    """Return how the rules went that are worth showing, the worst first.

    Args:
        counts: What the ledger has of them, oldest first.
        actions: What each rule does, by entity and code; rules that are no more are left out.
    """
    found: dict[tuple[str, str], Trend] = {}
    for count in counts:
        key = (count.entity, count.rule)
        if key not in actions:
            continue
        trend = found.setdefault(key, Trend(*key))
        if count.is_whole:
            trend.past.append(count.failed)
            trend.checked = count.checked
        else:
            trend.since += count.failed
    for trend in found.values():
        del trend.past[: -PAST_RUNS - 1]
    shown = [trend for trend in found.values() if trend.is_worth_showing]
    return sorted(
        shown,
        key=lambda trend: (
            ORDER.index(actions[trend.entity, trend.rule]),
            -(trend.now + trend.since),
            trend.entity,
            trend.rule,
        ),
    )


def spark(numbers: Sequence[int]) -> str:
    """Return bars as high as the numbers are, against the highest; nothing but 0 is the lowest bar."""
    highest = max(numbers, default=0)
    return "".join(
        BARS[-(-number * (len(BARS) - 1) // highest)] if highest else BARS[0] for number in numbers
    )


def _past(numbers: Sequence[int]) -> str:
    return f"{spark(numbers)} {' · '.join(str(number) for number in numbers)}" if numbers else "—"


def _change(past: Sequence[int]) -> str:
    if len(past) < 2:
        return "впервые"
    change = past[-1] - past[-2]
    if not change:
        return "без изменений"
    return f"▲ +{change}" if change > 0 else f"▼ −{-change}"
