"""An operator's day on a real Prefect server: three clinics, one account, and what goes wrong.

The tests of this file are one story, in their order.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.store import write_sqlite
from deployments.sandbox.compare import CONTACT_MARK, LEAD_MARK, differences, read_crm, sqlite_rows
from deployments.sandbox.expected import expect
from tasks.basis import MEANINGS, Basis
from tasks.blocks import slug
from tasks.hints import HINTS
from tasks.ledger.store import Ledger
from tasks.lights import DATABASE, DONE, FAILED
from tasks.records import Kind
from tasks.settings import Settings
from tests.e2e.traces import Traces
from tests.support.clinic_database import TIMEZONE, clinic_now, free_tds
from tests.support.running_up import Running, eventually, pids_of, running_up
from tests.support.wall_clock import COMPILER, WallClock

pytestmark = [
    pytest.mark.server,
    pytest.mark.soak,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

ROOT = Path(__file__).parents[2]
TOKEN, PASSWORD = "stand-in-token-of-the-day", "password-of-the-clinic"
NORTH, SOUTH, EAST = "Север", "Юг", "Восток"
SIZES = {NORTH: 12, SOUTH: 13, EAST: 14}
#: The forms below are answered only after this long: a run that waits for a person is no dead run.
FORM_WAITS = 300.0


class Messages(BaseHTTPRequestHandler):
    """A messenger's webhook."""

    received: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.received.append(self.rfile.read(length).decode())
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Say nothing."""


@dataclass
class Day:
    """The installation, its clinics, its account."""

    running: Running
    crm: StandIn
    folder: Path
    webhook: str
    clock: WallClock | None
    secrets: dict[str, str] = field(default_factory=dict)
    waiting: tuple[str, float] = ("", 0.0)

    @property
    def ledger(self) -> Ledger:
        return self.running.ledger

    def database(self, clinic: str) -> Path:
        return self.folder / f"{slug(clinic)}.db"

    def uid(self, clinic: str) -> str:
        return self.ledger.connection(clinic).clinic_uid

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PREFECT_", "IDENT_AMOCRM_")) and "proxy" not in name.lower()
        }
        return kept | {"IDENT_AMOCRM_HOME": str(self.running.home), "PYTHONPATH": str(ROOT)}

    def command(self, *arguments: str) -> None:
        """Run a command of the same installation; it finds the server by itself."""
        done = subprocess.run(
            [sys.executable, "-m", "deployments.cli.main", *arguments],
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def connect(self, clinic: str) -> tuple[str, str]:
        block = slug(clinic)
        data = {
            "driver": "sqlite",
            "database": str(self.database(clinic)),
            "password": PASSWORD,
            "timezone": TIMEZONE,
        }
        self.running.fill_in("ident-database", block, data)
        return self.running.do("connect-database", {"database": {"clinic": clinic, "block": block}})

    def form(self, clinic: str, **values: Any) -> dict[str, Any]:
        attested = {"basis": MEANINGS[Basis.CONSENT], "started_by": "Администратор"}
        return {"launch": {"clinic": clinic, "past": "вся история", **attested, **values}}

    def check_health(self) -> tuple[str, str]:
        """Run the health check; one that meets the scheduled one gives way to it."""
        while (end := self.running.do("health-check"))[0] == "Cancelled":
            time.sleep(2)
        return end

    def scheduled_syncs(self) -> list[str]:
        """Runs of the transfer that are scheduled, read past a server that stands still."""
        database = self.running.home / "prefect" / "prefect.db"
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as link:
            rows = link.execute(
                "SELECT flow_run.id FROM flow_run JOIN flow ON flow.id = flow_run.flow_id "
                "WHERE flow.name = 'sync' AND state_type = 'SCHEDULED'"
            )
            return [str(UUID(row[0])) for row in rows]

    def successes(self, clinic: str) -> int:
        return len(self.ledger.runs(self.uid(clinic), 1000, "completed"))

    def marks(self) -> Counter[str]:
        """How often each of our marks stands on a living card of the account."""
        return Counter(
            value
            for kind in ("contacts", "leads")
            for record in self.crm.sandbox.state.records[kind].values()
            if not record.is_deleted
            for values in record.values.values()
            for entry in values
            if (value := str(entry.get("value", ""))).startswith("IDENT-")
        )


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    folder = tmp_path_factory.mktemp("clinics")
    home = tmp_path_factory.mktemp("home")
    for number, (clinic, patients) in enumerate(SIZES.items()):
        spec = ClinicSpec(
            today=clinic_now().date(), patients=patients, appointments=3 * patients, seed=number
        )
        write_sqlite(generate(spec), folder / f"{slug(clinic)}.db")
    ledger = Ledger(Settings(home=home).ledger_url).open()
    with (
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        ThreadingHTTPServer(("127.0.0.1", 0), Messages) as messenger,
    ):
        threading.Thread(target=messenger.serve_forever, daemon=True).start()
        webhook = f"http://127.0.0.1:{messenger.server_address[1]}/send"
        extra = {"IDENT_AMOCRM_REQUESTS_PER_SECOND": "7", "IDENT_AMOCRM_RETRY_SECONDS": "5"}
        clock = WallClock.built(folder) if COMPILER else None
        with running_up(home, ledger, extra | (clock.environment if clock else {})) as running:
            yield Day(running, crm, folder, webhook, clock)
        messenger.shutdown()


def test_a_filled_in_block_is_tested_and_connected(day: Day) -> None:
    eventually(lambda: "connect-database" in deployments(day), 120, day.running)
    name, message = day.connect(NORTH)
    assert name == "Completed", message
    assert message == f"Подключено: пациентов {SIZES[NORTH]}, приёмов {3 * SIZES[NORTH]}"
    assert day.running.artifact(f"connect-{slug(NORTH)}").count(DONE) == 2
    name, message = day.running.do("connect-database", {"database": {"clinic": "x", "block": "nowhere"}})
    assert (name, message) == ("Failed", HINTS["block_missing"])


def deployments(day: Day) -> set[str]:
    return {row["name"] for row in day.running.ask("deployments/filter", {})}


def test_a_start_is_refused_with_every_reason(day: Day) -> None:
    name, message = day.running.do("start-transfer", day.form(NORTH))
    assert name == "Failed"
    assert HINTS["amocrm_not_connected"] in message
    assert HINTS["not_configured"] in message
    assert day.ledger.runs(day.uid(NORTH)) == []


def test_amocrm_is_connected_by_its_block(day: Day) -> None:
    day.running.fill_in("amocrm-account", "amocrm", {"base_url": day.crm.url, "token": TOKEN})
    assert day.running.do("connect-amocrm")[0] == "Completed"
    assert DONE in day.running.artifact("connect-amocrm")
    day.command("autoconfigure", "--yes", "--special", "all")


def test_a_form_is_left_waiting(day: Day) -> None:
    """The answer comes at the end of this file, minutes later."""
    assert day.connect(EAST)[0] == "Completed"
    run = day.running.start("start-transfer", day.form(EAST, rehearse=True))
    name, _message = day.running.ended(run)
    assert name == "Suspended"
    day.waiting = (run, time.monotonic())
    assert "В открытые этапы войдёт сделок" in day.running.artifact(f"start-{slug(EAST)}")
    assert day.marks().total() == 0, "nothing was written to count it"


def test_accepted_runs_appear_by_themselves(day: Day) -> None:
    day.running.fill_in(
        "custom-webhook",
        "messenger",
        {
            "name": "messenger",
            "url": day.webhook,
            "method": "POST",
            "json_data": {"text": "{{subject}} {{body}}"},
        },
    )
    form = day.form(NORTH, started_by="Администратор", notify="custom-webhook/messenger")
    name, message = day.running.do("start-transfer", form)
    assert name == "Completed", message
    eventually(lambda: day.successes(NORTH) >= 2, 240, day.running)
    expected = {f"IDENT-{day.uid(NORTH)}-P-{key}": 1 for key in patients(day, NORTH)}
    assert {mark: count for mark, count in day.marks().items() if "-P-" in mark} == expected
    runs = day.running.runs_of(NORTH, "COMPLETED")
    assert all("auto-scheduled" in run["tags"] for run in runs)


def patients(day: Day, clinic: str) -> set[int]:
    """Patients that the transfer acknowledged, which are those of the clinic that are sound."""
    known = {int(key) for key in day.ledger.applied_index(day.uid(clinic), Kind.CONTACT).source_ids}
    rows = {int(row["ID_Persons"]) for row in sqlite_rows(day.database(clinic))("Patients")}
    rejected = {one.source_id for _uid, one in day.ledger.rejects(day.uid(clinic)) if one.entity == "patient"}
    assert known | rejected == rows
    return known


def test_health_is_green_then_red_with_its_cause_then_recovered(day: Day) -> None:
    assert day.check_health()[0] == "Completed"
    page = day.running.artifact(f"health-{slug(NORTH)}")
    assert page.count(DONE) == 3
    assert "✅ Работает" in page
    away = day.database(NORTH).with_suffix(".away")
    day.database(NORTH).rename(away)
    name, message = day.check_health()
    assert name == "Failed"
    assert f"{NORTH}: {DATABASE}" in message
    page = day.running.artifact(f"health-{slug(NORTH)}")
    assert FAILED in page
    assert HINTS["database_missing"] in page
    away.rename(day.database(NORTH))
    eventually(lambda: day.check_health()[0] == "Completed", 120, day.running)
    body = {"filter": {"event": {"prefix": ["ident-amocrm.health."]}, "order": "ASC"}, "limit": 50}

    def feed() -> list[str]:
        found = day.running.ask("events/filter", body)["events"]
        resource = f"ident-amocrm.clinic.{day.uid(NORTH)}"
        return [
            event["event"].rpartition(".")[2]
            for event in found
            if event["resource"]["prefect.resource.id"] == resource
        ]

    eventually(lambda: "recovered" in feed()[-1:], 30, day.running)
    assert "failed" in feed()


def test_the_messenger_was_told(day: Day) -> None:
    wanted = ("состояние стало красным", "состояние восстановилось")
    eventually(lambda: all(any(word in one for one in Messages.received) for word in wanted), 60, day.running)
    told = json.dumps(Messages.received, ensure_ascii=False)
    assert NORTH in told
    assert "database_missing" in told


def test_clinics_of_one_account_are_not_mixed(day: Day) -> None:
    """The same patient numbers stand in each database."""
    assert day.connect(SOUTH)[0] == "Completed"
    assert day.running.do("start-transfer", day.form(SOUTH))[0] == "Completed"
    eventually(lambda: day.successes(SOUTH) >= 1, 240, day.running)
    north, south = patients(day, NORTH), patients(day, SOUTH)
    assert len(north & south) > 5
    marks = day.marks()
    assert set(marks.values()) == {1}
    surnames = {
        clinic: {row["ID"]: row["Surname"] for row in sqlite_rows(day.database(clinic))("Persons")}
        for clinic in (NORTH, SOUTH)
    }
    for clinic, keys in ((NORTH, north), (SOUTH, south)):
        index = day.ledger.applied_index(day.uid(clinic), Kind.CONTACT)
        cards = dict(zip(map(int, index.source_ids), map(int, index.amo_ids), strict=True))
        for key in keys:
            card = day.crm.sandbox.state.records["contacts"][cards[key]]
            assert (card.last_name or card.name).casefold() in (surnames[clinic][key] or card.name).casefold()


def test_one_clinics_database_down_delays_no_other(day: Day) -> None:
    away = day.database(SOUTH).with_suffix(".away")
    day.database(SOUTH).rename(away)
    goes_on_without(day, SOUTH)
    away.rename(day.database(SOUTH))
    after = day.successes(SOUTH)
    eventually(lambda: day.successes(SOUTH) > after, 240, day.running)


@pytest.mark.skipif(free_tds() is None, reason="no FreeTDS here: make odbc")
def test_a_server_that_never_answers_delays_no_other(day: Day) -> None:
    """It takes the connection and says nothing: the run waits for its login's end."""
    block = slug(SOUTH)
    found = day.running.call("GET", f"block_types/slug/ident-database/block_documents/name/{block}")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hung = {"driver": free_tds(), "database": "PZ", "port": silent.getsockname()[1]}
        day.running.call(
            "PATCH", f"block_documents/{found['id']}", {"data": hung, "merge_existing_data": True}
        )
        goes_on_without(day, SOUTH)
    sound = {"driver": "sqlite", "database": str(day.database(SOUTH)), "port": 15000}
    day.running.call("PATCH", f"block_documents/{found['id']}", {"data": sound, "merge_existing_data": True})
    after = day.successes(SOUTH)
    eventually(lambda: day.successes(SOUTH) > after, 240, day.running)


def goes_on_without(day: Day, clinic: str) -> None:
    """Wait until a clinic's runs fail, and see that another's go on as usual meanwhile."""
    failed = {run.run_id for run in day.ledger.runs(day.uid(clinic), 100, "failed")}
    before = day.successes(NORTH)
    eventually(
        lambda: {run.run_id for run in day.ledger.runs(day.uid(clinic), 100, "failed")} - failed,
        240,
        day.running,
    )
    eventually(lambda: day.successes(NORTH) >= before + 2, 120, day.running)


def work(day: Day, clinic: str, seed: int) -> None:
    """Let something happen in a clinic that has to be transferred."""
    with closing(sqlite3.connect(day.database(clinic))) as link, link:
        link.execute(
            "UPDATE Patients SET DateTimeChanged = ?", (clinic_now().isoformat(" ", "milliseconds"),)
        )
        link.execute(
            "UPDATE Persons SET City = ?, DateTimeChanged = ?",
            (f"Город {seed}", clinic_now().isoformat(" ", "milliseconds")),
        )


def under_way(day: Day, clinic: str) -> dict[str, Any]:
    """Wait for a run that is going on."""
    found: list[dict[str, Any]] = []

    def seen() -> bool:
        found[:] = day.running.runs_of(clinic, "RUNNING")
        return bool(found)

    eventually(seen, 120, day.running)
    return found[0]


def test_a_worker_killed_during_a_run_loses_and_doubles_nothing(day: Day) -> None:
    day.crm.admin("settings", {"latency_ms": 1500})
    work(day, NORTH, 1)
    run = under_way(day, NORTH)
    worker = next(pid for pid, line in pids_of(day.running.home).items() if " worker start " in line)
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: day.running.run(run["id"])["state_type"] in {"CRASHED", "COMPLETED"}, 120, day.running)
    day.crm.admin("settings", {"latency_ms": 0})
    before = day.successes(NORTH)
    eventually(lambda: day.successes(NORTH) > before, 240, day.running)
    assert set(day.marks().values()) == {1}
    assert not day.ledger.open_attempts(day.uid(NORTH))


def test_a_run_killed_alone_is_marked_by_the_worker(day: Day) -> None:
    def forked() -> list[int]:
        """The host of runs and the runs that it forked; they bear its command line."""
        lines = pids_of(day.running.home).items()
        return [pid for pid, line in lines if "deployments.run_host" in line]

    def parent(pid: int) -> int:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])

    day.crm.admin("settings", {"latency_ms": 1500})
    work(day, NORTH, 3)
    run = under_way(day, NORTH)
    for pid in forked():
        if parent(pid) in forked():
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: day.running.run(run["id"])["state_type"] == "CRASHED", 60, day.running)
    day.crm.admin("settings", {"latency_ms": 0})
    before = day.successes(NORTH)
    eventually(lambda: day.successes(NORTH) > before, 240, day.running)
    assert set(day.marks().values()) == {1}
    assert not day.ledger.open_attempts(day.uid(NORTH))


def test_a_server_killed_is_started_again_and_runs_go_on(day: Day) -> None:
    server = next(pid for pid, line in pids_of(day.running.home).items() if " server start " in line)
    os.kill(server, signal.SIGKILL)
    before = day.successes(NORTH)
    eventually(lambda: day.successes(NORTH) > before, 300, day.running)


def test_cancel_still_works_after_that(day: Day) -> None:
    day.crm.admin("settings", {"latency_ms": 3000})
    work(day, NORTH, 2)
    run = under_way(day, NORTH)
    state = {"type": "CANCELLING", "name": "Cancelling"}
    day.running.ask(f"flow_runs/{run['id']}/set_state", {"state": state})
    eventually(lambda: day.running.run(run["id"])["state_type"] == "CANCELLED", 120, day.running)
    day.crm.admin("settings", {"latency_ms": 0})
    before = day.successes(NORTH)
    eventually(lambda: day.successes(NORTH) > before, 240, day.running)
    assert set(day.marks().values()) == {1}


def test_prefect_deploy_makes_the_same_set(day: Day) -> None:
    def essence() -> dict[str, Any]:
        return {
            row["name"]: (
                row["entrypoint"],
                row["tags"],
                row["schedules"] and row["schedules"][0]["schedule"],
            )
            for row in day.running.ask("deployments/filter", {})
            if row["tags"] == ["installation"]
        }

    before = essence()
    assert len(before) > 10
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        env=day.environment | {"PREFECT_API_URL": day.running.place["api"]},
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert essence() == before
    assert day.running.active(NORTH), "a transfer that was started stays started"


def test_after_an_hours_sleep_the_backlog_is_one_run(day: Day) -> None:
    """The machine sleeps: every process stands still, and wakes with a clock that has gone on."""
    if day.clock is None:
        pytest.skip("no C compiler here to build the clock with")
    eventually(lambda: not day.running.runs_of(NORTH, "RUNNING", "PENDING"), 120, day.running)
    writes = day.crm.admin("stats")["writes"]
    sleepers = [day.running.process.pid, *(pid for pid in pids_of(day.running.home))]
    for pid in sleepers:
        _signal(pid, signal.SIGSTOP)
    scheduled = day.scheduled_syncs()
    try:
        day.clock.put_ahead(3600)
    finally:
        for pid in reversed(sleepers):
            _signal(pid, signal.SIGCONT)
    assert len(scheduled) >= 20, "there is a backlog"
    before = day.successes(NORTH)
    eventually(lambda: day.successes(NORTH) >= before + 2, 300, day.running)
    woken = datetime.fromtimestamp(day.ledger.runs(day.uid(NORTH), 1, "completed")[0].started_at, tz=UTC)
    assert woken - datetime.now(tz=UTC) > timedelta(minutes=50), "the runs live an hour later"

    def ends() -> Counter[str]:
        return Counter(str(day.running.run(run)["state"]["name"]) for run in scheduled)

    waiting = {"Scheduled", "Late", "Pending", "Submitting", "Running"}
    eventually(lambda: not waiting & set(ends()), 600, day.running)
    # One clinic's backlog is one run; two clinics are started here. The others gave way or were skipped.
    assert 1 <= ends()["Completed"] + ends()["Failed"] <= 2, ends()
    assert day.crm.admin("stats")["writes"] == writes, "nothing had changed meanwhile"
    assert set(day.marks().values()) == {1}


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def test_a_form_is_alive_after_five_minutes(day: Day) -> None:
    run, since = day.waiting
    time.sleep(max(0.0, FORM_WAITS - (time.monotonic() - since)))
    assert day.running.run(run)["state"]["name"] == "Suspended"
    assert not day.ledger.runs(day.uid(EAST))
    day.running.resume(run, {"confirmed": True})
    eventually(lambda: day.running.run(run)["state_type"] == "COMPLETED", 180, day.running)
    eventually(lambda: day.successes(EAST) >= 1, 240, day.running)
    assert set(day.marks().values()) == {1}
    patients(day, EAST)


def test_three_clinics_hold_exactly_what_is_theirs(day: Day) -> None:
    """Every field of every card; the same numbers stand in all three databases."""
    account = read_crm(day.crm.url, TOKEN)
    for clinic, size in SIZES.items():
        mine = f"IDENT-{day.uid(clinic)}-"
        own = replace(
            account,
            contacts=[row for row in account.contacts if account.mark(row, CONTACT_MARK).startswith(mine)],
            leads=[row for row in account.leads if account.mark(row, LEAD_MARK).startswith(mine)],
        )
        assert len(own.contacts) > size // 2
        wanted = expect(sqlite_rows(day.database(clinic)), TIMEZONE, None)
        assert [str(found) for found in differences(wanted, own)] == [], clinic
    assert len(account.contacts) == sum(len(patients(day, clinic)) for clinic in SIZES)


def test_an_empty_answer_starts_nothing(day: Day) -> None:
    run = day.running.start("start-transfer", day.form(EAST, rehearse=True))
    assert day.running.ended(run)[0] == "Suspended"
    day.running.resume(run, {})
    eventually(lambda: day.running.run(run)["state_type"] == "FAILED", 120, day.running)
    assert "Не подтверждено" in day.running.run(run)["state"]["message"]


def test_the_subscription_is_sold_by_a_form(day: Day) -> None:
    assert day.running.do("subscription-quote")[0] == "Completed"
    assert "| 6 месяцев | 15 |" in day.running.artifact("subscription-quote"), "three databases"
    order = {"order": {"term": "10 месяцев"}}
    assert day.running.do("subscription-activate", order) == ("Failed", HINTS["offer_not_accepted"])
    order["order"]["offer_accepted"] = True  # type: ignore[assignment]
    run = day.running.start("subscription-activate", order)
    assert day.running.ended(run)[0] == "Suspended"
    assert "148\u00a0500\u00a0₽" in day.running.artifact("subscription-invoice")
    day.running.resume(run, {"paid": True})
    eventually(lambda: day.running.run(run)["state_type"] == "COMPLETED", 120, day.running)
    assert day.running.run(run)["state"]["message"].startswith("Активная")
    assert len(day.ledger.invoices()) == 1, "the run started again from the top and made no second one"
    assert len(day.ledger.periods()) == 2


def test_the_journal_is_a_sorted_table(day: Day) -> None:
    form = {"form": {"area": "состояние", "order": "сначала старые", "clinic": NORTH}}
    assert day.running.do("journal", form)[0] == "Completed"
    rows = json.loads(day.running.artifact("journal"))
    moments = [row["Когда (UTC)"] for row in rows]
    assert moments == sorted(moments)
    assert {row["Событие"] for row in rows} >= {"ident-amocrm.health.failed", "ident-amocrm.health.recovered"}


def test_a_renamed_clinic_goes_on(day: Day) -> None:
    uid = day.uid(SOUTH)
    name, message = day.running.do("rename-clinic", {"renaming": {"clinic": SOUTH, "new_name": "Запад"}})
    assert name == "Completed", message
    eventually(lambda: {"Запад"} <= deployments(day) and SOUTH not in deployments(day), 90, day.running)
    assert day.uid("Запад") == uid
    before = day.successes("Запад")
    eventually(lambda: day.successes("Запад") > before, 240, day.running)


def test_stop(day: Day) -> None:
    for clinic in (NORTH, EAST):
        assert day.running.do("stop-transfer", {"stop": {"clinic": clinic}})[0] == "Completed"
    eventually(lambda: not {NORTH, EAST} & day.running.scheduled(), 60, day.running)
    assert day.running.do("disconnect-database", {"clinic": {"clinic": "Запад"}})[0] == "Completed"
    eventually(lambda: "Запад" not in deployments(day), 60, day.running)


def test_no_secret_and_nothing_of_a_person_was_left(day: Day) -> None:
    persons = [row for clinic in SIZES for row in sqlite_rows(day.database(clinic))("Persons")]
    for row in persons:
        row["Birthday"] = row["Birthday"] and date.fromisoformat(str(row["Birthday"])[:10])
    traces = Traces.of(persons, ZoneInfo(TIMEZONE))
    found: dict[str, Any] = {}
    for path in day.running.home.rglob("*"):
        if not path.is_file():
            continue
        data = path.read_bytes()
        secrets = [secret for secret in (TOKEN, PASSWORD) if secret.encode() in data]
        if told := [*secrets, *sorted(traces.in_file(path))]:
            found[str(path.relative_to(day.running.home))] = told
    assert found == {}
