"""Deals: create in place, adopt, update, move forward; their links and the note of a changed time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tasks.errors import AmbiguousWriteError, IdentAmocrmError, RowError
from tasks.loading.batch import Item, send_creates, send_updates
from tasks.loading.ports import Card, Load, Place, sent_by_us
from tasks.loading.resolve import read_cards
from tasks.records import Action, AppliedRow, Batch, Kind, OutcomeState, RemoteLead

__all__ = ["create_leads", "link_leads", "update_leads"]

RESCHEDULED = "rescheduled"
GONE = "gone"


def create_leads(load: Load, cards: Sequence[Card]) -> None:
    """Create the deals of one batch with their contact inside: one request settles deal and link.

    A deal whose contact is not in amoCRM waits: contacts go before deals.
    """
    items = []
    for card in cards:
        contact_id = load.contact_ids.get(card.patient_id) if card.patient_id is not None else None
        place = load.cards.place(is_primary=card.is_primary, stage_key=card.stage_key)
        if contact_id is None or place is None:
            # Only another status or another mapping gives it a stage, and both make it due again.
            state, reason = (
                (OutcomeState.DEFERRED, "waits_for_patient")
                if contact_id is None
                else (OutcomeState.REJECTED, "stage_not_mapped")
            )
            load.journal.record_outcomes(
                load.clinic_uid,
                [load.outcome(card, state, reason), load.outcome(card, state, reason, kind=Kind.LINK)],
            )
            continue
        change = load.cards.change(
            Kind.LEAD,
            card.texts,
            external_id=card.external_id,
            create=True,
            changed=tuple(card.texts),
            remote=None,
            sent=lambda _datum, _text: False,
        )
        embedded = {
            **dict(change.payload).pop("_embedded", {}),
            "contacts": [{"id": contact_id, "is_main": True}],
        }
        payload = {**change.payload, "pipeline_id": place[0], "status_id": place[1], "_embedded": embedded}
        items.append(Item(card, payload, _receipt(card, place, contact_id), also=(Kind.LINK,)))
    send_creates(load, Kind.LEAD, items)


def update_leads(load: Load, cards: Sequence[Card], *, noted: frozenset[int]) -> None:
    """Update the deals of one batch, reading them first.

    Args:
        load: State of the load.
        cards: Planned updates and moves.
        noted: Deals whose plan has a note about a changed time; it is written before the time is replaced.
    """
    remotes = read_cards(load, Kind.LEAD, cards)
    items: list[Item] = []
    for card in cards:
        remote = remotes.get(card.row.source_id)
        if not isinstance(remote, RemoteLead):
            outcomes = [load.outcome(card, OutcomeState.REJECTED, "not_in_amocrm")]
            if card.row.source_id in noted:
                outcomes.append(load.outcome(card, OutcomeState.DEFERRED, "not_in_amocrm", kind=Kind.NOTE))
            load.journal.record_outcomes(load.clinic_uid, outcomes)
            continue
        note = _note(load, card, remote) if card.row.source_id in noted else OutcomeState.APPLIED
        if note is not OutcomeState.APPLIED:
            # The old time stands nowhere but in the deal: it is not replaced before the note is there.
            reason = "note_refused" if note is OutcomeState.REJECTED else "note_pending"
            load.journal.record_outcomes(load.clinic_uid, [load.outcome(card, note, reason)])
            continue
        payload, place = _update(load, card, remote)
        receipt = _receipt(card, place, None)
        if payload:
            items.append(Item(card, {**payload, "id": remote.id}, receipt))
        else:
            load.journal.apply_local(load.clinic_uid, load.account_id, receipt(remote.id))
            load.journal.record_outcomes(load.clinic_uid, [load.outcome(card, OutcomeState.APPLIED)])
    send_updates(load, Kind.LEAD, items)


def link_leads(load: Load, cards: Sequence[Card], lead_ids: dict[int, int]) -> None:
    """Attach deals to the contact of their patient, for adopted deals and for a changed patient."""
    for card in cards:
        lead_id = lead_ids.get(card.row.source_id)
        contact_id = load.contact_ids.get(card.patient_id) if card.patient_id is not None else None
        if lead_id is None or contact_id is None:
            outcome = load.outcome(card, OutcomeState.DEFERRED, "waits_for_patient")
            load.journal.record_outcomes(load.clinic_uid, [outcome])
            continue
        known = card.known  # the link as it was last acknowledged
        try:
            load.guard()
            linked = load.destination.link(lead_id, contact_id)
            if not linked:
                outcome = load.outcome(card, OutcomeState.DEFERRED, "not_acknowledged")
                load.journal.record_outcomes(load.clinic_uid, [outcome])
                continue
            if known is not None and known.amo_id != contact_id:
                load.guard()
                load.destination.unlink(lead_id, known.amo_id)
        except RowError as error:
            load.journal.record_outcomes(
                load.clinic_uid, [load.outcome(card, OutcomeState.REJECTED, error.code)]
            )
            continue
        load.journal.apply_local(
            load.clinic_uid,
            load.account_id,
            [AppliedRow(Kind.LINK, card.row.source_id, contact_id, contact_id, {})],
        )
        load.journal.record_outcomes(load.clinic_uid, [load.outcome(card, OutcomeState.APPLIED)])


def _update(load: Load, card: Card, remote: RemoteLead) -> tuple[dict[str, Any], Place | None]:
    """Return what to send for a deal and where it stands afterwards, as far as we put it there."""
    last_sent = _last_sent(card, remote)
    if card.row.changed == (GONE,):
        payload = load.cards.gone_payload(Kind.LEAD, remote)
        place = _move(load, card, remote, GONE, payload)
        return payload, place or last_sent
    change = load.cards.change(
        Kind.LEAD,
        card.texts,
        external_id=card.external_id,
        create=False,
        changed=card.row.changed,
        remote=remote,
        sent=sent_by_us(load, card),
    )
    load.count(change)
    payload = dict(change.payload)
    if card.row.action is not Action.MOVE:
        return payload, last_sent
    rescheduled = (
        "start_at" in card.row.changed and card.stage_key == "planned" and _has_other_time(load, card, remote)
    )
    place = _move(load, card, remote, RESCHEDULED if rescheduled else card.stage_key, payload)
    return payload, place or last_sent


def _has_other_time(load: Load, card: Card, remote: RemoteLead) -> bool:
    """Tell whether the deal was given another time than the appointment has now.

    A deal that was found again has no known time: then what it holds is compared.
    """
    now = card.hashes.get("start_at", 0)
    if any(row.row_hash != 0 and row.hashes.get("start_at", 0) not in {0, now} for row in card.sent):
        return True
    if card.known is None or (card.known.hashes and not card.known.hashes.get("start_at", 0)):
        return False  # only the time is unknown: a person typed another one into the deal
    return load.cards.reschedule_note(remote, card.texts, card.external_id) is not None


def _move(
    load: Load, card: Card, remote: RemoteLead, stage_key: str, payload: dict[str, Any]
) -> Place | None:
    """Put the move into the payload where the stage rules allow it; return the place then."""
    target = load.cards.place(is_primary=card.is_primary, stage_key=stage_key)
    current = (remote.pipeline_id, remote.status_id)
    if target is None:
        return None
    if target == current:
        return target
    if not load.cards.may_move(
        current=current, last_sent=_last_sent(card, remote), target=target, stage_key=stage_key
    ):
        return None
    payload["pipeline_id"], payload["status_id"] = target
    return target


def _last_sent(card: Card, remote: RemoteLead) -> Place | None:
    """Return where we put the deal: where it stands now, if we sent it there, else the last place."""
    places = [
        (row.pipeline_id, row.status_id)
        for row in card.sent
        if row.pipeline_id is not None and row.status_id is not None
    ]
    current = (remote.pipeline_id, remote.status_id)
    return current if current in places else places[-1] if places else None


def _note(load: Load, card: Card, remote: RemoteLead) -> OutcomeState:
    """Write the old time of a rescheduled appointment into a note, once; return how that ended.

    The note goes before the deal's time is replaced, because amoCRM is the only place that still has the old
    one. The latest notes are read first: a note whose run died before the deal was updated is not repeated.
    """
    note_card = replace(card, row=replace(card.row, kind=Kind.NOTE))
    text = load.cards.reschedule_note(remote, card.texts, card.external_id)
    outcome = load.outcome(note_card, OutcomeState.APPLIED, "" if text else "not_needed")
    if text is not None:
        load.guard()
        ours = [known for known in load.destination.notes(remote.id) if card.external_id in known]
        if not ours or ours[-1] != text:
            key = card.row.source_id
            batch = Batch(Kind.NOTE, Action.CREATE, (key,), load.request_hash([text]))
            attempt = load.journal.begin_attempt(load.run_id, load.clinic_uid, load.account_id, batch)
            try:
                load.destination.add_note(remote.id, text)
            except AmbiguousWriteError as error:
                # The next run reads the notes again before it writes one, so the attempt need not stay open.
                outcome = load.outcome(note_card, OutcomeState.DEFERRED, error.code)
            except RowError as error:
                outcome = load.outcome(note_card, OutcomeState.REJECTED, error.code)
            except IdentAmocrmError as error:
                deferred = [load.outcome(note_card, OutcomeState.DEFERRED, error.code)]
                load.journal.close_attempt(attempt.id, deferred)
                raise
            load.journal.close_attempt(attempt.id, [outcome])
            return outcome.state
    load.journal.record_outcomes(load.clinic_uid, [outcome])
    return outcome.state


def _receipt(
    card: Card, place: Place | None, contact_id: int | None
) -> Callable[[int], Sequence[AppliedRow]]:
    def receipt(amo_id: int) -> Sequence[AppliedRow]:
        pipeline_id, status_id = place or (None, None)
        lead = AppliedRow(
            Kind.LEAD,
            card.row.source_id,
            amo_id,
            card.row_hash,
            card.hashes,
            pipeline_id,
            status_id,
            card.is_primary,
        )
        if contact_id is None:
            return [lead]
        return [lead, AppliedRow(Kind.LINK, card.row.source_id, contact_id, contact_id, {})]

    return receipt
