"""Connecting and configuring an installation, as the commands do, without Prefect's store."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

from pydantic import SecretStr

from tasks import backfill, backup, basis, blocks, configure, connections, subscribe, transfer
from tasks.ledger.quality import RuleCount
from tasks.ledger.store import Ledger
from tasks.mapping.catalogue import SPECIAL
from tasks.records import MAYBE_REMOVED, Kind, Waiver
from tasks.settings import load_settings
from tests.faults.child import CLINIC, TOKEN, Job, Told

__all__ = ["decide", "operate", "restore", "set_up"]

NOBODY: Final = 1_000_000_000


def set_up(job: Job, told: Told) -> None:
    """Connect the clinic and the account, configure the account, start the transfer."""
    ledger = connections.open_ledger()
    connections.connect_database(CLINIC, blocks.load_database(CLINIC), ledger)
    connections.connect_amocrm(job.url, SecretStr(TOKEN), ledger)
    record = ledger.connection(CLINIC)
    basis.attest(ledger, record, basis.Basis.CONSENT, by="faults")
    if not transfer.is_started(ledger, record):
        configure.autoconfigure(ledger, load_settings(), lambda _proposal: True, special=SPECIAL)
    transfer.start_transfer(ledger, record, datetime.now(tz=UTC).date(), history_days=None, by="faults")
    told.answer = record.clinic_uid


def operate(job: Job, told: Told) -> None:
    """What an operator does meanwhile: pay, release rejects, stop and start, send a field again, reconnect."""
    ledger, settings = connections.open_ledger(), load_settings()
    invoice = subscribe.request_invoice(ledger, settings, request_id="faults", months=6, accepted=True)
    subscribe.mark_paid(ledger, settings, invoice.number)
    record = next(iter(ledger.connections()), None)
    if record is not None:
        for entity in ("patient", "appointment"):
            ledger.release(record.clinic_uid, entity, None)
        transfer.stop_transfer(ledger, record, by="faults")
        transfer.start_transfer(ledger, record, datetime.now(tz=UTC).date(), history_days=None, by="faults")
        account_id = int(str(connections.amocrm_account(ledger)["account_id"]))
        backfill.mark_rows(ledger, settings, account_id, {"contact": frozenset({"city"})}, by="faults")
        first = next(iter(_known(ledger, record.clinic_uid)))
        _review(ledger, record.clinic_uid, first)
        _erase_and_admit(ledger, record.clinic_uid)
        ledger.forget(record.clinic_uid, Kind.CONTACT, [first])
        ledger.forget_sent(record.clinic_uid, Kind.CONTACT, [first])
        ledger.remove_connection(CLINIC)
    connections.connect_database(CLINIC, blocks.load_database(CLINIC), ledger)


def _review(ledger: Ledger, uid: str, first: int) -> None:
    """Accept a row that nobody has, and take it back; let a row be looked at; keep what the rules said."""
    now = time.time()
    ledger.waive(uid, [Waiver("patient", NOBODY, "name_present", "faults", "faults", now + 3600, now)])
    ledger.revoke_waiver(uid, "patient", "name_present", [NOBODY], by="faults")
    numbers = [one.id for one in ledger.open_waivers(uid)]
    ledger.settle_waivers(numbers, numbers)
    ledger.owe(uid, Kind.CONTACT, [first], now)
    ledger.record_quality(
        uid, "faults", "patient", [RuleCount("name_present", 1, 0)], is_whole=True, keep_days=1.0
    )
    ledger.drop_settings("run:faults")


def _erase_and_admit(ledger: Ledger, uid: str) -> None:
    """Erase somebody whom nobody knows; tests/law kills the erasure of a patient at every step."""
    ledger.erase(uid, [NOBODY], by="faults")
    ledger.finish_erasure(uid, NOBODY, ())
    ledger.lift_erasure(uid, NOBODY)
    ledger.purge_rows("runs", 0.0)


def _known(ledger: Ledger, clinic_uid: str) -> list[int]:
    return [int(key) for key in ledger.applied_index(clinic_uid, Kind.CONTACT).source_ids]


def restore(job: Job, told: Told) -> None:
    """Put back a backup of the ledger, which is taken the first time."""
    file, settings = job.home.parent / "backup.zip", load_settings()
    if not file.exists():
        backup.take_backup(settings, connections.open_ledger(), file, with_key=False, force=False)
    backup.restore(settings, file)


def decide(job: Job, told: Told) -> None:
    """Let a person answer what the transfer would not decide alone: what nobody removed may be sent."""
    ledger = connections.open_ledger()
    uid = ledger.connection(CLINIC).clinic_uid
    asked = [reject for _uid, reject in ledger.rejects(uid) if reject.reason == MAYBE_REMOVED]
    for entity in {reject.entity for reject in asked}:
        keys = [reject.source_id for reject in asked if reject.entity == entity]
        ledger.release(uid, entity, [key for key in keys if (entity, key) not in job.removed])
