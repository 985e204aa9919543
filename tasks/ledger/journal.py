"""The journal: plans, attempts, outcomes, rejects."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from tasks.ledger.database import Database
from tasks.ledger.packing import chunks
from tasks.ledger.sent import drop_attempted, keep_sent
from tasks.ledger.snapshot import upsert_applied
from tasks.ledger.tables import attempt, outcome, plan, reject, waiting
from tasks.records import (
    Action,
    AppliedRow,
    Attempt,
    Batch,
    Kind,
    Outcome,
    OutcomeState,
    PlanRow,
    Reject,
)

__all__ = ["Journal"]

SETTLED = frozenset({OutcomeState.APPLIED, OutcomeState.REJECTED})
ENTITIES = {Kind.CONTACT, Kind.LEAD}
#: A link has no card of its own: its reject is listed with its deal, under the datum it carries over.
LINK_FIELD = "patient_id"
LINKED = (Kind.LINK, OutcomeState.APPLIED)


class Journal:
    """Plans, attempts, outcomes and rejects of the installation."""

    database: Database

    # ---- plan ----------------------------------------------------------------------------------------

    def save_plan(self, run_id: str, clinic_uid: str, rows: Sequence[PlanRow]) -> None:
        """Commit a plan; until its rows have an outcome they wait, also for a run that follows a crash."""
        now = time.time()
        planned = [
            {
                "run_id": run_id,
                "kind": row.kind.value,
                "source_id": row.source_id,
                "clinic_uid": clinic_uid,
                "action": row.action.value,
                "changed": ",".join(row.changed),
                "amo_id": row.amo_id,
                "planned_at": now,
            }
            for row in rows
        ]
        owed = [
            {"clinic_uid": clinic_uid, "kind": row.kind.value, "source_id": row.source_id, "since": now}
            for row in rows
        ]
        with self.database.write() as connection:
            self.database.upsert(connection, plan, planned, ["action", "changed", "amo_id"])
            self.database.upsert(connection, waiting, owed, [])

    def planned_rows(self, run_id: str) -> list[PlanRow]:
        """Return the plan of a run."""
        with self.database.read() as connection:
            rows = connection.execute(sa.select(plan).where(plan.c.run_id == run_id)).mappings().all()
        return [
            PlanRow(
                Kind(row["kind"]),
                row["source_id"],
                Action(row["action"]),
                tuple(name for name in row["changed"].split(",") if name),
                row["amo_id"],
            )
            for row in rows
        ]

    def open_keys(self, clinic_uid: str) -> dict[Kind, frozenset[int]]:
        """Return what the transfer still owes, by kind: it is due in every run."""
        query = sa.select(waiting.c.kind, waiting.c.source_id).where(waiting.c.clinic_uid == clinic_uid)
        found: dict[Kind, set[int]] = {}
        with self.database.read() as connection:
            for kind, source_id in connection.execute(query):
                found.setdefault(Kind(kind), set()).add(source_id)
        return {kind: frozenset(ids) for kind, ids in found.items()}

    def drop_waiting(self, clinic_uid: str, kind: Kind, ids: Collection[int]) -> None:
        """Forget that rows are owed: what a later plan found already in place."""
        with self.database.write() as connection:
            for part in chunks(ids):
                _drop_waiting(connection, clinic_uid, kind, part)

    # ---- attempts ------------------------------------------------------------------------------------

    def begin_attempt(self, run_id: str, clinic_uid: str, account_id: int, batch: Batch) -> Attempt:
        """Commit the intention to send a batch; only then may its request leave."""
        now = time.time()
        values: dict[str, Any] = {
            "run_id": run_id,
            "clinic_uid": clinic_uid,
            "account_id": account_id,
            "kind": batch.kind.value,
            "action": batch.action.value,
            "source_ids": ",".join(str(key) for key in batch.source_ids),
            "request_hash": batch.request_hash,
            "highest_amo_id": batch.highest_amo_id,
            "started_at": now,
            "scans": 0,
        }
        with self.database.write() as connection:
            inserted = connection.execute(sa.insert(attempt).values(values)).inserted_primary_key
            number = int(inserted[0]) if inserted else 0
            keep_sent(self.database, connection, number, clinic_uid, batch.rows)
        return Attempt(number, run_id, batch.kind, batch.action, batch.source_ids, batch.highest_amo_id, now)

    def acknowledge(
        self, attempt_id: int, applied: Sequence[AppliedRow], outcomes: Sequence[Outcome]
    ) -> None:
        """Commit a receipt: snapshot, ids, outcomes and the end of the attempt, all or nothing.

        Raises:
            GuardError: When an amoCRM entity already belongs to another row.
        """
        with self.database.write() as connection:
            clinic_uid, account_id = _close(connection, attempt_id)
            action = connection.execute(
                sa.select(attempt.c.action).where(attempt.c.id == attempt_id)
            ).scalar()
            if action == Action.CREATE.value:
                drop_attempted(connection, attempt_id)
            upsert_applied(self.database, connection, clinic_uid, account_id, applied)
            self._record(connection, clinic_uid, outcomes)

    def close_attempt(
        self, attempt_id: int, outcomes: Sequence[Outcome], *, maybe_written: bool = False
    ) -> None:
        """Commit the end of a batch without a receipt.

        Args:
            attempt_id: The batch.
            outcomes: How its rows ended.
            maybe_written: Whether amoCRM may hold what was sent; then it stays known as ours.
        """
        with self.database.write() as connection:
            clinic_uid, _account_id = _close(connection, attempt_id)
            if not maybe_written:
                drop_attempted(connection, attempt_id)
            self._record(connection, clinic_uid, outcomes)

    def open_attempts(self, clinic_uid: str) -> list[Attempt]:
        """Return batches whose end is not recorded, oldest first."""
        query = (
            sa.select(attempt)
            .where(attempt.c.clinic_uid == clinic_uid, attempt.c.closed_at.is_(None))
            .order_by(attempt.c.id)
        )
        with self.database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Attempt(
                row["id"],
                row["run_id"],
                Kind(row["kind"]),
                Action(row["action"]),
                tuple(int(key) for key in row["source_ids"].split(",") if key),
                row["highest_amo_id"],
                row["started_at"],
                row["scans"],
                row["last_scan_at"],
            )
            for row in rows
        ]

    def note_scan(self, attempt_id: int, at: float) -> None:
        """Record a complete scan that did not find a batch."""
        with self.database.write() as connection:
            connection.execute(
                sa.update(attempt)
                .where(attempt.c.id == attempt_id)
                .values(scans=attempt.c.scans + 1, last_scan_at=at)
            )

    # ---- outcomes and rejects ------------------------------------------------------------------------

    def record_outcomes(self, clinic_uid: str, outcomes: Sequence[Outcome]) -> None:
        """Commit the end of rows that had no request of their own."""
        if outcomes:
            with self.database.write() as connection:
                self._record(connection, clinic_uid, outcomes)

    def _record(self, connection: sa.Connection, clinic_uid: str, outcomes: Sequence[Outcome]) -> None:
        now = time.time()
        rows = [
            {
                "run_id": row.run_id,
                "kind": row.kind.value,
                "source_id": row.source_id,
                "clinic_uid": clinic_uid,
                "state": row.state.value,
                "reason": row.reason,
                "field": row.field,
                "data_hash": row.data_hash,
                "ended_at": now,
            }
            for row in outcomes
        ]
        update = ["state", "reason", "field", "data_hash", "ended_at"]
        self.database.upsert(connection, outcome, rows, update)
        for kind in Kind:
            ended = [row.source_id for row in outcomes if row.kind is kind and row.state in SETTLED]
            for part in chunks(ended):
                _drop_waiting(connection, clinic_uid, kind, part)
            if kind in ENTITIES:
                done = [
                    row.source_id
                    for row in outcomes
                    if row.kind is kind and row.state is OutcomeState.APPLIED
                ]
                _clear_rejects(connection, clinic_uid, kind.value, done)
        linked = [row.source_id for row in outcomes if (row.kind, row.state) == LINKED]
        for part in chunks(linked):
            connection.execute(sa.delete(reject).where(_of_links(clinic_uid), reject.c.source_id.in_(part)))
        self._add_rejects(connection, clinic_uid, _rejects(outcomes))

    def settled(self, run_id: str, state: OutcomeState | None = None) -> set[tuple[Kind, int]]:
        """Return rows of a run that have an outcome, or this one."""
        query = sa.select(outcome.c.kind, outcome.c.source_id).where(outcome.c.run_id == run_id)
        if state is not None:
            query = query.where(outcome.c.state == state.value)
        with self.database.read() as connection:
            return {(Kind(kind), source_id) for kind, source_id in connection.execute(query)}

    def outcome_counts(self, run_id: str) -> dict[Kind, dict[OutcomeState, int]]:
        """Count the outcomes of a run."""
        query = (
            sa.select(outcome.c.kind, outcome.c.state, sa.func.count())
            .where(outcome.c.run_id == run_id)
            .group_by(outcome.c.kind, outcome.c.state)
        )
        counts: dict[Kind, dict[OutcomeState, int]] = {}
        with self.database.read() as connection:
            for kind, state, number in connection.execute(query):
                counts.setdefault(Kind(kind), {})[OutcomeState(state)] = number
        return counts

    def _add_rejects(self, connection: sa.Connection, clinic_uid: str, rejects: Sequence[Reject]) -> None:
        now = time.time()
        rows = [
            {
                "clinic_uid": clinic_uid,
                "entity": row.entity,
                "source_id": row.source_id,
                "reason": row.reason,
                "field": row.field,
                "data_hash": row.data_hash,
                "first_seen": now,
                "last_seen": now,
                "released": False,
                "held_by": row.held_by,
            }
            for row in rejects
        ]
        update = ["field", "data_hash", "last_seen", "released", "held_by"]
        self.database.upsert(connection, reject, rows, update)

    def add_rejects(self, clinic_uid: str, rejects: Sequence[Reject]) -> None:
        """Record rows that were kept back; seen again, they keep the time they were first seen."""
        if rejects:
            with self.database.write() as connection:
                self._add_rejects(connection, clinic_uid, rejects)

    def clear_rejects(
        self, clinic_uid: str, entity: str, ids: Collection[int], reason: str | None = None
    ) -> None:
        """Forget rejects of rows that are good now, or those of one reason."""
        found = {row.source_id for _uid, row in self.rejects(clinic_uid, entity, reason)} if ids else set()
        if good := found & set(ids):
            with self.database.write() as connection:
                _clear_rejects(connection, clinic_uid, entity, good, reason)

    def rejects(
        self, clinic_uid: str | None = None, entity: str | None = None, reason: str | None = None
    ) -> list[tuple[str, Reject]]:
        """Return rejects with their clinic, by entity and id; only those of what is named."""
        query = sa.select(reject).order_by(reject.c.clinic_uid, reject.c.entity, reject.c.source_id)
        asked = {reject.c.clinic_uid: clinic_uid, reject.c.entity: entity, reject.c.reason: reason}
        query = query.where(*(column == value for column, value in asked.items() if value is not None))
        with self.database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            (
                row["clinic_uid"],
                Reject(
                    row["entity"],
                    row["source_id"],
                    row["reason"],
                    row["field"],
                    row["data_hash"],
                    row["first_seen"],
                    row["last_seen"],
                    row["held_by"],
                ),
            )
            for row in rows
        ]

    def release(
        self, clinic_uid: str, entity: str, ids: Collection[int] | None, reason: str | None = None
    ) -> int:
        """Let rejects be tried again in the next run; returns how many.

        Args:
            clinic_uid: The clinic.
            entity: Entity of the rejects.
            ids: Only these rows, ``None`` for all.
            reason: Only rows with this reason, ``None`` for all.
        """
        change = sa.update(reject).where(reject.c.clinic_uid == clinic_uid, reject.c.entity == entity)
        if ids is not None:
            change = change.where(reject.c.source_id.in_(list(ids)))
        if reason is not None:
            change = change.where(reject.c.reason == reason)
        with self.database.write() as connection:
            return int(connection.execute(change.values(released=True)).rowcount)

    def released_links(self, clinic_uid: str) -> frozenset[int]:
        """Return deals whose refused link is to be tried again."""
        query = sa.select(reject.c.source_id).where(_of_links(clinic_uid), reject.c.released.is_(True))
        with self.database.read() as connection:
            return frozenset(connection.execute(query).scalars())

    def released_keys(self, clinic_uid: str, reason: str | None = None) -> dict[Kind, frozenset[int]]:
        """Return rejects that were released, or those of one reason, as keys of contacts and leads."""
        contacts, leads = dict.fromkeys(("patient", "contact"), Kind.CONTACT), ("appointment", "lead")
        kinds = contacts | dict.fromkeys(leads, Kind.LEAD)
        query = sa.select(reject.c.entity, reject.c.source_id).where(
            reject.c.clinic_uid == clinic_uid, reject.c.released.is_(True)
        )
        if reason is not None:
            query = query.where(reject.c.reason == reason)
        found: dict[Kind, set[int]] = {}
        with self.database.read() as connection:
            for entity, source_id in connection.execute(query):
                found.setdefault(kinds[entity], set()).add(source_id)
        return {kind: frozenset(ids) for kind, ids in found.items()}


def _rejects(outcomes: Sequence[Outcome]) -> list[Reject]:
    """Return what to list of the outcomes; a link that was refused alone keeps no data of its deal back."""
    refused = [row for row in outcomes if row.state is OutcomeState.REJECTED]
    leads = {row.source_id for row in refused if row.kind is Kind.LEAD}
    cards = [
        Reject(row.kind.value, row.source_id, row.reason, row.field, row.data_hash)
        for row in refused
        if row.kind in ENTITIES
    ]
    links = [
        Reject(Kind.LEAD.value, row.source_id, row.reason, LINK_FIELD)
        for row in refused
        if row.kind is Kind.LINK and row.source_id not in leads
    ]
    return cards + links


def _of_links(clinic_uid: str) -> sa.ColumnElement[bool]:
    of_leads = reject.c.entity == Kind.LEAD.value
    return sa.and_(reject.c.clinic_uid == clinic_uid, of_leads, reject.c.field == LINK_FIELD)


def _close(connection: sa.Connection, attempt_id: int) -> tuple[str, int]:
    row = connection.execute(
        sa.select(attempt.c.clinic_uid, attempt.c.account_id).where(attempt.c.id == attempt_id)
    ).one()
    connection.execute(sa.update(attempt).where(attempt.c.id == attempt_id).values(closed_at=time.time()))
    return row[0], row[1]


def _drop_waiting(connection: sa.Connection, clinic_uid: str, kind: Kind, ids: Collection[int]) -> None:
    connection.execute(
        sa.delete(waiting).where(
            waiting.c.clinic_uid == clinic_uid,
            waiting.c.kind == kind.value,
            waiting.c.source_id.in_(list(ids)),
        )
    )


def _clear_rejects(
    connection: sa.Connection, clinic_uid: str, entity: str, ids: Collection[int], reason: str | None = None
) -> None:
    of_entity = sa.and_(reject.c.clinic_uid == clinic_uid, reject.c.entity == entity)
    of_entity &= sa.true() if reason is None else reject.c.reason == reason
    for part in chunks(ids):
        connection.execute(sa.delete(reject).where(of_entity, reject.c.source_id.in_(part)))
