"""Collecting what is known of one row, from IDENT, the ledger and amoCRM; either end may be out of reach."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from tasks.connections import AMOCRM, INSTALLATION, open_destination
from tasks.destination import AmoDestination
from tasks.errors import IdentAmocrmError
from tasks.explaining.facts import (
    AppliedFacts,
    AttemptFacts,
    Facts,
    HeldFacts,
    PatientFacts,
    PlanFacts,
    RemoteFacts,
    RunFacts,
)
from tasks.extract import FULL_DUE, MARK, SUSPECTS
from tasks.frames import Entity
from tasks.gate import load_mapping
from tasks.inquiry import Inquiry, Reading, look, read
from tasks.launch import LAUNCH, TRANSFER, Launch
from tasks.ledger.history import HeldRow
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.loading.ports import Remote
from tasks.mapping.model import Mapping as CardMapping
from tasks.planning.diff import GONE_HASH
from tasks.planning.identity import external_id, first_text
from tasks.records import AppliedRow, Kind, RemoteLead
from tasks.settings import Settings
from tasks.validate import action_of, severity_of
from tasks.withholding import data_of

__all__ = ["collect"]

LETTERS = {Kind.CONTACT: "P", Kind.LEAD: "A"}
PATHS = {Kind.CONTACT: "contacts", Kind.LEAD: "leads"}


def collect(
    ledger: Ledger, settings: Settings, record: ConnectionRecord, entity: Entity, source_id: int
) -> Facts:
    """Collect what is known of one row.

    Args:
        ledger: The installation's ledger.
        settings: The installation's settings.
        record: The clinic.
        entity: Patient or appointment.
        source_id: Its id in IDENT.

    Returns:
        The facts; an end that could not be reached is named with its error's code.
    """
    inquiry = Inquiry(ledger, settings, record, entity, source_id)
    reading = read(inquiry)
    root = reading.root_of(source_id)
    account = ledger.setting(INSTALLATION, AMOCRM)
    mapping = _mapping(ledger, account, inquiry.uid)
    known = ledger.applied_rows(inquiry.uid, inquiry.kind, [root]).get(root)
    held = _held(inquiry, reading, {*reading.ids, source_id, root})
    broken = {fact.source_id for fact, _hash in held if fact.is_direct}
    # Of a chain, the deal shows the last row; what is withheld of the others is in no card.
    out = {name for fact, _hash in held if fact.withheld for name in data_of(fact.field)}
    source, row_hash = (None, 0) if reading.error else look(inquiry, reading, known, broken, mapping)
    if source is not None:
        source = replace(source, differs=tuple(name for name in source.differs if name not in out))
    patient_id = source.patient_id if source is not None else None
    remote = _remote(inquiry, known, mapping) if known is not None else None
    amo_id = (remote.amo_id if remote else None) or (known.amo_id if known else None)
    return Facts(
        clinic=record.name,
        clinic_uid=inquiry.uid,
        timezone=record.timezone,
        entity=entity,
        source_id=source_id,
        root_id=root,
        mark=external_id(inquiry.uid, LETTERS[inquiry.kind], root),
        source=source,
        source_error=reading.error,
        held=tuple(_compared(held, row_hash)),
        applied=_applied(inquiry, known, mapping),
        remote=remote,
        card_url=_card_url(inquiry.kind, account, amo_id),
        patient=_patient(inquiry, reading, patient_id) if patient_id is not None else None,
        erased=(source_id if entity is Entity.PATIENT else patient_id) in inquiry.ledger.erased(inquiry.uid),
        **_progress(inquiry, root),
        **_journal(inquiry, root),
    )


# ---- the ledger --------------------------------------------------------------------------------------------


def _held(inquiry: Inquiry, reading: Reading, ids: set[int]) -> list[tuple[HeldFacts, int]]:
    """Return what holds the row or its chain back, each with the row hash at which it was refused."""
    changed = {}
    if not reading.error:
        keys = reading.frame.iloc[:, 0]
        changed = dict(zip((int(key) for key in keys), reading.frame["changed_at"], strict=True))
    found = inquiry.ledger.held_rows(inquiry.uid, (inquiry.entity.value, inquiry.kind.value), ids)
    facts = []
    for row in found:
        fact = _held_fact(inquiry, row)
        at = inquiry.local(changed.get(fact.source_id))
        facts.append(
            (replace(fact, data_changed=at is not None and at > fact.last_seen), row.reject.data_hash)
        )
    return facts


def _held_fact(inquiry: Inquiry, row: HeldRow) -> HeldFacts:
    reject = row.reject
    is_rule = reject.entity in set(Entity)
    return HeldFacts(
        entity=reject.entity,
        source_id=reject.source_id,
        reason=reject.reason,
        field=reject.field,
        first_seen=inquiry.at(reject.first_seen),
        last_seen=inquiry.at(reject.last_seen),
        severity=severity_of(Entity(reject.entity), reject.reason) if is_rule else "",
        withheld=is_rule and action_of(Entity(reject.entity), reject.reason) == "withhold",
        released=row.released,
    )


def _compared(held: Iterable[tuple[HeldFacts, int]], row_hash: int) -> Iterable[HeldFacts]:
    """A refused card is tried again when its hash is another one, whatever IDENT's stamp says."""
    for fact, refused in held:
        changed = refused != 0 and row_hash not in {0, refused}
        yield replace(fact, data_changed=changed) if fact.by_amocrm else fact


def _applied(inquiry: Inquiry, known: AppliedRow | None, mapping: CardMapping | None) -> AppliedFacts | None:
    if known is None:
        return None
    at = inquiry.ledger.applied_at(inquiry.uid, inquiry.kind, known.source_id)
    return AppliedFacts(
        amo_id=known.amo_id,
        applied_at=inquiry.at(at or 0.0),
        pipeline_id=known.pipeline_id,
        status_id=known.status_id,
        stage=_stage(mapping, known.pipeline_id, known.status_id),
        is_primary=known.is_primary,
        confirmed=known.row_hash != 0,
        closed=known.row_hash == GONE_HASH,
    )


def _patient(inquiry: Inquiry, reading: Reading, patient_id: int) -> PatientFacts:
    ledger, uid = inquiry.ledger, inquiry.uid
    known = ledger.applied_rows(uid, Kind.CONTACT, [patient_id]).get(patient_id)
    rows = ledger.held_rows(uid, (Entity.PATIENT.value, Kind.CONTACT.value), [patient_id])
    return PatientFacts(
        patient_id,
        exists=patient_id in reading.patients,
        amo_id=known.amo_id if known else None,
        held=tuple(_held_fact(inquiry, row) for row in rows),
        answer_lost=any(
            attempt.kind is Kind.CONTACT and patient_id in attempt.source_ids
            for attempt in ledger.open_attempts(uid)
        ),
    )


def _progress(inquiry: Inquiry, root: int) -> dict[str, Any]:
    """Return how far the clinic's transfer is."""
    ledger, uid = inquiry.ledger, inquiry.uid
    transfer = inquiry.setting(TRANSFER)
    changed = (transfer or {}).get("at")
    launch = inquiry.setting(LAUNCH)
    window = Launch.model_validate(launch) if launch is not None else None
    watermark = ledger.watermark(uid) or {}
    run = ledger.last_run(uid)
    suspects = inquiry.setting(SUSPECTS) or {}
    return {
        "started": bool(transfer.get("started")) if transfer is not None else None,
        "started_at": datetime.fromisoformat(changed).astimezone(inquiry.zone) if changed else None,
        "window": (window.from_day, window.to_day) if window is not None else None,
        "watermark_at": _wall(inquiry, (watermark.get(MARK) or {}).get("taken_at")),
        "full_due_at": _wall(inquiry, watermark.get(FULL_DUE)),
        "last_run": RunFacts(
            run.run_id,
            run.state,
            inquiry.at(run.started_at),
            inquiry.moment(run.finished_at),
            str(run.counts.get("code") or ""),
        )
        if run is not None
        else None,
        "gone_once": root in suspects.get(inquiry.kind.value, ()),
    }


def _wall(inquiry: Inquiry, text: str | None) -> datetime | None:
    """Return a wall-clock time of the clinic as an instant."""
    return datetime.fromisoformat(text).replace(tzinfo=inquiry.zone) if text else None


def _journal(inquiry: Inquiry, root: int) -> dict[str, Any]:
    """Return plans, outcomes, attempts and what is owed."""
    ledger, uid, kind = inquiry.ledger, inquiry.uid, inquiry.kind
    plans = tuple(
        PlanFacts(
            row.run_id,
            row.action,
            row.changed,
            inquiry.at(row.planned_at),
            row.state,
            row.reason,
            row.field,
            inquiry.moment(row.ended_at),
        )
        for row in ledger.plans_of(uid, kind, root)
    )
    attempts = [row for row in ledger.open_attempts(uid) if row.kind is kind and root in row.source_ids]
    attempt = (
        AttemptFacts(
            attempts[-1].run_id,
            inquiry.at(attempts[-1].started_at),
            attempts[-1].scans,
            inquiry.moment(attempts[-1].last_scan_at),
        )
        if attempts
        else None
    )
    link = kind is Kind.LEAD and ledger.waiting_since(uid, Kind.LINK, root) is not None
    return {
        "plans": plans,
        "attempt": attempt,
        "waiting_since": inquiry.moment(ledger.waiting_since(uid, kind, root)),
        "link_waiting": link,
    }


# ---- amoCRM ------------------------------------------------------------------------------------------------


def _mapping(ledger: Ledger, account: Mapping[str, Any] | None, clinic_uid: str) -> CardMapping | None:
    if account is None:
        return None
    try:
        return load_mapping(ledger, int(account["account_id"])).for_clinic(clinic_uid)
    except IdentAmocrmError:
        return None  # not configured yet: the runs say so


def _stage(mapping: CardMapping | None, pipeline_id: int | None, status_id: int | None) -> str:
    """Return the mapping's own name of a stage, such as ``primary: planned``; amoCRM's may be anything."""
    if mapping is None:
        return ""
    for name, rule in (("primary", mapping.primary), ("repeat", mapping.repeat)):
        for key, stage in rule.stages.items():
            if (rule.pipeline_id, stage) == (pipeline_id, status_id):
                return f"{name}: {key.value}"
    return ""


def _card_url(kind: Kind, account: Mapping[str, Any] | None, amo_id: int | None) -> str:
    return f"{account['base_url']}/{PATHS[kind]}/detail/{amo_id}" if account and amo_id else ""


def _remote(inquiry: Inquiry, known: AppliedRow, mapping: CardMapping | None) -> RemoteFacts:
    """Read the card by id; one that is not there is looked for by its mark, which moves along in a merge."""
    kind = inquiry.kind
    mark = external_id(inquiry.uid, LETTERS[kind], known.source_id)
    try:
        client = open_destination(inquiry.ledger, inquiry.settings)
        try:
            destination = AmoDestination(client)
            found = destination.read(kind, [known.amo_id]).get(known.amo_id)
            if found is None:
                marked = [
                    other
                    for other in destination.search(kind, mark)
                    if not other.is_deleted and _carries(other, kind, mark, mapping)
                ]
                found = min(marked, key=lambda other: other.id, default=None)
        finally:
            client.close()
    except IdentAmocrmError as error:
        return RemoteFacts(error=error.code)
    if found is None:
        return RemoteFacts(exists=False)
    ours = _carries(found, kind, mark, mapping)
    if not isinstance(found, RemoteLead):
        return RemoteFacts(exists=True, amo_id=found.id, ours=ours)
    link = inquiry.ledger.applied_rows(inquiry.uid, Kind.LINK, [known.source_id]).get(known.source_id)
    return RemoteFacts(
        exists=True,
        amo_id=found.id,
        ours=ours,
        pipeline_id=found.pipeline_id,
        status_id=found.status_id,
        stage=_stage(mapping, found.pipeline_id, found.status_id),
        linked=link.amo_id in found.contact_ids if link is not None else None,
    )


def _carries(remote: Remote, kind: Kind, mark: str, mapping: CardMapping | None) -> bool | None:
    """Tell whether a card carries a mark; ``None`` without a mapping that says in which field."""
    if mapping is None:
        return None
    is_contact = kind is Kind.CONTACT
    holder = mapping.contact_external_field if is_contact else mapping.lead_external_field
    return first_text(remote.values, holder) == mark
