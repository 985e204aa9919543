"""Rules that both suites have, in the words of each."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from expectations.rules import Rule

__all__ = ["OURS", "SENTINELS", "TABLE", "clean_text", "not_future", "short_text"]

OURS: Final = "Это ошибка программы, а не данных: передайте номер запуска в поддержку."
#: Control characters but tab, line feed and carriage return.
CONTROL: Final = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
#: Days that programs write where they know none.
SENTINELS: Final = (
    datetime(1753, 1, 1),  # noqa: DTZ001 - a calendar day
    datetime(1899, 12, 30),  # noqa: DTZ001
    datetime(1900, 1, 1),  # noqa: DTZ001
)
#: What amoCRM keeps of a long text; the rest is cut off.
LONGEST_TEXT: Final = 3000

#: Rules about the table as a whole.
TABLE: Final[tuple[Rule, ...]] = (
    Rule(
        code="columns",
        column="",
        action="stop",
        severity="critical",
        explanation="В таблице не те колонки",
        remedy=OURS,
        expectation="expect_table_columns_to_match_set",
        arguments={"column_set": {"$PARAMETER": "columns"}, "exact_match": True},
        waivable=False,
        is_table=True,
    ),
    Rule(
        code="column_types",
        column="",
        action="stop",
        severity="critical",
        explanation="У колонок не те типы",
        remedy=OURS,
        expectation="expect_column_types_to_be_declared",
        arguments={"declared": {"$PARAMETER": "declared"}, "found": {"$PARAMETER": "found"}},
        waivable=False,
        is_table=True,
    ),
    Rule(
        code="columns_emptied",
        column="",
        action="stop",
        severity="critical",
        explanation="Колонка, которая была заполнена, опустела",
        remedy=(
            "Проверьте в IDENT, видны ли эти данные. Если обновился IDENT или изменились права пользователя "
            "базы, обратитесь в поддержку IDENT; если данные убрали нарочно, примите это (rejects waive)."
        ),
        expectation="expect_columns_to_stay_filled",
        arguments={"before": {"$PARAMETER": "filled_before"}, "is_full": {"$PARAMETER": "is_full"}},
        is_table=True,
    ),
    Rule(
        code="rows_volume",
        column="",
        action="stop",
        severity="critical",
        explanation="Строк в IDENT намного меньше или больше, чем в прошлые дни",
        remedy=(
            "Проверьте, та ли это база: восстановленная, пустая или объединённая база выглядит так. Если всё "
            "верно, примите это (rejects waive) или измените пороги клиники."
        ),
        expectation="expect_measure_to_be_between",
        arguments={
            "measure": "rows now to rows before",
            "value": {"$PARAMETER": "row_ratio"},
            "least": {"$PARAMETER": "smallest_ratio"},
            "most": {"$PARAMETER": "largest_ratio"},
        },
        is_table=True,
    ),
    Rule(
        code="keys_vanished",
        column="",
        action="report",
        severity="warning",
        explanation="Из IDENT пропало необычно много переданных строк",
        remedy="Проверьте, нарочно ли их удалили: через сутки их карточки в amoCRM отметятся удалёнными.",
        expectation="expect_measure_to_be_between",
        arguments={
            "measure": "share of known rows that vanished",
            "value": {"$PARAMETER": "vanished"},
            "most": {"$PARAMETER": "vanished_share"},
        },
        is_table=True,
    ),
)


def not_future(code: str, column: str, what: str, *, held: bool) -> Rule:
    """Return the rule that an instant is not in the future, but for clocks that are wrong.

    Args:
        code: Its code.
        column: The instant.
        what: What it is the time of, in Russian.
        held: Whether the row is held, or only counted.
    """
    return Rule(
        code=code,
        column=column,
        action="quarantine" if held else "report",
        severity="error" if held else "warning",
        explanation=f"{what} в будущем",
        remedy="Исправьте дату в IDENT; если она верна, проверьте часы сервера базы.",
        expectation="expect_column_values_to_be_between",
        arguments={"max_value": {"$PARAMETER": "latest_stamp"}},
    )


def clean_text(code: str, column: str, what: str, *, withheld: bool) -> Rule:
    """Return the rule that a text has no control characters."""
    return Rule(
        code=code,
        column=column,
        action="withhold" if withheld else "report",
        severity="error" if withheld else "warning",
        explanation=f"{what}: есть невидимые служебные символы",
        remedy="Сотрите этот текст в IDENT и наберите его заново, не вставляя из другой программы.",
        expectation="expect_column_values_to_not_match_regex",
        arguments={"regex": CONTROL},
    )


def short_text(code: str, column: str, what: str) -> Rule:
    """Return the rule that a text is kept by amoCRM as a whole."""
    return Rule(
        code=code,
        column=column,
        action="report",
        severity="warning",
        explanation=f"{what} длиннее {LONGEST_TEXT} знаков и передаётся не целиком",
        remedy="Сократите текст в IDENT, если в amoCRM он нужен целиком.",
        expectation="expect_column_value_lengths_to_be_between",
        arguments={"max_value": LONGEST_TEXT},
    )
