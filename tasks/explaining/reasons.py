"""What the codes of the ledger mean, in English and Russian; an unknown code speaks for itself."""

from __future__ import annotations

from typing import Final

__all__ = ["REASONS", "WORDS", "reason_text"]

#: Rules of the suites, reasons of the plan and of the load, codes of errors -> English, Russian.
REASONS: Final[dict[str, tuple[str, str]]] = {
    # Rules about rows and values
    "appointment_id_valid": ("its number stands for no appointment", "у приёма служебный номер"),
    "start_at_plausible": ("it starts too far in the future", "начало слишком далеко в будущем"),
    "duration_plausible": ("it lasts no time, or too long", "приём длится ноль минут или слишком долго"),
    "status_consistent": ("it is cancelled, but took place", "приём отменён, хотя уже состоялся"),
    "arrived_not_future": ("its arrival is in the future", "пациент пришёл в будущем"),
    "started_not_future": ("its beginning is noted in the future", "приём начат в будущем"),
    "ended_not_future": ("its end is noted in the future", "приём завершён в будущем"),
    "bill_not_future": ("its bill is of the future", "счёт выставлен в будущем"),
    "amount_not_negative": ("its bill is negative", "сумма счёта отрицательная"),
    "debt_within_amount": ("more is owed than the bill says", "долг больше суммы счёта"),
    "comment_clean": ("the comment has invisible characters", "в комментарии невидимые символы"),
    "patient_id_valid": ("its number stands for no patient", "у карточки служебный номер"),
    "birth_date_sentinel": ("a sentinel stands for the birthday", "вместо даты рождения стоит заглушка"),
    "appointment_id_unique": ("the appointment stands in IDENT twice", "приём записан в IDENT дважды"),
    "no_patient": ("the slot has no patient", "в записи нет пациента"),
    "patient_known": ("its patient does not exist in IDENT", "такого пациента нет в IDENT"),
    "start_at_present": ("it has no start", "не указано начало"),
    "end_not_before_start": ("it ends before it starts", "окончание раньше начала"),
    "status_known": ("its status is not one of the known", "статус неизвестен"),
    "patient_id_unique": ("the patient stands in IDENT twice", "пациент записан в IDENT дважды"),
    "name_present": ("neither last nor first name is filled in", "не заполнены ни фамилия, ни имя"),
    "phone_mobile_e164": ("the mobile phone is not a phone number", "мобильный телефон не похож на номер"),
    "phone_other_e164": ("the other phone is not a phone number", "второй телефон не похож на номер"),
    "birth_date_plausible": (
        "the birthday is in the future or too long ago",
        "дата рождения в будущем или слишком давняя",
    ),
    "email_shape": ("the e-mail is not an address", "адрес электронной почты не похож на адрес"),
    # Rules about other rows
    "chain_held_back": (
        "a later row of its reschedule chain did not pass",
        "не прошёл проверку более поздний приём той же цепочки переносов",
    ),
    "patient_kept_back": ("its patient is kept back", "не передан её пациент"),
    # Decisions for a person
    "several_candidates": (
        "several contacts have this phone and name",
        "этот телефон и имя есть у нескольких контактов",
    ),
    "not_in_amocrm": ("the card is no longer in amoCRM", "карточки больше нет в amoCRM"),
    "maybe_removed": ("somebody may have deleted it in amoCRM", "её могли удалить в amoCRM"),
    "many_past_moves": (
        "too many past appointments change at once",
        "слишком много прошлых приёмов меняется разом",
    ),
    # Waiting
    "waits_for_patient": ("its patient's contact is not in amoCRM yet", "контакта пациента ещё нет в amoCRM"),
    "stage_not_mapped": ("the mapping has no stage for its status", "для статуса не выбран этап"),
    "note_pending": (
        "the note of the changed time is not written yet",
        "ещё не записано примечание о переносе",
    ),
    "note_refused": (
        "amoCRM refused the note of the changed time",
        "amoCRM не приняла примечание о переносе",
    ),
    "run_stopped": ("the run stopped before its turn", "запуск остановился раньше"),
    "stopped_by_operator": ("the transfer was stopped", "передачу остановили"),
    "run_in_progress": ("a run is at it now", "запуск ещё идёт"),
    "not_planned": ("no run has planned it yet", "ни один запуск её ещё не планировал"),
    "interrupted": ("the run was interrupted", "запуск был прерван"),
    "not_acknowledged": ("amoCRM did not confirm it", "amoCRM не подтвердила запись"),
    "not_named": ("amoCRM did not name it in its answer", "amoCRM не назвала её в ответе"),
    "answer_lost": ("amoCRM's answer was lost", "ответ amoCRM потерян"),
    "found_again": ("it was found after a lost answer", "найдена после потерянного ответа"),
    "proven_absent": (
        "a lost write is proven absent, it is sent anew",
        "доказано, что прошлая запись не дошла; отправится заново",
    ),
    # Errors that stop a run
    "amocrm_unavailable": ("amoCRM did not answer", "amoCRM не отвечала"),
    "database_unavailable": ("the database did not answer", "база данных не отвечала"),
    "rate_limited": ("amoCRM asked to wait", "amoCRM попросила подождать"),
    "authentication": ("the login or token is refused", "вход отклонён"),
    "payment_required": ("the amoCRM account is not paid", "аккаунт amoCRM не оплачен"),
    "blocked": ("amoCRM refuses access", "amoCRM отказала в доступе"),
    "lease_held": ("another run has the clinic", "клинику передаёт другой запуск"),
    "lease_lost": ("another run took over", "передачу продолжил другой запуск"),
    "not_configured": ("the mapping is not made yet", "связка не настроена"),
    "mapping_drift": (
        "the mapping no longer fits the account",
        "настройка не соответствует аккаунту amoCRM",
    ),
    "shrunk": ("too many known rows are missing in IDENT", "в IDENT пропало слишком много строк"),
    "block_missing": ("the connection was deleted in Prefect", "подключение удалено в Prefect"),
    "amocrm_not_connected": ("no amoCRM account is connected", "аккаунт amoCRM не подключён"),
}


#: Words of the ledger as an operator reads them; English needs no translation.
WORDS: Final[dict[str, str]] = {
    "patient": "пациент",
    "appointment": "приём",
    "contact": "контакт",
    "lead": "сделка",
    "create": "создать",
    "update": "обновить",
    "move": "передвинуть",
    "applied": "передано",
    "rejected": "отклонено",
    "deferred": "отложено",
    "ambiguous": "ответ потерян",
    "critical": "ошибка",
    "warning": "предупреждение",
    "info": "не ошибка",
    "completed": "завершён",
    "failed": "с ошибкой",
    "running": "идёт",
    "planned": "запланирован",
    "arrived": "пациент пришёл",
    "in_progress": "идёт приём",
    "bill_issued": "счёт выставлен",
    "cancelled": "отменён",
}


def reason_text(code: str, language: int) -> str:
    """Return a code with its meaning; 0 English, 1 Russian."""
    known = REASONS.get(code)
    return f"{code} ({known[language]})" if known else code or "—"
