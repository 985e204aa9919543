"""What the health check looks at besides amoCRM: database, transfer, rows, subscription, machine."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from tasks.amocrm.client import AmoClient
from tasks.basis import standing
from tasks.checks import Check, CheckState
from tasks.connections import open_source
from tasks.errors import IdentAmocrmError, SchemaError
from tasks.launch import LAUNCH, Launch
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.lights import DATABASE, SERVER, database_lights
from tasks.records import Attempt, Kind
from tasks.settings import Settings
from tasks.subscribe import follow_subscription
from tasks.subscription.states import Standing, State
from tasks.subscription.texts import action, explanation, label
from tasks.transfer import is_started

__all__ = [
    "BASIS",
    "CLOCK",
    "CLOCK_SKEW",
    "DISK",
    "ROWS",
    "SCHEMA",
    "SUBSCRIPTION",
    "TRANSFER",
    "check_basis_of",
    "check_database",
    "check_machine",
    "check_rows",
    "check_subscribed",
    "check_transfer",
    "is_unsettled",
    "judge_subscription",
]

SCHEMA: Final = "Схема базы"
CLOCK: Final = "Часы"
TRANSFER: Final = "Передача"
ROWS: Final = "Непереданные строки"
SUBSCRIPTION: Final = "Подписка"
BASIS: Final = "Основание передачи"
DISK: Final = "Место на диске"

LAG: Final = timedelta(minutes=10)
#: The database's clock and ours may differ by this much before what counts as future is doubtful.
CLOCK_SKEW: Final = timedelta(minutes=5)
#: So few rows kept back within an hour are chance, whatever their share.
FRESH_REJECTS: Final = 10
HOUR: Final = 3600.0
#: A write whose answer was lost is usually settled by the next run.
UNSETTLED: Final = timedelta(minutes=30)
#: A launch window that ends so soon will leave out what is booked now.
WINDOW_ENDS: Final = timedelta(days=14)
LITTLE, VERY_LITTLE = 2_000_000_000, 300_000_000
STATES: Final = {
    State.EXPIRING: CheckState.WARNING,
    State.EXPIRED: CheckState.FAILED,
    State.SUSPENDED: CheckState.FAILED,
}


def check_database(settings: Settings, record: ConnectionRecord) -> list[Check]:
    """Check a clinic's database: the two lights, its schema, its clock."""
    try:
        connection, reader = open_source(record, settings)
    except SchemaError as error:
        lights = [Check(SERVER, CheckState.OK), Check(DATABASE, CheckState.OK)]
        return [*lights, Check(SCHEMA, CheckState.FAILED, error.code, error=error)]
    except IdentAmocrmError as error:
        return _lights(error)
    try:
        skew = abs(reader.now() - datetime.now(tz=connection.zone).replace(tzinfo=None))
    except IdentAmocrmError as error:
        return _lights(error)
    finally:
        reader.close()
    clock = Check(CLOCK, CheckState.WARNING, "clock") if skew > CLOCK_SKEW else Check(CLOCK, CheckState.OK)
    return [*_lights(None), Check(SCHEMA, CheckState.OK), clock]


def _lights(error: IdentAmocrmError | None) -> list[Check]:
    return [
        Check(name, CheckState.FAILED if code else CheckState.OK, code, error=error if code else None)
        for name, code in zip((SERVER, DATABASE), database_lights(error), strict=True)
    ]


def check_transfer(ledger: Ledger, record: ConnectionRecord) -> Check:
    """Check that the transfer runs and keeps up."""
    if not is_started(ledger, record):
        return Check(TRANSFER, CheckState.WARNING, "stopped")
    success = ledger.last_run(record.clinic_uid, "completed")
    if success is None or success.finished_at is None:
        return Check(TRANSFER, CheckState.WARNING, "never_run")
    if time.time() - success.finished_at > LAG.total_seconds():
        return Check(TRANSFER, CheckState.FAILED, "lagging")
    launch = Launch.model_validate(ledger.setting(f"clinic:{record.clinic_uid}", LAUNCH) or {})
    if launch.to_day is not None and launch.to_day - datetime.now(tz=UTC).date() < WINDOW_ENDS:
        return Check(TRANSFER, CheckState.WARNING, "window_ends")
    return Check(TRANSFER, CheckState.OK)


def check_basis_of(ledger: Ledger, record: ConnectionRecord) -> Check:
    """Check that somebody attested on which legal basis the clinic's patients are transferred."""
    now = datetime.now(tz=UTC)
    found = standing(ledger, record, now)
    if found.attested is not None or found.is_here:
        return Check(BASIS, CheckState.OK)
    if found.lets_transfer(now):
        return Check(BASIS, CheckState.WARNING, "basis_due")
    return Check(
        BASIS, CheckState.FAILED if is_started(ledger, record) else CheckState.WARNING, "basis_missing"
    )


def check_rows(ledger: Ledger, settings: Settings, record: ConnectionRecord) -> Check:
    """Check that few rows are kept back, no write waits for its answer, and no erasure is left half done."""
    uid, now = record.clinic_uid, time.time()
    if any(one.finished_at is None and now - one.asked_at > HOUR for one in ledger.erasures(uid)):
        return Check(ROWS, CheckState.WARNING, "erasure_open")
    if any(is_unsettled(attempt, now) for attempt in ledger.open_attempts(uid)):
        return Check(ROWS, CheckState.WARNING, "unsettled")
    fresh = sum(now - reject.first_seen < HOUR for _uid, reject in ledger.rejects(uid))
    known = ledger.applied_count(uid, Kind.CONTACT) + ledger.applied_count(uid, Kind.LEAD)
    if fresh > max(FRESH_REJECTS, known * settings.reject_share):
        return Check(ROWS, CheckState.WARNING, "rejects_growing")
    return Check(ROWS, CheckState.OK)


def is_unsettled(attempt: Attempt, now: float) -> bool:
    """Tell whether a write waits for its answer longer than the next run needs to find it."""
    return now - attempt.started_at > UNSETTLED.total_seconds()


def check_subscribed(ledger: Ledger, settings: Settings, client: AmoClient | None) -> Check:
    """Check the subscription; the users are counted where amoCRM answers."""
    try:
        found = follow_subscription(ledger, settings, client)
    except IdentAmocrmError:
        found = follow_subscription(ledger, settings, None)
    return judge_subscription(found)


def judge_subscription(found: Standing) -> Check:
    """Tell what a standing means for the transfer."""
    state = STATES.get(found.state, CheckState.OK)
    code = "" if state is CheckState.OK else f"subscription_{found.state.value}"
    said = f"{label(found)}. {explanation(found)} {action(found) if state is not CheckState.OK else ''}"
    return Check(SUBSCRIPTION, state, code, said.strip())


def check_machine(settings: Settings) -> Check:
    """Check that there is room for the ledger and Prefect's database."""
    free = shutil.disk_usage(settings.prepare_home()).free
    if free < VERY_LITTLE:
        return Check(DISK, CheckState.FAILED, "disk_full")
    return Check(DISK, CheckState.WARNING, "disk_low") if free < LITTLE else Check(DISK, CheckState.OK)
