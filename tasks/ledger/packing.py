"""How hashes are packed into one column, and ids into statements."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from tasks.ledger.hashing import SCHEME
from tasks.records import DATA, Kind

__all__ = ["chunks", "pack", "unpack"]

CHUNK = 500  # ids in one IN list


def chunks(ids: Collection[int]) -> Iterator[list[int]]:
    """Cut ids into lists that fit a statement."""
    ordered = sorted(set(ids))
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]


def pack(kind: Kind, hashes: Mapping[str, int]) -> bytes:
    """Pack the hashes of a card into one blob, in the order of ``DATA``; 0 stands for never sent."""
    names = DATA.get(kind, ())
    return np.array([hashes.get(name, 0) for name in names], dtype="<i8").tobytes() if hashes else b""


def unpack(kind: Kind, blob: bytes, scheme: int) -> dict[str, int]:
    """Undo ``pack``; hashes of another scheme count as never sent."""
    if scheme != SCHEME or not blob:
        return {}
    return dict(zip(DATA[kind], np.frombuffer(blob, dtype="<i8").tolist(), strict=True))
