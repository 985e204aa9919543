"""One run of the transfer in a process of its own, as its steps follow one another in ``flows.sync``.

A process is forked from a server that has imported everything: it costs a fiftieth of a second, may be
killed at any point, and shares nothing with the next one but the disk.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from pydantic import SecretStr

from tasks import blocks, connections, events
from tasks import plan as planning
from tasks.amocrm.client import AmoClient
from tasks.amocrm.pacing import Pacer
from tasks.connections import open_ledger
from tasks.errors import IdentAmocrmError
from tasks.ident.connection import IdentConnection, build_engine
from tasks.ledger.database import Database
from tasks.ledger.store import Ledger
from tasks.ledger.tables import outcome
from tasks.settings import Settings, load_settings
from tests.faults.clock import Clock
from tests.faults.crash import Crash, Point, Points

__all__ = ["CLINIC", "TIMEZONE", "TOKEN", "Job", "Running", "Told", "heal", "start", "transfer"]

CLINIC, TIMEZONE, TOKEN = "clinic", "Europe/Moscow", "sandbox-token"
#: The longest a run may take before it counts as hung.
SECONDS = 900
#: Two scans this far apart prove that an entity was never written.
MINUTE = 61.0
RUNS_TO_REST = 12
#: Quiet runs that end a healing; the second of two full reads believes that a row is gone.
RESTS = {"incremental": 1, "full": 2}


@dataclass(frozen=True)
class Job:
    """What a process is to do, and where.

    Attributes:
        home: The installation's folder.
        database: SQLite file of the clinic.
        url: Address of the stand-in.
        ahead: How far virtual time is in front of the real one.
        work: Function of the tests, as ``module:name``; called with the open job.
        crash: Where the process dies.
        mutation: A deliberate defect, see ``tests.faults.mutations``.
        settings: Further settings of the installation.
        rebaseline: Whether a person confirmed to compare the ledger with amoCRM anew.
        jump: By how much this machine's clock is wrong; the clinic's and amoCRM's are right.
        removed: Cards that people deleted, by entity and source id, for ``setting_up.decide``.
    """

    home: Path
    database: Path
    url: str
    ahead: float = 0.0
    work: str = "tests.faults.child:transfer"
    mode: str = "incremental"
    crash: Crash | None = None
    mutation: str = ""
    validate: bool = False
    settings: dict[str, str] = field(default_factory=dict)
    rebaseline: bool = False
    jump: float = 0.0
    removed: frozenset[tuple[str, int]] = frozenset()


@dataclass
class Told:
    """What a process said before it ended.

    Attributes:
        code: Code of the error that stopped it, empty where none did, ``killed`` where it said nothing.
        planned: Rows of its plan.
        outcomes: How the rows ended, by state.
        ends: Kind, source id, state and reason of each planned row.
        unknown: Rows whose fate in amoCRM is still unknown.
        runs: The single runs of a healing.
        said: All it logged, and the text of its error.
        ahead: Virtual time at its end.
    """

    code: str = ""
    planned: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    ends: list[tuple[str, int, str, str]] = field(default_factory=list)
    unknown: int = 0
    writes: int = 0
    points: list[Point] = field(default_factory=list)
    said: str = ""
    ahead: float = 0.0
    exit_code: int = 0
    answer: Any = None
    runs: list[Told] = field(default_factory=list)

    @property
    def adds_up(self) -> bool:
        return self.planned == sum(self.outcomes.values())


def transfer(job: Job, told: Told) -> None:
    """The steps of ``flows.sync.sync``, without Prefect around them."""
    from tasks.ahead import ahead_stopped, read_early, start_ahead
    from tasks.breaker import trip
    from tasks.extract import read_changes
    from tasks.gate import pass_gate
    from tasks.load import apply_plan, recover_attempts
    from tasks.plan import build_plan
    from tasks.rebaseline import refuse_unconfirmed, settle_baseline
    from tasks.report import build_report
    from tasks.workspace import close_workspace, workspace

    run_id, ledger = str(uuid4()), open_ledger()
    record = ledger.connection(CLINIC)
    ledger.start_run(run_id, record.clinic_uid, job.mode, by="faults")
    try:
        space = pass_gate(run_id, CLINIC, job.mode, dry_run=False)
        read_early(run_id)
        recover_attempts(space)
        told.unknown = sum(len(keys) for keys in space.unknown.values())
        space.rebaseline = job.rebaseline
        settle_baseline(space)
        validate = _checked(job)
        with ahead_stopped(run_id):
            start_ahead(space)
            told.planned = len(space.ahead.rows) if space.ahead else 0
            read_changes(space)
            validate(space)
            build_plan(space)
            told.planned = len(space.plan)
            refuse_unconfirmed(space)
            apply_plan(space)
        ledger.finish_run(run_id, "completed", build_report(space).as_dict())
    except IdentAmocrmError as error:
        trip(ledger, error)
        ledger.finish_run(run_id, "failed", {"code": error.code})
        raise
    finally:
        told.ends = _ends(ledger, run_id)
        told.outcomes = dict(Counter(state for _kind, _key, state, _reason in told.ends))
        try:
            told.writes = workspace(run_id).client.writes
        except IdentAmocrmError:
            told.writes = 0
        close_workspace(run_id)


def heal(job: Job, told: Told) -> None:
    """Run until nothing is planned, written or unknown any more; a minute passes in between."""
    rests, enough = 0, RESTS[job.mode]
    for _ in range(RUNS_TO_REST):
        run = Told()
        transfer(job, run)
        told.runs.append(run)
        rests = 0 if run.planned or run.writes or run.unknown else rests + 1
        if rests == enough:
            return
        time.sleep(MINUTE)
    told.code = "restless"


def _checked(job: Job) -> Callable[[Any], object]:
    from tasks.validate import apply_expectations

    if not job.validate:
        # Great Expectations takes a second a frame; what it keeps back here is told by two columns.
        from tests.support import quick_gate

        quick_gate.install()
    return apply_expectations


def _ends(ledger: Ledger, run_id: str) -> list[tuple[str, int, str, str]]:
    columns = (outcome.c.kind, outcome.c.source_id, outcome.c.state, outcome.c.reason)
    with ledger.database.read() as link:
        return [tuple(row) for row in link.execute(sa.select(*columns).where(outcome.c.run_id == run_id))]


# ---- the process -------------------------------------------------------------------------------------------


class Running:
    """A process that works on a job."""

    def __init__(self, job: Job) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(["tests.faults.preload"])
        self._ours, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_live, args=(job, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._job = job

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid or 0

    def end(self, seconds: float = SECONDS) -> Told:
        """Wait for its end and return what it said."""
        try:
            told: Told = self._ours.recv() if self._ours.poll(seconds) else Told(code="hung")
        except EOFError:
            told = Told(code="killed", ahead=self._job.ahead)
        if told.code == "hung":
            self._process.kill()
        self._process.join()
        told.exit_code = self._process.exitcode or 0
        self._ours.close()
        self._process.close()
        return told


def start(job: Job) -> Told:
    """Run a job in a new process to its end."""
    return Running(job).end()


def _live(job: Job, pipe: Connection) -> None:
    clock, told, log = Clock(job.ahead + job.jump), Told(), io.StringIO()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.basicConfig(stream=log, level=logging.INFO, force=True)
    _surround(job, clock)
    points = Points(job.crash)
    points.install()
    if job.mutation:
        importlib.import_module("tests.faults.mutations").install(job.mutation)
    module, name = job.work.split(":")
    try:
        getattr(importlib.import_module(module), name)(job, told)
    except IdentAmocrmError as error:
        told.code = error.code
        log.write(traceback.format_exc())
    except Exception as error:  # noqa: BLE001 - the parent judges it by its name
        told.code = type(error).__name__
        log.write(traceback.format_exc())
    told.points, told.said, told.ahead = points.seen, log.getvalue(), clock.ahead - job.jump
    pipe.send(told)


def _surround(job: Job, clock: Clock) -> None:
    """Give the process its settings, virtual time, and secrets without Prefect's blocks."""
    os.environ |= {"IDENT_AMOCRM_HOME": str(job.home), "IDENT_AMOCRM_WORKERS": "1"} | job.settings
    load_settings.cache_clear()
    right = Clock(job.ahead)  # IDENT stamps and tells the time by its own clock
    source = IdentConnection(driver="sqlite", database=str(job.database), timezone=TIMEZONE)

    def pacer(_ledger: Ledger, settings: Settings, _integration: str) -> Pacer:
        return Pacer(settings.requests_per_second, clock=clock.time, sleep=clock.sleep)

    class Virtual(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.fromtimestamp(clock.time(), tz=tz)

    account = blocks.AmoCrmAccount(base_url=job.url, token=SecretStr(TOKEN))
    replaced: dict[tuple[Any, str], Any] = {
        (events, "emit_event"): lambda **_event: "sent",
        (blocks, "save_account"): lambda _account: None,
        (blocks, "save_database"): lambda _name, _connection: None,
        (blocks, "load_account"): lambda: account,
        (blocks, "load_database"): lambda _clinic: source,
        (time, "time"): clock.time,
        (time, "monotonic"): clock.monotonic,
        (time, "sleep"): clock.sleep,
        (Database, "now"): lambda _database, _connection: clock.time(),
        (planning, "datetime"): Virtual,
        (connections, "_pacer"): pacer,
        (connections, "AmoClient"): partial(AmoClient, sleep=clock.sleep, clock=clock.monotonic),
        (connections, "build_engine"): lambda link: build_engine(link, clock=lambda: right.local(TIMEZONE)),
    }
    for (holder, name), value in replaced.items():
        setattr(holder, name, value)
