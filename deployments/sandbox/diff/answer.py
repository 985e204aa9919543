"""The answer to "what changed?", the same from every side. Python's own modules only."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Answer"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What differs between two sets of cards.

    Attributes:
        new: Keys that are only in the later one.
        changed: Columns that differ, by key.
        gone: Keys that are only in the earlier one.
    """

    new: Collection[int]
    changed: Mapping[int, tuple[str, ...]]
    gone: Collection[int]

    def told(self) -> dict[str, Any]:
        """Return how many there are of each, and a digest that is the same for the same answer only."""
        digest = hashlib.sha256()
        for keys in (self.new, self.gone):
            digest.update(repr(sorted(map(int, keys))).encode())
        lines = sorted((int(key), tuple(sorted(columns))) for key, columns in self.changed.items())
        digest.update(repr(lines).encode())
        return {
            "new": len(self.new),
            "changed": len(self.changed),
            "gone": len(self.gone),
            "digest": digest.hexdigest()[:16],
        }
