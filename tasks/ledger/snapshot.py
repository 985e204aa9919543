"""The snapshot: what amoCRM acknowledged, entity by entity."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from tasks.errors import GuardError
from tasks.ledger.database import Database
from tasks.ledger.hashing import SCHEME
from tasks.ledger.packing import chunks, pack, unpack
from tasks.ledger.sent import drop_replaced
from tasks.ledger.tables import applied
from tasks.records import AppliedRow, Kind

__all__ = ["AppliedIndex", "Snapshot", "upsert_applied"]

#: What an ``AppliedRow`` is made of, in its order.
ROW = ("source_id", "amo_id", "row_hash", "hashes", "scheme", "pipeline_id", "status_id", "is_primary")


#: From so many ids on the whole table is read at once instead of list after list.
MANY = 20_000


def _numbers(connection: sa.Connection, query: sa.Select[Any]) -> npt.NDArray[np.int64]:
    """Return columns of numbers, past SQLAlchemy's row objects, and never all rows as Python's."""
    width = len(query.selected_columns)
    cursor = connection.execute(query).cursor
    parts = [np.empty((0, width), dtype=np.int64)]
    while cursor is not None and (rows := cursor.fetchmany(MANY)):
        flat = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=width * len(rows))
        parts.append(flat.reshape(-1, width))
    return np.concatenate(parts)


@dataclass(frozen=True, slots=True)
class AppliedIndex:
    """Keys and row hashes of one kind, ascending by source id; small enough for a million rows."""

    source_ids: npt.NDArray[np.int64]
    row_hashes: npt.NDArray[np.int64]
    amo_ids: npt.NDArray[np.int64]


def upsert_applied(
    database: Database,
    connection: sa.Connection,
    clinic_uid: str,
    account_id: int,
    rows: Sequence[AppliedRow],
    *,
    keep_sent: bool = False,
) -> None:
    """Write snapshot rows inside a transaction.

    Args:
        database: The ledger's database.
        connection: Its writing transaction.
        clinic_uid: The clinic.
        account_id: The account.
        rows: The rows.
        keep_sent: Whether what was sent without a receipt may still stand in amoCRM.

    Raises:
        GuardError: When an amoCRM entity already belongs to another row: two patients never share a contact.
    """
    now = time.time()
    values: list[dict[str, Any]] = [
        {
            "clinic_uid": clinic_uid,
            "kind": row.kind.value,
            "source_id": row.source_id,
            "account_id": account_id,
            "amo_id": row.amo_id,
            "row_hash": row.row_hash,
            "hashes": pack(row.kind, row.hashes),
            "scheme": SCHEME,
            "pipeline_id": row.pipeline_id,
            "status_id": row.status_id,
            "is_primary": row.is_primary,
            "applied_at": now,
        }
        for row in rows
    ]
    update = [name for name in applied.c.keys() if name not in {"clinic_uid", "kind", "source_id"}]  # noqa: SIM118
    try:
        database.upsert(connection, applied, values, update)
    except sa.exc.IntegrityError:
        ids = ", ".join(str(row.amo_id) for row in rows[:5])
        raise GuardError(
            problem=f"An amoCRM entity of this batch (ids {ids}…) already belongs to another IDENT row.",
            remedy="Nothing of the batch was recorded; run sync --full, and reconcile if it comes back.",
            code="entity_taken",
        ) from None
    if not keep_sent:
        drop_replaced(connection, clinic_uid, rows)


class Snapshot:
    """Reads and moves snapshot rows."""

    database: Database

    def applied_index(self, clinic_uid: str, kind: Kind, ids: Collection[int] | None = None) -> AppliedIndex:
        """Return keys, row hashes and amoCRM ids of one kind; all, or those of the given ids."""
        query = (
            sa.select(applied.c.source_id, applied.c.row_hash, applied.c.amo_id)
            .where(applied.c.clinic_uid == clinic_uid, applied.c.kind == kind.value)
            .order_by(applied.c.source_id)
        )
        table = self._table(query, ids)
        if ids is not None and len(ids) > MANY:
            table = table[np.isin(table[:, 0], np.fromiter(ids, dtype=np.int64, count=len(ids)))]
        return AppliedIndex(table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy())

    def highest_applied(self, clinic_uid: str, kind: Kind) -> int:
        """Return the highest amoCRM id of one kind, 0 when there is none."""
        query = sa.select(sa.func.max(applied.c.amo_id)).where(
            applied.c.clinic_uid == clinic_uid, applied.c.kind == kind.value
        )
        with self.database.read() as connection:
            return int(connection.execute(query).scalar() or 0)

    def sources_of(self, clinic_uid: str, kind: Kind, amo_ids: Collection[int]) -> dict[int, int]:
        """Return the source id of each amoCRM entity that is this clinic's."""
        found: dict[int, int] = {}
        with self.database.read() as connection:
            for part in chunks(amo_ids):
                query = sa.select(applied.c.amo_id, applied.c.source_id).where(
                    applied.c.clinic_uid == clinic_uid,
                    applied.c.kind == kind.value,
                    applied.c.amo_id.in_(part),
                )
                found |= {int(amo_id): int(key) for amo_id, key in connection.execute(query)}
        return found

    def applied_primaries(
        self, clinic_uid: str, ids: Collection[int]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return the frozen first-visit mark of deals that have one; of all when many are asked for."""
        query = (
            sa.select(applied.c.source_id, applied.c.is_primary)
            .order_by(applied.c.source_id)
            .where(
                applied.c.clinic_uid == clinic_uid,
                applied.c.kind == Kind.LEAD.value,
                applied.c.is_primary.is_not(None),
            )
        )
        found = self._table(query, ids)
        return found[:, 0].copy(), found[:, 1].astype(bool)

    def _table(self, query: sa.Select[Any], ids: Collection[int] | None) -> npt.NDArray[np.int64]:
        """Return columns of numbers of all rows, or of those of few ids, by id."""
        with self.database.read() as connection:
            if ids is None or len(ids) > MANY:
                return _numbers(connection, query)
            parts = [query.where(applied.c.source_id.in_(part)) for part in chunks(ids)]
            empty = np.empty((0, len(query.selected_columns)), dtype=np.int64)
            return np.concatenate([empty, *(_numbers(connection, part) for part in parts)])

    def applied_rows(self, clinic_uid: str, kind: Kind, ids: Collection[int]) -> dict[int, AppliedRow]:
        """Return the full snapshot of the given ids; unknown ids are absent."""
        found: dict[int, AppliedRow] = {}
        with self.database.read() as connection:
            for part in chunks(ids):
                query = sa.select(*(applied.c[name] for name in ROW)).where(
                    applied.c.clinic_uid == clinic_uid,
                    applied.c.kind == kind.value,
                    applied.c.source_id.in_(part),
                )
                for key, amo_id, row_hash, hashes, scheme, *place in connection.execute(query):
                    unpacked = unpack(kind, hashes, scheme)
                    found[key] = AppliedRow(kind, key, amo_id, row_hash, unpacked, *place)
        return found

    def applied_count(self, clinic_uid: str, kind: Kind) -> int:
        """Return how many entities of a kind amoCRM acknowledged."""
        query = sa.select(sa.func.count()).where(
            applied.c.clinic_uid == clinic_uid, applied.c.kind == kind.value
        )
        with self.database.read() as connection:
            return int(connection.execute(query.select_from(applied)).scalar_one())

    def owner_of(self, account_id: int, kind: Kind, amo_id: int) -> tuple[str, int] | None:
        """Return the clinic and source id an amoCRM entity belongs to, ``None`` when it is free."""
        query = sa.select(applied.c.clinic_uid, applied.c.source_id).where(
            applied.c.account_id == account_id, applied.c.kind == kind.value, applied.c.amo_id == amo_id
        )
        with self.database.read() as connection:
            row = connection.execute(query).first()
        return (row[0], row[1]) if row else None

    def apply_local(
        self, clinic_uid: str, account_id: int, rows: Sequence[AppliedRow], *, keep_sent: bool = False
    ) -> None:
        """Move snapshot rows that need no receipt: nothing was to be written, or an entity is claimed.

        Args:
            clinic_uid: The clinic.
            account_id: The account.
            rows: The rows.
            keep_sent: Whether what was sent without a receipt may still stand in amoCRM.

        Raises:
            GuardError: When an amoCRM entity already belongs to another row.
        """
        if rows:
            with self.database.write() as connection:
                upsert_applied(self.database, connection, clinic_uid, account_id, rows, keep_sent=keep_sent)

    def forget(self, clinic_uid: str, kind: Kind, ids: Collection[int]) -> None:
        """Drop snapshot rows; the next plan creates or adopts their entities anew."""
        with self.database.write() as connection:
            for part in chunks(ids):
                connection.execute(
                    sa.delete(applied).where(
                        applied.c.clinic_uid == clinic_uid,
                        applied.c.kind == kind.value,
                        applied.c.source_id.in_(part),
                    )
                )
