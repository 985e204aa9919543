"""The order of one load and its worker threads.

Contacts before deals, creates before updates, links last. Several requests are under way at once, because
amoCRM answers slower than its limit allows to ask; the pace itself is kept by the client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from tasks.errors import IdentAmocrmError
from tasks.loading.contacts import create_contacts, update_contacts
from tasks.loading.leads import create_leads, link_leads, update_leads
from tasks.loading.ports import Card, Load
from tasks.records import Action, Kind, Outcome, OutcomeState, PlanRow

__all__ = ["ask_highest", "load_plan"]

BatchWriter = Callable[[Load, Sequence[Card]], None]


def load_plan(
    load: Load,
    rows: Sequence[PlanRow],
    card_of: Callable[[PlanRow], Card],
    settled: Callable[[], set[tuple[Kind, int]]],
) -> None:
    """Write a plan.

    Args:
        load: State of the load.
        rows: The plan.
        card_of: Joins a row with its texts; called once per row, just before it is sent.
        settled: Returns (kind, source id) of every row that has an outcome by now.

    Raises:
        IdentAmocrmError: What stopped the run; every row without an outcome is deferred first.
    """
    noted = frozenset(row.source_id for row in rows if row.kind is Kind.NOTE)

    def update(load: Load, cards: Sequence[Card]) -> None:
        update_leads(load, cards, noted=noted)

    phases: list[tuple[Kind, bool, BatchWriter]] = [
        (Kind.CONTACT, True, create_contacts),
        (Kind.CONTACT, False, update_contacts),
        (Kind.LEAD, True, create_leads),
        (Kind.LEAD, False, update),
    ]
    try:
        for kind, creates, write in phases:
            chosen = [row for row in rows if row.kind is kind and (row.action is Action.CREATE) is creates]
            if creates and chosen:
                ask_highest(load, kind)
            _run_phase(load, chosen, card_of, write)
        _link(load, rows, card_of, settled())
    except IdentAmocrmError as error:
        load.stopped = load.stopped or error  # also what failed between the batches
        raise
    finally:
        # Asked once: with a hundred thousand rows left, once a row would take hours.
        done = settled() if load.stopped else set()
        open_rows = [row for row in rows if load.stopped and (row.kind, row.source_id) not in done]
        load.journal.record_outcomes(
            load.clinic_uid,
            [
                Outcome(load.run_id, row.kind, row.source_id, OutcomeState.DEFERRED, "run_stopped")
                for row in open_rows
            ],
        )


def ask_highest(load: Load, *kinds: Kind) -> None:
    """Ask for the highest id before anything is created: what is lost later is looked for above it.

    Raises:
        IdentAmocrmError: When amoCRM does not tell.
    """
    for kind in kinds:
        if kind not in load.highest:
            load.highest[kind] = load.destination.highest_id(kind)


def _run_phase(
    load: Load, rows: Sequence[PlanRow], card_of: Callable[[PlanRow], Card], write: BatchWriter
) -> None:
    def work(batch: Sequence[PlanRow]) -> None:
        if load.stopped is not None:
            return
        try:
            write(load, [card_of(row) for row in batch])
        except IdentAmocrmError as error:
            load.stopped = load.stopped or error

    with ThreadPoolExecutor(load.workers, thread_name_prefix="amocrm") as pool:
        list(pool.map(work, _batches(rows, load.batch_size)))
    if load.stopped is not None:
        raise load.stopped


def _link(
    load: Load, rows: Sequence[PlanRow], card_of: Callable[[PlanRow], Card], settled: set[tuple[Kind, int]]
) -> None:
    links = [row for row in rows if row.kind is Kind.LINK and (Kind.LINK, row.source_id) not in settled]
    known = load.journal.applied_rows(load.clinic_uid, Kind.LEAD, [row.source_id for row in links])
    lead_ids = {key: row.amo_id for key, row in known.items()}
    _run_phase(load, links, card_of, lambda load, cards: link_leads(load, cards, lead_ids))


def _batches(rows: Iterable[PlanRow], size: int) -> Iterable[list[PlanRow]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, size)):
        yield batch
