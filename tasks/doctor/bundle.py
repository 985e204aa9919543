"""The bundle for the support: one zip of texts, and what is taken out of them before they go in."""

from __future__ import annotations

import ipaddress
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tasks.doctor.findings import Finding, Report
from tasks.errors import ConfigurationError

__all__ = ["Mask", "counts_only", "name_of_host", "write_bundle"]

#: What our own texts never hold; a name or a phone that came in by a clinic's or a file's name goes here.
CYRILLIC: Final = re.compile(r"[\u0400-\u04ff]+(?:[\s.«»\"-]+[\u0400-\u04ff]+)*")
#: A host as errors name it: with its port, or with an instance of SQL Server.
HOST: Final = re.compile(r"(?<![\w.-])[A-Za-z][\w.-]*(?=:\d{2,5}\b|\\[\w$])")
MAIL: Final = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w")
NUMBER: Final = re.compile(r"\+?\d[\d() -]{5,}\d")
#: A date or an instant, whose digits are no phone.
MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d(?:T[\d:]+)?")
PHONE_DIGITS: Final = 7
#: Names in a run's counts whose texts are words of ours.
WORDS: Final = frozenset({"code", "mode", "state", "kind"})
WORD: Final = re.compile(r"[a-z0-9_.-]{0,64}")


@dataclass(frozen=True, slots=True)
class Mask:
    """Takes names and whatever looks like a person's out of a text.

    The texts are our own and hold no person's data by themselves; but an operator may have named a clinic, a
    folder or a computer after somebody.

    Attributes:
        names: What is known to be such a name, and what stands in its place.
    """

    names: Mapping[str, str]

    def text(self, text: str) -> str:
        """Return a text without them."""
        # The longest first: a path may hold another one.
        for name in sorted(filter(None, self.names), key=len, reverse=True):
            begins, ends = (
                (r"(?<!\w)" if name[0].isalnum() else ""),
                (r"(?!\w)" if name[-1].isalnum() else ""),
            )
            put = self.names[name].replace("\\", "\\\\")
            text = re.sub(f"{begins}{re.escape(name)}{ends}", put, text)
        text = CYRILLIC.sub("[text]", HOST.sub(_without_host, MAIL.sub("[e-mail]", text)))
        return NUMBER.sub(_without_phone, text)

    def report(self, report: Report) -> Report:
        """Return a report without them."""
        return replace(report, findings=tuple(map(self._finding, report.findings)))

    def _finding(self, one: Finding) -> Finding:
        area, found, remedy = map(self.text, (one.area, one.found, one.remedy))
        return replace(one, area=area, found=found, remedy=remedy)


def _without_host(found: re.Match[str]) -> str:
    # A file with its line looks alike.
    return "[host]" if name_of_host(found[0]) and not found[0].endswith(".py") else found[0]


def _without_phone(found: re.Match[str]) -> str:
    if MOMENT.match(found[0]):
        return found[0]
    return "[number]" if sum(map(str.isdigit, found[0])) >= PHONE_DIGITS else found[0]


def name_of_host(host: str) -> bool:
    """Tell whether a host is called by a name; an address of numbers says nothing of a person."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return bool(host) and host != "localhost"
    return False


def counts_only(value: Any, name: str = "") -> Any:
    """Return the numbers and codes of a run's counts, and nothing else."""
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, dict):
        kept = {key: counts_only(one, key) for key, one in value.items() if WORD.fullmatch(str(key))}
        return {key: one for key, one in kept.items() if one not in (None, {})}
    if isinstance(value, str) and name in WORDS and WORD.fullmatch(value):
        return value
    return None  # lists are rows, and other texts may be names


def write_bundle(path: Path, members: Mapping[str, str]) -> None:
    """Write the bundle: under a temporary name, for its owner alone, then renamed.

    Args:
        path: The file; it is replaced where it exists.
        members: Texts by their names in it.

    Raises:
        ConfigurationError: When it cannot be written.
    """
    draft = path.with_name(f"{path.name}.partial")
    try:
        draft.unlink(missing_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in members.items():
                archive.writestr(name, text.encode())
        draft.replace(path)
    except OSError as error:
        raise ConfigurationError(
            problem=f"{path} cannot be written ({type(error).__name__}).",
            remedy="Name a file in a folder that exists, on a disk with room.",
            code="bundle_not_written",
        ) from None
    finally:
        draft.unlink(missing_ok=True) if draft.parent.is_dir() else None
