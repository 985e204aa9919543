"""The suite of patients.

Only a row that cannot become a card is held: one without a usable key, without any name, or there twice. A
single broken value is withheld, and the card goes without it.
"""

from __future__ import annotations

from typing import Final

from expectations.rules import Rule
from expectations.shared import SENTINELS, TABLE, clean_text, not_future, short_text

__all__ = ["RULES"]

#: What a patient's card must be like, in the order in which it is checked.
RULES: Final[tuple[Rule, ...]] = (
    *TABLE,
    Rule(
        code="patient_id_valid",
        column="patient_id",
        action="quarantine",
        severity="error",
        explanation="У карточки пациента служебный номер (ноль или меньше)",
        remedy="Это заготовка, а не пациент: удалите её в IDENT или заведите пациента заново.",
        expectation="expect_column_values_to_be_between",
        arguments={"min_value": 1},
        waivable=False,
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
        code="name_plausible",
        column="last_name",
        action="report",
        severity="warning",
        explanation="В фамилии есть цифры",
        remedy="Уберите из фамилии номер телефона, карты или пометку: для них есть свои поля.",
        expectation="expect_column_values_to_not_match_regex",
        arguments={"regex": r"\d"},
    ),
    clean_text("name_clean", "last_name", "Фамилия", withheld=False),
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
        code="phone_present",
        column="phone_mobile",
        action="report",
        severity="warning",
        explanation="У пациента нет ни одного телефона",
        remedy="Впишите телефон в карточку пациента: без него ему не позвонить и не написать из amoCRM.",
        expectation="expect_either_to_be_filled",
        arguments={"column_A": "phone_mobile", "column_B": "phone_other"},
    ),
    Rule(
        code="phones_missing",
        column="phone_mobile",
        action="report",
        severity="warning",
        explanation="Слишком у многих пациентов нет телефона",
        remedy="Проверьте, видны ли телефоны в IDENT; если так и есть, измените порог missing_phones.",
        expectation="expect_few_rows_to_lack_all",
        arguments={
            "columns": ["phone_mobile", "phone_other"],
            "at_most": {"$PARAMETER": "missing_phones"},
            "fewest_rows": {"$PARAMETER": "fewest_rows"},
        },
        is_table=True,
    ),
    Rule(
        code="birth_date_sentinel",
        column="birth_date",
        action="withhold",
        severity="error",
        explanation="Вместо даты рождения стоит заглушка (01.01.1900)",
        remedy="Впишите настоящую дату рождения или очистите поле в карточке пациента.",
        expectation="expect_column_values_to_not_be_in_set",
        arguments={"value_set": list(SENTINELS)},
    ),
    Rule(
        code="birth_date_plausible",
        column="birth_date",
        action="withhold",
        severity="error",
        explanation="Дата рождения в будущем или слишком давняя",
        remedy="Исправьте дату рождения в карточке пациента.",
        expectation="expect_day_to_be_plausible",
        arguments={
            "earliest": {"$PARAMETER": "oldest_birth"},
            "latest": {"$PARAMETER": "today"},
            "sentinels": list(SENTINELS),
        },
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
    clean_text("comment_clean", "comment", "Комментарий", withheld=True),
    short_text("comment_length", "comment", "Комментарий"),
    Rule(
        code="person_unique",
        column="last_name",
        action="report",
        severity="warning",
        explanation="Похоже, человек заведён дважды: совпали имя, день рождения и телефон",
        remedy="Сравните карточки и объедините их в IDENT, если это один человек.",
        expectation="expect_compound_columns_to_be_unique",
        arguments={
            "column_list": ["last_name", "first_name", "birth_date", "phone_mobile"],
            "ignore_row_if": "any_value_is_missing",
        },
    ),
    Rule(
        code="card_number_unique",
        column="card_number",
        action="report",
        severity="warning",
        explanation="Один номер карты у двух пациентов",
        remedy="Исправьте номер карты у одного из пациентов.",
        expectation="expect_column_values_to_be_unique",
    ),
    Rule(
        code="debt_not_negative",
        column="debt",
        action="report",
        severity="warning",
        explanation="Долг пациента отрицательный",
        remedy="Проверьте оплаты пациента: он заплатил больше, чем выставлено.",
        expectation="expect_column_values_to_be_between",
        arguments={"min_value": 0},
    ),
    not_future("changed_at_not_future", "changed_at", "Время изменения карточки", held=False),
)
