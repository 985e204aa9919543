"""The board: what a manager would see, as one read-only page."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader

from deployments.sandbox.amocrm.listing import Query
from deployments.sandbox.amocrm.model import LOST, UNSORTED_TYPE, WON, Json, Pipeline, Record, Status
from deployments.sandbox.amocrm.sandbox import state_of
from deployments.sandbox.amocrm.state import State
from deployments.sandbox.amocrm.values import read_value

router = APIRouter()
CARDS_PER_COLUMN = 12
CONTACTS_SHOWN = 24
_DETAILS = ("врач", "филиал")
_TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)


def _money(amount: int) -> str:
    return f"{amount:,}".replace(",", "\u202f") + " ₽"


def _plural(count: int, one: str, few: str, many: str) -> str:
    if count % 10 == 1 and count % 100 != 11:
        word = one
    elif count % 10 in {2, 3, 4} and count % 100 not in {12, 13, 14}:
        word = few
    else:
        word = many
    return f"{count:,}".replace(",", "\u202f") + f" {word}"


def _deals(count: int) -> str:
    return _plural(count, "сделка", "сделки", "сделок")


def _texts(state: State, record: Record, code: str) -> list[str]:
    field = state.field_by_code(record.kind, code)
    values = record.values.get(field.id, []) if field else []
    return [str(value["value"]) for value in values]


def _details(state: State, lead: Record) -> list[str]:
    """Pick the doctor and the branch, whatever fields hold them."""
    found = []
    for field_id, stored in lead.values.items():
        field = state.fields["leads"][field_id]
        if field.type in {"text", "select"} and any(word in field.name.casefold() for word in _DETAILS):
            value = read_value(field, stored[0]) if stored else None
            if value:
                found.append(str(value["value"]))
    return found[:2]


def _lead_card(state: State, lead: Record) -> Json:
    main = next((one for one, is_main in lead.links.items() if is_main), None)
    contact = state.find("contacts", main) if main else None
    return {
        "id": lead.id,
        "name": lead.name,
        "price": _money(lead.price) if lead.price else "",
        "contact": contact.name or "Без имени" if contact else "",
        "phones": _texts(state, contact, "PHONE")[:1] if contact else [],
        "details": _details(state, lead),
        "tags": list(lead.tags.values()),
    }


def _column(state: State, status: Status, leads: list[Record], most: int) -> Json:
    shown = sorted(leads, key=lambda lead: (lead.updated_at, lead.id), reverse=True)[:most]
    return {
        "name": status.name,
        "color": status.color,
        "number": f"{len(leads):,}".replace(",", "\u202f"),
        "count": _deals(len(leads)),
        "total": _money(sum(lead.price for lead in leads)),
        "cards": [_lead_card(state, lead) for lead in shown],
        "more": len(leads) - len(shown),
        "kind": {WON: "won", LOST: "lost"}.get(status.id, "open"),
    }


def _section(
    state: State,
    pipeline: Pipeline,
    by_stage: dict[tuple[int, int], list[Record]],
    most: int,
) -> Json:
    stages = [(status, by_stage[pipeline.id, status.id]) for status in pipeline.statuses]
    every = [lead for _, leads in stages for lead in leads]
    return {
        "name": pipeline.name,
        "is_main": pipeline.is_main,
        "count": _deals(len(every)),
        "total": _money(sum(lead.price for lead in every)),
        "empty": not every,
        "columns": [
            _column(state, status, leads, most)
            for status, leads in stages
            if leads or status.type != UNSORTED_TYPE
        ],
    }


def _contact_row(state: State, contact: Record) -> Json:
    name = contact.name or "Без имени"
    return {
        "id": contact.id,
        "name": name,
        "initials": "".join(word[0] for word in name.split()[:2]).upper(),
        "hue": contact.id // 2 * 47 % 360,
        "phones": _texts(state, contact, "PHONE"),
        "emails": _texts(state, contact, "EMAIL"),
        "tags": list(contact.tags.values()),
        "deals": _deals(len(contact.links)),
    }


def board_data(state: State, most: int = CARDS_PER_COLUMN) -> dict[str, Any]:
    """Collect what the page shows, with at most `most` cards in a column."""
    leads = [lead for lead in state.records["leads"].values() if not lead.is_deleted]
    contacts = [one for one in state.records["contacts"].values() if not one.is_deleted]
    by_stage: dict[tuple[int, int], list[Record]] = defaultdict(list)
    for lead in leads:
        by_stage[lead.pipeline_id, lead.status_id].append(lead)
    sections = [_section(state, one, by_stage, most) for one in state.pipelines.values()]
    sections.sort(key=lambda section: section["empty"])
    latest = sorted(contacts, key=lambda one: (one.updated_at, one.id), reverse=True)[:CONTACTS_SHOWN]
    return {
        "sections": sections,
        "contacts": [_contact_row(state, contact) for contact in latest],
        "contacts_count": _plural(len(contacts), "контакт", "контакта", "контактов"),
        "contacts_more": len(contacts) - len(latest),
        "leads_count": _deals(len(leads)),
        "total": _money(sum(lead.price for lead in leads)),
        "now": datetime.now(state.zone).strftime("%d.%m.%Y %H:%M:%S"),
        "timezone": state.timezone,
    }


@router.get("/")
@router.get("/board")
async def board(request: Request) -> HTMLResponse:
    """Show the board; `?refresh=5` reloads it every five seconds, `?cards=4` shortens the columns."""
    query = Query(request)
    page = _TEMPLATES.get_template("board.html").render(
        **board_data(state_of(request), _number(query.first("cards"), CARDS_PER_COLUMN)),
        refresh=_number(query.first("refresh"), 0),
    )
    return HTMLResponse(page)


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() else default
