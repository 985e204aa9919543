"""Connecting and configuring an installation, as the commands do, without Prefect's store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

import tasks.events
from tasks import blocks, configure, connections, transfer
from tasks.ledger.store import Ledger
from tasks.records import MAYBE_REMOVED, Kind
from tasks.settings import load_settings
from tests.faults.child import CLINIC, TOKEN, Job, Told

__all__ = ["decide", "operate", "set_up"]


def set_up(job: Job, told: Told) -> None:
    """Connect the clinic and the account, configure the account, start the transfer."""
    _without_prefect()
    ledger = connections.open_ledger()
    connections.connect_database(CLINIC, blocks.load_database(CLINIC), ledger)
    connections.connect_amocrm(job.url, SecretStr(TOKEN), ledger)
    record = ledger.connection(CLINIC)
    if not transfer.is_started(ledger, record):
        configure.autoconfigure(ledger, load_settings(), lambda _proposal: True)
    transfer.start_transfer(ledger, record, datetime.now(tz=UTC).date(), history_days=None, by="faults")
    told.answer = record.clinic_uid


def _without_prefect() -> None:
    replaced: dict[tuple[Any, str], Any] = {
        (blocks, "save_database"): lambda _name, _connection: None,
        (blocks, "save_account"): lambda _url, _token: None,
        (tasks.events, "emit_event"): lambda **_event: "sent",
    }
    for (holder, name), value in replaced.items():
        setattr(holder, name, value)


def operate(job: Job, told: Told) -> None:
    """What an operator does meanwhile: release rejects, stop and start, forget the clinic and connect it."""
    _without_prefect()
    ledger = connections.open_ledger()
    record = next(iter(ledger.connections()), None)
    if record is not None:
        for entity in ("patient", "appointment"):
            ledger.release(record.clinic_uid, entity, None)
        transfer.stop_transfer(ledger, record, by="faults")
        transfer.start_transfer(ledger, record, datetime.now(tz=UTC).date(), history_days=None, by="faults")
        ledger.forget(record.clinic_uid, Kind.CONTACT, [next(iter(_known(ledger, record.clinic_uid)))])
        ledger.remove_connection(CLINIC)
    connections.connect_database(CLINIC, blocks.load_database(CLINIC), ledger)


def _known(ledger: Ledger, clinic_uid: str) -> list[int]:
    return [int(key) for key in ledger.applied_index(clinic_uid, Kind.CONTACT).source_ids]


def decide(job: Job, told: Told) -> None:
    """Let a person answer what the transfer would not decide alone: what nobody removed may be sent."""
    ledger = connections.open_ledger()
    uid = ledger.connection(CLINIC).clinic_uid
    asked = [reject for _uid, reject in ledger.rejects(uid) if reject.reason == MAYBE_REMOVED]
    for entity in {reject.entity for reject in asked}:
        keys = [reject.source_id for reject in asked if reject.entity == entity]
        ledger.release(uid, entity, [key for key in keys if (entity, key) not in job.removed])
