"""Keyed hashes of what a card was given: enough to see a change, useless to whoever steals the ledger.

A phone has eleven digits, so a bare hash of it is undone in seconds. Every column of every clinic has a key
of its own, derived from the installation's key. Values are rendered to text before they are hashed, because
pandas ignores the key for numbers and dates (``validation-and-diff.md`` 6).
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.records import DATA, Kind

__all__ = ["SCHEME", "FieldHasher", "key_check"]

#: Raise it when hashing or the order of ``DATA`` changes: rows of another scheme are compared anew.
SCHEME: Final = 1
MISSING: Final = (
    "\ue000"  # private use: no text of a card contains it, and numpy does not strip it as it does NUL
)
KEY_LENGTH: Final = 16  # pandas' SipHash key, as characters

Int64Array = npt.NDArray[np.int64]


def key_check(key: bytes) -> str:
    """Return what tells two installation keys apart and gives neither away."""
    return hashlib.blake2b(b"ident-amocrm key check", key=key, digest_size=8).hexdigest()


class FieldHasher:
    """Hashes the data of one clinic."""

    def __init__(self, key: bytes, clinic_uid: str) -> None:
        self._key = key
        self._uid = clinic_uid

    def _column_key(self, kind: Kind, column: str) -> str:
        seed = f"{self._uid}|{kind.value}|{column}".encode()
        digest = hashlib.blake2b(seed, key=self._key, digest_size=12).digest()
        return base64.b64encode(digest).decode("ascii")[:KEY_LENGTH]

    def hash_frame(self, kind: Kind, texts: pd.DataFrame) -> pd.DataFrame:
        """Hash the texts of cards.

        Args:
            kind: Contact or lead.
            texts: Columns ``DATA[kind]`` of text, missing where there is nothing.

        Returns:
            A frame of the same shape and index with int64 hashes, never 0.
        """
        hashed = {column: self._hash(kind, column, texts[column]) for column in DATA[kind]}
        return pd.DataFrame(hashed, index=texts.index, columns=list(DATA[kind]))

    def _hash(self, kind: Kind, column: str, values: pd.Series) -> Int64Array:
        # Each text is hashed once however often it occurs; Arrow finds which there are.
        codes, found = pd.factorize(values)
        texts = np.append(np.asarray(found, dtype=object), MISSING)
        raw = pd.util.hash_array(texts, hash_key=self._column_key(kind, column), categorize=False)
        signed: Int64Array = raw.view(np.int64)
        # The code of what is missing is -1: the last one.
        return np.where(signed == 0, np.int64(1), signed)[codes]

    def hash_value(self, kind: Kind, column: str, text: str | None) -> int:
        """Hash one text, to the same number as ``hash_frame``."""
        return int(self._hash(kind, column, pd.Series([text], dtype="str"))[0])

    @staticmethod
    def row_hashes(hashes: pd.DataFrame) -> Int64Array:
        """Combine the hashes of each row into one; order matters, and no result is 0 or -1."""
        values = hashes.to_numpy(dtype=np.int64).view(np.uint64)
        with np.errstate(over="ignore"):
            combined = np.full(len(values), 0x9E3779B97F4A7C15, dtype=np.uint64)
            for column in range(values.shape[1]):
                combined ^= values[:, column]
                combined *= np.uint64(0xFF51AFD7ED558CCD)
                combined ^= combined >> np.uint64(29)
        signed: Int64Array = combined.view(np.int64)
        # 0 and -1 are taken: "content unknown" and "gone from IDENT".
        return np.where((signed == 0) | (signed == -1), np.int64(1), signed)
