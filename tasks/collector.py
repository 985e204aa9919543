"""Python's search for cycles of objects, while rows pass through by the million."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["few_collections"]

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
