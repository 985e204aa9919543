"""What each rule said in each run: enough for a trend, and no more of it than that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tasks.ledger import quality
from tasks.ledger.quality import RuleCount
from tasks.ledger.store import Ledger


class Clock:
    now = 1_000_000.0

    def time(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(quality, "time", found)
    return found


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").open()) as found:
        yield found


def record(ledger: Ledger, run_id: str, *, whole: bool, uid: str = "u", **failed: int) -> None:
    counts = [RuleCount(rule, 100, number) for rule, number in failed.items()]
    ledger.record_quality(uid, run_id, "patient", counts, is_whole=whole, keep_days=30)


def told(ledger: Ledger, runs: int = 10) -> list[tuple[str, str, int, bool]]:
    return [(row.run_id, row.rule, row.failed, row.is_whole) for row in ledger.quality("u", runs)]


def test_full_reads_are_kept_whole_and_changes_by_what_failed(ledger: Ledger) -> None:
    record(ledger, "full1", whole=True, a=0, b=3)
    record(ledger, "tick", whole=False, a=0, b=1)
    record(ledger, "quiet", whole=False, a=0, b=0)
    assert told(ledger) == [("full1", "a", 0, True), ("full1", "b", 3, True), ("tick", "b", 1, False)]
    assert ledger.quality("u")[1].checked == 100


def test_only_changes_since_the_last_full_read_count(ledger: Ledger) -> None:
    record(ledger, "full1", whole=True, a=1)
    record(ledger, "before", whole=False, a=5)
    record(ledger, "full2", whole=True, a=2)
    record(ledger, "after", whole=False, a=7)
    record(ledger, "other", whole=True, uid="v", a=9)
    assert told(ledger) == [("full1", "a", 1, True), ("full2", "a", 2, True), ("after", "a", 7, False)]
    assert told(ledger, runs=1) == [("full2", "a", 2, True), ("after", "a", 7, False)]


def test_changes_without_a_full_read_say_nothing_of_the_clinic(ledger: Ledger) -> None:
    record(ledger, "tick", whole=False, a=5)
    assert told(ledger) == []


def test_the_old_is_forgotten_also_of_a_clinic_that_is_no_more(ledger: Ledger, clock: Clock) -> None:
    record(ledger, "full1", whole=True, a=1)
    record(ledger, "other", whole=True, uid="v", a=9)
    clock.now += 31 * 86_400
    record(ledger, "full2", whole=True, a=2)
    assert told(ledger) == [("full2", "a", 2, True)]
    assert ledger.quality("v") == []


def test_a_second_record_of_a_run_replaces_the_first(ledger: Ledger) -> None:
    record(ledger, "full1", whole=True, a=1)
    record(ledger, "full1", whole=True, a=2)
    assert told(ledger) == [("full1", "a", 2, True)]
