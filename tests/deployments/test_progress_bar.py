"""The bar on a terminal follows the ledger, says nothing where nobody looks, and draws no stop as done."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from deployments import progress_bar as bar
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.records import Action, Kind, Outcome, OutcomeState, PlanRow
from tasks.settings import Settings

CLINIC, UID, RUN = "north", "uid", "run"
LONG = 30.0  # until a test gives up
CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Clinic:
    """What a load writes into the ledger, step by step, and what stands on the screen."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, requests_per_second=0.5)
        self.ledger = Ledger(self.settings.ledger_url).open()
        self.ledger.save_connection(ConnectionRecord(CLINIC, UID, CLINIC, "Europe/Moscow"))
        self.screen = io.StringIO()

    def plan(self, kind: Kind, count: int) -> None:
        rows = [PlanRow(kind, key, Action.CREATE) for key in range(count)]
        self.ledger.save_plan(RUN, UID, rows)

    def end(self, kind: Kind, count: int, state: OutcomeState = OutcomeState.APPLIED) -> None:
        self.ledger.record_outcomes(UID, [Outcome(RUN, kind, key, state) for key in range(count)])

    @property
    def lines(self) -> list[str]:
        return [line.strip() for line in re.split(r"[\r\n]+", CODES.sub("", self.screen.getvalue())) if line]

    def shows(self, text: str) -> None:
        until = time.monotonic() + LONG
        while not any(text in line for line in self.lines):
            assert time.monotonic() < until, self.lines[-3:]
            time.sleep(0.02)


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clinic]:
    found = Clinic(tmp_path)

    def console(*, stderr: bool) -> Console:
        assert stderr, "standard output is for the result"
        return Console(file=found.screen, force_terminal=True, width=140)

    monkeypatch.setattr(bar, "Console", console)
    monkeypatch.setattr(bar, "EVERY", 0.02)
    yield found
    found.ledger.close()


def test_it_follows_contacts_then_deals_to_the_end(clinic: Clinic) -> None:
    with bar.progress_bar(clinic.settings, CLINIC):
        clinic.ledger.start_run(RUN, UID, "full", by="sync")
        clinic.plan(Kind.CONTACT, 200)
        clinic.shows("contacts 0/200 · 0:00:08 left")
        clinic.end(Kind.CONTACT, 100)
        clinic.shows("50% contacts 100/200 ")
        clinic.plan(Kind.LEAD, 200)
        clinic.shows("25% contacts 100/200 · deals 0/200 ")
        clinic.end(Kind.CONTACT, 200)
        clinic.end(Kind.LEAD, 200)
        clinic.ledger.finish_run(RUN, "completed", {})
    assert "100% contacts 200/200 · deals 200/200" in clinic.lines[-1]
    assert "left" not in clinic.lines[-1]


def test_what_a_stop_left_over_is_not_drawn_as_done(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt), bar.progress_bar(clinic.settings, CLINIC):  # noqa: PT012
        clinic.ledger.start_run(RUN, UID, "full", by="sync")
        clinic.plan(Kind.CONTACT, 200)
        clinic.end(Kind.CONTACT, 50)
        clinic.shows("25% contacts 50/200")
        looks = threading.Event()
        monkeypatch.setattr(bar._Watch, "_look", lambda _watch: looks.set())
        assert looks.wait(LONG), "the look before is over"
        clinic.end(Kind.CONTACT, 200, OutcomeState.DEFERRED)
        raise KeyboardInterrupt
    assert "25% contacts 50/200" in clinic.lines[-1]


def test_a_load_of_a_moment_draws_nothing(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bar, "SHOWN_FROM", 3)  # one request takes two seconds here
    with bar.progress_bar(clinic.settings, CLINIC):
        clinic.ledger.start_run(RUN, UID, "incremental", by="sync")
        clinic.plan(Kind.CONTACT, 1)
        time.sleep(0.3)
        clinic.end(Kind.CONTACT, 1)
    assert clinic.lines == []


def test_a_run_that_was_killed_before_is_not_taken_for_this_one(clinic: Clinic) -> None:
    clinic.ledger.start_run(RUN, UID, "full", by="sync")
    clinic.plan(Kind.CONTACT, 200)
    with bar.progress_bar(clinic.settings, CLINIC):
        time.sleep(0.3)
    assert clinic.lines == []


def test_a_clinic_that_is_not_connected_is_left_to_the_run(clinic: Clinic) -> None:
    with bar.progress_bar(clinic.settings, "nowhere"):
        time.sleep(0.1)
    assert clinic.lines == []


def test_nobody_at_a_terminal_nobody_counts(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bar, "Console", lambda *, stderr: Console(file=clinic.screen, force_terminal=False))
    with bar.progress_bar(clinic.settings, CLINIC):
        assert "progress bar" not in {one.name for one in threading.enumerate()}
