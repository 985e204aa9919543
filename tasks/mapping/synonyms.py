"""Other names under which clinics keep the same pipelines, stages and fields.

Spelling, case, plural and word order need no line here (``tasks.mapping.similarity``): only other words.
"""

from __future__ import annotations

from typing import Final

from tasks.mapping.model import StageKey

__all__ = ["CONTACT_NAMES", "LEAD_NAMES", "PIPELINE_NAMES", "STAGE_NAMES"]

PIPELINE_NAMES: Final[dict[bool, tuple[str, ...]]] = {
    True: ("Первичный", "Первичные пациенты", "Первичка", "Primary visit", "First visit", "New patients"),
    False: ("Повторный", "Повторные пациенты", "Вторичный приём", "Repeat visit", "Follow-up"),
}

STAGE_NAMES: Final[dict[StageKey, tuple[str, ...]]] = {
    StageKey.PLANNED: ("Записан", "Записан на приём", "Приём назначен", "Planned", "Scheduled", "Booked"),
    StageKey.RESCHEDULED: ("Перенос", "Перенос записи", "Приём перенесён", "Rescheduled"),
    StageKey.ARRIVED: ("Пришёл", "Пришёл в клинику", "Пришёл на приём", "Arrived", "Пациент в клинике"),
    StageKey.IN_PROGRESS: ("Идёт приём", "На приёме", "В процессе", "In progress"),
    StageKey.COMPLETED: ("Завершён", "Приём состоялся", "Приём окончен", "Completed", "Visit completed"),
    StageKey.NO_SHOW: ("Неявка", "Не явился", "Не пришёл на приём", "No-show", "No show"),
}

CONTACT_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "birth_date": ("Дата рождения", "День рождения", "ДР", "Birthday", "Birth date", "Date of birth", "DOB"),
    "sex": ("Пол", "Gender", "Sex"),
    "city": ("Город", "Город проживания", "City"),
    "card_number": ("Номер карты", "Карта", "Медкарта", "Номер медкарты", "Card number", "Chart number"),
    "guardian_name": ("Представитель", "Опекун", "Родитель", "Guardian"),
    "comment": ("Комментарий", "Комментарий о пациенте", "Примечание", "Comment"),
    "ad_source": ("Источник", "Рекламный источник", "Канал привлечения", "Ad source", "Источник рекламы"),
    "attending_doctor": ("Лечащий врач", "Attending doctor", "Лечащий доктор"),
    "archived": ("В архиве", "Архив", "Archived"),
    "archive_reason": ("Причина архивации", "Причина архива", "Archive reason"),
    "sms_opt_out": ("Отказ от СМС", "Отказ от рассылки", "SMS opt-out"),
    "first_visit_at": ("Первый визит", "Первое посещение", "Дата первого визита", "First visit"),
    "last_visit_at": ("Последний визит", "Последнее посещение", "Дата последнего визита", "Last visit"),
    "visits_completed": ("Завершённых приёмов", "Количество завершённых приёмов", "Completed visits"),
    "visits_total": ("Всего приёмов", "Количество визитов", "Total visits", "Число посещений"),
    "debt": ("Долг", "Долг пациента", "Задолженность", "Debt"),
}

LEAD_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "start_at": ("Начало приёма", "Дата приёма", "Дата и время приёма", "Время приёма", "Appointment start"),
    "end_at": ("Окончание приёма", "Конец приёма", "Appointment end"),
    "status": ("Статус приёма", "Статус записи", "Статус", "Appointment status"),
    "arrived_at": ("Пациент пришёл", "Время прихода", "Arrived at"),
    "started_at": ("Приём начат", "Started at"),
    "ended_at": ("Приём завершён", "Finished at"),
    "bill_issued_at": ("Счёт выдан", "Дата счёта", "Bill issued"),
    "cancelled_at": ("Отменён", "Дата отмены", "Cancelled at"),
    "cancel_reason": ("Причина отмены", "Cancellation reason"),
    "cancel_comment": ("Комментарий к отмене", "Cancellation comment"),
    "is_no_show": ("Не пришёл", "Неявка", "No-show"),
    "doctor": ("Врач", "Доктор", "Doctor", "Врач приёма"),
    "speciality": ("Специальность", "Специальность врача", "Специализация", "Speciality"),
    "cabinet": ("Кабинет", "Кресло", "Cabinet", "Room"),
    "branch": ("Филиал", "Клиника", "Branch", "Clinic"),
    "services": ("Услуги", "Процедуры", "Оказанные услуги", "Services"),
    "amount": ("Сумма счёта", "Стоимость приёма", "Сумма", "Amount"),
    "paid": ("Оплачено", "Сумма оплаты", "Оплата", "Paid"),
    "debt": ("Долг по приёму", "Долг", "Задолженность", "Debt"),
    "comment": ("Комментарий к приёму", "Комментарий", "Примечание", "Comment"),
    "source": ("Источник записи", "Источник", "Source", "Канал записи"),
    "is_primary": ("Вид приёма", "Тип приёма", "Visit type"),
    "created_at": ("Запись создана", "Дата создания записи", "Created at"),
}
