"""What to do, and when the row is tried again, by code, in English and Russian."""

from __future__ import annotations

from typing import Final

__all__ = ["NEXT", "REMEDIES"]

Pair = tuple[str, str]
RETRY: Final = "ident-amocrm rejects retry {clinic} --entity {entity} --id {id}"

REMEDIES: Final[dict[str, Pair]] = {
    "nothing": ("Nothing to do.", "Делать ничего не нужно."),
    "wait": (
        "Nothing to do; now: ident-amocrm sync {clinic}",
        "Делать ничего не нужно; сразу: ident-amocrm sync {clinic}",
    ),
    "start": (
        "Start the transfer: ident-amocrm start {clinic}, or one run: ident-amocrm sync {clinic}",
        "Запустите передачу: ident-amocrm start {clinic}, или один раз: ident-amocrm sync {clinic}",
    ),
    "repair_runs": (
        "Repair what stops the runs ({code}), then: ident-amocrm sync {clinic}",
        "Устраните причину остановки ({code}), затем: ident-amocrm sync {clinic}",
    ),
    "sync_full": (
        "Read everything: ident-amocrm sync {clinic} --full",
        "Прочитайте всё: ident-amocrm sync {clinic} --full",
    ),
    "correct_in_ident": ("Correct the field {field} in IDENT.", "Исправьте в IDENT поле {field}."),
    "correct_chain": (
        "Correct the field {field} of appointment {row} in IDENT.",
        "Исправьте в IDENT поле {field} приёма {row}.",
    ),
    "fill_in_patient": ("Enter the patient in IDENT.", "Укажите пациента в IDENT."),
    "explain_patient": (
        "See: ident-amocrm explain patient {patient_id} --clinic {clinic}",
        "Смотрите: ident-amocrm explain patient {patient_id} --clinic {clinic}",
    ),
    "choose_candidate": (
        "Merge the contacts in amoCRM, then: " + RETRY,
        "Объедините контакты в amoCRM, затем: " + RETRY,
    ),
    "correct_and_retry": (
        "Correct the field in IDENT or in the mapping, then: " + RETRY,
        "Исправьте поле в IDENT или в настройке, затем: " + RETRY,
    ),
    "decide_removed": (
        "Look into amoCRM's trash; if it is not there on purpose, send it again: " + RETRY,
        "Проверьте корзину amoCRM; если карточку удалили не намеренно, отправьте снова: " + RETRY,
    ),
    "confirm_moves": (
        "If the stage is to change, say so: " + RETRY,
        "Если этап должен смениться, подтвердите: " + RETRY,
    ),
    "restore_card": (
        "Restore the card from amoCRM's trash, if it was not meant to go; it is never made anew by itself.",
        "Если карточка нужна, восстановите её из корзины amoCRM; сама она заново не создаётся.",
    ),
    "restore_and_retry": (
        "Restore the card from amoCRM's trash, then: " + RETRY,
        "Восстановите карточку из корзины amoCRM, затем: " + RETRY,
    ),
    "card_restored": (
        "The card is back: " + RETRY,
        "Карточка снова на месте: " + RETRY,
    ),
    "map_stage": (
        "Choose a stage for its status: ident-amocrm mapping show",
        "Выберите этап для её статуса: ident-amocrm mapping show",
    ),
    "wait_for_proof": (
        "Nothing to do; two searches a minute apart prove that it is not there.",
        "Делать ничего не нужно: отсутствие доказывают два поиска с перерывом в минуту.",
    ),
    "widen_window": (
        "To transfer it: ident-amocrm start {clinic} --history-days N, or --all-history",
        "Чтобы передать: ident-amocrm start {clinic} --history-days N, или --all-history",
    ),
    "widen_filter": (
        "To transfer it, change the filters (flow configure-mapping) or the branches of the block.",
        "Чтобы передать, измените фильтры (процесс configure-mapping, блок «Фильтры») или филиалы в блоке.",
    ),
    "want_deals": (
        "To transfer it, start the transfer with deals: flow start-transfer, or ident-amocrm start.",
        "Чтобы передать, запустите передачу с приёмами: процесс start-transfer, «Что передавать».",
    ),
    "window_update": (
        "amoCRM keeps the card {amo_id} as it is; to update it: ident-amocrm start {clinic} --history-days N",
        "Карточка {amo_id} остаётся как есть; чтобы обновить: ident-amocrm start {clinic} --history-days N",
    ),
    "admit": (
        "If the person agreed again: ident-amocrm erase-subject {clinic} --lift, with the patient's number",
        "Если человек снова согласился: ident-amocrm erase-subject {clinic} --lift и номер пациента",
    ),
    "check_id": (
        "Check the id and the clinic (--clinic); a patient's is the number of the person in IDENT.",
        "Проверьте номер и клинику; номер пациента — это номер человека в IDENT.",
    ),
    "gone_before": (
        "It was deleted in IDENT before it was transferred; nothing to do.",
        "Её удалили в IDENT до передачи; делать ничего не нужно.",
    ),
    "gone_closed": (
        "The card {amo_id} was tagged, and a deal closed; nothing to do.",
        "Карточка {amo_id} помечена, сделка закрыта; делать ничего не нужно.",
    ),
    "gone_replaced": (
        "Its deal {amo_id} goes on with appointment {row}; nothing to do.",
        "Сделка {amo_id} продолжается приёмом {row}; делать ничего не нужно.",
    ),
    "gone_open": (
        "Two full reads that miss it close the card {amo_id}; now: ident-amocrm sync {clinic} --full",
        "Карточку {amo_id} закроют два полных чтения без неё; сразу: ident-amocrm sync {clinic} --full",
    ),
    "source_unreachable": (
        "Repair the connection, see: ident-amocrm status",
        "Восстановите подключение к базе, смотрите проверку состояния.",
    ),
}

NEXT: Final[dict[str, Pair]] = {
    "next_tick": ("At the next tick of the schedule.", "При следующем запуске по расписанию."),
    "next_tick_stopped": (
        "Not before the transfer is started or sync is run.",
        "Не раньше, чем передачу запустят.",
    ),
    "next_change": (
        "When IDENT changes the row, at the next tick after it.",
        "Когда строка изменится в IDENT, при следующем запуске.",
    ),
    "next_change_stopped": (
        "When IDENT changes the row and the transfer is started or sync is run.",
        "Когда строка изменится в IDENT и передачу запустят.",
    ),
    "next_parked": (
        "When the row changes in IDENT, or after rejects retry.",
        "Когда строка изменится в IDENT или повтор разрешат.",
    ),
    "next_parked_stopped": (
        "When the row changes in IDENT or after rejects retry, once the transfer is started or sync is run.",
        "Когда строка изменится в IDENT или повтор разрешат, а передачу запустят.",
    ),
    "next_word": ("After rejects retry.", "После разрешения повтора."),
    "next_word_stopped": (
        "After rejects retry, once the transfer is started or sync is run.",
        "После разрешения повтора, когда передачу запустят.",
    ),
    "next_patient": ("By itself, together with its patient.", "Сама, вместе с пациентом."),
    "next_patient_stopped": (
        "Together with its patient, once the transfer is started or sync is run.",
        "Вместе с пациентом, когда передачу запустят.",
    ),
    "next_full": ("At the next full read, after {full}.", "При следующем полном чтении, после {full}."),
    "next_full_stopped": (
        "At the next full read, once the transfer is started or sync is run.",
        "При следующем полном чтении, когда передачу запустят.",
    ),
    "next_start": ("Once the transfer is started.", "Когда передачу запустят."),
    "next_window": ("Not while the window is as it is.", "Пока период таков — никогда."),
    "never": ("Never.", "Никогда."),
    "unknown": ("Not known.", "Неизвестно."),
}
