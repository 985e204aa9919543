"""What every command does first: the environment Prefect reads, the home folder, the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from deployments.cli.output import say
from tasks.errors import ConfigurationError

if TYPE_CHECKING:
    from tasks.ledger.store import Ledger

__all__ = ["open_session", "read_secret"]


def open_session(*, prefect: bool = True) -> Ledger:
    """Open the installation.

    Args:
        prefect: Whether the command needs Prefect's store (blocks, runs); a running server is used, else a
            temporary one is brought up for the time of the command.

    Returns:
        The ledger.
    """
    from deployments.environment import prefect_api, prepare_environment
    from tasks.settings import load_settings

    settings = load_settings()
    prepare_environment(settings)
    if prefect and (notice := prefect_api(settings)):
        say(notice)
    from tasks.connections import open_ledger

    return open_ledger(settings)


def read_secret(path: Path, what: str) -> SecretStr:
    """Read a password or token from a file; never from an argument, which other users of the machine see.

    Raises:
        ConfigurationError: When the file cannot be read or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            problem=f"The {what} file {path} cannot be read ({type(error).__name__}).",
            remedy="Write the secret alone into a text file that you may read, and name it.",
            code="secret_file",
        ) from None
    if not text:
        raise ConfigurationError(
            problem=f"The {what} file {path} is empty.",
            remedy="Write the secret alone into it.",
            code="secret_file",
        )
    return SecretStr(text)
