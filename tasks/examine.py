"""What the doctor asks amoCRM and the clinics: the checks of the health check, told in English.

Nothing is written to IDENT or amoCRM, and no lease is taken: a transfer may run meanwhile. What the health
check's own look at amoCRM notes in the ledger, that it answers again, is noted here too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from tasks import blocks
from tasks.amocrm.clock import read_clock
from tasks.amocrm.token import token_expiry
from tasks.authorisation import token_warning
from tasks.checks import Check, CheckState
from tasks.connections import AMOCRM, INSTALLATION, amocrm_account
from tasks.doctor.findings import Finding, State
from tasks.doctor.remedies import ENGLISH
from tasks.errors import ConfigurationError, IdentAmocrmError, NotConnectedError
from tasks.health import MAPPING, PLACE, TOKEN, check_account
from tasks.health_page import AMOCRM_LIGHT
from tasks.ident.connection import build_engine, check_server, database_errors
from tasks.ident.drivers import find_driver, load_pyodbc
from tasks.ident.fingerprint import may_write
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.lights import DATABASE, SERVER
from tasks.settings import Settings
from tasks.subscribe import standing
from tasks.transfer import clinic_state, is_started
from tasks.vitals import (
    BASIS,
    CLOCK,
    CLOCK_SKEW,
    DISK,
    ROWS,
    SCHEMA,
    SUBSCRIPTION,
    TRANSFER,
    check_basis_of,
    check_database,
    check_machine,
    check_rows,
    check_transfer,
    judge_subscription,
)

__all__ = [
    "account_known",
    "examine_account",
    "examine_amocrm_clock",
    "examine_basis",
    "examine_database",
    "examine_drivers",
    "examine_rights",
    "examine_room",
    "examine_rows",
    "examine_runs",
    "examine_store",
    "examine_subscription",
    "examine_token",
    "examine_transfer",
]

ACCOUNT: Final = "amoCRM"
STORE: Final = "passwords and tokens"
NAMES: Final = {
    SERVER: "server",
    DATABASE: "database",
    SCHEMA: "schema",
    CLOCK: "database clock",
    TRANSFER: "transfer",
    BASIS: "legal basis",
    ROWS: "rows kept back",
    SUBSCRIPTION: "subscription",
    DISK: "room",
    AMOCRM_LIGHT: "account",
    TOKEN: "token",
    PLACE: "where it is kept",
    MAPPING: "mapping",
}
STATES: Final = {
    CheckState.OK: State.OK,
    CheckState.WARNING: State.WARNING,
    CheckState.FAILED: State.FAULT,
}
FINE: Final = {
    SERVER: "answers",
    DATABASE: "opens",
    SCHEMA: "every table and column that is needed is there",
    CLOCK: "agrees with this machine's",
    AMOCRM_LIGHT: "answers, and accepts the token",
    MAPPING: "fits the account",
    DISK: "enough",
    BASIS: "attested",
}
#: Not set up yet is no fault: nothing is broken.
NOT_YET: Final = frozenset({"amocrm_not_connected"})
RUNS: Final = 20
SHOWN: Final = 3


def _told(check: Check, area: str, uid: str = "", found: str = "") -> Finding:
    """Return a check of the health page as a line of the report.

    Args:
        check: What the health check found.
        area: Where the line stands.
        uid: The clinic.
        found: Facts that are told whatever the state.
    """
    state = State.WARNING if check.code in NOT_YET else STATES[check.state]
    text, remedy = FINE.get(check.name, "") if state is State.OK else "", ""
    if check.code in ENGLISH:
        text, remedy = ENGLISH[check.code]
    elif check.error is not None:
        text, remedy = check.error.problem, check.error.remedy
    elif check.code:
        text = f"code {check.code}"
    sentence = " ".join(filter(None, (text, found)))
    return Finding(area, NAMES.get(check.name, check.name), state, sentence, remedy, check.code, uid)


def _merged(checks: Iterable[Check]) -> Iterator[tuple[Check, str]]:
    """Join checks of one name and code: a mapping may drift in many places, one line tells them."""
    groups: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        groups.setdefault((check.name, check.code), []).append(check)
    for group in groups.values():
        yield group[0], f"{len(group)} places." if len(group) > 1 else ""


# ---- machine ---------------------------------------------------------------------------------------------


def examine_room(settings: Settings) -> Finding:
    """Tell whether the disk of the home folder has room."""
    return _told(check_machine(settings), "Home folder")


def examine_drivers(records: Iterable[ConnectionRecord]) -> Finding:
    """Tell which ODBC drivers there are, and which one is taken.

    Args:
        records: The connected clinics; those whose database is a file need no driver.
    """
    needed = [one for one in records if one.fingerprint.get("database") != "sqlite"]
    try:
        taken = find_driver()
        listed = ", ".join(load_pyodbc().drivers()) or "none registered"
    except ConfigurationError as error:
        state = State.FAULT if needed else State.WARNING
        return Finding("Machine", "ODBC driver", state, error.problem, error.remedy, error.code)
    return Finding("Machine", "ODBC driver", State.OK, f"{taken} is taken; registered: {listed}")


# ---- what needs Prefect's store --------------------------------------------------------------------------


def examine_store() -> Finding:
    """Tell whether the blocks, where passwords and tokens lie, can be read; nothing of them is kept."""
    try:
        blocks.load_account()
    except NotConnectedError:
        return Finding("Prefect", STORE, State.OK, "can be read; none of amoCRM is there")
    except Exception as error:  # noqa: BLE001 - Prefect's client raises of every kind, with addresses in the text
        return Finding(
            "Prefect",
            STORE,
            State.FAULT,
            f"Prefect's store does not give them out ({type(error).__name__}).",
            "Start ident-amocrm up. If it runs: look at its logs, and whether blocks.key is the one that was "
            "there when they were saved.",
            "prefect_unavailable",
        )
    return Finding("Prefect", STORE, State.OK, "can be read")


# ---- amoCRM ----------------------------------------------------------------------------------------------


def account_known(ledger: Ledger) -> bool:
    """Tell whether an account is connected."""
    return ledger.setting(INSTALLATION, AMOCRM) is not None


def examine_account(ledger: Ledger, settings: Settings) -> list[Finding]:
    """Ask the account, and compare the mapping with it."""
    # The token has a line of its own, which says more.
    checks = [check for check in check_account(ledger, settings) if check.name != TOKEN]
    return [_told(check, ACCOUNT, found=found) for check, found in _merged(checks)]


def examine_token() -> Finding:
    """Tell how long the token is good."""
    account, now = blocks.load_account(), datetime.now(tz=UTC)
    code = token_warning(account, now)
    expires_at = account.expires_at if account.is_oauth else token_expiry(account.token)
    kind = "OAuth, renewed by itself; the present token is" if account.is_oauth else "long-lived;"
    until = f"good until {expires_at:%Y-%m-%d}" if expires_at else "it does not say until when it is good"
    if not account.is_oauth and expires_at is not None and expires_at <= now:
        text, remedy = ENGLISH["token_expired"]
        found = f"{text} It was good until {expires_at:%Y-%m-%d}."
        return Finding(ACCOUNT, "token", State.FAULT, found, remedy, "token_expired")
    if not code:
        return Finding(ACCOUNT, "token", State.OK, f"{kind} {until}")
    text, remedy = ENGLISH[code]
    return Finding(ACCOUNT, "token", State.WARNING, f"{text} ({kind} {until})", remedy, code)


def examine_amocrm_clock(ledger: Ledger, settings: Settings) -> Finding:
    """Compare this machine's clock with the one of amoCRM's server."""
    name = "clock"
    theirs = read_clock(str(amocrm_account(ledger)["base_url"]), settings)
    if theirs is None:
        return Finding(ACCOUNT, name, State.OK, "amoCRM told no time")
    skew = datetime.now(tz=UTC) - theirs
    seconds = round(skew.total_seconds())
    if abs(skew) > CLOCK_SKEW:
        way = "ahead of" if seconds > 0 else "behind"
        found = f"This machine's clock is {abs(seconds)} s {way} amoCRM's."
        return Finding(
            ACCOUNT, name, State.WARNING, found, "Let the machine set its clock by the network.", "clock"
        )
    return Finding(ACCOUNT, name, State.OK, f"agrees with this machine's ({abs(seconds)} s apart)")


def examine_subscription(ledger: Ledger, settings: Settings) -> Finding:
    """Tell how the subscription stands, by what the ledger knows; nobody is counted or booked here."""
    found = standing(ledger, settings)
    until = f", until {found.ends_at:%Y-%m-%d}" if found.ends_at else ""
    return _told(judge_subscription(found), ACCOUNT, found=f"{found.state.value}{until}")


# ---- one clinic ------------------------------------------------------------------------------------------


def examine_database(settings: Settings, record: ConnectionRecord, area: str) -> list[Finding]:
    """Open a clinic's database: its lights, its schema, its clock."""
    return [_told(check, area, record.clinic_uid) for check in check_database(settings, record)]


def examine_rights(record: ConnectionRecord, area: str) -> Finding:
    """Tell whether the login may only read."""
    name = "rights"
    try:
        writable = _may_write(record)
    except IdentAmocrmError as error:
        # The lines about server and database tell the same with its remedy.
        remedy = "Put the lines about the database right first."
        return Finding(
            area, name, State.WARNING, f"Not known: {error.problem}", remedy, "not_checked", record.clinic_uid
        )
    if writable:
        found = "The login may write to the database; it needs to read only."
        remedy = "Ask IDENT's support for a read-only login (readonly_user), and connect with it."
        return Finding(area, name, State.WARNING, found, remedy, "login_writes", record.clinic_uid)
    return Finding(area, name, State.OK, "read only", clinic_uid=record.clinic_uid)


def _may_write(record: ConnectionRecord) -> bool:
    connection = blocks.load_database(record.block_name)
    check_server(connection)
    engine = build_engine(connection)
    try:
        with database_errors(connection):
            return may_write(engine)
    finally:
        engine.dispose()


def examine_basis(ledger: Ledger, record: ConnectionRecord, area: str) -> Finding:
    """Tell whether somebody attested on which legal basis the clinic's patients are transferred."""
    return _told(check_basis_of(ledger, record), area, record.clinic_uid)


def examine_transfer(ledger: Ledger, record: ConnectionRecord, area: str) -> Finding:
    """Tell whether the transfer runs and keeps up."""
    state = clinic_state(ledger, record)
    lag = "" if state.lag_seconds is None else f", {state.lag_seconds} s ago"
    success = f"Last success {state.last_success_at}{lag}." if state.last_success_at else ""
    started = "Started." if is_started(ledger, record) else ""
    check = check_transfer(ledger, record)
    return _told(check, area, record.clinic_uid, " ".join(filter(None, (started, success))))


def examine_rows(ledger: Ledger, settings: Settings, record: ConnectionRecord, area: str) -> Finding:
    """Tell how many rows are kept back, and by which rules most."""
    reasons = Counter(reject.reason for _uid, reject in ledger.rejects(record.clinic_uid))
    most = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(SHOWN))
    state = clinic_state(ledger, record)
    found = (
        f"{state.contacts} contacts and {state.leads} deals are in amoCRM; {reasons.total()} rows kept back"
    )
    told = f"{found} ({most})." if most else f"{found}."
    return _told(check_rows(ledger, settings, record), area, record.clinic_uid, told)


def examine_runs(ledger: Ledger, record: ConnectionRecord, area: str) -> Finding:
    """Tell how the last runs ended."""
    name, uid, runs = "last runs", record.clinic_uid, ledger.runs(record.clinic_uid, RUNS)
    if not runs:
        return Finding(area, name, State.OK, "none yet", clinic_uid=uid)
    ended = ", ".join(f"{count} {state}" for state, count in Counter(run.state for run in runs).most_common())
    codes = Counter(str(run.counts.get("code", "")) for run in runs if run.state == "failed")
    causes = ", ".join(f"{code or '?'} {count}" for code, count in codes.most_common(SHOWN))
    found = f"of the last {len(runs)}: {ended}" + (f"; failures: {causes}" if causes else "")
    latest = next((run for run in runs if run.state != "running"), None)
    if latest is not None and latest.state == "failed":
        code = str(latest.counts.get("code", ""))
        remedy = (
            f"The last one failed ({code or '?'}). Try again and read why: ident-amocrm sync {record.name}"
        )
        return Finding(area, name, State.WARNING, found, remedy, code, uid)
    return Finding(area, name, State.OK, found, clinic_uid=uid)
