"""Clearing a person's cards in amoCRM and what the ledger knows of them, one patient after the other.

The tombstone stands before this begins. What is done here may be done again from the start at any time: each
step looks at what there is, and the ledger forgets the person last, when amoCRM was read once more and has
nothing left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from time import time
from typing import Final
from uuid import uuid4

import pandas as pd

from tasks.amocrm import leads
from tasks.amocrm.client import AmoClient
from tasks.amocrm.custom_fields import read_custom_fields
from tasks.destination import AmoDestination
from tasks.errors import RowError
from tasks.events import emit
from tasks.ident.connection import database_errors
from tasks.ident.reader import IdentReader, Window
from tasks.ledger.erasures import ErasureRecord
from tasks.ledger.store import Ledger
from tasks.loading.erase import Clear, clear_cards, clear_notes, own_notes
from tasks.loading.ports import Card, Change, Load, Remote, sent_by_us
from tasks.loading.resolve import is_free
from tasks.mapping.erasing import CLEARED, Eraser
from tasks.mappings import former_mappings
from tasks.planning.chains import collapse
from tasks.planning.identity import external_id, parse_external_id
from tasks.records import Action, AppliedRow, Kind, PlanRow, RemoteContact, RemoteLead
from tasks.seen import SEEN
from tasks.workspace import Workspace

__all__ = [
    "Erased",
    "Erasing",
    "Visits",
    "carry_out",
    "finish_erasures",
    "look",
    "tell",
    "visits_of",
]

LETTERS: Final = {Kind.CONTACT: "P", Kind.LEAD: "A"}
#: What amoCRM refuses is sent again by each run for so many seconds, then once in so many: ticks come often.
AT_FIRST: Final = 3600.0
AGAIN: Final = 3600.0
#: What a plan row of a card that is cleared says it changes.
ERASED: Final = ("erased",)


@dataclass(frozen=True, slots=True)
class Visits:
    """Appointments of one patient in IDENT, and the keys of the deals that they are.

    An appointment whose number is the key of somebody else's deal is in neither: its chain went over to them.
    """

    ids: frozenset[int] = frozenset()
    roots: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Erasing:
    """What clearing needs.

    Attributes:
        ledger: The installation's ledger.
        load: State of the load of one clinic.
        client: The account.
        eraser: What clears its cards.
        visits: Returns the appointments of a patient; ``None`` where IDENT could not be asked.
    """

    ledger: Ledger
    load: Load
    client: AmoClient
    eraser: Eraser
    visits: Callable[[int], Visits | None]


@dataclass(frozen=True, slots=True)
class Erased:
    """What was found of one patient, and what became of it.

    Attributes:
        patient_id: IDENT's number.
        contacts: Ids of contacts with the patient's mark.
        deals: Ids of deals that we made for the patient.
        notes: How many notes of ours stand in them.
        left: Data that a person typed and that stay, by ``contact <id>`` or ``deal <id>``.
        finished: Whether nothing of ours is left, in amoCRM or here.
    """

    patient_id: int
    contacts: tuple[int, ...] = ()
    deals: tuple[int, ...] = ()
    notes: int = 0
    left: Mapping[str, tuple[str, ...]] | None = None
    finished: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    contacts: list[tuple[Card, Remote]]
    deals: list[tuple[Card, Remote]]
    contact_ids: frozenset[int] = frozenset()  # also of one that is not in amoCRM any more
    roots: frozenset[int] = frozenset()  # keys of the patient's deals, likewise

    def of(self, kind: Kind) -> list[tuple[Card, Remote]]:
        return self.contacts if kind is Kind.CONTACT else self.deals


def look(erasing: Erasing, patient_id: int) -> Erased:
    """Return what would be cleared; nothing is written."""
    found = _find(erasing, patient_id, erasing.visits(patient_id) or Visits())
    book = AmoDestination(erasing.client)
    notes = sum(len(own_notes(book, remote.id, card.external_id)) for card, remote in found.deals)
    return Erased(
        patient_id,
        contacts=tuple(remote.id for _card, remote in found.contacts),
        deals=tuple(remote.id for _card, remote in found.deals),
        notes=notes,
        left=_left(erasing, found),
    )


def carry_out(erasing: Erasing, patient_id: int, unknown: Mapping[Kind, Collection[int]]) -> Erased:
    """Clear what there is of one patient, look again, and forget the patient.

    Args:
        erasing: What clearing needs.
        patient_id: The patient; a tombstone stands.
        unknown: Rows by kind whose creation left and has no answer yet: while one may be the patient's, the
            erasure stays open.

    Raises:
        IdentAmocrmError: When the run cannot go on; the erasure stays open.
    """
    # Under ids of its own: what a run plans and how that ends are compared at its end.
    own = f"{_prefix(patient_id)}{uuid4().hex[:20]}"
    erasing = replace(erasing, load=replace(erasing.load, run_id=own))
    visits = erasing.visits(patient_id)
    found = _find(erasing, patient_id, visits or Visits())
    book = AmoDestination(erasing.client)
    notes = {
        remote.id: clear_notes(erasing.load, book, card, remote.id, CLEARED) for card, remote in found.deals
    }
    for kind in (Kind.LEAD, Kind.CONTACT):
        clear_cards(erasing.load, kind, found.of(kind), _clear(erasing))
    after = _again(erasing, found)
    rest = [one for kind in LETTERS for one in after.of(kind) if _change(erasing, *one).payload]
    rest += [
        (card, remote)
        for card, remote in found.deals
        if notes[remote.id] and own_notes(book, remote.id, card.external_id)
    ]
    finished = not rest and visits is not None and not _awaited(erasing, patient_id, found, unknown)
    if finished and visits is not None:
        _forget(erasing.ledger, erasing.load.clinic_uid, patient_id, found.roots | visits.ids)
    return Erased(
        patient_id,
        contacts=tuple(remote.id for _card, remote in found.contacts),
        deals=tuple(remote.id for _card, remote in found.deals),
        notes=sum(notes.values()),
        left=_left(erasing, after),
        finished=finished,
    )


def finish_erasures(space: Workspace, load: Load) -> None:
    """Go on with erasures that did not end, before anything else of a run is done."""
    uid = space.uid
    waiting = [one for one in space.ledger.erasures(uid) if one.finished_at is None]
    if not waiting:
        return
    lead_fields = read_custom_fields(space.client, "leads")
    former = [one.for_clinic(uid) for one in former_mappings(space.ledger, load.account_id)]
    eraser = Eraser(space.settled_mapping(), space.contact_fields, lead_fields, former)

    def visits(patient_id: int) -> Visits:
        with database_errors(space.connection):
            return visits_of(space.reader, patient_id)

    erasing = Erasing(space.ledger, load, space.client, eraser, visits)
    for one in waiting:
        patient_id = one.patient_id
        done = Erased(patient_id)
        if _is_due(space.ledger, one):
            # amoCRM may refuse a card of one person: the others are still sent.
            with suppress(RowError):
                done = carry_out(erasing, patient_id, space.unknown)
        if done.finished:
            tell(space.ledger, uid, space.clinic.name, done)
            space.warnings += _told_left(done)
        else:
            space.warnings.append(
                f"Patient {patient_id} was to be erased, and something is still in amoCRM. It is "
                "tried again: by each run of the first hour, then once an hour."
            )


def _told_left(done: Erased) -> list[str]:
    """Return what nobody finds again, now that the marks are off: cards with something a person typed."""
    listed = [f"{card}: {', '.join(data)}" for card, data in (done.left or {}).items()]
    return [f"Patient {done.patient_id} was erased; a person typed and kept: {'; '.join(listed)}."] * bool(
        listed
    )


def _prefix(patient_id: int) -> str:
    """Return how the ids begin under which the attempts and outcomes of an erasure stand."""
    return f"erase-{patient_id}-"


def _is_due(ledger: Ledger, one: ErasureRecord) -> bool:
    """Tell whether a run tries once more; one that sent nothing was not refused, it waits for an answer."""
    now, last = time(), ledger.last_clearing(one.clinic_uid, _prefix(one.patient_id))
    # A moment that is still to come was written by a clock that was set back since.
    return last is None or now - one.asked_at < AT_FIRST or not 0 <= now - last < AGAIN


def tell(ledger: Ledger, clinic_uid: str, name: str, done: Erased) -> None:
    """Record that a person was erased: counts only."""
    left = sum(len(data) for data in (done.left or {}).values())
    counts = {"contacts": len(done.contacts), "deals": len(done.deals), "notes": done.notes, "left": left}
    emit("subject.erased", clinic_uid, name, "info", counts, ledger)


def _again(erasing: Erasing, before: _Found) -> _Found:
    """Read once more what was found before its marks were taken off."""
    again: dict[Kind, list[tuple[Card, Remote]]] = {}
    for kind in LETTERS:
        now = erasing.load.destination.read(kind, [remote.id for _card, remote in before.of(kind)])
        again[kind] = [(card, now[remote.id]) for card, remote in before.of(kind) if remote.id in now]
    return _Found(again[Kind.CONTACT], again[Kind.LEAD])


def _awaited(
    erasing: Erasing, patient_id: int, found: _Found, unknown: Mapping[Kind, Collection[int]]
) -> bool:
    """Tell whether a card of the patient may have been written by a request whose answer was lost."""
    return (
        patient_id in unknown.get(Kind.CONTACT, ())
        or not found.roots.isdisjoint(unknown.get(Kind.LEAD, ()))
        or bool(erasing.ledger.awaited_deals(erasing.load.clinic_uid, found.contact_ids))
    )


def _find(erasing: Erasing, patient_id: int, visits: Visits) -> _Found:
    """Find the patient's cards: by the ledger, by their mark, by their contact, by IDENT's word."""
    contacts = _contacts(erasing, patient_id)
    held = erasing.ledger.applied_rows(erasing.load.clinic_uid, Kind.CONTACT, [patient_id])
    ids = {remote.id for _card, remote in contacts} | {row.amo_id for row in held.values()}
    roots, deals = _deals(erasing, patient_id, ids, visits)
    return _Found(contacts, deals, frozenset(ids), roots)


def _contacts(erasing: Erasing, patient_id: int) -> list[tuple[Card, Remote]]:
    load, mark = erasing.load, external_id(erasing.load.clinic_uid, "P", patient_id)
    known = erasing.ledger.applied_rows(load.clinic_uid, Kind.CONTACT, [patient_id]).get(patient_id)
    found = dict(load.destination.read(Kind.CONTACT, [known.amo_id] if known else []))
    for remote in load.destination.search(Kind.CONTACT, mark):
        is_marked = not remote.is_deleted and load.cards.external_ids(Kind.CONTACT, remote) == mark
        if is_marked and is_free(load, Kind.CONTACT, remote.id, patient_id):
            found[remote.id] = remote
    return [(_card(erasing, Kind.CONTACT, patient_id, known), found[key]) for key in sorted(found)]


def _deals(
    erasing: Erasing, patient_id: int, contact_ids: Collection[int], visits: Visits
) -> tuple[frozenset[int], list[tuple[Card, Remote]]]:
    """Return the keys of the patient's deals, and those that are in amoCRM."""
    load, uid = erasing.load, erasing.load.clinic_uid
    attached = [
        (root, deal)
        for deals in leads.leads_of_contacts(erasing.client, contact_ids).values()
        for deal in deals
        if not deal.is_deleted
        and (root := parse_external_id(load.cards.external_ids(Kind.LEAD, deal), uid, "A")) is not None
    ]
    mine = {root for root, deal in attached if deal.contact_ids[:1] and deal.contact_ids[0] in contact_ids}
    others = {root for root, _deal in attached} | visits.roots
    links = erasing.ledger.applied_rows(uid, Kind.LINK, others)
    roots = set(erasing.ledger.deals_of(uid, contact_ids)) | (others - links.keys())
    # The ledger's word counts where it has one: a person may have attached somebody else's deal. It has none
    # where it names a contact that was merged into another one since and is nobody's.
    roots |= {
        root
        for root, link in links.items()
        if (root in mine or root in visits.roots) and is_free(load, Kind.CONTACT, link.amo_id, patient_id)
    }
    known = erasing.ledger.applied_rows(uid, Kind.LEAD, roots)
    remotes = load.destination.read(Kind.LEAD, [row.amo_id for row in known.values()])
    found = {row.amo_id: (key, remotes[row.amo_id]) for key, row in known.items() if row.amo_id in remotes}
    found |= {deal.id: (root, deal) for root, deal in attached if root in roots}
    return frozenset(roots), [
        (_card(erasing, Kind.LEAD, root, known.get(root)), remote)
        for _id, (root, remote) in sorted(found.items())
    ]


def _card(erasing: Erasing, kind: Kind, key: int, known: AppliedRow | None) -> Card:
    uid = erasing.load.clinic_uid
    row = PlanRow(kind, key, Action.UPDATE, ERASED, known.amo_id if known else None)
    pending = erasing.ledger.unacknowledged(uid, kind).get(key, ())
    mark = external_id(uid, LETTERS[kind], key)
    return Card(row, mark, {}, {}, known=known, unacknowledged=pending)


def _clear(erasing: Erasing) -> Clear:
    def clear(remote: Remote, sent: Callable[[str, str], bool]) -> Change:
        if isinstance(remote, RemoteContact):
            return erasing.eraser.contact(remote, sent)
        return erasing.eraser.lead(remote, sent)

    return clear


def _change(erasing: Erasing, card: Card, remote: Remote) -> Change:
    return _clear(erasing)(remote, sent_by_us(erasing.load, card))


def _left(erasing: Erasing, found: _Found) -> dict[str, tuple[str, ...]]:
    """Return what a person typed and what therefore stays."""
    left: dict[str, tuple[str, ...]] = {}
    for kind in LETTERS:
        for card, remote in found.of(kind):
            if data := _change(erasing, card, remote).yielded:
                left[f"{'deal' if isinstance(remote, RemoteLead) else 'contact'} {remote.id}"] = data
    return left


def _forget(ledger: Ledger, clinic_uid: str, patient_id: int, appointments: Collection[int]) -> None:
    """Remove what the ledger knows, with the digests of what was read lately, which are of all patients."""
    stored = ledger.watermark(clinic_uid)
    if stored and SEEN in stored:
        ledger.move_watermark(clinic_uid, {name: one for name, one in stored.items() if name != SEEN})
    ledger.finish_erasure(clinic_uid, patient_id, appointments)


def visits_of(reader: IdentReader, patient_id: int) -> Visits:
    """Return a patient's appointments.

    Raises:
        IdentAmocrmError: When IDENT cannot be read.
    """
    ids = reader.appointments_of({patient_id}, Window())
    pages = list(reader.appointments(reader.chain(ids))) if ids else []
    if not pages:
        return Visits()
    deals = collapse(pd.concat(pages, ignore_index=True))
    is_theirs = (deals["patient_id"] == patient_id).fillna(value=False).astype(bool)
    others = {int(key) for key in deals[~is_theirs]["root_id"]}
    return Visits(frozenset(ids - others), frozenset(int(key) for key in deals[is_theirs]["root_id"]))
