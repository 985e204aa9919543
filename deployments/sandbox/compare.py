"""Compare a clinic's database with what amoCRM's API answers, field by field.

``python -m deployments.sandbox.compare --help``. Imports nothing from ``flows`` or ``tasks``; ids and field
names only are printed, never values.
"""

from __future__ import annotations

import re
import sqlite3
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import requests
import typer

from deployments.sandbox.expected import Expectation, ExpectedContact, ExpectedDeal, Rows, expect

__all__ = ["Crm", "Difference", "differences", "read_crm", "sqlite_rows"]

PAGE = 250
PAUSE = 0.2
CONTACT_MARK = "IDENT_PATIENT_ID"
LEAD_MARK = "IDENT_APPOINTMENT_ID"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it must be."""

    entity: str
    source_id: str
    what: str

    def __str__(self) -> str:
        return f"{self.entity} {self.source_id}: {self.what}"


@dataclass(slots=True)
class Crm:
    """What amoCRM holds: raw rows and the names that give them meaning."""

    contacts: list[dict[str, Any]]
    leads: list[dict[str, Any]]
    places: dict[tuple[int, int], tuple[str, str]]  # (pipeline, stage) -> their names
    fields: dict[int, dict[str, Any]]
    timezone: str

    def mark(self, row: Mapping[str, Any], code: str) -> str:
        """Return the external id of a row."""
        for item in row.get("custom_fields_values") or ():
            if self.fields[item["field_id"]].get("code") == code:
                return str(item["values"][0]["value"])
        return ""

    def values(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row's custom fields by name, as plain Python values."""
        return {
            self.fields[item["field_id"]]["name"]: self._value(
                self.fields[item["field_id"]]["type"], item["values"]
            )
            for item in row.get("custom_fields_values") or ()
        }

    def _value(self, kind: str, values: list[dict[str, Any]]) -> Any:
        raw = values[0]["value"]
        if kind == "multitext":
            return frozenset(str(item["value"]) for item in values)
        if kind == "numeric":
            return Decimal(str(raw))
        if kind == "birthday":
            return datetime.fromtimestamp(int(raw), tz=UTC).astimezone(ZoneInfo(self.timezone)).date()
        return raw


def read_crm(base_url: str, token: str) -> Crm:
    """Read the whole account through its API."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    session.trust_env = False

    def get(path: str, **params: Any) -> dict[str, Any] | None:
        while True:
            time.sleep(PAUSE)
            answer = session.get(f"{base_url}/api/v4/{path}", params=params, timeout=60)
            if answer.status_code != requests.codes.too_many_requests:
                break
            time.sleep(1)
        answer.raise_for_status()
        return None if answer.status_code == requests.codes.no_content else dict(answer.json())

    def pages(path: str, key: str, **params: str) -> Iterator[dict[str, Any]]:
        number = 1
        while body := get(path, limit=PAGE, page=number, **params):
            yield from body["_embedded"][key]
            if "next" not in body["_links"]:
                return
            number += 1

    account = get("account", **{"with": "datetime_settings"}) or {}
    pipelines = (get("leads/pipelines") or {})["_embedded"]["pipelines"]
    fields = [
        *pages("contacts/custom_fields", "custom_fields"),
        *pages("leads/custom_fields", "custom_fields"),
    ]
    return Crm(
        contacts=list(pages("contacts", "contacts")),
        leads=list(pages("leads", "leads", **{"with": "contacts"})),
        places={
            (pipeline["id"], stage["id"]): (pipeline["name"], stage["name"])
            for pipeline in pipelines
            for stage in pipeline["_embedded"]["statuses"]
        },
        fields={item["id"]: item for item in fields},
        timezone=account["_embedded"]["datetime_settings"]["timezone"],
    )


def differences(wanted: Expectation, crm: Crm) -> list[Difference]:
    """Compare every field of every contact and deal.

    Args:
        wanted: What the database says.
        crm: What amoCRM says; entities without our mark are people's own and not looked at.
    """
    found: list[Difference] = []
    contacts = _by_mark("contact", "P", crm, crm.contacts, CONTACT_MARK, found)
    leads = _by_mark("deal", "A", crm, crm.leads, LEAD_MARK, found)
    for name, expected, actual in (("contact", wanted.contacts, contacts), ("deal", wanted.deals, leads)):
        found += [Difference(name, str(key), "missing in amoCRM") for key in expected.keys() - actual.keys()]
        found += [Difference(name, str(key), "not expected") for key in actual.keys() - expected.keys()]
    owners = {row["id"]: key for key, row in contacts.items()}
    for key in wanted.contacts.keys() & contacts.keys():
        found += _contact(wanted.contacts[key], contacts[key], crm)
    for key in wanted.deals.keys() & leads.keys():
        found += _deal(wanted.deals[key], leads[key], crm, owners)
    return found


def _by_mark(
    name: str, letter: str, crm: Crm, rows: list[dict[str, Any]], code: str, found: list[Difference]
) -> dict[int, dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if mark := crm.mark(row, code):
            groups[mark].append(row)
    result: dict[int, dict[str, Any]] = {}
    for mark, twins in groups.items():
        match = re.fullmatch(rf"IDENT-[a-z0-9]+-{letter}-(\d+)", mark)
        if match is None:
            found.append(Difference(name, mark, "malformed external id"))
            continue
        if len(twins) > 1:
            found.append(Difference(name, match[1], f"stands {len(twins)} times in amoCRM"))
        result[int(match[1])] = twins[0]
    return result


def _contact(wanted: ExpectedContact, row: dict[str, Any], crm: Crm) -> list[Difference]:
    values = crm.values(row)
    by_code = {field["code"]: field["name"] for field in crm.fields.values() if field.get("code")}
    mail = values.get(by_code["EMAIL"], frozenset())
    pairs = {
        "Фамилия": (wanted.last_name, row["last_name"]),
        "Имя": (wanted.first_name, row["first_name"]),
        "Телефоны": (wanted.phones, values.get(by_code["PHONE"], frozenset())),
        "Email": (frozenset({wanted.email} if wanted.email else ()), mail),
        **{name: (value, values.get(name)) for name, value in wanted.fields.items()},
    }
    return _unequal("contact", wanted.patient_id, pairs)


def _deal(wanted: ExpectedDeal, row: dict[str, Any], crm: Crm, owners: Mapping[int, int]) -> list[Difference]:
    values = crm.values(row)
    linked = [owners.get(item["id"]) for item in row["_embedded"].get("contacts") or () if item["is_main"]]
    place = crm.places.get((row["pipeline_id"], row["status_id"]))
    pairs = {
        "Название": (wanted.name, row["name"]),
        "Бюджет": (wanted.price or 0, row["price"]),
        "Воронка и этап": ((wanted.pipeline, wanted.stage), place),
        "Контакт": ([wanted.patient_id], linked),
        **{name: (value, values.get(name)) for name, value in wanted.fields.items()},
    }
    return _unequal("deal", wanted.root_id, pairs)


def _unequal(entity: str, key: int, pairs: Mapping[str, tuple[Any, Any]]) -> list[Difference]:
    return [Difference(entity, str(key), name) for name, (left, right) in pairs.items() if left != right]


def sqlite_rows(path: Path) -> Rows:
    """Return a reader of the demo clinic's file."""

    def rows(table: str) -> list[dict[str, Any]]:
        link = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        link.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in link.execute(f'SELECT * FROM "{table}"')]
        finally:
            link.close()

    return rows


def main(
    database: Annotated[Path, typer.Option(help="SQLite file of the demo clinic.")],
    base_url: Annotated[str, typer.Option(help="Address of the amoCRM account.")],
    token_file: Annotated[Path, typer.Option(help="File that holds the token.")],
    from_day: Annotated[str, typer.Option(help="First day of the launch, YYYY-MM-DD; empty: all.")] = "",
    timezone: Annotated[str, typer.Option(help="Zone of the clinic.")] = "Europe/Moscow",
) -> None:
    """Exit 0 when amoCRM holds exactly what the database says, 1 with the list of differences otherwise."""
    day = date.fromisoformat(from_day) if from_day else None
    wanted = expect(sqlite_rows(database), timezone, day)
    found = differences(wanted, read_crm(base_url, token_file.read_text(encoding="utf-8").strip()))
    for difference in found:
        typer.echo(str(difference))
    typer.echo(f"{len(wanted.contacts)} contacts, {len(wanted.deals)} deals, {len(found)} differences")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    typer.run(main)
