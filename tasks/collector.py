"""Memory, while rows pass through by the million: when Python looks for cycles, and what is given back."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["few_collections", "give_memory_back"]

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


def give_memory_back() -> None:
    """Give the system what was freed, where its library keeps it: the next step takes as much elsewhere."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; others give back by themselves
        if trim is not None:
            trim(0)
