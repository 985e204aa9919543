from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tasks.amocrm.pacing import FORMAT, Pacer
from tasks.errors import LeaseHeldError


def starts(pacer: Pacer, clock: Any, number: int) -> list[float]:
    found = []
    for _ in range(number):
        pacer.wait()
        found.append(clock.now)
    return found


def gaps(moments: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(moments)]


@pytest.fixture(params=["memory", "file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "pace" if request.param == "file" else None


def test_the_first_start_is_free_and_the_others_are_spaced(clock: Any, path: Path | None) -> None:
    moments = starts(Pacer(5, path, clock=clock, sleep=clock.sleep), clock, 8)
    assert moments[0] == 1_700_000_000.0
    assert gaps(moments) == pytest.approx([0.2] * 7, abs=1e-6)


def test_idle_time_is_not_saved_up_for_a_burst(clock: Any, path: Path | None) -> None:
    pacer = Pacer(5, path, clock=clock, sleep=clock.sleep)
    starts(pacer, clock, 2)
    clock.now += 3600
    assert gaps(starts(pacer, clock, 4)) == pytest.approx([0.2] * 3, abs=1e-6)


def test_two_pacers_share_one_file(clock: Any, tmp_path: Path) -> None:
    first = Pacer(5, tmp_path / "pace", clock=clock, sleep=clock.sleep)
    second = Pacer(5, tmp_path / "pace", clock=clock, sleep=clock.sleep)
    moments = [moment for _ in range(3) for pacer in (first, second) for moment in starts(pacer, clock, 1)]
    assert gaps(moments) == pytest.approx([0.2] * 5, abs=1e-6)


def test_processes_share_one_file(tmp_path: Path) -> None:
    # Each process records the starts it was given by a clock that stands still: all must differ by a gap.
    script = (
        "import sys; from pathlib import Path; from tasks.amocrm.pacing import Pacer\n"
        "pacer = Pacer(5, Path(sys.argv[1]), clock=lambda: 1.7e9, sleep=lambda s: print(round(s, 3)))\n"
        "for _ in range(5): pacer.wait()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "pace")]
    children = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
        )
        for _ in range(3)
    ]
    waited = [float(line) for child in children for line in child.communicate(timeout=60)[0].split()]
    assert sorted(waited) == pytest.approx([0.2 * number for number in range(1, 15)], abs=2e-3)


def test_another_processs_lock_is_waited_for(clock: Any, tmp_path: Path) -> None:
    pacer = Pacer(5, tmp_path / "pace", clock=clock, sleep=clock.sleep)
    started = threading.Event()

    def wait() -> None:
        pacer.wait()
        started.set()

    thread = threading.Thread(target=wait)
    with FileLock(f"{tmp_path / 'pace'}.lock"):
        thread.start()
        assert not started.wait(0.2)
    thread.join(10)
    assert started.is_set()


def test_threads_never_get_the_same_start(clock: Any) -> None:
    waited: list[float] = []
    pacer = Pacer(5, clock=lambda: 1.7e9, sleep=waited.append)
    threads = [threading.Thread(target=starts, args=(pacer, clock, 5)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waited) == pytest.approx([0.2 * number for number in range(1, 20)], abs=1e-3)


def test_asking_before_the_start_moves_no_start(clock: Any, path: Path | None) -> None:
    pacer = Pacer(5, path, clock=clock, sleep=clock.sleep)
    began = clock.now
    moments = []
    for _ in range(6):
        pacer.wait(lambda: clock.sleep(0.04))
        moments.append(clock.now)
    assert moments[0] == pytest.approx(began + 0.04, abs=1e-6)  # nothing to hide it behind
    assert gaps(moments) == pytest.approx([0.2] * 5, abs=1e-6)


def test_a_long_answer_is_a_late_start_and_moves_all_who_follow(clock: Any, path: Path | None) -> None:
    pacer = Pacer(5, path, clock=clock, sleep=clock.sleep)
    moments = starts(pacer, clock, 3)
    pacer.wait(lambda: clock.sleep(0.15))
    moments += [clock.now, *starts(pacer, clock, 2)]
    assert gaps(moments) == pytest.approx([0.2, 0.2, 0.3, 0.2, 0.2], abs=1e-6)


def test_who_may_not_leave_does_not_start(clock: Any, path: Path | None) -> None:
    def lost() -> None:
        raise LeaseHeldError(problem="lost", remedy="none", code="lost")

    pacer = Pacer(5, path, clock=clock, sleep=clock.sleep)
    moments = starts(pacer, clock, 2)
    with pytest.raises(LeaseHeldError):
        pacer.wait(lost)
    moments += starts(pacer, clock, 1)
    assert gaps(moments) == pytest.approx([0.2, 0.4], abs=1e-6)  # its turn has passed


def test_who_was_stopped_after_the_answer_asks_again(clock: Any) -> None:
    asked: list[float] = []

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if asked:
            clock.now += 60  # the lid was closed

    pacer = Pacer(5, clock=clock, sleep=sleep)
    pacer.wait()
    pacer.wait(lambda: asked.append(clock.now))
    assert len(asked) == 2
    assert asked[1] == clock.now > asked[0] + 60


def test_a_turn_is_kept_while_its_request_is_asked(clock: Any, path: Path | None) -> None:
    pacer = Pacer(5, path, clock=clock, sleep=clock.sleep)
    starts(pacer, clock, 1)
    clock.now += 3600
    began = clock.now
    moments: list[float] = []

    def meanwhile() -> None:
        if not moments:
            moments.extend(starts(pacer, clock, 1))

    pacer.wait(meanwhile)
    moments.append(clock.now)
    assert [moment - began for moment in moments] == pytest.approx([0.2, 0.4], abs=1e-6)


class SlowPace:
    """Others' numbers, each change of which takes a while to come back."""

    def __init__(self, clock: Any, seconds: list[float]) -> None:
        self.numbers, self.clock, self.seconds = (0.0, 0.0, 0.0), clock, seconds

    def change(
        self, change: Callable[[tuple[float, float, float], float], tuple[float, float, float]]
    ) -> tuple[tuple[float, float, float], float]:
        now = self.clock.now
        self.numbers = change(self.numbers, now)
        self.clock.now += self.seconds.pop(0) if self.seconds else 0.0
        return self.numbers, self.clock.now


def test_a_start_that_was_long_in_writing_counts_from_its_end(clock: Any) -> None:
    place = SlowPace(clock, [0, 0, 0, 0.05])  # two changes to a start: the turn, and the start
    pacer = Pacer(5, place, clock=clock, sleep=clock.sleep)
    moments = []
    for _ in range(5):
        pacer.wait(lambda: None)
        moments.append(clock.now)
    assert not place.seconds
    assert gaps(moments) == pytest.approx([0.25, 0.2, 0.2, 0.2], abs=1e-6)


def test_a_penalty_holds_everybody_and_does_not_add_up(clock: Any, tmp_path: Path) -> None:
    first = Pacer(5, tmp_path / "pace", clock=clock, sleep=clock.sleep)
    second = Pacer(5, tmp_path / "pace", clock=clock, sleep=clock.sleep)
    first.wait()
    for _ in range(4):
        first.penalise(10)  # four threads were told 429 at once
    before = clock.now
    moments = starts(second, clock, 1) + starts(first, clock, 1)
    assert [moment - before for moment in moments] == pytest.approx([10, 10.2], abs=1e-6)


def test_a_penalty_voids_starts_that_sleepers_had_taken(clock: Any) -> None:
    penalised = False

    def sleep(seconds: float) -> None:
        nonlocal penalised
        clock.sleep(seconds)
        if not penalised:
            penalised = True
            pacer.penalise(10)

    pacer = Pacer(5, clock=clock, sleep=sleep)
    pacer.wait()
    pacer.wait()
    assert clock.now == pytest.approx(1_700_000_000.0 + 0.2 + 10, abs=1e-6)


def test_a_penalty_is_at_most_a_minute(clock: Any) -> None:
    pacer = Pacer(5, clock=clock, sleep=clock.sleep)
    pacer.penalise(86_400)
    before = clock.now
    assert starts(pacer, clock, 1)[0] - before == pytest.approx(60, abs=1e-6)


def test_the_queue_grows_no_longer_than_is_believed(tmp_path: Path) -> None:
    # Starts ten seconds ahead look like those of a clock that was set back: more callers than that (many runs
    # at once, a slow pace) made everybody begin anew, all at the same moment.
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(round(seconds, 3))
        if waited.count(1.0) == 2:  # once as its turn, once because there is none left
            raise InterruptedError

    pacer = Pacer(5, tmp_path / "pace", clock=lambda: 1.7e9, sleep=sleep)

    def ask(times: int) -> None:
        for _ in range(times):
            pacer.wait()

    with pytest.raises(InterruptedError):
        ask(100)
    assert gaps(waited[:-1]) == pytest.approx([0.2] * (len(waited) - 2), abs=2e-3)
    assert 9 < waited[-2] <= 10


@pytest.mark.parametrize("back", [10.0, 3600.0, 86_400.0 * 365])
def test_a_clock_set_back_stops_nobody(clock: Any, path: Path | None, back: float) -> None:
    pacer = Pacer(5, path, clock=clock, sleep=clock.sleep)
    starts(pacer, clock, 3)
    pacer.penalise(30)
    clock.now -= back
    before = clock.now
    assert starts(pacer, clock, 1) == [before]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"torn",
        FORMAT.pack(1_700_000_000.0, 9e9, 0.0),
        FORMAT.pack(1_700_000_000.0, 0.0, 9e9),
        FORMAT.pack(9e9, 9e9, 9e9),
        FORMAT.pack(float("nan"), float("nan"), float("nan")),
    ],
)
def test_a_broken_file_stops_nobody(clock: Any, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pace").write_bytes(content)
    pacer = Pacer(5, tmp_path / "pace", clock=clock, sleep=clock.sleep)
    assert gaps(starts(pacer, clock, 3)) == pytest.approx([0.2, 0.2], abs=1e-6)


def test_an_unusable_file_leaves_the_process_paced(
    clock: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "pace").mkdir()
    pacer = Pacer(5, tmp_path / "pace", clock=clock, sleep=clock.sleep)
    assert gaps(starts(pacer, clock, 3)) == pytest.approx([0.2, 0.2], abs=1e-6)
    assert caplog.text.count("pace file cannot be used") == 1
    assert str(tmp_path) not in caplog.text


class LateThreads:
    """Threads whose time passes only while all of them sleep, and who wake late.

    Args:
        late: Seconds by which the next sleeper oversleeps.
    """

    def __init__(self, late: Callable[[], float]) -> None:
        self.now = 1_700_000_000.0
        self._late = late
        self._sleepers: list[tuple[float, int, threading.Event]] = []
        self._idle = threading.Semaphore(0)
        self._numbers = count()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        woken = threading.Event()
        self._sleepers.append((self.now + seconds + self._late(), next(self._numbers), woken))
        self._idle.release()
        woken.wait()

    def run(self, works: list[Callable[[], None]]) -> None:
        """Run them one at a time, in the order in which they wake."""

        def live(work: Callable[[], None]) -> None:
            self.sleep(0.0)
            work()
            self._idle.release()

        threads = [threading.Thread(target=live, args=(work,), daemon=True) for work in works]
        for thread in threads:
            thread.start()
            self._idle.acquire()
        while self._sleepers:
            first = min(self._sleepers)
            self._sleepers.remove(first)
            self.now = max(self.now, first[0])
            first[2].set()
            self._idle.acquire()
        for thread in threads:
            thread.join()


def late_starts(
    rate: float, late: Callable[[], float], *, path: Path | None = None, penalties: int = 0
) -> list[float]:
    """When requests start of twelve threads (with a path: of three processes), each answered after 0.3 s."""
    threads = LateThreads(late)
    pacers = [Pacer(rate, path, clock=threads, sleep=threads.sleep) for _ in range(3 if path else 1)] * 12
    moments: list[float] = []

    def work(pacer: Pacer) -> Callable[[], None]:
        def ask() -> None:
            nonlocal penalties
            for _ in range(15):
                pacer.wait()
                moments.append(threads.now)
                threads.sleep(0.3)
                if penalties and len(moments) > 60:
                    penalties -= 1
                    pacer.penalise(2.0)

        return ask

    threads.run([work(pacer) for pacer in pacers[:12]])
    return sorted(moments)


def fullest_second(moments: list[float]) -> int:
    return max(sum(start <= later < start + 1 - 1e-4 for later in moments) for start in moments)


@pytest.mark.parametrize("rate", [5.0, 4.95, 7.0, 2.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_no_second_holds_more_than_the_rate_however_late_threads_wake(rate: float, seed: int) -> None:
    chance = random.Random(seed)
    moments = late_starts(rate, lambda: chance.choice([0.0, 0.001, 0.004, 0.02, 0.15]))
    assert len(moments) == 180
    assert fullest_second(moments) <= math.ceil(rate)
    assert min(gaps(moments)) >= 1 / rate - 1e-4


def test_lateness_costs_no_more_than_itself() -> None:
    """By the clock of the test: the mean distance of two starts."""

    def mean(late: Callable[[], float]) -> float:
        moments = late_starts(5.0, late)
        return (moments[-1] - moments[0]) / (len(moments) - 1)

    chance = random.Random(1)
    assert 0.2 < mean(lambda: 0.02) < 0.204  # late alike, they are as far apart as they should be
    assert 0.2 < mean(lambda: chance.uniform(0.0, 0.004)) < 0.204


def test_a_process_that_was_stopped_does_not_make_up_for_it(tmp_path: Path) -> None:
    chance = random.Random(1)
    moments = late_starts(5.0, path=tmp_path / "pace", late=lambda: 3.0 if chance.random() < 0.05 else 0.001)
    assert fullest_second(moments) == 5
    assert max(gaps(moments)) > 1  # everybody was waiting for somebody who slept


def test_nor_do_those_that_a_penalty_held() -> None:
    moments = late_starts(5.0, lambda: 0.003, penalties=4)
    assert fullest_second(moments) == 5
    assert 2 < max(gaps(moments)) < 3
