"""Marking what is to be sent again, although IDENT did not change it: a datum goes to another field now."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import sqlalchemy as sa

from tasks.ledger.database import Database
from tasks.ledger.hashing import SCHEME
from tasks.ledger.packing import chunks, pack, unpack
from tasks.ledger.tables import applied, waiting
from tasks.records import Kind

__all__ = ["DUE_HASH", "OTHERS", "Resend"]

#: Row hash of what differs in some data: equal to no card's, and not 0, which would make every datum due.
DUE_HASH: Final = -2
#: Row hashes that say something else: content unknown (all is compared anyway), gone from IDENT.
OTHERS: Final = (0, -1)


class Resend:
    """Forgets that data were sent, so that the next run sends them by the rules of any change."""

    database: Database

    def count_resend(self, clinic_uid: str, kind: Kind, nothing: Mapping[str, int]) -> int:
        """Return how many rows hold a value for one of the data.

        Args:
            clinic_uid: The clinic.
            kind: Contact or lead.
            nothing: Hash of «no value» by datum: an empty datum has nothing to be sent.
        """
        with self.database.read() as connection:
            return sum(1 for _key, _hashes in _concerned(connection, clinic_uid, kind, nothing))

    def mark_resend(self, clinic_uid: str, kind: Kind, nothing: Mapping[str, int], at: float) -> int:
        """Make the rows due that hold a value for one of the data; what else they hold stays known.

        Args:
            clinic_uid: The clinic.
            kind: Contact or lead.
            nothing: Hash of «no value» by datum.
            at: Epoch seconds.

        Returns:
            How many rows.
        """
        with self.database.write() as connection:
            rows = dict(_concerned(connection, clinic_uid, kind, nothing))
            for key, hashes in rows.items():
                change = (
                    sa.update(applied)
                    .where(
                        applied.c.clinic_uid == clinic_uid,
                        applied.c.kind == kind.value,
                        applied.c.source_id == key,
                    )
                    .values(
                        row_hash=DUE_HASH,
                        hashes=pack(kind, {**hashes, **dict.fromkeys(nothing, 0)}),
                        scheme=SCHEME,
                    )
                )
                connection.execute(change)
            self._owe(connection, clinic_uid, kind, rows, at)
        return len(rows)

    def owe(self, clinic_uid: str, kind: Kind, ids: Collection[int], at: float) -> None:
        """Make rows due until a run has planned them, or found that nothing is to be planned."""
        if ids:
            with self.database.write() as connection:
                self._owe(connection, clinic_uid, kind, ids, at)

    def _owe(
        self, connection: sa.Connection, clinic_uid: str, kind: Kind, ids: Collection[int], at: float
    ) -> None:
        for part in chunks(ids):
            owed: list[dict[str, Any]] = [
                {"clinic_uid": clinic_uid, "kind": kind.value, "source_id": key, "since": at} for key in part
            ]
            self.database.upsert(connection, waiting, owed, [])


def _concerned(
    connection: sa.Connection, clinic_uid: str, kind: Kind, nothing: Mapping[str, int]
) -> Iterator[tuple[int, dict[str, int]]]:
    query = sa.select(applied.c.source_id, applied.c.hashes, applied.c.scheme).where(
        applied.c.clinic_uid == clinic_uid, applied.c.kind == kind.value, applied.c.row_hash.not_in(OTHERS)
    )
    for key, blob, scheme in connection.execute(query).all():
        hashes = unpack(kind, blob, scheme)
        if any(hashes.get(datum, 0) != empty for datum, empty in nothing.items()):
            yield key, hashes
