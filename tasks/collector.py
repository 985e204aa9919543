"""Python's search for cycles of objects, while rows pass through by the million."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["few_collections", "put_aside"]

USUAL: Final = gc.get_threshold()
#: So many objects more than before make Python look for cycles; a page of rows that comes and goes does not.
MANY: Final = 100_000


@contextmanager
def few_collections() -> Iterator[None]:
    """Have Python look for cycles seldom: rows make none, and each look goes over all that there is.

    Nothing is lost where two threads do so at once: the first that ends makes it usual for the other.
    """
    gc.set_threshold(MANY, *USUAL[1:])
    try:
        yield
    finally:
        gc.set_threshold(*USUAL)


@contextmanager
def put_aside() -> Iterator[None]:
    """Leave what is there by now out of the search while requests are sent.

    A look at a whole plan takes 50 ms, in which no thread gets to send: requests go late, and later than the
    pace believes. What a host of runs put aside before it made this process stays so: it is shared memory.
    """
    before = gc.get_freeze_count()
    gc.freeze()
    try:
        yield
    finally:
        if not before:
            gc.unfreeze()
