"""What an operator reads beside a red check: cause and remedy in Russian, by error code."""

from __future__ import annotations

from typing import Final

__all__ = ["HINTS", "hint"]

#: Error code -> what to do. The English text of the error stays in the log.
HINTS: Final[dict[str, str]] = {
    "database_unavailable": (
        "Сервер базы не отвечает. Проверьте, что компьютер с IDENT включён, порт и адрес указаны верно, "
        "брандмауэр пропускает соединение."
    ),
    "authentication": (
        "Вход отклонён. Проверьте пароль или токен; пароль базы выдаёт поддержка IDENT, "
        "токен — раздел «Ключи и доступы» интеграции amoCRM."
    ),
    "no_select_right": "У пользователя базы нет права читать таблицу. Попросите поддержку IDENT выдать его.",
    "database_missing": "На сервере нет базы с таким именем. Обычно она называется PZ.",
    "schema": "В базе нет нужной таблицы или колонки: это не база IDENT или её версия новее известной.",
    "driver_missing": "Нет драйвера ODBC для SQL Server. Инструкция: docs/how-to/install-odbc.md.",
    "not_configured": "Передача не настроена. Запустите автонастройку: ident-amocrm autoconfigure --yes.",
    "mapping": "Настройка не соответствует аккаунту amoCRM. Запустите автонастройку.",
    "mapping_drift": (
        "В amoCRM удалили или изменили воронку, этап или поле. Запустите автонастройку ещё раз."
    ),
    "another_account": "Токен от другого аккаунта amoCRM. Создайте токен в подключённом аккаунте.",
    "amocrm_not_connected": "Аккаунт amoCRM не подключён: ident-amocrm connect-amocrm.",
    "amocrm_unavailable": "amoCRM не отвечает. Проверьте интернет и адрес аккаунта; передача продолжится.",
    "payment_required": "Аккаунт amoCRM не оплачен. Оплатите его; передача продолжится после оплаты.",
    "blocked": (
        "amoCRM отказала в доступе: у интеграции нет прав или она заблокирована за частые запросы. "
        "Обратитесь в поддержку amoCRM."
    ),
    "unexpected_answer": "По этому адресу отвечает не API amoCRM. Проверьте адрес аккаунта и прокси.",
    "wrong_host": "Адрес аккаунта неверен: amoCRM перенаправляет на другой.",
    "tls": "Сертификат не проверен. Укажите свой набор сертификатов в IDENT_AMOCRM_CA_BUNDLE.",
    "database_swapped": (
        "Под этим именем раньше была другая база. Если базу клиники перенесли или восстановили, подключите "
        "её ещё раз с параметром --same-clinic."
    ),
    "database_restored": (
        "База IDENT возвращена к более раннему состоянию. Если так и было задумано, подключите её ещё раз "
        "с параметром --same-clinic."
    ),
    "database_twice": "Эта база уже подключена под другим именем.",
    "rebaseline_due": (
        "Журнал передачи пуст, восстановлен из копии или потерян ключ. Посмотрите, что будет сделано: "
        "ident-amocrm sync ИМЯ --dry-run, и подтвердите: ident-amocrm sync ИМЯ --rebaseline."
    ),
    "schema_shrunk": (
        "Пользователь базы больше не видит часть таблиц IDENT. Попросите поддержку IDENT вернуть права; "
        "если таблиц действительно больше нет, подключите базу ещё раз."
    ),
    "ledger_unavailable": "Журнал передачи недоступен: проверьте место на диске и права на папку данных.",
    "block_missing": "Блок с паролем удалён в Prefect. Подключите базу или аккаунт заново.",
    "token_expires": "Срок токена amoCRM скоро истечёт. Создайте новый и подключите аккаунт заново.",
    "refresh_token_expires": (
        "Доступ интеграции amoCRM давно не обновлялся и скоро пропадёт. Проверьте связь с amoCRM или "
        "подключите аккаунт заново: docs/how-to/connect-amocrm.md."
    ),
    "reauthorise": (
        "Доступ интеграции amoCRM утрачен или отозван. Откройте «Ключи и доступы» интеграции, возьмите новый "
        "код авторизации и подключите аккаунт заново: docs/how-to/connect-amocrm.md."
    ),
    "wrong_integration": (
        "amoCRM не узнаёт интеграцию: ID, секретный ключ или Redirect URI не совпадают с её настройками. "
        "Исправьте их и подключите аккаунт заново: docs/how-to/connect-amocrm.md."
    ),
    "token_locked": "Другой процесс слишком долго обновляет доступ к amoCRM. Следующий запуск повторит.",
    "prefect_unavailable": "Prefect не отвечает, а доступ к amoCRM хранится в нём: ident-amocrm up.",
    "home_not_writable": "Нет права писать в папку программы (IDENT_AMOCRM_HOME). Дайте его.",
    "lagging": "Давно не было успешной передачи. Посмотрите последний запуск sync в списке запусков.",
    "never_run": "Передача ещё ни разу не прошла до конца. Посмотрите последний запуск sync.",
    "stopped": "Передача остановлена. Запустите её, когда всё готово: ident-amocrm start.",
    "no_clinics": "Ни одна база IDENT не подключена: ident-amocrm connect-database.",
}


def hint(code: str) -> str:
    """Return the hint of an error code."""
    return HINTS.get(code, f"Ошибка {code}. Подробности — в журнале запуска.")
