"""A bar on the terminal while a clinic is loaded, read from the ledger that the load writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from tasks.errors import LedgerUnavailableError, NotConnectedError
from tasks.ledger.store import Ledger
from tasks.loading.progress import Gauge, LoadCounts, Progress
from tasks.records import Action, Kind
from tasks.settings import Settings

__all__ = ["progress_bar"]

#: Seconds between two looks, and how many times longer than a look itself: counting a million rows is work.
EVERY, SPARED = 0.5, 20
#: Seconds of work from which on a bar is worth a line of the screen.
SHOWN_FROM = 2


@contextmanager
def progress_bar(settings: Settings, clinic: str) -> Iterator[None]:
    """Draw how far the load of the run inside is; nothing where standard error is no terminal.

    Args:
        settings: The settings of the installation that the run belongs to.
        clinic: Name of the clinic.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    watch = _Watch(settings, clinic, console)
    thread = Thread(target=watch.keep, name="progress bar", daemon=True)
    thread.start()
    try:
        yield
        watch.is_done = True
    finally:
        watch.over.set()
        thread.join()


class _Watch:
    """Looks at the ledger until the run is over."""

    def __init__(self, settings: Settings, clinic: str, console: Console) -> None:
        self.over = Event()
        self.is_done = False
        self._clinic, self._began = clinic, time.time()
        self._ledger = Ledger(settings.ledger_url)
        self._batch_size = settings.batch_size
        self._gauge = Gauge(settings.requests_per_second)
        self._run_id = ""
        self._planned: dict[tuple[Kind, Action], int] = {}
        self._bar = Bar(
            TextColumn("Loading"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[told]}"),
            console=console,
            refresh_per_second=2,
            redirect_stdout=False,
        )

    def keep(self) -> None:
        """Draw, now and again."""
        pause, is_over = EVERY, False
        try:
            while not is_over:
                is_over = self.over.wait(pause)
                if is_over and not self.is_done:
                    return  # the rows that a stop left over have an outcome too, and would be drawn as done
                began = time.monotonic()
                self._draw(self._look(), is_over=is_over)
                pause = max(EVERY, SPARED * (time.monotonic() - began))
        except (LedgerUnavailableError, NotConnectedError):
            return  # the run meets it too, and says it
        finally:
            self._bar.stop()
            self._ledger.close()

    def _look(self) -> Progress | None:
        if not self._run_id:
            run = self._ledger.last_run(self._ledger.connection(self._clinic).clinic_uid, "running")
            if run is None or run.started_at < self._began:
                return None  # what a killed run left behind
            self._run_id = run.run_id
        if not {kind for kind, _action in self._planned} - {Kind.CONTACT}:
            # A first load plans its deals while its contacts are under way.
            self._planned = self._ledger.plan_counts(self._run_id)
            if not self._planned:
                return None
        ended = self._ledger.ended_counts(self._run_id)
        return self._gauge.read(LoadCounts(self._planned, ended, self._batch_size))

    def _draw(self, found: Progress | None, *, is_over: bool) -> None:
        if found is None:
            return
        if self._bar.task_ids:
            self._bar.update(self._bar.task_ids[0], completed=found.percent, told=_told(found))
        elif not is_over and found.seconds_left >= SHOWN_FROM:
            self._bar.add_task("", total=100, completed=int(found.percent), told=_told(found))
            self._bar.start()


def _told(found: Progress) -> str:
    """Return what stands beside the bar."""
    kinds = {"contacts": found.contacts, "deals": found.deals}
    parts = [f"{name} {done}/{total}" for name, (done, total) in kinds.items() if total]
    if found.cards_per_second is not None and found.share_of_ceiling is not None:
        parts.append(f"{found.cards_per_second:.0f} cards/s, {found.share_of_ceiling:.0%} of the ceiling")
    if found.seconds_left:
        parts.append(f"{timedelta(seconds=found.seconds_left)} left")
    return " · ".join(parts)
