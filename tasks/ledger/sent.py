"""What left for amoCRM and has no receipt yet.

The snapshot says what amoCRM acknowledged. After a lost answer or a killed process amoCRM may hold what was
sent last instead, and that is our own value, not a person's edit. So each attempt keeps the hashes it sent
until a receipt of the same rows replaces them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from tasks.ledger.database import Database
from tasks.ledger.hashing import SCHEME
from tasks.ledger.packing import chunks, pack, unpack
from tasks.ledger.tables import attempt, sent
from tasks.records import Action, AppliedRow, Kind

__all__ = ["SentRows", "drop_attempted", "drop_replaced", "keep_sent"]


def keep_sent(
    database: Database,
    connection: sa.Connection,
    attempt_id: int,
    clinic_uid: str,
    rows: Sequence[AppliedRow],
) -> None:
    """Write down what an attempt sends, inside its transaction."""
    values: list[dict[str, Any]] = [
        {
            "attempt_id": attempt_id,
            "clinic_uid": clinic_uid,
            "kind": row.kind.value,
            "source_id": row.source_id,
            "amo_id": row.amo_id,
            "row_hash": row.row_hash,
            "hashes": pack(row.kind, row.hashes),
            "scheme": SCHEME,
            "pipeline_id": row.pipeline_id,
            "status_id": row.status_id,
            "is_primary": row.is_primary,
        }
        for row in rows
    ]
    database.upsert(connection, sent, values, ["row_hash"])


def drop_attempted(connection: sa.Connection, attempt_id: int) -> None:
    """Forget what an attempt sent: it is known to stand nowhere."""
    connection.execute(sa.delete(sent).where(sent.c.attempt_id == attempt_id))


def drop_replaced(connection: sa.Connection, clinic_uid: str, rows: Sequence[AppliedRow]) -> None:
    """Forget what was sent for rows whose snapshot moves now."""
    for kind in {row.kind for row in rows}:
        for part in chunks([row.source_id for row in rows if row.kind is kind]):
            connection.execute(
                sa.delete(sent).where(
                    sent.c.clinic_uid == clinic_uid, sent.c.kind == kind.value, sent.c.source_id.in_(part)
                )
            )


class SentRows:
    """Reads what has no receipt."""

    database: Database

    def attempted_rows(self, attempt_id: int) -> list[AppliedRow]:
        """Return what an attempt sent, as the snapshot rows it becomes; the id of an entity is 0."""
        with self.database.read() as connection:
            found = connection.execute(sa.select(sent).where(sent.c.attempt_id == attempt_id)).mappings()
            return [_row(values) for values in found]

    def unacknowledged(self, clinic_uid: str, kind: Kind) -> dict[int, tuple[AppliedRow, ...]]:
        """Return updates that may stand in amoCRM although no receipt says so, oldest first, by source id."""
        query = (
            sa.select(sent)
            .join(attempt, attempt.c.id == sent.c.attempt_id)
            .where(
                sent.c.clinic_uid == clinic_uid,
                sent.c.kind == kind.value,
                attempt.c.action == Action.UPDATE.value,
            )
            .order_by(sent.c.attempt_id)
        )
        found: dict[int, tuple[AppliedRow, ...]] = {}
        with self.database.read() as connection:
            for values in connection.execute(query).mappings():
                row = _row(values)
                found[row.source_id] = (*found.get(row.source_id, ()), row)
        return found

    def forget_sent(self, clinic_uid: str, kind: Kind, ids: Collection[int]) -> None:
        """Forget what was sent for rows that are compared with amoCRM itself."""
        with self.database.write() as connection:
            drop_replaced(connection, clinic_uid, [AppliedRow(kind, key, 0, 0, {}) for key in ids])


def _row(values: Mapping[str, Any] | sa.RowMapping) -> AppliedRow:
    kind = Kind(values["kind"])
    row = AppliedRow(kind, values["source_id"], values["amo_id"], values["row_hash"], {})
    return replace(
        row,
        hashes=unpack(kind, values["hashes"], values["scheme"]),
        pipeline_id=values["pipeline_id"],
        status_id=values["status_id"],
        is_primary=values["is_primary"],
    )
