"""Sending again what goes to another field now; counted first, marked only on a person's word."""

from __future__ import annotations

import time
from collections.abc import Mapping

from tasks.errors import LeaseHeldError
from tasks.events import emit
from tasks.lease import LeaseKeeper
from tasks.ledger.hashing import FieldHasher
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.mappings import settle_pending
from tasks.records import Kind
from tasks.settings import Settings

__all__ = ["count_rows", "mark_rows"]

KINDS = {"contact": Kind.CONTACT, "lead": Kind.LEAD}
#: How long a tick in progress is waited for, and how often it is asked for.
TURN_SECONDS, ASK_SECONDS = 180.0, 1.0
Data = Mapping[str, frozenset[str]]


def count_rows(ledger: Ledger, settings: Settings, data: Data) -> dict[str, int]:
    """Return how many cards hold a value for one of the data, by card."""
    counts: dict[str, int] = {}
    for record in ledger.connections():
        for card, names in data.items():
            kind = KINDS[card]
            found = ledger.count_resend(record.clinic_uid, kind, _nothing(settings, record, kind, names))
            counts[card] = counts.get(card, 0) + found
    return counts


def mark_rows(ledger: Ledger, settings: Settings, account_id: int, data: Data, by: str) -> dict[str, int]:
    """Make those cards due; the next run of each clinic sends them by the rules of any change.

    Raises:
        LeaseHeldError: When a run goes on all the time: what it acknowledges would undo the mark.
    """
    counts: dict[str, int] = {}
    for record in ledger.connections():
        turn = _turn(ledger, settings, record)
        try:
            for card, names in data.items():
                kind = KINDS[card]
                nothing = _nothing(settings, record, kind, names)
                found = ledger.mark_resend(record.clinic_uid, kind, nothing, time.time())
                counts[card] = counts.get(card, 0) + found
        finally:
            turn.release()
    settle_pending(ledger, account_id, dict(data), by)
    emit("settings.backfilled", "all", "amocrm", "info", dict(counts), ledger)
    return counts


def _nothing(
    settings: Settings, record: ConnectionRecord, kind: Kind, names: frozenset[str]
) -> dict[str, int]:
    hasher = FieldHasher(settings.installation_key(), record.clinic_uid)
    return {datum: hasher.hash_value(kind, datum, None) for datum in sorted(names)}


def _turn(ledger: Ledger, settings: Settings, record: ConnectionRecord) -> LeaseKeeper:
    grace = settings.connect_timeout + settings.read_timeout
    deadline = time.monotonic() + TURN_SECONDS
    while True:
        try:
            return LeaseKeeper(ledger, record.clinic_uid, settings.lease_seconds, grace)
        except LeaseHeldError:
            if time.monotonic() > deadline:
                raise
            time.sleep(ASK_SECONDS)
