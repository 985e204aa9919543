"""Connecting and configuring an installation, as the commands do, without Prefect's store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

import tasks.events
from tasks import blocks, configure, connections, transfer
from tasks.settings import load_settings
from tests.faults.child import CLINIC, TOKEN, Job, Told

__all__ = ["set_up"]


def set_up(job: Job, told: Told) -> None:
    """Connect the clinic and the account, configure the account, start the transfer."""
    replaced: dict[tuple[Any, str], Any] = {
        (blocks, "save_database"): lambda _name, _connection: None,
        (blocks, "save_account"): lambda _url, _token: None,
        (tasks.events, "emit_event"): lambda **_event: "sent",
    }
    for (holder, name), value in replaced.items():
        setattr(holder, name, value)
    ledger = connections.open_ledger()
    connections.connect_database(CLINIC, blocks.load_database(CLINIC), ledger)
    connections.connect_amocrm(job.url, SecretStr(TOKEN), ledger)
    configure.autoconfigure(ledger, load_settings(), lambda _proposal: True)
    record = ledger.connection(CLINIC)
    transfer.start_transfer(
        ledger, record, datetime.now(tz=UTC).date(), history_days=None, by="faults"
    )
    told.answer = record.clinic_uid
