"""The suite of patients.

Only a row that cannot become a card is held: one without a usable key, without any name, or there twice. A
single broken value is withheld, and the card goes without it.
"""

from __future__ import annotations

from typing import Final

from expectations.rules import Rule

__all__ = ["RULES"]

#: What a patient's card must be like, in the order in which it is checked.
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
        code="patient_id_unique",
        column="patient_id",
        action="quarantine",
        severity="error",
        explanation="Карточка пациента записана дважды под одним номером",
        remedy="Обратитесь в поддержку IDENT: двух карточек с одним номером быть не должно.",
        expectation="expect_column_values_to_be_unique",
        waivable=False,
    ),
    Rule(
        code="name_present",
        column="last_name",
        action="quarantine",
        severity="error",
        explanation="Не заполнены ни фамилия, ни имя",
        remedy="Заполните фамилию или имя в карточке пациента.",
        expectation="expect_either_to_be_filled",
        arguments={"column_A": "last_name", "column_B": "first_name"},
    ),
    Rule(
        code="phone_mobile_e164",
        column="phone_mobile",
        action="withhold",
        severity="error",
        explanation="Мобильный телефон не похож на номер",
        remedy="Исправьте мобильный телефон в карточке пациента.",
        expectation="expect_column_values_to_be_e164",
    ),
    Rule(
        code="phone_other_e164",
        column="phone_other",
        action="withhold",
        severity="error",
        explanation="Второй телефон не похож на номер",
        remedy="Исправьте второй телефон в карточке пациента.",
        expectation="expect_column_values_to_be_e164",
    ),
    Rule(
        code="birth_date_plausible",
        column="birth_date",
        action="withhold",
        severity="error",
        explanation="Дата рождения в будущем или слишком давняя",
        remedy="Исправьте дату рождения в карточке пациента.",
        expectation="expect_column_values_to_be_between",
        arguments={"min_value": {"$PARAMETER": "oldest_birth"}, "max_value": {"$PARAMETER": "today"}},
    ),
    Rule(
        code="email_shape",
        column="email",
        action="withhold",
        severity="error",
        explanation="Адрес электронной почты не похож на адрес",
        remedy="Исправьте или удалите e-mail в карточке пациента.",
        expectation="expect_column_values_to_match_regex",
        arguments={"regex": r"^[^@\s]+@[^@\s]+\.[^@\s]+\Z"},
    ),
)
