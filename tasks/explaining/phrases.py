"""Sentences of the story by code, in English (command line) and Russian (artifact)."""

from __future__ import annotations

from typing import Final

__all__ = ["NEXT", "REMEDIES", "SECTIONS", "SENTENCES", "VERDICTS"]

Pair = tuple[str, str]
RETRY: Final = "ident-amocrm rejects retry {clinic} --entity {entity} --id {id}"

SECTIONS: Final[dict[str, Pair]] = {
    "clinic": ("Clinic", "Клиника"),
    "ident": ("In IDENT now", "В IDENT сейчас"),
    "reading": ("Reading", "Чтение"),
    "validation": ("Validation", "Проверка данных"),
    "plan": ("Plans", "Планы"),
    "sending": ("Sending", "Отправка"),
    "ledger": ("Acknowledged by amoCRM", "Подтверждено amoCRM"),
    "amocrm": ("In amoCRM now", "В amoCRM сейчас"),
}

SENTENCES: Final[dict[str, Pair]] = {
    "clinic": (
        "{clinic}, external id of the card: {mark}; times are of {timezone}.",
        "{clinic}, внешний код карточки: {mark}; время — {timezone}.",
    ),
    "transfer_never": ("Its transfer was never started.", "Передача ещё не запускалась."),
    "transfer_started": ("Its transfer runs since {at}.", "Передача работает с {at}."),
    "transfer_stopped": ("Its transfer is stopped since {at}.", "Передача остановлена с {at}."),
    "ident_unreachable": (
        "IDENT could not be read ({error}); this is what the ledger knows.",
        "Прочитать IDENT не удалось ({error}); ниже то, что знает журнал.",
    ),
    "ident_missing": ("IDENT has no row with this id.", "Строки с таким номером в IDENT нет."),
    "gone_once": (
        "The last full read missed it too; the next one closes its card.",
        "Последнее полное чтение её тоже не нашло; следующее закроет карточку.",
    ),
    "ident_patient": ("IDENT has the patient; changed {at}.", "Пациент есть в IDENT, изменён {at}."),
    "ident_appointment": (
        "IDENT has the appointment: {status}, begins {start}, changed {at}.",
        "Приём есть в IDENT: {status}, начало {start}, изменён {at}.",
    ),
    "patient": ("It belongs to patient {patient_id}.", "Пациент — {patient_id}."),
    "patient_missing": (
        "It belongs to patient {patient_id}, whom IDENT does not have.",
        "Пациент — {patient_id}, но в IDENT его нет.",
    ),
    "patient_applied": (
        "Its patient is contact {amo_id} in amoCRM.",
        "Контакт пациента в amoCRM — {amo_id}.",
    ),
    "patient_held": (
        "Its patient is kept back: {reason}, field {field}, since {since}.",
        "Пациент не передан: {reason}, поле {field}, с {since}.",
    ),
    "patient_lost": ("amoCRM's answer about its patient was lost.", "Ответ amoCRM о пациенте потерян."),
    "no_patient": ("The slot has no patient.", "В записи нет пациента."),
    "chain": (
        "It was rescheduled: chain {chain}, root {root}; the deal shows {current}.",
        "Приём переносили: цепочка {chain}, первый {root}; сделка показывает {current}.",
    ),
    "window_none": ("There is no launch window yet.", "Период передачи ещё не выбран."),
    "window_inside": (
        "It is inside the launch window ({from_day} to {to_day}).",
        "Он внутри периода передачи ({from_day} — {to_day}).",
    ),
    "window_outside": (
        "It is outside the launch window ({from_day} to {to_day}).",
        "Он вне периода передачи ({from_day} — {to_day}).",
    ),
    "run_none": ("No run has been made yet.", "Запусков ещё не было."),
    "run": (
        "The last run ({run}) began {at}: {state}.",
        "Последний запуск ({run}) начат {at}: {state}.",
    ),
    "run_failed": (
        "The last run ({run}) began {at} and failed: {code}.",
        "Последний запуск ({run}) начат {at} и закончился ошибкой: {code}.",
    ),
    "watermark": (
        "Changes before {at} were read; everything is read again after {full}.",
        "Прочитаны изменения до {at}; полное чтение — после {full}.",
    ),
    "watermark_none": ("Nothing was read yet.", "Ещё ничего не прочитано."),
    "change_unread": (
        "Its last change is younger than that.",
        "Последнее изменение строки новее и ещё не прочитано.",
    ),
    "valid": ("No expectation holds it back.", "Проверки её не задерживают."),
    "held_by_other": (
        "{what} {id} is held back since {since}: {reason}, last seen {seen}.",
        "{what} {id} задержан с {since}: {reason}, последний раз {seen}.",
    ),
    "held": (
        "{what} {id} is kept back by {reason}: field {field}, {severity}, first seen {since}, last {seen}.",
        "{what} {id} задержан: {reason}, поле {field}, {severity}, впервые {since}, последний раз {seen}.",
    ),
    "value_withheld": (
        "{what} {id} goes without {field}: {reason}, first seen {since}, last {seen}.",
        "{what} {id} передаётся без поля {field}: {reason}, впервые {since}, последний раз {seen}.",
    ),
    "unplanned": ("No run has planned it.", "Ни один запуск её не планировал."),
    "planned": ("{at}: {action} (run {run}).", "{at}: {action} (запуск {run})."),
    "planned_change": (
        "{at}: {action}, changed {changed} (run {run}).",
        "{at}: {action}, изменилось: {changed} (запуск {run}).",
    ),
    "owed": ("It waits since {at}.", "Ожидает с {at}."),
    "link_owed": ("The link to its patient's contact waits.", "Ожидает связь с контактом пациента."),
    "attempt": (
        "A request with it left {at} and its end is unknown; searched {scans} times, last {last}.",
        "Запрос с ней ушёл {at}, исход неизвестен; искали {scans} раз, последний — {last}.",
    ),
    "outcome": (
        "{at}: {state}, {reason}, field {field} (run {run}).",
        "{at}: {state}, {reason}, поле {field} (запуск {run}).",
    ),
    "outcome_applied": ("{at}: applied (run {run}).", "{at}: передано (запуск {run})."),
    "outcome_none": ("Run {run} recorded no end.", "Запуск {run} не записал исхода."),
    "refused": (
        "The {what} of {id} is parked: {reason}, field {field}, first {since}, last {seen}.",
        "Карточка ({what} {id}) отложена: {reason}, поле {field}, впервые {since}, снова {seen}.",
    ),
    "released": (
        "A person let the {what} of {id} be tried again.",
        "Повтор ({what} {id}) уже разрешён.",
    ),
    "unsent": ("Nothing was sent.", "Ничего не отправлялось."),
    "applied_none": ("amoCRM never acknowledged it.", "amoCRM её не подтверждала."),
    "applied": ("amoCRM id {amo_id}, applied {at}.", "ID в amoCRM {amo_id}, передано {at}."),
    "claimed": (
        "amoCRM id {amo_id} was found or claimed {at}; its content is not confirmed yet.",
        "ID в amoCRM {amo_id} найден или занят {at}; содержание ещё не подтверждено.",
    ),
    "closed": (
        "amoCRM id {amo_id} was marked {at}, because the row vanished from IDENT.",
        "ID в amoCRM {amo_id} помечен {at}: строка удалена в IDENT.",
    ),
    "stage_sent": (
        "Place sent (pipeline/stage): {place}.",
        "Отправлены воронка и этап: {place}.",
    ),
    "primary": ("Frozen as a first visit.", "Записан как первичный."),
    "repeat": ("Frozen as a repeat visit.", "Записан как повторный."),
    "differs": (
        "IDENT differs from what was acknowledged in: {fields}.",
        "В IDENT с тех пор изменилось: {fields}.",
    ),
    "same": ("IDENT says the same now.", "В IDENT сейчас то же самое."),
    "remote_nothing": ("There is no card to look for.", "Искать нечего: карточки не было."),
    "remote_unreachable": ("amoCRM could not be asked ({error}).", "Спросить amoCRM не удалось ({error})."),
    "remote_missing": (
        "The card {amo_id} is gone or in the trash.",
        "Карточки {amo_id} нет, или она в корзине.",
    ),
    "remote": ("The card {amo_id} is there: {url}", "Карточка {amo_id} на месте: {url}"),
    "remote_merged": (
        "The card {old} was merged by hand; {amo_id} carries our external id: {url}",
        "Карточку {old} объединили вручную; наш внешний код на {amo_id}: {url}",
    ),
    "remote_ours": ("It carries our external id.", "На ней наш внешний код."),
    "remote_foreign": (
        "It does not carry our external id: somebody changed or merged it.",
        "На ней нет нашего внешнего кода: её изменили или объединили.",
    ),
    "remote_stage": (
        "It stands (pipeline/stage) in {place}.",
        "Стоит (воронка и этап): {place}.",
    ),
    "remote_moved": (
        "That is not where the transfer put it: a person moved it; it only goes forward from there.",
        "Передача ставила её не сюда: её передвинул человек; отсюда она идёт только вперёд.",
    ),
    "remote_unlinked": (
        "It does not hang on its patient's contact.",
        "Она не связана с контактом пациента.",
    ),
}

VERDICTS: Final[dict[str, Pair]] = {
    "transferred": ("It is in amoCRM (id {amo_id}, applied {at}).", "Передано в amoCRM (ID {amo_id}, {at})."),
    "update_waiting": (
        "It is in amoCRM (id {amo_id}); an update of {fields} waits: {reason}.",
        "В amoCRM есть (ID {amo_id}), ожидает обновление ({fields}): {reason}.",
    ),
    "kept_back": (
        "It did not pass the expectation {reason}, field {field}, since {since}.",
        "Не прошло проверку {reason}, поле {field}, с {since}.",
    ),
    "patient_kept_back": (
        "Its patient {patient_id} is kept back: {reason}, field {field}.",
        "Не передан пациент {patient_id}: {reason}, поле {field}.",
    ),
    "chain_held_back": (
        "Row {row} of its reschedule chain holds it back: {reason}, field {field}.",
        "Цепочку переносов задерживает приём {row}: {reason}, поле {field}.",
    ),
    "refused": (
        "amoCRM refused it: {reason}, field {field}, last {seen}.",
        "amoCRM отклонила: {reason}, поле {field}, последний раз {seen}.",
    ),
    "several_candidates": (
        "Several contacts in amoCRM have this patient's phone and name; a person has to choose.",
        "В amoCRM несколько контактов с телефоном и именем этого пациента; выбрать должен человек.",
    ),
    "not_in_amocrm": (
        "Its card {amo_id} was deleted or merged by hand in amoCRM.",
        "Карточку {amo_id} удалили или объединили в amoCRM вручную.",
    ),
    "maybe_removed": (
        "It was sent without an answer and not found again, while something was deleted in amoCRM.",
        "Отправлено, но ответ потерян, найти не удалось, а в amoCRM тем временем что-то удалили.",
    ),
    "many_past_moves": (
        "It is one of many deals of past appointments that would change their stage at once; since {since}.",
        "Это одна из многих сделок прошлых приёмов, которые сменили бы этап разом; с {since}.",
    ),
    "deferred": (
        "It is planned and waits since {since}: {reason}.",
        "Запланировано, ждёт с {since}: {reason}.",
    ),
    "stage_not_mapped": (
        "The mapping has no stage for the appointment's status; it waits since {since}.",
        "Для статуса этого приёма не выбран этап; ждёт с {since}.",
    ),
    "answer_lost": (
        "It was sent {at}, but amoCRM's answer was lost; it is looked for before it is sent again.",
        "Отправлено {at}, но ответ amoCRM потерян; прежде чем отправить снова, его ищут.",
    ),
    "outside_window": (
        "It is outside the launch window ({from_day} to {to_day}).",
        "Вне периода передачи ({from_day} — {to_day}).",
    ),
    "filtered": ("The filters of the mapping keep it out.", "Приём не проходит фильтры настройки."),
    "no_patient": (
        "The slot has no patient; such slots are not transferred.",
        "В записи нет пациента; такие записи не передаются.",
    ),
    "gone": ("It is no longer in IDENT.", "Строки больше нет в IDENT."),
    "unknown_id": (
        "Neither IDENT nor the ledger knows this id.",
        "Ни IDENT, ни журнал не знают такого номера.",
    ),
    "undetermined": (
        "IDENT could not be read ({error}), and the ledger does not know this id.",
        "Прочитать IDENT не удалось ({error}), а в журнале такого номера нет.",
    ),
    "never_started": ("The clinic's transfer was never started.", "Передача клиники ещё не запускалась."),
    "stopped": ("The clinic's transfer is stopped since {at}.", "Передача клиники остановлена с {at}."),
    "runs_fail": ("The clinic's runs fail: {code}.", "Запуски клиники заканчиваются ошибкой: {code}."),
    "not_read_yet": ("No run has read it yet.", "Ни один запуск её ещё не прочитал."),
}

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
        "To transfer it, change the filters: flow configure-mapping.",
        "Чтобы передать, измените фильтры: процесс configure-mapping, блок «Фильтры».",
    ),
    "window_update": (
        "amoCRM keeps the card {amo_id} as it is; to update it: ident-amocrm start {clinic} --history-days N",
        "Карточка {amo_id} остаётся как есть; чтобы обновить: ident-amocrm start {clinic} --history-days N",
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
