"""Who loads: ``ident-amocrm sync``, and what a clinic could take instead."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from deployments.cli.output import say
from deployments.sandbox.bench import CLINIC, command, connect, hosted, served
from deployments.sandbox.measuring import ROOT
from deployments.sandbox.rivals.judge import Wanted, wanted_of_ours, wanted_of_rivals
from deployments.sandbox.rivals.reading import MARKS
from tasks.errors import TransientError

__all__ = ["OURS", "Load", "Place", "Side", "ours", "rivals"]

OURS = "ident-amocrm"
#: What a rival's user makes in amoCRM's settings beforehand, beside the clinic's ids; ours makes its own.
FIELDS = {"contacts": {}, "leads": {"START_AT": "date_time", "DOCTOR": "text"}}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a side works: an empty account, a folder that stays from run to run, what its processes see."""

    folder: Path
    database: Path
    crm: str
    around: dict[str, str]

    @property
    def token(self) -> Path:
        """The file with the account's token."""
        return self.folder / "token"


#: Loads once, and tells whether nothing is left to be done.
Load = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Side:
    """One who loads.

    Attributes:
        name: Its name.
        batches: Whether it writes many cards in one request.
        ready: Makes it ready in a place, and gives what loads.
        wanted: What it has to bring.
    """

    name: str
    batches: bool
    ready: Callable[[Place], AbstractContextManager[Load]]
    wanted: Callable[[Path], Wanted]


def ours() -> Side:
    """Return our side: the commands of an operator, with what ``up`` keeps running."""
    return Side(OURS, batches=True, ready=_installed, wanted=wanted_of_ours)


@contextmanager
def _installed(place: Place) -> Iterator[Load]:
    with served(place.folder, place.around), hosted(place.folder, place.around):
        connect(place.folder, place.around, place.database, place.crm)
        yield lambda: _synced(place)


def _synced(place: Place) -> bool:
    try:
        report = command(place.folder, place.around, "sync", CLINIC)
    except TransientError as error:
        say(str(error))
        return False
    return not report["deferred"] and not report["ambiguous"]


def rivals(python: Path) -> list[Side]:
    """Return the other sides.

    Args:
        python: The interpreter that has them.
    """
    sides = []
    for name, module, batches in (("amocrm-api", "by_amocrm_api", False), ("dlt", "by_dlt", True)):
        for suffix, options in (("", ()), (", reads first", ("--reads-first",))):
            ready = _runs(python, f"deployments.sandbox.rivals.{module}", *options)
            sides.append(Side(name + suffix, batches=batches, ready=ready, wanted=wanted_of_rivals))
    return sides


def _runs(python: Path, module: str, *options: str) -> Callable[[Place], AbstractContextManager[Load]]:
    @contextmanager
    def ready(place: Place) -> Iterator[Load]:
        for kind, mark in MARKS.items():
            _add_fields(place, kind, {mark: "text"} | FIELDS[kind])
        given = ("--database", place.database, "--crm", place.crm, "--token-file", place.token)
        words = [python.absolute(), "-m", module, *given, "--folder", place.folder / "kept", *options]

        def load() -> bool:
            # It imports this repository's modules for what it reads, none of our packages.
            around = place.around | {"PYTHONPATH": str(ROOT)}
            done = subprocess.run(  # noqa: S603 - our own module
                list(map(str, words)),
                cwd=place.folder,
                env=around,
                capture_output=True,
                encoding="utf-8",
                check=False,
            )
            if done.returncode:
                say(done.stderr[-2000:])
            return not done.returncode

        yield load

    return ready


def _add_fields(place: Place, kind: str, fields: dict[str, str]) -> None:
    token = place.token.read_text(encoding="utf-8").strip()
    body: list[dict[str, Any]] = [{"name": code, "code": code, "type": one} for code, one in fields.items()]
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(
            f"{place.crm}/api/v4/{kind}/custom_fields",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
        )
    answer.raise_for_status()
