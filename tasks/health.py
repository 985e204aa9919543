"""Health: can the transfer work, and does it?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks.amocrm.account import read_account
from tasks.authorisation import token_warning
from tasks.blocks import load_account, slug
from tasks.breaker import close_breaker
from tasks.connections import amocrm_account, open_destination, open_ledger, open_source
from tasks.drift import live_drifts
from tasks.errors import IdentAmocrmError
from tasks.events import emit
from tasks.hints import hint
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.mappings import load_mapping
from tasks.settings import Settings, load_settings
from tasks.transfer import is_started

__all__ = ["Check", "CheckState", "check_account", "check_clinic", "health", "health_markdown"]

HEALTH = "health"
LAG = timedelta(minutes=10)


class CheckState(StrEnum):
    """Outcome of one check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the health table.

    Attributes:
        name: What was checked, in Russian.
        state: How it stands.
        code: Code of the error or warning; the hint is keyed by it.
        detail: Cause and remedy in Russian, where the code alone does not name them; never a person's data.
    """

    name: str
    state: CheckState
    code: str = ""
    detail: str = ""


def _attempt(name: str, action: Callable[[], object]) -> Check:
    try:
        action()
    except IdentAmocrmError as error:
        return Check(name, CheckState.FAILED, error.code)
    return Check(name, CheckState.OK)


def check_account(ledger: Ledger, settings: Settings) -> list[Check]:
    """Check the amoCRM account: connection, token, mapping."""
    try:
        known = amocrm_account(ledger)
        client = open_destination(ledger, settings)
    except IdentAmocrmError as error:
        return [Check("amoCRM", CheckState.FAILED, error.code)]
    try:
        checks = [_attempt("amoCRM", lambda: read_account(client))]
        if checks[0].state is CheckState.OK:
            close_breaker(ledger)
        # After the request above, which renews OAuth tokens where it is time.
        if code := token_warning(load_account(), datetime.now(tz=UTC)):
            checks.append(Check("Токен amoCRM", CheckState.WARNING, code))
        if checks[0].state is not CheckState.OK:
            return checks
        try:
            mapping = load_mapping(ledger, int(str(known["account_id"])))
            drifts = live_drifts(client, mapping)
        except IdentAmocrmError as error:
            return [*checks, Check("Настройка", CheckState.FAILED, error.code)]
        drifted = [Check("Настройка", CheckState.FAILED, "mapping_drift", str(drift)) for drift in drifts]
        return [*checks, *(drifted or [Check("Настройка", CheckState.OK)])]
    finally:
        client.close()


def check_clinic(ledger: Ledger, settings: Settings, record: ConnectionRecord) -> list[Check]:
    """Check one clinic: database and lag."""

    def database() -> None:
        _connection, reader = open_source(record, settings)
        reader.close()

    return [_attempt("База IDENT", database), _lag(ledger, record)]


def _lag(ledger: Ledger, record: ConnectionRecord) -> Check:
    name = "Передача"
    if not is_started(ledger, record):
        return Check(name, CheckState.WARNING, "stopped")
    success = ledger.last_run(record.clinic_uid, "completed")
    if success is None or success.finished_at is None:
        return Check(name, CheckState.WARNING, "never_run")
    late = time.time() - success.finished_at > LAG.total_seconds()
    return Check(name, CheckState.FAILED, "lagging") if late else Check(name, CheckState.OK)


def health_markdown(clinic: str, checks: Sequence[Check], at: datetime) -> str:
    """Return the operator's table."""
    shown = {
        CheckState.OK: "✅ Подключение выполнено",
        CheckState.WARNING: "🟡 Требует внимания",
        CheckState.FAILED: "🔴 Не выполнено",
    }
    labels = {("Передача", CheckState.OK): "✅ Работает", ("Настройка", CheckState.OK): "✅ Связка настроена"}
    lines = [f"## Состояние «{clinic}»", "", "| Проверка | Состояние | Что делать |", "|---|---|---|"]
    for item in checks:
        label = labels.get((item.name, item.state), shown[item.state])
        advice = item.detail or (hint(item.code) if item.code else "")
        lines.append(f"| {item.name} | {label} | {advice.replace('|', '/')} |")
    return "\n".join([*lines, "", f"Проверено {at:%d.%m.%Y %H:%M:%S} UTC; проверка идёт каждые 5 минут."])


@task(name="health", cache_policy=NO_CACHE, persist_result=False)
def health() -> dict[str, dict[str, str]]:
    """Check every clinic, publish the tables, and record an event for what changed."""
    settings = load_settings()
    ledger = open_ledger(settings)
    records = ledger.connections()
    shared = check_account(ledger, settings)
    result: dict[str, dict[str, str]] = {}
    if not records:
        _publish("all", [Check("База IDENT", CheckState.WARNING, "no_clinics"), *shared])
    for record in records:
        checks = [*check_clinic(ledger, settings, record), *shared]
        _publish(record.name, checks)
        _record_change(ledger, record, checks)
        result[record.name] = {item.name: item.state.value for item in checks}
    return result


def _publish(clinic: str, checks: Sequence[Check]) -> None:
    create_markdown_artifact(
        health_markdown(clinic, checks, datetime.now(tz=UTC)),
        key=f"health-{slug(clinic)}",
        description=f"Состояние «{clinic}»",
    )


def _record_change(ledger: Ledger, record: ConnectionRecord, checks: Sequence[Check]) -> None:
    """Record an event when the state of a clinic changed, never every five minutes."""
    worst = max((item.state for item in checks), key=list(CheckState).index)
    codes = sorted({item.code for item in checks if item.code})
    scope = f"clinic:{record.clinic_uid}"
    state = {"state": worst.value, "codes": codes}
    if state == ledger.setting(scope, HEALTH):
        return
    ledger.put_setting(scope, HEALTH, state, by="health-check")
    level = {CheckState.OK: "info", CheckState.WARNING: "warning", CheckState.FAILED: "error"}[worst]
    names = {CheckState.OK: "ok", CheckState.WARNING: "degraded", CheckState.FAILED: "failed"}
    payload = {f"code_{number}": code for number, code in enumerate(codes, start=1)}
    emit(f"health.{names[worst]}", record.clinic_uid, record.name, level, payload, ledger)  # type: ignore[arg-type]
