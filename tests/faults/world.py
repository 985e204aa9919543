"""One scenario: a clinic, an account, an installation, and whatever befalls them."""

from __future__ import annotations

import copy
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock
from zoneinfo import ZoneInfo

from deployments.sandbox.amocrm import state as account
from deployments.sandbox.amocrm.faults import Fault, Faults
from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.amocrm.state import State
from deployments.sandbox.clinic.generator import ClinicSpec, stream
from deployments.sandbox.clinic.store import write_sqlite
from deployments.sandbox.compare import LEAD_MARK, Crm, sqlite_rows
from deployments.sandbox.expected import Expectation, expect
from tests.faults.child import TIMEZONE, TOKEN, Job, Told, start
from tests.faults.clinic import Clinic
from tests.faults.clock import Clock
from tests.faults.crash import Crash
from tests.faults.judge import START, Verdict, judge, look
from tests.faults.menu import PATIENCE, RandomFaults
from tests.faults.people import People

__all__ = ["WHILE", "Template", "World", "stand_in", "template"]

#: Longer than a lease lives and than an increment reads back.
WHILE = 30 * 60.0
SHOWN = 6
#: What a run may end with while faults are dealt out or another process writes.
EXPECTED = frozenset(
    {
        "",
        "killed",
        "amocrm_unavailable",
        "rate_limited",
        "unexpected_answer",
        "payment_required",
        "blocked",
        "filter_ignored",
        "order_ignored",
        "page_ignored",
        "answer_lost",
    }
)


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """Serve an account in a thread of this process."""
    with StandIn(token=TOKEN, limit=None, index_lag=0) as crm:
        yield crm


@dataclass(frozen=True)
class Template:
    """A configured installation to copy: a clinic, a home folder, an account."""

    folder: Path
    account: State


def template(folder: Path, crm: StandIn, spec: ClinicSpec | None = None) -> Template:
    """Make a small clinic and connect it; nothing is transferred yet."""
    today = datetime.now(tz=ZoneInfo(TIMEZONE)).date()
    crm.sandbox.reset()  # an account that an earlier test filled is no new clinic's
    folder.mkdir(parents=True)
    write_sqlite(stream(spec or ClinicSpec(today=today, appointments=16, patients=8)), folder / "clinic.db")
    job = Job(folder / "home", folder / "clinic.db", crm.url, work="tests.faults.setting_up:set_up")
    told = start(job)
    assert told.code == "", told.said
    return Template(folder, copy.deepcopy(crm.sandbox.state))


@dataclass
class World:
    """A copy of the template with everything that happens in it.

    Attributes:
        frozen: First or repeat visit of each deal, as it was when the deal appeared.
        moved: Deals whose time changed while they stood in amoCRM.
        diary: What happened, in order; ids only.
        problems: What a run did that no run may do.
    """

    crm: StandIn
    folder: Path
    clock: Clock
    clinic: Clinic
    people: People
    mutation: str = ""
    frozen: dict[int, bool] = field(default_factory=dict)
    moved: set[int] = field(default_factory=set)
    starts: dict[int, object] = field(default_factory=dict)
    diary: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    crashes: int = 0
    runs: int = 0
    said: list[str] = field(default_factory=list)

    @classmethod
    def copy(cls, origin: Template, crm: StandIn, folder: Path, seed: int, mutation: str = "") -> World:
        """Begin a scenario."""
        shutil.copytree(origin.folder, folder)
        crm.sandbox.state = copy.deepcopy(origin.account)
        crm.sandbox.faults = Faults()
        clock, rng = Clock(), random.Random(seed)
        return cls(crm, folder, clock, Clinic(folder / "clinic.db", clock, rng), People(crm, rng), mutation)

    def branch(self, folder: Path, state: State) -> World:
        """Go on in a copy, from an account as it was then."""
        shutil.copytree(self.folder, folder)
        self.crm.sandbox.state = copy.deepcopy(state)
        clock = Clock(self.clock.ahead)
        kept = {name: copy.deepcopy(getattr(self, name)) for name in ("frozen", "moved", "starts", "diary")}
        people = replace(
            self.people,
            **{name: copy.deepcopy(getattr(self.people, name)) for name in ("names", "places", "removed")},
        )
        clinic = self.clinic.branched(folder / "clinic.db", clock)
        return World(self.crm, folder, clock, clinic, people, self.mutation, **kept)

    @contextmanager
    def open(self) -> Iterator[World]:
        """Let the account live in virtual time, too."""
        with mock.patch.object(account, "time", SimpleNamespace(time=self.clock.time)):
            try:
                yield self
            finally:
                self.clinic.store.close()
                self.crm.sandbox.faults = Faults()

    # ---- what happens ----------------------------------------------------------------------------------

    def edit(self, name: str) -> None:
        """Let the clinic work."""
        self._note(getattr(self.clinic, name)())

    def hand(self, name: str) -> None:
        """Let a manager work."""
        self._note(getattr(self.people, name)(look(self.crm)[0]))

    def run(
        self,
        *,
        mode: str = "incremental",
        crash: Crash | None = None,
        rate: float = 0.0,
        seed: int = 0,
        faults: Sequence[Fault] = (),
        work: str = Job.work,
        settings: Mapping[str, str] | None = None,
        jump: float = 0.0,
        rebaseline: bool = False,
        tolerate: bool = False,
    ) -> Told:
        """Run the transfer once, under faults at the given rate, killed where the crash says.

        Args:
            mode: Whether it reads everything.
            crash: Where it dies.
            rate: Share of requests that are spoiled.
            seed: By which chance.
            faults: Faults that the next matching requests meet in any case.
            work: What runs instead of the transfer.
            settings: Settings of the installation.
            rebaseline: Whether a person confirmed that the ledger is compared with amoCRM anew.
            jump: By how much the machine's clock is wrong.
            tolerate: Whether any error is a fair end.
        """
        wanted = self.expectation()
        dealer = RandomFaults(rate, seed)
        dealer.pending.extend(faults)
        self.crm.sandbox.faults = dealer
        chosen = {"IDENT_AMOCRM_READ_TIMEOUT": str(PATIENCE), **(settings or {})}
        told = start(
            self.job(mode=mode, crash=crash, settings=chosen, work=work, jump=jump, rebaseline=rebaseline)
        )
        self.crm.sandbox.faults = Faults()
        self.faults += dealer.dealt
        self.crashes += told.code == "killed"
        self._note(f"run {mode}: {_short(told)} {dict(dealer.dealt)} {crash.point if crash else ''}")
        if not tolerate:
            self._check(told, faulty=True)
        self._observe(wanted)
        if told.code == "killed":
            self.clock.sleep(WHILE / 10)  # until its lease is over
        return told

    def heal(self, mode: str = "incremental") -> None:
        """Let it run without faults until it rests."""
        wanted = self.expectation()
        told = start(self.job(mode=mode, work="tests.faults.child:heal"))
        self._note(f"heal {mode}: {told.code} {[_short(run) for run in told.runs]}")
        for run in told.runs:
            self._check(run, faulty=False)
        self._check(told, faulty=False)
        self._observe(wanted)

    def settle(self) -> Verdict:
        """Heal by increments, judge; heal by full reads, which see deletions, and judge again."""
        self.clock.sleep(WHILE)
        self.heal()
        self._decide()
        first = self.judge(full=False)
        self.heal("full")
        last = self.judge(full=True)
        last.unexplained += self.problems
        for name in ("duplicates", "lost", "unexplained"):
            known = getattr(last, name)
            known += [f"before a full read: {text}" for text in getattr(first, name) if text not in known]
        return last

    def _decide(self) -> None:
        """Let a person say of each lost creation whether the card was deleted since."""
        kinds = {"contacts": "contact", "leads": "lead"}
        removed = frozenset((kinds[kind], key) for kind in kinds for key in self.people.removed[kind])
        if removed:
            told = start(self.job(work="tests.faults.setting_up:decide", removed=removed))
            self._check(told, faulty=False)
            self.heal()

    # ---- what is seen ----------------------------------------------------------------------------------

    def writes(self) -> int:
        """Return how many writing requests the stand-in has seen."""
        return self.crm.sandbox.stats.writes

    def expectation(self) -> Expectation:
        """Return what amoCRM must hold."""
        rows = sqlite_rows(self.clinic.path)
        return expect(rows, TIMEZONE, None, frozen=self.frozen, rescheduled=frozenset(self.moved))

    def judge(self, *, full: bool) -> Verdict:
        """Compare both sides."""
        view, notes = look(self.crm)
        return judge(self.expectation(), view, notes, self.clinic, self.people, full=full)

    def _observe(self, wanted: Expectation) -> None:
        """Freeze what a deal keeps from its creation, and note whose time was changed."""
        view, _notes = look(self.crm)
        for root, start_at in _starts(view).items():
            if root in self.starts and self.starts[root] != start_at:
                self.moved.add(root)
            self.starts[root] = start_at
            if root in wanted.primaries:
                self.frozen.setdefault(root, wanted.primaries[root])

    def _check(self, told: Told, *, faulty: bool) -> None:
        self.runs += 1
        if told.code != "killed":
            self.clock.ahead = max(self.clock.ahead, told.ahead)
            self.said.append(told.said)
            if not told.adds_up:
                self.problems.append(f"{told.planned} rows planned, outcomes {told.outcomes}")
        if told.code not in (EXPECTED if faulty else {""}):
            self.problems.append(f"a run ended with {told.code}: {_tail(told)}")

    def forget(self) -> None:
        """Begin without an installation and without a configured account."""
        shutil.rmtree(self.folder / "home")
        self.crm.sandbox.reset()

    def job(self, **values: Any) -> Job:
        """Return a job in this world, now."""
        home, database = self.folder / "home", self.folder / "clinic.db"
        return Job(home, database, self.crm.url, ahead=self.clock.ahead, mutation=self.mutation, **values)

    def _note(self, text: str) -> None:
        if text:
            self.diary.append(text)


def _short(told: Told) -> str:
    ends = [" ".join(map(str, end)) for end in told.ends if end[2] != "applied"]
    return f"{told.code or told.outcomes or 'nothing'} {ends if len(ends) < SHOWN else ''}".strip()


def _tail(told: Told) -> str:
    """Return where an unexpected error came from."""
    return " / ".join(line.strip() for line in told.said.splitlines()[-6:])[-500:] if told.said else ""


def _starts(view: Crm) -> dict[int, object]:
    return {
        int(mark.rsplit("-", 1)[-1]): view.values(row).get(START)
        for row in view.leads
        if (mark := view.mark(row, LEAD_MARK))
    }
