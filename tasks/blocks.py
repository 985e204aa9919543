"""Prefect blocks: where secrets live, encrypted, editable in the Prefect UI.

Nothing secret is ever a flow parameter (Prefect stores parameters in clear), a setting or a ledger row.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Literal, cast

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, ValidationError, model_validator

from tasks.errors import ConfigurationError, NotConnectedError
from tasks.ident.connection import IdentConnection

__all__ = [
    "AmoCrmAccount",
    "IdentDatabase",
    "block_name",
    "delete_database",
    "load_account",
    "load_database",
    "register",
    "save_account",
    "save_database",
    "slug",
]

ACCOUNT_NAME = "amocrm"
#: Prefect's UI draws every text, secret or not, as a text area (prefect-ui-library, pull request 2695).
SEEN = "Пока вводите — видно на экране; сохранённое скрыто."


class IdentDatabase(Block):
    """База данных IDENT одной клиники (Microsoft SQL Server, только чтение)."""

    _block_type_name = "IDENT Database"
    _block_type_slug = "ident-database"
    _description = "База IDENT клиники: сервер, порт или экземпляр, база PZ, пользователь только для чтения."

    host: str = Field(default="127.0.0.1", title="Сервер")
    # Neither may be null: Prefect's form draws a choice of «integer» and «null» for that.
    port: int = Field(
        default=15000, ge=1, le=65535, title="Порт", description="Не важен, если указан экземпляр."
    )
    instance: str = Field(
        default="",
        title="Экземпляр",
        description="Именованный экземпляр, например PZSQLSERVER. Пусто, если соединение по порту.",
    )
    database: str = Field(default="PZ", title="Имя базы")
    user: str = Field(default="readonly_user", title="Пользователь")
    password: SecretStr = Field(
        default=SecretStr(""), title="Пароль", description=f"Выдаёт поддержка IDENT. {SEEN}"
    )
    driver: str = Field(default="auto", title="Драйвер ODBC", description="auto: найти самому.")
    encryption: Literal["auto", "mandatory", "optional", "off"] = Field(default="auto", title="Шифрование")
    trust_certificate: bool = Field(default=True, title="Доверять сертификату сервера")
    timezone: str = Field(default="Europe/Moscow", title="Часовой пояс клиники")
    branches: str = Field(
        default="",
        title="Филиалы",
        description=(
            "Передавать приёмы только этих филиалов: названия из IDENT через запятую. Пусто — всех. "
            "После изменения запустите connect-database ещё раз."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: object) -> object:
        """Read blocks of former versions, which had nulls."""
        if not isinstance(values, dict):
            return values
        return {
            name: value
            for name, value in values.items()
            if value is not None or name not in {"port", "instance"}
        }


class AmoCrmAccount(Block):
    """Аккаунт amoCRM, в который идёт передача."""

    _block_type_name = "amoCRM Account"
    _block_type_slug = "amocrm-account"
    _description = "Адрес аккаунта amoCRM и доступ интеграции: долгосрочный токен или OAuth."

    base_url: str = Field(title="Адрес аккаунта", description="https://ИМЯ.amocrm.ru")
    token: SecretStr = Field(
        default=SecretStr(""), title="Долгосрочный токен", description=f"Пусто, если доступ по OAuth. {SEEN}"
    )
    client_id: str = Field(default="", title="OAuth: ID интеграции")
    client_secret: SecretStr = Field(default=SecretStr(""), title="OAuth: секретный ключ", description=SEEN)
    redirect_uri: str = Field(
        default="", title="OAuth: Redirect URI", description="Точно как в настройках интеграции."
    )
    authorization_code: SecretStr = Field(
        default=SecretStr(""),
        title="OAuth: код авторизации",
        description="Одноразовый, действует 20 минут; после connect-amocrm стирается.",
    )
    access_token: SecretStr = Field(
        default=SecretStr(""), title="OAuth: access token", description="Обновляется сам, не изменяйте."
    )
    refresh_token: SecretStr = Field(
        default=SecretStr(""), title="OAuth: refresh token", description="Обновляется сам, не изменяйте."
    )
    obtained_at: datetime | None = Field(default=None, title="OAuth: токены получены")
    expires_at: datetime | None = Field(default=None, title="OAuth: access token действует до")
    handed_in: str = Field(
        default="", title="OAuth: обновление начато", description="Служебная отметка, не изменяйте."
    )
    handed_in_at: datetime | None = Field(default=None, title="OAuth: время начала обновления")

    @property
    def is_oauth(self) -> bool:
        """Whether the account is reached by OAuth: a long-lived token, where there is one, goes first."""
        return not self.token.get_secret_value() and bool(self.client_id)


def slug(name: str) -> str:
    """Return a name in the alphabet of Prefect's keys: lowercase letters, digits and dashes.

    A name that loses something gets a short digest, so that two clinics never share a key.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if plain == name:
        return plain
    digest = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
    return f"{plain}-{digest}" if plain else digest


def block_name(clinic: str) -> str:
    """Return the name of a clinic's database block."""
    return slug(clinic)


def register() -> None:
    """Make both forms known to Prefect, so that the UI offers them."""
    IdentDatabase.register_type_and_schema()
    AmoCrmAccount.register_type_and_schema()


def save_database(block: str, connection: IdentConnection) -> None:
    """Save how a clinic's database is reached."""
    names = set(IdentDatabase.model_fields) & set(type(connection).model_fields)
    made = IdentDatabase.model_validate({name: getattr(connection, name) for name in names})
    made.save(block, overwrite=True)


def load_database(block: str) -> IdentConnection:
    """Return how a clinic's database is reached.

    Raises:
        NotConnectedError: When the block is not there, deleted in the UI for example.
        ConfigurationError: When it was filled in with what no connection can have.
    """
    try:
        found = cast("IdentDatabase", IdentDatabase.load(block))
    except ValueError:
        raise NotConnectedError(
            problem=f"The block «IDENT Database» {block!r} is missing in Prefect.",
            remedy="Fill it in (Blocks, IDENT Database), or run: ident-amocrm connect-database --help",
            code="block_missing",
        ) from None
    names = set(IdentDatabase.model_fields) & set(IdentConnection.model_fields)
    values = {name: getattr(found, name) for name in names}
    values["instance"] = values["instance"] or None
    if values["instance"]:
        values["port"] = None  # the form's default would win over the instance
    try:
        return IdentConnection.model_validate(values)
    except ValidationError as error:
        named = ", ".join(str(problem["loc"][0]) for problem in error.errors() if problem["loc"])
        raise ConfigurationError(
            problem=f"The block «IDENT Database» {block!r} is not filled in correctly: {named}.",
            remedy="Correct it in Prefect's UI (Blocks), then connect again.",
            code="connection_settings",
        ) from None


def delete_database(block: str) -> None:
    """Forget how a clinic's database is reached; harmless when it is forgotten already."""
    try:
        IdentDatabase.delete(block)
    except ValueError:
        return


def save_account(account: AmoCrmAccount) -> None:
    """Save the amoCRM account; what it does not have is emptied."""
    account.base_url = account.base_url.rstrip("/")
    account.save(ACCOUNT_NAME, overwrite=True)


def load_account() -> AmoCrmAccount:
    """Return the amoCRM account.

    Raises:
        NotConnectedError: When the block is not there.
    """
    try:
        return cast("AmoCrmAccount", AmoCrmAccount.load(ACCOUNT_NAME))
    except ValueError:
        raise NotConnectedError(
            problem="The block «amoCRM Account» is missing in Prefect.",
            remedy="Run: ident-amocrm connect-amocrm --base-url https://NAME.amocrm.ru --token-file FILE",
            code="block_missing",
        ) from None
