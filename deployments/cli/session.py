"""What every command does first: the environment Prefect reads, the home folder, the ledger."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from deployments.cli.output import say
from tasks.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from tasks.ledger.store import Ledger
    from tasks.settings import Settings

__all__ = ["Hosting", "have_run", "open_session", "read_secret"]

#: A server under load takes its time.
SERVER_SECONDS = 15.0


class Hosting:
    """Whether this process is the one that a host of runs made for a command."""

    inside = False


def have_run(*words: str) -> None:
    """Have a command run where ``up`` keeps everything loaded: it spares the seconds of its imports.

    Does not return then: this process ends as the command did. Returns where no host answers.

    Args:
        *words: The command line behind the program's name.
    """
    from deployments.run_flow import SOCKET, end_like
    from deployments.run_flow import have_run as ask
    from tasks.settings import load_settings, program_version

    if Hosting.inside or not (load_settings().home / SOCKET).exists():
        return
    home = _prepare().home
    code = ask(str(home), words, program_version())
    if code is not None:
        end_like(code)


def _prepare(*, prefect: bool = True) -> Settings:
    from deployments.environment import prefect_api, prepare_environment
    from tasks.settings import load_settings

    settings = load_settings()
    prepare_environment(settings)
    if prefect:
        if notice := prefect_api(settings):
            say(notice)
        _reach(os.environ.get("PREFECT_API_URL", ""))
    return settings


def _reach(api: str) -> None:
    """Refuse a Prefect server of this machine that is not there; another one tells when it is asked.

    Raises:
        TransientError: When it does not answer.
    """
    from deployments.doors import is_loopback
    from deployments.environment import answers

    place = urlsplit(api)
    if place.scheme == "http" and is_loopback(place.hostname or "") and not answers(api, SERVER_SECONDS):
        raise TransientError(
            problem=f"Prefect's server does not answer at {api}. Nothing was done.",
            remedy="Start it (ident-amocrm up), or take PREFECT_API_URL out of the environment.",
            code="prefect_unreachable",
        )


def open_session(*, prefect: bool = True) -> Ledger:
    """Open the installation.

    Args:
        prefect: Whether the command needs Prefect's store (blocks, runs); a running server is used, else a
            temporary one is brought up for the time of the command.

    Returns:
        The ledger.

    Raises:
        TransientError: When the Prefect server of this machine that was named does not answer.
    """
    settings = _prepare(prefect=prefect)
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
