"""Starting and stopping the scheduled transfer of a clinic, and telling how it stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from tasks.events import emit
from tasks.launch import LAUNCH, TRANSFER, Launch
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.records import Kind

__all__ = ["ClinicState", "clinic_state", "is_started", "start_transfer", "stop_transfer"]


def _scope(record: ConnectionRecord) -> str:
    return f"clinic:{record.clinic_uid}"


def is_started(ledger: Ledger, record: ConnectionRecord) -> bool:
    """Tell whether the operator has started the clinic's transfer."""
    return bool((ledger.setting(_scope(record), TRANSFER) or {}).get("started"))


def start_transfer(
    ledger: Ledger, record: ConnectionRecord, today: date, *, history_days: int | None, by: str
) -> Launch:
    """Record that the transfer runs, with its launch configuration.

    Starting again never narrows the window by itself: appointments already transferred stay inside it.

    Args:
        ledger: The installation's ledger.
        record: The clinic.
        today: The database server's day.
        history_days: How many days before today to begin; ``None`` is all history.
        by: Who started it.

    Returns:
        The launch configuration in force.
    """
    wanted = Launch.starting(today, history_days=history_days)
    stored = ledger.setting(_scope(record), LAUNCH)
    launch = wanted
    if stored is not None:
        before = Launch.model_validate(stored)
        days = [day for day in (before.from_day, wanted.from_day) if day is not None]
        launch = Launch(from_day=min(days) if len(days) == 2 else None)
    if stored is None or launch != Launch.model_validate(stored):
        ledger.put_setting(_scope(record), LAUNCH, launch.model_dump(mode="json"), by=by)
        # A wider window holds rows that no increment would ever name: read everything once.
        ledger.move_watermark(record.clinic_uid, {})
    now = datetime.now(tz=UTC).isoformat(timespec="seconds")
    ledger.put_setting(_scope(record), TRANSFER, {"started": True, "at": now, "by": by}, by=by)
    emit("transfer.started", record.clinic_uid, record.name, "info", {}, ledger)
    return launch


def stop_transfer(ledger: Ledger, record: ConnectionRecord, *, by: str) -> None:
    """Record that the transfer is stopped; a batch in flight is finished by its run."""
    now = datetime.now(tz=UTC).isoformat(timespec="seconds")
    ledger.put_setting(_scope(record), TRANSFER, {"started": False, "at": now, "by": by}, by=by)
    emit("transfer.stopped", record.clinic_uid, record.name, "info", {}, ledger)


@dataclass(frozen=True, slots=True)
class ClinicState:
    """How a clinic's transfer stands."""

    clinic: str
    uid: str
    started: bool
    changed_at: str | None
    last_success_at: str | None
    last_run_state: str | None
    contacts: int
    leads: int
    rejects: int


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
        last_success_at=(
            datetime.fromtimestamp(finished, tz=UTC).isoformat(timespec="seconds") if finished else None
        ),
        last_run_state=latest.state if latest else None,
        contacts=ledger.applied_count(record.clinic_uid, Kind.CONTACT),
        leads=ledger.applied_count(record.clinic_uid, Kind.LEAD),
        rejects=len(ledger.rejects(record.clinic_uid)),
    )
