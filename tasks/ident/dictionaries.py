"""Small tables that others refer to: staff, chairs, branches, reasons, sources.

They have no stamp of their own, so a change is found by content; their names are shown in amoCRM, so a
renamed doctor or chair touches every row that refers to it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tasks.ident import queries
from tasks.ident.introspect import Catalogue
from tasks.ident.normalise import text

__all__ = ["Dictionaries", "changed_entries"]

Fetch = Callable[[sa.Select[Any]], Iterable[Any]]
Names = dict[int, str]

NAMED = {
    "info_sources": "InfoSources",
    "archiving_reasons": "ArchivingReasons",
    "cancel_reasons": "ReceptionCancelReasons",
    "appointment_sources": "AppointmentSources",
}
DIGEST_BYTES = 5


@dataclass(frozen=True, slots=True)
class Dictionaries:
    """All dictionaries of a database at one moment.

    Attributes:
        names: Display name by id, by dictionary.
        professions: All professions of a member of staff as one text.
        chair_companies: Branch of a chair.
    """

    names: Mapping[str, Names]
    professions: Names
    chair_companies: Mapping[int, int]

    @classmethod
    def read(cls, catalogue: Catalogue, fetch: Fetch) -> Dictionaries:
        """Read them; one that is missing, or has no key, is empty."""
        names: dict[str, Names] = {
            name: {
                row.ID: shown
                for row in fetch(queries.dictionary(table)(catalogue))
                if (shown := text(row.Name))
            }
            if catalogue.has(table, "ID")
            else {}
            for name, table in NAMED.items()
        }
        known = catalogue.has("Armchairs", "ID")
        chairs = list(fetch(queries.dictionary("Armchairs")(catalogue))) if known else []
        names["armchairs"] = {row.ID: shown for row in chairs if (shown := text(row.NameArmchair))}
        names["companies"] = _companies(catalogue, fetch)
        names["staff"] = _staff(catalogue, fetch)
        return cls(
            names,
            _professions(catalogue, fetch),
            {row.ID: row.ID_OwnCompanies for row in chairs if row.ID_OwnCompanies is not None},
        )

    def digests(self) -> dict[str, str]:
        """Return the content of each dictionary as ``id:digest`` pairs, for the watermark."""
        shown: dict[str, dict[int, str]] = {name: dict(entries) for name, entries in self.names.items()}
        for key, professions in self.professions.items():
            shown["staff"][key] = f"{shown['staff'].get(key, '')}|{professions}"
        for key, company in self.chair_companies.items():
            shown["armchairs"][key] = f"{shown['armchairs'].get(key, '')}|{company}"
        return {
            name: " ".join(f"{key}:{_digest(name, entry)}" for key, entry in sorted(entries.items()))
            for name, entries in shown.items()
        }


def changed_entries(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, frozenset[int]]:
    """Return the ids of entries that are new, gone or shown differently, by dictionary."""
    changed: dict[str, frozenset[int]] = {}
    for name in after:
        pairs = set(before.get(name, "").split()) ^ set(after[name].split())
        if pairs:
            changed[name] = frozenset(int(pair.partition(":")[0]) for pair in pairs)
    return changed


def _digest(name: str, shown: str) -> str:
    return hashlib.blake2b(f"{name}|{shown}".encode(), digest_size=DIGEST_BYTES).hexdigest()


def _companies(catalogue: Catalogue, fetch: Fetch) -> Names:
    if not catalogue.has("OwnCompanies", "ID"):
        return {}
    return {
        row.ID: text(row.BranchName) or text(row.Name) or f"Филиал {row.ID}"
        for row in fetch(queries.dictionary("OwnCompanies")(catalogue))
    }


def _staff(catalogue: Catalogue, fetch: Fetch) -> Names:
    if not catalogue.has("Staffs", "ID_Persons"):
        return {}
    found: Names = {}
    for row in fetch(queries.staff(catalogue)):
        parts = (text(row.Surname), text(row.Name), text(row.Patronymic))
        if name := " ".join(part for part in parts if part):
            found[row.ID] = name
    return found


def _professions(catalogue: Catalogue, fetch: Fetch) -> Names:
    linked = catalogue.complete("Items", "ID_Staffs", "ID_ProfessionNames")
    if not (linked and catalogue.complete("ProfessionNames", "ID", "NameProfession")):
        return {}
    found: dict[int, set[str]] = defaultdict(set)
    for row in fetch(queries.professions(catalogue)):
        if name := text(row.NameProfession):
            found[row.ID_Staffs].add(name)
    return {key: ", ".join(sorted(names)) for key, names in found.items()}
