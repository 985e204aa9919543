"""Connecting a clinic's database and amoCRM; disconnecting and renaming a clinic."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import BaseModel, Field

from tasks.connect import disconnect_clinic, rename_clinic, try_account, try_database

__all__ = [
    "Clinic",
    "Renaming",
    "connect_amocrm",
    "connect_database",
    "disconnect_database",
    "rename",
]


class Database(BaseModel):
    """Какую базу подключить; пароль стоит в блоке, не здесь."""

    clinic: str = Field(
        min_length=1, max_length=100, title="Клиника", description="Имя, под которым её покажут все запуски."
    )
    block: str = Field(
        title="Блок «IDENT Database»",
        description="Имя заполненного блока (Blocks → IDENT Database): сервер, порт, база, пароль.",
    )
    same_clinic: bool = Field(
        default=False,
        title="Базу этой клиники перенесли или восстановили",
        description="Карточки в amoCRM останутся за клиникой и будут сверены заново.",
    )


class Clinic(BaseModel):
    """Какая клиника."""

    clinic: str = Field(title="Клиника", description="Имя, как при подключении базы.")


class Renaming(BaseModel):
    """Как назвать клинику."""

    clinic: str = Field(title="Клиника", description="Нынешнее имя.")
    new_name: str = Field(min_length=1, max_length=100, title="Новое имя")


@flow(name="connect-database", flow_run_name="{database.clinic}: подключить", persist_result=False)
def connect_database(database: Database) -> State[None]:
    """Проверить базу IDENT по заполненному блоку и подключить её: сервер, вход, права, таблицы, число строк.

    Args:
        database: Какую базу.
    """
    return _ended(try_database(database.clinic, database.block, same_clinic=database.same_clinic))


@flow(name="connect-amocrm", flow_run_name="amoCRM: подключить", persist_result=False)
def connect_amocrm() -> State[None]:
    """Проверить и подключить аккаунт amoCRM по блоку «amoCRM Account» с именем amocrm: токен или OAuth."""
    return _ended(try_account())


@flow(name="disconnect-database", flow_run_name="{clinic.clinic}: отключить", persist_result=False)
def disconnect_database(clinic: Clinic) -> State[None]:
    """Отключить базу клиники: передача остановится, расписания исчезнут, переданное останется.

    Args:
        clinic: Какую клинику.
    """
    return _ended(disconnect_clinic(clinic.clinic))


@flow(name="rename-clinic", flow_run_name="{renaming.clinic}: переименовать", persist_result=False)
def rename(renaming: Renaming) -> State[None]:
    """Переименовать клинику; её карточки в amoCRM, пароли и журнал остаются.

    Args:
        renaming: Какую клинику и как назвать.
    """
    return _ended(rename_clinic(renaming.clinic, renaming.new_name))


def _ended(told: tuple[bool, str]) -> State[None]:
    """Return the end of a run: done, or refused with what to do."""
    done, message = told
    return Completed(message=message) if done else Failed(message=message)
