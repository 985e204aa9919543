"""What an operator sees when something is wrong: the cause and the remedy in one paragraph, and nothing saved."""

from __future__ import annotations

import copy
import json
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
import requests

from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.clinic.generator import ClinicSpec
from deployments.sandbox.compare import read_crm
from deployments.sandbox.expected import STAGE_NAMES
from tasks.connections import AMOCRM, INSTALLATION
from tasks.ledger.store import Ledger
from tasks.settings import Settings
from tasks.transfer import clinic_state
from tests.e2e.conftest import CLINIC, TOKEN, Installation, Journey, Run, installation, of_the_last_journey
from tests.support import clinic_database
from tests.support.clinic_database import PASSWORD, ClinicDatabase
from tests.support.tds.database import Database

pytestmark = pytest.mark.odbc

SMALL = ClinicSpec(today=date(2026, 3, 12), patients=10, appointments=30)
#: What tells a person that a server of Prefect is brought up; no part of an error.
NOTICE = "No Prefect server is running; a temporary one serves this command."


def judge(done: Run, code: str, *words: str) -> None:
    """Check how a refusal looks: exit code, silence on standard output, one paragraph, no traceback."""
    said = [line for line in done.stderr.splitlines() if line.strip() and line.strip() != NOTICE]
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert len(said) == 1, done.stderr
    assert said[0].startswith(f"Error ({code}): ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in said[0]
    assert not any(secret in done.stderr for secret in (PASSWORD, TOKEN))


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and nobody else can take."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


class _Page(BaseHTTPRequestHandler):
    """A web site that is not amoCRM: every address answers with a page."""

    def do_GET(self) -> None:
        body = "<!DOCTYPE html><html><body>Добро пожаловать</body></html>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Say nothing."""


@pytest.fixture(scope="module")
def web_site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@dataclass
class Site:
    """What there is to connect: most of it is broken."""

    whole: ClinicDatabase
    no_table: ClinicDatabase
    no_column: ClinicDatabase
    expired: str
    unpaid: str
    web_site: str
    closed_port: int


@pytest.fixture(scope="module")
def site(web_site: str, closed_port: int) -> Iterator[Site]:
    pytest.importorskip("pyodbc", reason="no libodbc here: make odbc", exc_type=ImportError)
    driver = clinic_database.free_tds() or clinic_database.microsoft()
    if driver is None:
        pytest.skip("no driver here: make odbc")
    with ExitStack() as stack:
        whole, no_table, no_column = (
            stack.enter_context(clinic_database.opened(SMALL, driver)) for _ in range(3)
        )
        expired, unpaid = (stack.enter_context(StandIn(token=TOKEN, limit=None)) for _ in range(2))
        cast("Database", no_table.store).drop_table("Receptions")
        cast("Database", no_column.store).drop_column("Receptions", "PlanStart")
        expired.admin("settings", {"token_valid": False})
        unpaid.admin("settings", {"paid": False})
        yield Site(whole, no_table, no_column, expired.url, unpaid.url, web_site, closed_port)


@dataclass(frozen=True)
class Case:
    """A refused command.

    Attributes:
        code: Code of the error.
        words: What the text must name: the cause, and what to do.
        database: Which database to connect, with options that differ from the truth.
        account: Where to connect amoCRM instead.
    """

    code: str
    words: tuple[str, ...]
    database: Callable[[Site], ClinicDatabase] | None = None
    options: Callable[[Site], dict[str, str]] = lambda _site: {}
    account: Callable[[Site], str] | None = None

    def arguments(self, site: Site, folder: Path) -> list[str]:
        """Return the command line."""
        if self.account is not None:
            token_file = folder / "token"
            token_file.write_text(TOKEN, encoding="utf-8")
            return ["connect-amocrm", "--base-url", self.account(site), "--token-file", str(token_file)]
        clinic = (self.database or (lambda found: found.whole))(site)
        return ["connect-database", CLINIC, *clinic.options(folder / "password", **self.options(site))]


CASES = {
    "wrong password": Case(
        "authentication",
        ("PZ", "refuses the login", "(18456)", "Check user and password"),
        options=lambda _site: {"password": "wrong"},
    ),
    "unknown user": Case(
        "authentication", ("refuses the login", "Check user"), options=lambda _site: {"user": "nobody"}
    ),
    "closed port": Case(
        "database_unavailable",
        ("refuses connections", "port", "firewall"),
        options=lambda site: {"port": str(site.closed_port)},
    ),
    "unknown database": Case(
        "database_missing",
        ("Archive", "no database of this name", "--database PZ"),
        options=lambda _site: {"database": "Archive"},
    ),
    "missing table": Case(
        "schema", ("lacks Receptions:", "--database", "rights"), database=lambda site: site.no_table
    ),
    "missing column": Case(
        "schema", ("lacks Receptions.PlanStart:", "--database"), database=lambda site: site.no_column
    ),
    "no password file": Case(
        "secret_file",
        ("nowhere.txt", "cannot be read", "Write the secret alone"),
        options=lambda _site: {"password_file": "nowhere.txt"},
    ),
    "expired token": Case(
        "authentication", ("expired or was revoked", "--token-file"), account=lambda site: site.expired
    ),
    "unpaid account": Case(
        "payment_required", ("not paid", "Pay for the amoCRM account"), account=lambda site: site.unpaid
    ),
    "unreachable amoCRM": Case(
        "amocrm_unavailable",
        ("cannot be reached", "Check the address"),
        account=lambda site: f"http://127.0.0.1:{site.closed_port}",
    ),
    "a web site": Case(
        "unexpected_answer", ("does not answer like amoCRM", "address"), account=lambda site: site.web_site
    ),
}


@pytest.fixture(scope="module")
def refused(site: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Installation, Run]]:
    """Run each case in a home of its own, some at once: most of a command's time is its start."""

    folders = {name: tmp_path_factory.mktemp("refused") for name in CASES}

    def attempt(name: str) -> tuple[Installation, Run]:
        found = installation(folders[name])
        return found, found.run(*CASES[name].arguments(site, folders[name]))

    with ThreadPoolExecutor(3) as pool:
        return dict(zip(CASES, pool.map(attempt, CASES), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_a_refused_connection_says_what_to_do(
    name: str, refused: dict[str, tuple[Installation, Run]]
) -> None:
    _installation, done = refused[name]
    judge(done, CASES[name].code, *CASES[name].words)


@pytest.mark.parametrize("name", CASES)
def test_a_refused_connection_saves_nothing(name: str, refused: dict[str, tuple[Installation, Run]]) -> None:
    found, _done = refused[name]
    ledger = Ledger(Settings(home=found.home).ledger_url).open()
    try:
        assert ledger.connections() == []
        assert ledger.setting(INSTALLATION, AMOCRM) is None
        assert ledger.audit(event_prefix=None, limit=10, order="asc") == []
    finally:
        ledger.close()
    assert list(found.folder.iterdir()) == []
    prefect = found.home / "prefect" / "prefect.db"
    if prefect.exists():
        with closing(sqlite3.connect(prefect)) as link:
            assert link.execute("SELECT count(*) FROM block_document WHERE NOT is_anonymous").fetchone() == (
                0,
            )


# ---- a clinic that was connected once: what goes wrong later -------------------------------------------------


def _standing(journey: Journey) -> dict[str, Any]:
    """What a refused run may not touch."""
    ledger = Ledger(Settings(home=journey.installation.home).ledger_url).open()
    try:
        record = ledger.connection(CLINIC)
        state = asdict(clinic_state(ledger, record))
        state.pop("last_run_state")
        state.pop("lag_seconds")  # the time goes on
        return state | {
            "rejects": ledger.rejects(record.clinic_uid),
            "watermark": ledger.watermark(record.clinic_uid),
            "writes": journey.crm.admin("stats")["writes"],
        }
    finally:
        ledger.close()


@contextmanager
def _token_expired(crm: StandIn) -> Iterator[None]:
    crm.admin("settings", {"token_valid": False})
    yield
    crm.admin("settings", {"token_valid": True})


@contextmanager
def _unpaid(crm: StandIn) -> Iterator[None]:
    crm.admin("settings", {"paid": False})
    yield
    crm.admin("settings", {"paid": True})


@contextmanager
def _stage_deleted(crm: StandIn) -> Iterator[None]:
    """A manager moves the deals out of a stage of ours, as amoCRM demands, and deletes it."""
    kept = copy.deepcopy(crm.sandbox.state)
    places = read_crm(crm.url, crm.token).places
    pipeline, stage = next(place for place, names in places.items() if names[1] == STAGE_NAMES["arrived"])
    other = next(place[1] for place in places if place[0] == pipeline and place[1] != stage)
    for lead in crm.sandbox.state.records["leads"].values():
        if (lead.pipeline_id, lead.status_id) == (pipeline, stage):
            lead.status_id = other
    with requests.Session() as session:
        session.trust_env = False
        session.delete(
            f"{crm.url}/api/v4/leads/pipelines/{pipeline}/statuses/{stage}",
            headers={"Authorization": f"Bearer {crm.token}"},
            timeout=30,
        ).raise_for_status()
    yield
    crm.sandbox.state = kept


@of_the_last_journey
@pytest.mark.parametrize(
    ("trouble", "code", "words"),
    [
        (_token_expired, "authentication", ("expired or was revoked", "connect-amocrm")),
        (_unpaid, "payment_required", ("not paid", "Pay for the amoCRM account")),
    ],
)
def test_a_sync_stops_before_it_sends(
    journey: Journey,
    trouble: Callable[[StandIn], AbstractContextManager[None]],
    code: str,
    words: tuple[str, ...],
) -> None:
    with trouble(journey.crm):
        before = _standing(journey)
        done = journey.installation.run("sync", CLINIC, "--output", "json")
        after = _standing(journey)
    judge(done, code, *words)
    assert after == before


@of_the_last_journey
def test_a_deleted_stage_is_named_and_the_rest_goes_on(journey: Journey) -> None:
    with _stage_deleted(journey.crm):
        done = journey.installation.run("sync", CLINIC, "--output", "json")
        refused = journey.installation.run("mapping", "check")
    report = json.loads(done.stdout)
    assert done.returncode in {0, 2}, done.stderr
    [warning] = [text for text in report["warnings"] if "этап" in text.casefold()]
    assert STAGE_NAMES["arrived"] in warning
    assert "autoconfigure" in warning
    assert refused.returncode == 1
    assert "Error (mapping_drift): " in refused.stderr


@of_the_last_journey
def test_a_sync_before_autoconfigure_is_refused(journey: Journey) -> None:
    assert journey.unconfigured is not None
    judge(journey.unconfigured, "not_configured", "no mapping", "ident-amocrm autoconfigure --yes")


@of_the_last_journey
def test_a_sync_of_an_unknown_clinic_is_refused(journey: Journey) -> None:
    before = _standing(journey)
    judge(journey.installation.run("sync", "nowhere"), "not_connected", "nowhere", "connect-database")
    assert _standing(journey) == before
