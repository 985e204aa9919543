"""Names as clinics write them, against the names that autoconfiguration looks for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tasks.mapping.catalogue import CONTACT_CARD, LEAD_CARD, PIPELINES, STAGES
from tasks.mapping.model import StageKey
from tasks.mapping.similarity import ALIKE, SAME, assign, likeness
from tasks.mapping.synonyms import CONTACT_NAMES, LEAD_NAMES, PIPELINE_NAMES, STAGE_NAMES


def best(name: str, wanted: Mapping[str, tuple[str, ...]]) -> str | None:
    scores = {key: max(likeness(name, one) for one in names) for key, names in wanted.items()}
    key = max(scores, key=lambda one: scores[one])
    return key if scores[key] >= ALIKE else None


CONTACT = {
    item.datum: (item.name, *CONTACT_NAMES[item.datum])
    for item in CONTACT_CARD
    if item.datum in CONTACT_NAMES
}
LEAD = {item.datum: (item.name, *LEAD_NAMES[item.datum]) for item in LEAD_CARD if item.datum in LEAD_NAMES}
STAGE = {item.key.value: (item.name, *STAGE_NAMES[item.key]) for item in STAGES}
PIPELINE = {str(key): (name, *PIPELINE_NAMES[key]) for key, name in PIPELINES.items()}


@pytest.mark.parametrize(
    ("name", "datum"),
    [
        ("Дата рождения", "birth_date"),
        ("ДАТА РОЖДЕНИЯ", "birth_date"),
        ("  дата   рождения: ", "birth_date"),
        ("День рождения пациента", "birth_date"),
        ("Birthday", "birth_date"),
        ("Date of birth", "birth_date"),
        ("Дата рожденя", "birth_date"),
        ("Пол", "sex"),
        ("пол клиента", "sex"),
        ("Gender", "sex"),
        ("Города", "city"),
        ("№ карты", "card_number"),
        ("Номер мед. карты", None),
        ("Номер карт", "card_number"),
        ("Источники рекламы", "ad_source"),
        ("Лечащие врачи", "attending_doctor"),
        ("Первый визит", "first_visit_at"),
        ("Последний визит", "last_visit_at"),
        ("Дата последнего посещения", "last_visit_at"),
        ("Визитов всего", "visits_total"),
        ("Задолженность пациента", "debt"),
        ("Комментарии", "comment"),
        ("Должность", None),
        ("Регион", None),
        ("Полис", None),
        ("Городской телефон", None),
        ("Web", None),
    ],
)
def test_fields_of_a_contact(name: str, datum: str | None) -> None:
    assert best(name, CONTACT) == datum


@pytest.mark.parametrize(
    ("name", "datum"),
    [
        ("Врач", "doctor"),
        ("ВРАЧИ", "doctor"),
        ("Доктора", "doctor"),
        ("Doctors", "doctor"),
        ("врач приема", "doctor"),
        ("Дата и время приема", "start_at"),
        ("Начало приема", "start_at"),
        ("Окончание приема", "end_at"),
        ("Статус записи", "status"),
        ("Статусы приёмов", "status"),
        ("Услуга", "services"),
        ("Services", "services"),
        ("Кабинеты", "cabinet"),
        ("Филиалы", "branch"),
        ("Сумма счета", "amount"),
        ("Сумма-счёта", "amount"),
        ("Оплачено", "paid"),
        ("Долг", "debt"),
        ("Причина отмены приема", None),
        ("Причины отмены", "cancel_reason"),
        ("Комментарий к отмене", "cancel_comment"),
        ("Комментарий к приему", "comment"),
        ("Тип приема", "is_primary"),
        ("Источник записи", "source"),
        ("Не пришел", "is_no_show"),
        ("Пациент пришел", "arrived_at"),
        ("Причина отказа", None),
        ("UTM source", None),
        ("Менеджер", None),
        ("Бюджет рекламы", None),
    ],
)
def test_fields_of_a_deal(name: str, datum: str | None) -> None:
    assert best(name, LEAD) == datum


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Запланирован", StageKey.PLANNED),
        ("Запланирована", StageKey.PLANNED),
        ("ЗАПИСАН НА ПРИЕМ", StageKey.PLANNED),
        ("Booked", StageKey.PLANNED),
        ("Перенесен", StageKey.RESCHEDULED),
        ("Перенос записи", StageKey.RESCHEDULED),
        ("Пришел", StageKey.ARRIVED),
        ("Пациент пришёл!", StageKey.ARRIVED),
        ("Не пришёл", StageKey.NO_SHOW),
        ("Пациент не пришел", StageKey.NO_SHOW),
        ("No show", StageKey.NO_SHOW),
        ("Неявка", StageKey.NO_SHOW),
        ("Приём идет", StageKey.IN_PROGRESS),
        ("Идёт приём", StageKey.IN_PROGRESS),
        ("Приемы завершены", StageKey.COMPLETED),
        ("Завершён", StageKey.COMPLETED),
        ("Completed", StageKey.COMPLETED),
        ("Не завершён", None),
        ("Переговоры", None),
        ("Принимают решение", None),
        ("Думает", None),
    ],
)
def test_stages(name: str, key: StageKey | None) -> None:
    assert best(name, STAGE) == (key.value if key else None)


@pytest.mark.parametrize(
    ("name", "primary"),
    [
        ("Первичный приём", True),
        ("ПЕРВИЧНЫЙ ПРИЕМ", True),
        ("Первичные приёмы", True),
        ("Первичка", True),
        ("Первичные пациенты", True),
        ("Primary visits", True),
        ("New patients", True),
        ("Повторный прием", False),
        ("Повторные", False),
        ("Вторичный приём", False),
        ("Follow-up", False),
        ("Продажи", None),
        ("Воронка", None),
        ("Приём", None),
    ],
)
def test_pipelines(name: str, primary: bool | None) -> None:
    assert best(name, PIPELINE) == (None if primary is None else str(primary))


def test_likeness_is_mutual_and_knows_equality() -> None:
    assert likeness("Счёт выдан", "счет  выдан") == SAME
    for left, right in (("Врач", "Доктор"), ("Город", "Полис"), ("Не пришёл", "Пришёл")):
        assert likeness(left, right) == likeness(right, left)


def test_each_one_found_is_given_once_and_the_best_pair_first() -> None:
    chosen = assign(["Врач", "Лечащий врач"], ["лечащий доктор", "врачи"], likeness)
    assert {key: found for key, (found, _score) in chosen.items()} == {
        "Врач": "врачи",
        "Лечащий врач": "лечащий доктор",
    }
