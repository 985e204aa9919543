"""Showing how far a long load is: one progress artifact, renewed in place while amoCRM is written to.

It is read from the ledger and published by a thread of its own: a Prefect server that is slow or gone costs
the load nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import datetime
from threading import Event, Thread
from typing import cast
from uuid import UUID

from httpx import HTTPError
from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

from tasks.blocks import slug
from tasks.errors import IdentAmocrmError, LedgerUnavailableError
from tasks.lease import is_dead
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.loading.progress import LONG, Gauge, LoadCounts, Progress
from tasks.markdown import plain
from tasks.records import Action, Kind, OutcomeState
from tasks.settings import Settings
from tasks.workspace import Workspace

__all__ = ["load_under_way", "progress_shown", "time_left"]

#: Seconds between two looks at a load.
EVERY = 20.0
#: Seconds that the end of a load waits for its last word.
LAST_WORD = 5.0
#: What keeps progress from being told, and nothing else from going on.
UNTOLD = (HTTPError, PrefectException, LedgerUnavailableError)


@contextmanager
def progress_shown(space: Workspace) -> Iterator[None]:
    """Show how far the load inside is, where it is long enough to be waited for; never a reason to fail."""
    planned = Counter((row.kind, row.action) for row in space.plan)
    if LoadCounts(planned, {}, space.settings.batch_size).requests < LONG:
        yield
        return
    page = _Page(space, planned)
    # In this run's context: an artifact of no run would never be pruned with one.
    thread = Thread(target=copy_context().run, args=(page.keep,), name="progress", daemon=True)
    thread.start()
    try:
        yield
    except BaseException as error:
        page.stopped_by = error.code if isinstance(error, IdentAmocrmError) else type(error).__name__
        raise
    finally:
        page.over.set()
        thread.join(LAST_WORD)


class _Page:
    """The artifact of one load."""

    def __init__(self, space: Workspace, planned: Counter[tuple[Kind, Action]]) -> None:
        self.over = Event()
        self.stopped_by = ""
        self._space, self._planned = space, planned
        self._gauge = Gauge(space.settings.requests_per_second)
        self._artifact: UUID | None = None

    def keep(self) -> None:
        """Publish how the load stands, now and again until it is over, and then how it ended."""
        pause, is_over, is_told = 0.0, False, True
        while not is_over:
            is_over = self.over.wait(pause)
            pause = EVERY
            try:
                self._publish(*(self._end() if is_over else self._now()))
            except UNTOLD as error:
                if is_told:  # an hour without the server is one line
                    get_run_logger().warning("The progress was not shown: %s", type(error).__name__)
                is_told = False
            else:
                is_told = True

    def _publish(self, percent: float, text: str) -> None:
        if self._artifact is None:
            key = f"load-{slug(self._space.clinic.name)}"
            self._artifact = cast("UUID", create_progress_artifact(percent, key=key, description=text))
        else:
            update_progress_artifact(self._artifact, percent, description=text)

    def _now(self) -> tuple[float, str]:
        space = self._space
        ended = space.ledger.ended_counts(space.run_id)
        found = self._gauge.read(LoadCounts(self._planned, ended, space.settings.batch_size))
        parts = (_cards(found), *self._speed(found), time_left(found))
        now = f"{datetime.now(tz=space.zone):%H:%M:%S}"
        return found.percent, f"{self._title('идёт')} {'. '.join(parts)}. Обновлено в {now}."

    def _end(self) -> tuple[float, str]:
        """Return how the load ended; what a stop left over has an outcome too, but was not done."""
        space = self._space
        counts = space.ledger.outcome_counts(space.run_id)
        ended: Counter[Kind] = Counter()
        states: Counter[OutcomeState] = Counter()
        for kind, by_state in counts.items():
            states.update(by_state)
            left = by_state.get(OutcomeState.DEFERRED, 0) if self.stopped_by else 0
            ended[kind] = sum(by_state.values()) - left
        found = self._gauge.read(LoadCounts(self._planned, ended, space.settings.batch_size))
        if self.stopped_by:
            text = (
                f"{self._title('прервана')} {_cards(found)}. Причина: `{self.stopped_by}`. "
                "Остальное отправит следующий запуск."
            )
            return found.percent, text
        return 100.0, f"{self._title('завершена')} {_cards(found)}. {_states(states)}"

    def _speed(self, found: Progress) -> tuple[str, ...]:
        if found.cards_per_second is None or found.share_of_ceiling is None:
            return ()
        rate = self._space.settings.requests_per_second
        share = f"{found.share_of_ceiling:.0%} возможного при темпе {rate:g} запр./с"
        return (f"{found.cards_per_second:.0f} карточек/с, {share}",)

    def _title(self, how: str) -> str:
        return f"**Передача «{plain(self._space.clinic.name)}» {how}.**"


def load_under_way(ledger: Ledger, record: ConnectionRecord, settings: Settings) -> Progress | None:
    """Tell how far a clinic's load is now; ``None`` where there is no long one."""
    run = ledger.last_run(record.clinic_uid, "running")
    if run is None or run.started_by == "reconcile" or not ledger.lease_is_held(record.clinic_uid, is_dead):
        return None
    counts = LoadCounts(ledger.plan_counts(run.run_id), ledger.ended_counts(run.run_id), settings.batch_size)
    return Gauge(settings.requests_per_second).read(counts) if counts.requests >= LONG else None


def time_left(found: Progress) -> str:
    """Tell in Russian how long a load still takes."""
    if found.seconds_left < 60:
        return "Осталось меньше минуты"
    hours, minutes = divmod(round(found.seconds_left / 60), 60)
    return "Осталось около " + (f"{hours} ч {minutes} мин" if hours else f"{minutes} мин")


def _cards(found: Progress) -> str:
    kinds = {"контакты": found.contacts, "сделки": found.deals}
    told = (f"{name}: {done} из {total}" for name, (done, total) in kinds.items() if total)
    return ", ".join(told).capitalize()


def _states(states: Counter[OutcomeState]) -> str:
    names = {
        OutcomeState.REJECTED: "отклонено amoCRM",
        OutcomeState.DEFERRED: "отложено",
        OutcomeState.AMBIGUOUS: "ответ потерян",
    }
    told = [f"{name}: {states[state]}" for state, name in names.items() if states[state]]
    return f"Строк плана {', '.join(told)}." if told else "Всё запланированное выполнено."
