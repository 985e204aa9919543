"""Finding in amoCRM what IDENT names for the first time, before it is created."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import pandas as pd

from tasks.amocrm import contacts, leads
from tasks.planning.holding import SEVERAL_CANDIDATES
from tasks.planning.identity import ContactIndex, Match, external_id, open_deal_of
from tasks.records import Action, Kind, PlanRow, Reject, RemoteLead
from tasks.workspace import Workspace

__all__ = ["LETTERS", "adopt_contacts", "adopt_deals", "mark", "park"]

LETTERS = {Kind.CONTACT: "P", Kind.LEAD: "A", Kind.LINK: "A", Kind.NOTE: "A"}
#: Above so many new patients all contacts are read once, in pages: fewer requests than a search for each.
SEARCH_LIMIT = 20
RECENT_SECONDS = 15 * 60


def mark(space: Workspace, kind: Kind, source_id: int) -> str:
    """Return the external id of an entity of this clinic."""
    return external_id(space.uid, LETTERS[kind], source_id)


def adopt_contacts(space: Workspace, rows: list[PlanRow]) -> list[PlanRow]:
    """Turn creates of contacts into adoptions where the contact already stands in amoCRM."""
    new = [row.source_id for row in rows if row.action is Action.CREATE]
    matches = _match_contacts(space, new) if new else {}
    table = space.cards[Kind.CONTACT]
    adopted: list[PlanRow] = []
    for row in rows:
        match = matches.get(row.source_id)
        if row.action is not Action.CREATE or match is None:
            adopted.append(row)
            continue
        _tell_twins(space, "contacts", row.source_id, match)
        if match.amo_id is not None:
            data = tuple(name for name in table.hashes.columns)
            adopted.append(PlanRow(Kind.CONTACT, row.source_id, Action.UPDATE, data, match.amo_id))
        elif match.candidates:
            row_hash = table.row_hash(row.source_id)
            park(space, Kind.CONTACT, row.source_id, SEVERAL_CANDIDATES, "phone", row_hash)
        else:
            adopted.append(row)
    return adopted


def _match_contacts(space: Workspace, new: list[int]) -> dict[int, Match]:
    """Look the new patients up: all contacts at once when many are new, one search each when few are."""
    phone_fields = frozenset(field.id for field in space.contact_fields if field.code == "PHONE")
    index = ContactIndex(space.settled_mapping().contact_external_field, phone_fields)
    table = space.cards[Kind.CONTACT]
    if len(new) > SEARCH_LIMIT:
        known = space.all_contacts
        index.add(contacts.iterate_contacts(space.client) if known is None else known)
    else:
        for key in new:
            texts = table.texts(key)
            for datum in ("phone_mobile", "phone_other"):
                if number := texts.get(datum):
                    index.add(contacts.search_contacts(space.client, number[-10:]))
        since = int(datetime.now(tz=UTC).timestamp()) - RECENT_SECONDS
        index.add(contacts.recently_updated_contacts(space.client, since))
    matches: dict[int, Match] = {}
    if not index:
        return matches  # and the texts of all patients need not be made before the first is sent
    account_id = space.settled_account().id
    for key in sorted(new):
        match = index.find(mark(space, Kind.CONTACT, key), table.texts(key))
        amo_id = match.amo_id
        if amo_id is not None:
            owner = space.ledger.owner_of(account_id, Kind.CONTACT, amo_id)
            if owner is not None and owner != (space.uid, key):
                match = Match()  # another patient's already: this one is somebody else
            else:
                index.taken(amo_id)
        matches[key] = match
    return matches


def adopt_deals(space: Workspace, rows: list[PlanRow]) -> list[PlanRow]:
    """Adopt a manager's open deal for a planned, future appointment, soonest first, one deal once."""
    amo_ids = _contact_ids(space, rows)
    new = [
        row
        for row in rows
        if row.kind is Kind.LEAD
        and row.action is Action.CREATE
        and space.owners.get(row.source_id) in amo_ids
    ]
    if not new:
        return rows
    wanted = {amo_ids[owner] for row in new if (owner := space.owners[row.source_id]) is not None}
    deals = leads.leads_of_contacts(space.client, wanted)
    chosen: dict[int, int] = {}
    used: set[int] = set()
    for row in sorted(new, key=lambda row: space.starts[row.source_id]):
        owner = space.owners[row.source_id]
        known = deals.get(amo_ids[owner], ()) if owner is not None else ()
        match = _match_deal(space, row.source_id, [deal for deal in known if deal.id not in used])
        if match.amo_id is not None:
            chosen[row.source_id] = match.amo_id
            used.add(match.amo_id)
        elif match.candidates:
            space.warnings.append(
                f"Appointment {row.source_id}: its patient has several open deals "
                f"({_listed(match.candidates)}); a new one is created beside them."
            )
        _tell_twins(space, "deals", row.source_id, match)
    data = tuple(space.cards[Kind.LEAD].hashes.columns)
    return [
        PlanRow(Kind.LEAD, row.source_id, Action.MOVE, data, chosen[row.source_id])
        if row.kind is Kind.LEAD and row.source_id in chosen
        else row
        for row in rows
    ]


def _listed(ids: Iterable[int]) -> str:
    return ", ".join(str(key) for key in ids)


def _tell_twins(space: Workspace, what: str, source_id: int, match: Match) -> None:
    if match.twins:
        space.warnings.append(
            f"Row {source_id} stands several times in amoCRM: {what} {_listed(match.twins)} "
            f"beside {match.amo_id}, which is kept. Merge them in amoCRM."
        )


def _match_deal(space: Workspace, root: int, deals: Iterable[RemoteLead]) -> Match:
    mapping = space.settled_mapping()
    future = space.stage_keys[root] == "planned" and space.starts[root] > pd.Timestamp.now(tz=UTC)
    closed = {142, 143}
    places = {
        pipeline.id: frozenset(
            stage.id for stage in pipeline.stages if stage.type != 1 and stage.id not in closed
        )
        for pipeline in space.pipelines
        if future and pipeline.id in {mapping.primary.pipeline_id, mapping.repeat.pipeline_id}
    }
    account_id = space.settled_account().id
    match = open_deal_of(
        deals, mark=mark(space, Kind.LEAD, root), external_field=mapping.lead_external_field, places=places
    )
    if match.amo_id is not None and space.ledger.owner_of(account_id, Kind.LEAD, match.amo_id):
        return Match()
    return match


def _contact_ids(space: Workspace, rows: list[PlanRow]) -> dict[int | None, int]:
    """Return amoCRM's contact by patient of a new deal, for contacts that stood there before this run."""
    new = [row.source_id for row in rows if row.kind is Kind.LEAD and row.action is Action.CREATE]
    owners = {space.owners[key] for key in new if key in space.owners}
    index = space.ledger.applied_index(space.uid, Kind.CONTACT, owners)
    known: dict[int | None, int] = {
        int(key): int(amo_id) for key, amo_id in zip(index.source_ids, index.amo_ids, strict=True)
    }
    contacts_planned = [row for row in rows if row.kind is Kind.CONTACT]
    known |= {row.source_id: row.amo_id for row in contacts_planned if row.amo_id}
    # One that is new may have been written already, while the deals are still planned.
    fresh = {row.source_id for row in contacts_planned if row.action is Action.CREATE}
    return {key: amo_id for key, amo_id in known.items() if key not in fresh}


def park(space: Workspace, kind: Kind, source_id: int, reason: str, field: str, row_hash: int) -> None:
    """Keep a row back with a reason."""
    if not space.dry_run:
        space.ledger.add_rejects(space.uid, [Reject(kind.value, source_id, reason, field, row_hash)])
    space.invalid += 1
    space.fresh_rejects += 1
