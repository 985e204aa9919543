"""What Python's search for cycles goes over, and when."""

from __future__ import annotations

import gc
import weakref

import pytest

from tasks.collector import few_collections, put_aside


class Knot:
    """An object that only the search for cycles can free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _nothing_put_aside() -> None:
    gc.unfreeze()


def test_what_was_there_is_not_looked_at_while_requests_are_sent() -> None:
    before = weakref.ref(Knot())
    with put_aside():
        during = weakref.ref(Knot())
        gc.collect()
        assert before() is not None
        assert during() is None
    gc.collect()
    assert before() is None


def test_an_inner_step_puts_more_aside_and_the_outer_one_takes_all_back() -> None:
    with put_aside():
        more = weakref.ref(Knot())
        with put_aside():
            gc.collect()
            assert more() is not None
        assert gc.get_freeze_count()
    gc.collect()
    assert gc.get_freeze_count() == 0
    assert more() is None


def test_what_a_host_of_runs_put_aside_stays_so() -> None:
    gc.freeze()
    with put_aside():
        pass
    assert gc.get_freeze_count()
    gc.unfreeze()


def test_the_usual_search_comes_back_after_rows_were_read() -> None:
    usual = gc.get_threshold()
    with few_collections():
        assert gc.get_threshold()[0] > usual[0]
    assert gc.get_threshold() == usual
