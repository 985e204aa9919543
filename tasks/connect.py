"""Connections in the Prefect UI: tested by what the blocks hold, told as lights with what to do."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import SecretStr

from tasks import blocks, connections
from tasks.amocrm.account import read_account, read_users
from tasks.amocrm.token import token_scopes
from tasks.amocrm.token_endpoint import Integration
from tasks.clinics import disconnect, rename
from tasks.connections import ConnectedDatabase, open_destination, open_ledger
from tasks.errors import BlockedError, ConfigurationError, IdentAmocrmError
from tasks.gate import live_account
from tasks.hints import hint
from tasks.ledger.store import Ledger
from tasks.lights import DATABASE, SERVER, database_lights, light
from tasks.markdown import plain
from tasks.records import Account
from tasks.settings import load_settings

__all__ = ["account_facts", "disconnect_clinic", "rename_clinic", "try_account", "try_database"]

#: What the integration must be allowed to do.
SCOPE = "crm"


def _lights(title: str, lights: Sequence[tuple[str, str]], facts: Sequence[str]) -> str:
    lines = [f"## {plain(title)}", "", "| Проверка | Состояние | Что делать |", "|---|---|---|"]
    lines += [f"| {name} | {light(code)} | {hint(code) if code else ''} |" for name, code in lights]
    return "\n".join([*lines, "", *(f"- {fact}" for fact in facts)])


@task(name="connect-database", cache_policy=NO_CACHE, persist_result=False)
def try_database(clinic: str, block: str, *, same_clinic: bool) -> tuple[bool, str]:
    """Test the database of a filled-in block and connect it; nothing is saved unless all is well.

    Args:
        clinic: The clinic's name.
        block: Name of the block.
        same_clinic: Whether the clinic's database was moved or restored.
    """
    title, key = f"Подключение базы «{clinic}»", f"connect-{blocks.slug(clinic)}"
    try:
        found = connections.connect_database(
            clinic, blocks.load_database(block), open_ledger(), block=block, same_clinic=same_clinic
        )
    except IdentAmocrmError as error:
        get_run_logger().warning("Not connected: %s", error)
        server, database = database_lights(error)
        text = _lights(title, [(SERVER, server), (DATABASE, database)], [plain(error)])
        create_markdown_artifact(text, key=key, description=plain(title))
        return False, hint(error.code)
    text = _lights(title, [(SERVER, ""), (DATABASE, "")], _database_facts(found))
    create_markdown_artifact(text, key=key, description=plain(title))
    return True, f"Подключено: пациентов {found.patients}, приёмов {found.appointments}"


def _database_facts(found: ConnectedDatabase) -> list[str]:
    rights = (
        "⚠️ Пользователь может изменять базу: попросите у поддержки IDENT пользователя только для чтения."
        if found.writable
        else "Права: только чтение."
    )
    return [
        f"Пациентов: {found.patients}, приёмов: {found.appointments}.",
        rights,
        "Все известные таблицы и колонки на месте." if not found.missing else "Нет необязательных частей:",
        *(f"`{warning}`" for warning in found.missing),
    ]


@task(name="connect-amocrm", cache_policy=NO_CACHE, persist_result=False)
def try_account() -> tuple[bool, str]:
    """Test the account of the block «amoCRM Account» and connect it."""
    ledger = open_ledger()
    title = "Подключение amoCRM"
    try:
        account, warnings = _connected(ledger)
        facts = account_facts(ledger)
    except IdentAmocrmError as error:
        get_run_logger().warning("Not connected: %s", error)
        text = _lights(title, [("amoCRM", error.code)], [plain(error)])
        create_markdown_artifact(text, key="connect-amocrm", description=title)
        return False, hint(error.code)
    facts = [f"Аккаунт {account.id}, часовой пояс {plain(account.timezone)}.", *facts, *warnings]
    create_markdown_artifact(_lights(title, [("amoCRM", "")], facts), key="connect-amocrm", description=title)
    return True, f"Подключено: аккаунт {account.id}"


def _connected(ledger: Ledger) -> tuple[Account, list[str]]:
    block = blocks.load_account()
    if block.token.get_secret_value():
        return connections.connect_amocrm(block.base_url, block.token, ledger)
    if block.authorization_code.get_secret_value():
        integration = Integration(block.client_id.strip(), block.client_secret, block.redirect_uri.strip())
        code = SecretStr(block.authorization_code.get_secret_value().strip())
        return connections.authorise_amocrm(block.base_url, integration, code, ledger)
    if block.is_oauth and block.refresh_token.get_secret_value():
        return _still_authorised(ledger)
    raise ConfigurationError(
        problem="The block «amoCRM Account» holds neither a long-lived token nor an authorisation code.",
        remedy="Fill in one of them (Blocks, amoCRM Account), then connect again.",
        code="access_options",
    )


def _still_authorised(ledger: Ledger) -> tuple[Account, list[str]]:
    """Test the tokens that an authorisation left in the block; they are renewed where it is time."""
    client = open_destination(ledger, load_settings())
    try:
        return live_account(client, ledger), list(client.warnings)
    finally:
        client.close()


def account_facts(ledger: Ledger) -> list[str]:
    """Return what the token may do, as far as it can be told, in Russian."""
    settings = load_settings()
    token = blocks.load_account().token
    scopes = token_scopes(token)
    facts = []
    if scopes is not None and SCOPE not in scopes:
        facts.append("⚠️ У токена нет права «Доступ к данным аккаунта» (crm).")
    client = open_destination(ledger, settings)
    try:
        users = read_users(client)
        current = read_account(client).current_user_id
    except BlockedError:
        return [*facts, NO_ADMINISTRATOR]
    finally:
        client.close()
    administrator = any(user.is_admin for user in users if user.id == current)
    facts.append(f"Пользователей amoCRM: {len(users)}, активных: {sum(user.is_active for user in users)}.")
    return facts if administrator else [*facts, NO_ADMINISTRATOR]


NO_ADMINISTRATOR = (
    "⚠️ Токен выдан не администратором: создать воронки и поля не получится. "
    "Выпустите его под администратором."
)


@task(name="disconnect", cache_policy=NO_CACHE, persist_result=False)
def disconnect_clinic(clinic: str) -> tuple[bool, str]:
    """Disconnect a clinic; ``up`` removes its schedules."""
    try:
        disconnect(open_ledger(), clinic, by="disconnect-database")
    except IdentAmocrmError as error:
        return False, hint(error.code)
    return True, f"«{clinic}» отключена; переданное в amoCRM и журнал остались"


@task(name="rename", cache_policy=NO_CACHE, persist_result=False)
def rename_clinic(clinic: str, new_name: str) -> tuple[bool, str]:
    """Rename a clinic; ``up`` replaces its deployments."""
    try:
        renamed = rename(open_ledger(), clinic, new_name)
    except IdentAmocrmError as error:
        return False, hint(error.code)
    return True, f"Теперь клиника называется «{renamed.name}»"
