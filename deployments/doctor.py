"""Everything a supporter would ask, in one report; and the bundle that may leave the machine.

The order is that of causes: the machine, the folder, the ledger, Prefect, amoCRM, the clinics. Each check
stands alone: what it needs and cannot have (the ledger, Prefect's store) is said once, and by one line of
each part that could not be looked at.
"""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from deployments.doors import free_port
from deployments.environment import (
    answers,
    name_defaults,
    prefect_api,
    prepare_environment,
    running_up,
    up_file,
)
from tasks.doctor.environment import check_environment
from tasks.doctor.findings import Finding, Report, State, attempt
from tasks.doctor.home import (
    BLOCKS_KEY,
    check_files,
    check_folder,
    check_key_place,
    check_keys,
    check_local,
)
from tasks.doctor.logs import check_logs
from tasks.doctor.versions import check_versions, read_tested_file
from tasks.errors import ConfigurationError
from tasks.ledger.database import file_of
from tasks.settings import Settings, load_settings

if TYPE_CHECKING:
    from tasks.ledger.store import ConnectionRecord, Ledger

__all__ = ["Examination", "check_ports", "examine"]

#: What ``up`` listens on unless it is told otherwise.
UI_PORT: Final = 4200
CONSTRAINTS: Final = Path(__file__).with_name("constraints.txt")
#: A supporter waits for the answer: an amoCRM that is away is asked for seconds, not for minutes.
RETRY_SECONDS: Final = 5.0
STARTUP: Final = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
DATABASE: Final = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
KEY: Final = "PREFECT_SERVER_ENCRYPTION_KEY"
#: Variables of ours that are no settings.
ALSO: Final = ("IDENT_AMOCRM_TEST_POSTGRESQL", "IDENT_AMOCRM_PYTHON")


@dataclass(slots=True)
class Examination:
    """One look at the installation.

    Attributes:
        environ: The environment as the command found it.
        settings: The settings; ``None`` where a variable makes them invalid.
        ledger: The ledger; ``None`` where it cannot be used.
        records: The connected clinics.
        is_new: Whether there is no ledger yet.
        has_account: Whether an amoCRM account is connected.
        api: Address of Prefect's server, where there is one.
        findings: What was found so far.
    """

    environ: Mapping[str, str]
    settings: Settings | None = None
    ledger: Ledger | None = None
    records: list[ConnectionRecord] = field(default_factory=list)
    is_new: bool = False
    has_account: bool = False
    api: str | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def report(self) -> Report:
        """Everything that was found."""
        return Report(datetime.now(tz=UTC), tuple(self.findings))


def examine(
    environ: Mapping[str, str] | None = None, tell: Callable[[str], None] = lambda _text: None
) -> Examination:
    """Look at everything.

    Args:
        environ: The environment, as it was before anything was set; this process's by default.
        tell: Told what takes its time.
    """
    looked = Examination(dict(os.environ if environ is None else environ))
    looked.findings += attempt("Machine", "versions", lambda: check_versions(read_tested_file(CONSTRAINTS)))
    looked.findings += attempt(
        "Environment", "variables", lambda: check_environment(looked.environ, also=ALSO)
    )
    looked.findings += attempt("Environment", "settings", lambda: _settings(looked))
    settings = looked.settings
    if settings is None:
        return looked
    looked.findings += _home(settings, looked.environ)
    # Prefect reads its environment when it is imported, which the checks below do; and what is set for it may
    # make a missing key, so the folder was looked at before.
    reason = _find_prefect(looked, settings)
    looked.findings += _machine(settings)
    looked.findings += _ledger(looked, settings)
    store = _prefect(looked, reason, tell)
    hurried = settings.model_copy(update={"retry_seconds": min(settings.retry_seconds, RETRY_SECONDS)})
    looked.findings += _amocrm(looked, hurried, store)
    looked.findings += _clinics(looked, hurried, store)
    looked.findings += attempt("Logs", "logs", lambda: check_logs(settings.home / "logs"))
    return looked


def _settings(looked: Examination) -> Finding:
    try:
        settings = load_settings()
    except ValidationError as error:
        # The text of the error quotes the value, which may be a secret in the wrong place.
        named = sorted({f"IDENT_AMOCRM_{str(one['loc'][0]).upper()}" for one in error.errors() if one["loc"]})
        text = f"These values are not valid: {', '.join(named)}. No command works."
        remedy = "Correct them: docs/reference/settings.md"
        return Finding("Environment", "settings", State.FAULT, text, remedy, "settings_invalid")
    looked.settings = settings
    return Finding("Environment", "settings", State.OK, "valid")


# ---- folder and ports ------------------------------------------------------------------------------------


def _home(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    home, area, ledger = settings.home, "Home folder", file_of(settings.ledger_url)
    prefect = Path(environ.get("PREFECT_HOME") or home / "prefect") / "prefect.db"
    yield from attempt(area, "folder", lambda: check_folder(home))
    if home.is_dir():
        has_ledger = ledger is None or ledger.exists()
        yield from attempt(area, "private files", lambda: check_files(home, ledger))
        yield from attempt(area, "disk", lambda: check_local(home))
        yield from attempt(
            area,
            "keys",
            lambda: check_keys(
                home, has_ledger=has_ledger, has_secrets=prefect.exists(), given=bool(environ.get(KEY))
            ),
        )
        if DATABASE not in environ:
            yield from attempt(area, "keys apart", lambda: check_key_place(prefect))
    yield from attempt("Ports", "ports", lambda: check_ports(settings))


def check_ports(settings: Settings) -> Iterator[Finding]:
    """Tell whether the ports of the UI and the pages are free, or ours."""
    place = running_up(settings)
    stale = not place and up_file(settings).exists()
    for name, wanted, part in (("UI", UI_PORT, "url"), ("pages", settings.data_docs_port, "pages")):
        if not wanted:
            yield Finding("Ports", name, State.OK, "not served")
        elif place:
            yield _ours(name, str(place.get(part) or ""))
        elif (free := free_port("127.0.0.1", wanted)) == wanted:
            left = "; up was killed the last time" if stale else ""
            yield Finding("Ports", name, State.OK, f"{wanted} is free; up does not run{left}")
        else:
            found = f"Another program has {wanted}; up would take {free}."
            remedy = "Nothing, if that is fine. Else end that program, or choose: ident-amocrm up --port …"
            yield Finding("Ports", name, State.WARNING, found, remedy, "port_taken")


def _ours(name: str, url: str) -> Finding:
    from urllib.parse import urlsplit  # noqa: PLC0415 - beside its only use

    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=2):
            return Finding("Ports", name, State.OK, f"ours: {url}")
    except OSError as error:
        found = f"up runs, but nobody listens at {url or 'its port'} ({type(error).__name__})."
        remedy = "See the logs in the home folder; stop up and start it again."
        return Finding("Ports", name, State.FAULT, found, remedy, "port_silent")


# ---- ledger and Prefect ----------------------------------------------------------------------------------


def _machine(settings: Settings) -> Iterator[Finding]:
    from tasks.examine import examine_room  # noqa: PLC0415 - imports Prefect

    if settings.home.is_dir():
        yield from attempt("Home folder", "room", lambda: examine_room(settings))


def _ledger(looked: Examination, settings: Settings) -> Iterator[Finding]:
    from tasks.examine import examine_drivers  # noqa: PLC0415 - imports Prefect
    from tasks.examine_ledger import examine_attempts, examine_damage, examine_ledger  # noqa: PLC0415

    def opened() -> Finding:
        looked.ledger, finding = examine_ledger(settings)
        looked.is_new = finding.code == "no_ledger"
        return finding

    def counted(ledger: Ledger) -> Finding:
        looked.records = ledger.connections()
        looked.has_account = account_known(ledger)
        names = ", ".join(record.name for record in looked.records) or "none"
        return Finding("Ledger", "clinics", State.OK, names)

    from tasks.examine import account_known  # noqa: PLC0415 - imports Prefect

    yield from attempt("Ledger", "ledger", opened)
    if (ledger := looked.ledger) is not None:
        yield from attempt("Ledger", "integrity", lambda: examine_damage(ledger))
        [clinics] = attempt("Ledger", "clinics", lambda: counted(ledger))
        yield clinics
        if clinics.state is State.OK:
            yield from attempt("Ledger", "open attempts", lambda: examine_attempts(ledger))
        else:
            looked.ledger = None  # it opens, and cannot be read
    yield from attempt("Machine", "ODBC driver", lambda: examine_drivers(looked.records))


def _find_prefect(looked: Examination, settings: Settings) -> str:
    """Find the server that a command would use; returns why there is none that could be asked."""
    name_defaults(settings, os.environ)
    try:
        looked.api = looked.environ.get("PREFECT_API_URL") or running_up(settings).get("api")
        if looked.api and looked.api.startswith("http://") and not answers(looked.api):
            return f"Prefect's server does not answer at {looked.api}."
        if not settings.home.is_dir():
            # Prefect wants to make its folder when it is imported; here is nothing to look at.
            warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")
            return "" if looked.api else "There is no home folder yet."
        if not (looked.api or KEY in looked.environ or (settings.home / BLOCKS_KEY).exists()):
            # A key made now would hide that the right one is lost.
            return f"{BLOCKS_KEY}, which opens Prefect's secrets, is not there."
        if not looked.api and any(one.code == "prefect_database" for one in looked.findings):
            return "Prefect's database cannot be read."  # a temporary server would try for minutes
        os.environ.setdefault(STARTUP, "60")
        prepare_environment(settings)
        prefect_api(settings)
    except (OSError, ValueError, ConfigurationError) as error:
        cause = error.problem if isinstance(error, ConfigurationError) else type(error).__name__
        return f"The home folder does not let Prefect be asked: {cause}"
    return ""


def _prefect(looked: Examination, reason: str, tell: Callable[[str], None]) -> Finding | None:
    """Look at Prefect's server and store.

    Returns:
        Why passwords and tokens cannot be had; ``None`` where they can, or nobody needs them.
    """
    looked.findings += attempt("Prefect", "server", lambda: _server(looked, reason))
    if looked.api and not reason:
        looked.findings += attempt("Prefect", "server", lambda: _ask_server(looked))
    if not (looked.records or looked.has_account):
        return None  # a temporary server is not brought up for nothing
    if reason:
        remedy = "See the lines about the home folder and the server."
        store = Finding("Prefect", "passwords and tokens", State.FAULT, reason, remedy, "prefect_unavailable")
    else:
        from tasks.examine import examine_store  # noqa: PLC0415 - imports Prefect

        if not looked.api:
            tell("No Prefect server is running; a temporary one gives out passwords and tokens.")
        [store] = attempt("Prefect", "passwords and tokens", examine_store)
    looked.findings.append(store)
    return None if store.state is State.OK else store


def _server(looked: Examination, reason: str) -> Finding:
    if looked.api and not reason:
        return Finding("Prefect", "server", State.OK, f"answers at {looked.api}")
    from tasks.transfer import is_started  # noqa: PLC0415 - imports Prefect

    ledger = looked.ledger
    started = ledger is not None and any(is_started(ledger, one) for one in looked.records)
    state = State.FAULT if started or looked.api else State.WARNING
    if looked.api:
        remedy = "Start that server, or unset PREFECT_API_URL to use the one of ident-amocrm up."
        return Finding("Prefect", "server", state, reason, remedy, "prefect_down")
    found = "ident-amocrm up does not run" + (", so nothing is transferred." if started else ".")
    return Finding(
        "Prefect", "server", state, found, "Start it, and leave it running: ident-amocrm up", "not_up"
    )


def _ask_server(looked: Examination) -> list[Finding]:
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - imports Prefect

    from deployments.prefect_checks import examine_server  # noqa: PLC0415 - imports Prefect

    with get_client(sync_client=True) as client:
        return examine_server(client, looked.ledger)


# ---- amoCRM and clinics ----------------------------------------------------------------------------------


NO_ACCOUNT: Final = ("amocrm_not_connected", "Connect it: ident-amocrm connect-amocrm --help")
NO_CLINIC: Final = ("no_clinics", "Connect one: ident-amocrm connect-database --help")


def _none(area: str, what: tuple[str, str]) -> Finding:
    code, remedy = what
    return Finding(area, "connection", State.WARNING, "None is connected.", remedy, code)


def _skipped(area: str, why: str, uid: str = "") -> Finding:
    text = f"Not looked at; {why}"
    return Finding(area, "not checked", State.WARNING, text, "Put that right first.", "not_checked", uid)


def _amocrm(looked: Examination, settings: Settings, store: Finding | None) -> Iterator[Finding]:
    from tasks import examine as look  # noqa: PLC0415 - imports Prefect

    ledger, area = looked.ledger, "amoCRM"
    if ledger is None:
        yield _none(area, NO_ACCOUNT) if looked.is_new else _skipped(area, "the ledger knows the account.")
        return
    if looked.has_account:
        yield from attempt(area, "clock", lambda: look.examine_amocrm_clock(ledger, settings))
    if store is not None:
        yield _skipped(area, "its token cannot be had.")
    else:
        yield from attempt(area, "account", lambda: look.examine_account(ledger, settings))
        if looked.has_account:
            yield from attempt(area, "token", look.examine_token)
    yield from attempt(area, "subscription", lambda: look.examine_subscription(ledger, settings))


def _clinics(looked: Examination, settings: Settings, store: Finding | None) -> Iterator[Finding]:

    ledger = looked.ledger
    if ledger is None and not looked.is_new:
        yield _skipped("Clinics", "the ledger knows them.")
    if ledger is None or not looked.records:
        if ledger is not None or looked.is_new:
            yield _none("Clinics", NO_CLINIC)
        return
    for record in looked.records:
        yield from _clinic(ledger, settings, record, store)


def _clinic(
    ledger: Ledger, settings: Settings, record: ConnectionRecord, store: Finding | None
) -> Iterator[Finding]:
    from tasks import examine as look  # noqa: PLC0415 - imports Prefect

    area, uid = f"Clinic {record.name}", record.clinic_uid
    if store is not None:
        yield _skipped(area, "the password of its database cannot be had.", uid)
    else:
        yield from attempt(area, "database", lambda: look.examine_database(settings, record, area), uid)
        yield from attempt(area, "rights", lambda: look.examine_rights(record, area), uid)
    yield from attempt(area, "legal basis", lambda: look.examine_basis(ledger, record, area), uid)
    yield from attempt(area, "transfer", lambda: look.examine_transfer(ledger, record, area), uid)
    yield from attempt(area, "rows kept back", lambda: look.examine_rows(ledger, settings, record, area), uid)
    yield from attempt(area, "last runs", lambda: look.examine_runs(ledger, record, area), uid)
