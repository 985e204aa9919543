"""Health: can the transfer work, and does it?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks import blocks
from tasks.amocrm.account import read_account
from tasks.amocrm.host import is_abroad
from tasks.authorisation import token_warning
from tasks.blocks import slug
from tasks.breaker import close_breaker
from tasks.checks import Check, CheckState, worst
from tasks.connections import INSTALLATION, amocrm_account, open_destination, open_ledger
from tasks.drift import live_drifts
from tasks.errors import IdentAmocrmError
from tasks.events import Level, emit, emit_missed
from tasks.health_page import AMOCRM_LIGHT, health_markdown
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.letters import ASKED_BY_LETTER, letter_markdown
from tasks.lights import DATABASE
from tasks.mappings import load_mapping
from tasks.markdown import plain
from tasks.settings import Settings, load_settings
from tasks.vitals import (
    check_basis_of,
    check_database,
    check_machine,
    check_rows,
    check_subscribed,
    check_transfer,
)

__all__ = [
    "MAPPING",
    "PLACE",
    "TOKEN",
    "check_account",
    "check_clinic",
    "check_installation",
    "health",
    "record_change",
]

HEALTH = "health"
TOKEN, MAPPING, PLACE = "Токен amoCRM", "Настройка", "Место хранения"
AMOCRM_STATE = "amocrm_state"
NOT_CONNECTED = "amocrm_not_connected"
MANY_REJECTS = "rejects_growing"


def _attempt(name: str, action: Callable[[], object]) -> Check:
    try:
        action()
    except IdentAmocrmError as error:
        return Check(name, CheckState.FAILED, error.code, error=error)
    return Check(name, CheckState.OK)


def check_account(ledger: Ledger, settings: Settings) -> list[Check]:
    """Check the amoCRM account: connection, token, mapping."""
    try:
        known = amocrm_account(ledger)
        client = open_destination(ledger, settings)
    except IdentAmocrmError as error:
        return [Check("amoCRM", CheckState.FAILED, error.code, error=error)]
    try:
        checks = [_attempt("amoCRM", lambda: read_account(client))]
        if checks[0].state is CheckState.OK:
            close_breaker(ledger)
        if is_abroad(str(known["base_url"])):
            checks.append(Check(PLACE, CheckState.WARNING, "crm_abroad"))
        # After the request above, which renews OAuth tokens where it is time.
        if code := token_warning(blocks.load_account(), datetime.now(tz=UTC)):
            checks.append(Check(TOKEN, CheckState.WARNING, code))
        if checks[0].state is not CheckState.OK:
            return checks
        try:
            mapping = load_mapping(ledger, int(str(known["account_id"])))
            drifts = live_drifts(client, mapping)
        except IdentAmocrmError as error:
            return [*checks, Check(MAPPING, CheckState.FAILED, error.code, error=error)]
        drifted = [Check(MAPPING, CheckState.FAILED, "mapping_drift", str(drift)) for drift in drifts]
        return [*checks, *(drifted or [Check(MAPPING, CheckState.OK)])]
    finally:
        client.close()


def check_clinic(ledger: Ledger, settings: Settings, record: ConnectionRecord) -> list[Check]:
    """Check one clinic: database, legal basis, transfer, rows."""
    return [
        *check_database(settings, record),
        check_basis_of(ledger, record),
        check_transfer(ledger, record),
        check_rows(ledger, settings, record),
    ]


def check_installation(ledger: Ledger, settings: Settings) -> list[Check]:
    """Check what all clinics share: amoCRM, token, mapping, subscription, disk."""
    checks = check_account(ledger, settings)
    client = None
    try:
        if all(item.state is not CheckState.FAILED for item in checks if item.name == AMOCRM_LIGHT):
            client = open_destination(ledger, settings)
        return [*checks, check_subscribed(ledger, settings, client), check_machine(settings)]
    finally:
        if client is not None:
            client.close()


LEVELS: dict[CheckState, Level] = {
    CheckState.OK: "info",
    CheckState.WARNING: "warning",
    CheckState.FAILED: "error",
}
NAMES = {CheckState.OK: "ok", CheckState.WARNING: "degraded", CheckState.FAILED: "failed"}


@task(name="health", cache_policy=NO_CACHE, persist_result=False)
def health() -> dict[str, dict[str, str]]:
    """Check every clinic, publish the tables, and record an event for what changed."""
    settings = load_settings()
    ledger = open_ledger(settings)
    records = ledger.connections()
    emit_missed(ledger)
    shared = check_installation(ledger, settings)
    _record_amocrm(ledger, shared)
    result: dict[str, dict[str, str]] = {}
    if not records:
        checks = [Check(DATABASE, CheckState.WARNING, "no_clinics"), *shared]
        _publish("all", health_markdown("all", checks, {}, datetime.now(tz=UTC), settings))
    for record in records:
        checks = [*check_clinic(ledger, settings, record), *shared]
        since = record_change(ledger, record, checks)
        page = health_markdown(record.name, checks, since, datetime.now(tz=UTC), settings)
        if any(item.name == DATABASE and item.code in ASKED_BY_LETTER for item in checks):
            page = "\n".join([page, *letter_markdown(record)])
        _publish(record.name, page)
        result[record.name] = {item.name: item.state.value for item in checks}
    return result


def _publish(clinic: str, page: str) -> None:
    create_markdown_artifact(page, key=f"health-{slug(clinic)}", description=f"Состояние «{plain(clinic)}»")


def record_change(ledger: Ledger, record: ConnectionRecord, checks: list[Check]) -> dict[str, str]:
    """Record an event when the state of a clinic changed, never every five minutes.

    Returns:
        Since when each check stands as it does, by name.
    """
    scope = f"clinic:{record.clinic_uid}"
    before: dict[str, Any] = ledger.setting(scope, HEALTH) or {}
    now = datetime.now(tz=UTC).isoformat(timespec="seconds")
    known: dict[str, Any] = before.get("checks", {})
    found = {item.name: {"state": item.state.value, "code": item.code} for item in checks}
    for name, entry in found.items():
        old = known.get(name, {})
        same = (old.get("state"), old.get("code")) == (entry["state"], entry["code"])
        entry["since"] = old["since"] if same else now
    since = {name: entry["since"] for name, entry in found.items()}
    state = worst(checks)
    codes = sorted({item.code for item in checks if item.code})
    if found == known:
        return since
    value = {"state": state.value, "codes": codes, "checks": found}
    ledger.put_setting(scope, HEALTH, value, by="health-check", history=False)
    if (state.value, codes) == (before.get("state"), before.get("codes")):
        return since
    level: Level = LEVELS[state]
    name = NAMES[state]
    if before.get("state") == CheckState.FAILED and state is not CheckState.FAILED:
        name = "recovered"
    payload = {f"code_{number}": code for number, code in enumerate(codes, start=1)}
    emit(f"health.{name}", record.clinic_uid, record.name, level, payload, ledger)
    if MANY_REJECTS in codes and MANY_REJECTS not in before.get("codes", ()):
        emit("rows.many_rejected", record.clinic_uid, record.name, "warning", {}, ledger)
    return since


def _record_amocrm(ledger: Ledger, checks: list[Check]) -> None:
    """Record an event when amoCRM was lost or came back, once for all clinics."""
    [light] = [item for item in checks if item.name == AMOCRM_LIGHT]
    lost = light.state is CheckState.FAILED
    before: dict[str, Any] = ledger.setting(INSTALLATION, AMOCRM_STATE) or {}
    if lost == bool(before.get("code")) or light.code == NOT_CONNECTED:
        return
    ledger.put_setting(INSTALLATION, AMOCRM_STATE, {"code": light.code}, by="health-check")
    if lost:
        emit("amocrm.lost", "all", "amocrm", "error", {"code": light.code}, ledger)
    else:
        emit("amocrm.recovered", "all", "amocrm", "info", {}, ledger)
