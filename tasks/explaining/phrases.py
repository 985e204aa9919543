"""Sentences of the story by code, in English (command line) and Russian (artifact)."""

from __future__ import annotations

from typing import Final

__all__ = ["SECTIONS", "SENTENCES", "VERDICTS"]

Pair = tuple[str, str]

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
    "filtered": (
        "The filters of the mapping or the branches of the connection keep it out.",
        "Приём не проходит фильтры настройки или филиалы подключения.",
    ),
    "patients_only": (
        "The transfer was started for patients only.",
        "Передача запущена только для пациентов.",
    ),
    "no_patient": (
        "The slot has no patient; such slots are not transferred.",
        "В записи нет пациента; такие записи не передаются.",
    ),
    "erased": (
        "The person's data were erased from amoCRM on request; they are never sent again.",
        "Данные человека удалены из amoCRM по запросу; они больше не передаются.",
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
