"""The suite of appointments.

A row is held when what makes it an appointment is wrong: whose it is, when it is, in which state. A person
sees it in the list, and it goes out with the next run once IDENT was corrected.
"""

from __future__ import annotations

from typing import Final

from expectations.rules import Rule
from tasks.frames import Status

__all__ = ["RULES"]

#: What an appointment must be like, in the order in which it is checked.
RULES: Final[tuple[Rule, ...]] = (
    Rule(
        code="columns",
        column="",
        action="stop",
        severity="critical",
        explanation="В таблице не те колонки",
        remedy="Это ошибка программы, а не данных: передайте номер запуска в поддержку.",
        expectation="expect_table_columns_to_match_set",
        arguments={"column_set": {"$PARAMETER": "columns"}, "exact_match": True},
        waivable=False,
        is_table=True,
    ),
    Rule(
        code="appointment_id_unique",
        column="appointment_id",
        action="quarantine",
        severity="error",
        explanation="Приём записан дважды под одним номером",
        remedy="Обратитесь в поддержку IDENT: двух приёмов с одним номером быть не должно.",
        expectation="expect_column_values_to_be_unique",
        waivable=False,
    ),
    Rule(
        code="no_patient",
        column="patient_id",
        action="skip",
        severity="info",
        explanation="В записи нет пациента",
        remedy="Это не ошибка: время занято без пациента. Когда пациента впишут, приём передастся сам.",
        expectation="expect_column_values_to_not_be_null",
        waivable=False,
    ),
    Rule(
        code="patient_known",
        column="patient_id",
        action="quarantine",
        severity="error",
        explanation="Пациента этого приёма нет в IDENT",
        remedy="Откройте приём и выберите пациента заново.",
        expectation="expect_column_values_to_be_in_reference",
        arguments={"reference": {"$PARAMETER": "patients"}},
        waivable=False,
    ),
    Rule(
        code="start_at_present",
        column="start_at",
        action="quarantine",
        severity="error",
        explanation="У приёма нет начала",
        remedy="Укажите дату и время приёма в расписании.",
        expectation="expect_column_values_to_not_be_null",
        waivable=False,
    ),
    Rule(
        code="end_not_before_start",
        column="end_at",
        action="quarantine",
        severity="error",
        explanation="Окончание приёма раньше начала",
        remedy="Исправьте время начала или окончания приёма в расписании.",
        expectation="expect_not_before",
        arguments={"column_A": "end_at", "column_B": "start_at"},
    ),
    Rule(
        code="status_known",
        column="status",
        action="quarantine",
        severity="error",
        explanation="Статус приёма неизвестен",
        remedy="Это ошибка программы, а не данных: передайте номер приёма в поддержку.",
        expectation="expect_column_values_to_be_in_set",
        arguments={"value_set": [status.value for status in Status]},
        waivable=False,
    ),
    Rule(
        code="amount_not_negative",
        column="amount",
        action="report",
        severity="warning",
        explanation="Сумма счёта отрицательная",
        remedy="Проверьте скидки и услуги в счёте приёма.",
        expectation="expect_column_values_to_be_between",
        arguments={"min_value": 0},
    ),
)
