"""Starting and stopping the scheduled transfer of a clinic, and telling how it stands."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from tasks.events import emit
from tasks.launch import LAUNCH, TRANSFER, Launch
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.loading.progress import Progress
from tasks.progress import load_under_way
from tasks.records import Kind
from tasks.settings import load_settings

__all__ = [
    "ClinicState",
    "clinic_state",
    "is_started",
    "start_transfer",
    "stop_transfer",
    "wanted_launch",
]


def _scope(record: ConnectionRecord) -> str:
    return f"clinic:{record.clinic_uid}"


def is_started(ledger: Ledger, record: ConnectionRecord) -> bool:
    """Tell whether the operator has started the clinic's transfer."""
    return bool((ledger.setting(_scope(record), TRANSFER) or {}).get("started"))


def wanted_launch(
    ledger: Ledger,
    record: ConnectionRecord,
    today: date,
    *,
    history_days: int | None,
    ahead_days: int | None = None,
    deals: bool = True,
) -> tuple[Launch, bool]:
    """Return the launch configuration that a start would bring into force, and whether it reads more.

    Starting again never narrows the window by itself: appointments already transferred stay inside it.
    Whether there are deals is what the operator says now.

    Args:
        ledger: The installation's ledger.
        record: The clinic.
        today: The database server's day.
        history_days: How many days before today to begin; ``None`` is all history.
        ahead_days: How many days after today to end; ``None`` is as far ahead as anybody booked.
        deals: Whether appointments become deals.
    """
    wanted = Launch.starting(today, history_days=history_days, ahead_days=ahead_days, deals=deals)
    stored = ledger.setting(_scope(record), LAUNCH)
    if stored is None:
        return wanted, True
    before = Launch.model_validate(stored)
    begins = [day for day in (before.from_day, wanted.from_day) if day is not None]
    ends = [day for day in (before.to_day, wanted.to_day) if day is not None]
    launch = Launch(
        from_day=min(begins) if len(begins) == 2 else None,
        to_day=max(ends) if len(ends) == 2 else None,
        deals=wanted.deals,
    )
    return launch, launch != before


def start_transfer(
    ledger: Ledger,
    record: ConnectionRecord,
    today: date,
    *,
    history_days: int | None,
    ahead_days: int | None = None,
    deals: bool = True,
    by: str,
) -> Launch:
    """Record that the transfer runs, with its launch configuration.

    Args:
        ledger: The installation's ledger.
        record: The clinic.
        today: The database server's day.
        history_days: How many days before today to begin; ``None`` is all history.
        ahead_days: How many days after today to end; ``None`` is as far ahead as anybody booked.
        deals: Whether appointments become deals.
        by: Who started it.

    Returns:
        The launch configuration in force.
    """
    launch, wider = wanted_launch(
        ledger, record, today, history_days=history_days, ahead_days=ahead_days, deals=deals
    )
    if wider:
        ledger.put_setting(_scope(record), LAUNCH, launch.model_dump(mode="json"), by=by)
        # A wider window holds rows that no increment would ever name: read everything once.
        ledger.move_watermark(record.clinic_uid, {})
    now = datetime.now(tz=UTC).isoformat(timespec="seconds")
    value = {"started": True, "at": now, "by": by, "started_at": now, "started_by": by}
    ledger.put_setting(_scope(record), TRANSFER, value, by=by)
    emit("transfer.started", record.clinic_uid, record.name, "info", {}, ledger)
    return launch


def stop_transfer(ledger: Ledger, record: ConnectionRecord, *, by: str) -> None:
    """Record that the transfer is stopped; a batch in flight is finished by its run."""
    now = datetime.now(tz=UTC).isoformat(timespec="seconds")
    before: dict[str, Any] = ledger.setting(_scope(record), TRANSFER) or {}
    value = {**before, "started": False, "at": now, "by": by}
    ledger.put_setting(_scope(record), TRANSFER, value, by=by)
    emit("transfer.stopped", record.clinic_uid, record.name, "info", {}, ledger)


@dataclass(frozen=True, slots=True)
class ClinicState:
    """How a clinic's transfer stands.

    Attributes:
        last_started_at: When it was started last.
        last_started_by: By whom.
        lag_seconds: Since the last success, while it is started.
        load: How far a long load is that is under way.
    """

    clinic: str
    uid: str
    started: bool
    changed_at: str | None
    last_started_at: str | None
    last_started_by: str | None
    last_success_at: str | None
    lag_seconds: int | None
    last_run_state: str | None
    contacts: int
    leads: int
    rejects: int
    load: Progress | None


def clinic_state(ledger: Ledger, record: ConnectionRecord) -> ClinicState:
    """Read the state of one clinic from the ledger."""
    transfer: dict[str, Any] = ledger.setting(_scope(record), TRANSFER) or {}
    success = ledger.last_run(record.clinic_uid, "completed")
    latest = ledger.last_run(record.clinic_uid)
    finished = success.finished_at if success else None
    return ClinicState(
        clinic=record.name,
        uid=record.clinic_uid,
        started=bool(transfer.get("started")),
        changed_at=transfer.get("at"),
        last_started_at=transfer.get("started_at"),
        last_started_by=transfer.get("started_by"),
        lag_seconds=round(time.time() - finished) if finished and transfer.get("started") else None,
        last_success_at=(
            datetime.fromtimestamp(finished, tz=UTC).isoformat(timespec="seconds") if finished else None
        ),
        last_run_state=latest.state if latest else None,
        contacts=ledger.applied_count(record.clinic_uid, Kind.CONTACT),
        leads=ledger.applied_count(record.clinic_uid, Kind.LEAD),
        rejects=len(ledger.rejects(record.clinic_uid)),
        load=load_under_way(ledger, record, load_settings()),
    )
