"""Connections, settings, watermarks, leases, runs and the audit trail."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import sqlalchemy as sa

from tasks.errors import LeaseHeldError, NotConnectedError
from tasks.ledger.database import Database
from tasks.ledger.tables import audit, connection, lease, run, setting, setting_history, watermark

__all__ = ["Administration", "AuditRow", "ConnectionRecord", "RunRecord"]

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ConnectionRecord:
    """A connected clinic; its secrets are in the block of the given name.

    Attributes:
        name: What commands and deployments call the clinic; may change.
        clinic_uid: Stands in every external id; never changes.
        fingerprint: What identifies the database.
    """

    name: str
    clinic_uid: str
    block_name: str
    timezone: str
    fingerprint: Json = field(default_factory=dict)
    connected_at: float = 0.0
    removed_at: float | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One line of the run history."""

    run_id: str
    clinic_uid: str
    mode: str
    started_by: str
    started_at: float
    finished_at: float | None
    state: str
    counts: Json


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One event that must not be lost."""

    id: int
    event: str
    resource: str
    level: str
    payload: Json
    occurred_at: float
    emitted: bool


class Administration:
    """Everything of the ledger that is not about single entities."""

    database: Database

    # ---- connections ---------------------------------------------------------------------------------

    def save_connection(self, record: ConnectionRecord) -> None:
        """Save a clinic; connecting it again revives it under its old uid."""
        values = asdict(record)
        update = [name for name in values if name != "clinic_uid"]
        with self.database.write() as link:
            self.database.upsert(link, connection, [values], update)

    def connections(self) -> list[ConnectionRecord]:
        """Return the connected clinics by name."""
        query = sa.select(connection).where(connection.c.removed_at.is_(None)).order_by(connection.c.name)
        with self.database.read() as link:
            return [ConnectionRecord(**row) for row in link.execute(query).mappings()]

    def former_connections(self) -> list[ConnectionRecord]:
        """Return the clinics that were connected once and are not now, the latest first."""
        query = sa.select(connection).where(connection.c.removed_at.is_not(None))
        with self.database.read() as link:
            rows = link.execute(query.order_by(connection.c.removed_at.desc())).mappings()
            return [ConnectionRecord(**row) for row in rows]

    def clinics(self) -> set[str]:
        """Return the uid of every clinic that this ledger ever knew."""
        with self.database.read() as link:
            connected = link.execute(sa.select(connection.c.clinic_uid)).scalars().all()
            leased = link.execute(sa.select(lease.c.clinic_uid)).scalars().all()
        return {*connected, *leased}

    def connection(self, name: str) -> ConnectionRecord:
        """Return a connected clinic.

        Raises:
            NotConnectedError: When there is none of this name.
        """
        known = {record.name: record for record in self.connections()}
        if name not in known:
            others = ", ".join(known) or "none"
            raise NotConnectedError(
                problem=f"No clinic {name!r} is connected (connected: {others}).",
                remedy=f"Run: ident-amocrm connect-database {name} --host … --password-file …",
            )
        return known[name]

    def remove_connection(self, name: str) -> None:
        """Forget a clinic's connection; what amoCRM acknowledged is kept for the day it comes back."""
        record = self.connection(name)
        with self.database.write() as link:
            link.execute(
                sa.update(connection)
                .where(connection.c.clinic_uid == record.clinic_uid)
                .values(removed_at=time.time())
            )

    # ---- settings ------------------------------------------------------------------------------------

    def setting(self, scope: str, name: str) -> Json | None:
        """Return a setting, ``None`` when it was never made."""
        query = sa.select(setting.c.value).where(setting.c.scope == scope, setting.c.name == name)
        with self.database.read() as link:
            value: Json | None = link.execute(query).scalar_one_or_none()
        return value

    def settings_named(self, *names: str) -> list[Json]:
        """Return the settings of some names in every scope, with when and by whom each was made."""
        with self.database.read() as link:
            rows = link.execute(sa.select(setting).where(setting.c.name.in_(names))).mappings()
            return [dict(row) for row in rows]

    def setting_changed_at(self, scope: str, name: str) -> float | None:
        """Return when a setting was made last, epoch seconds; ``None`` when it never was."""
        query = sa.select(setting.c.changed_at).where(setting.c.scope == scope, setting.c.name == name)
        with self.database.read() as link:
            moment: float | None = link.execute(query).scalar_one_or_none()
        return moment

    def put_setting(
        self, scope: str, name: str, value: Mapping[str, Any], by: str, *, history: bool = True
    ) -> None:
        """Make a setting; what it replaces stays in the history, but for what is noted every few minutes."""
        row = {
            "scope": scope,
            "name": name,
            "value": dict(value),
            "changed_at": time.time(),
            "changed_by": by[:64],
        }
        with self.database.write() as link:
            self.database.upsert(link, setting, [row], ["value", "changed_at", "changed_by"])
            if history:
                link.execute(sa.insert(setting_history).values(row))

    def setting_history(self, scope: str, name: str) -> list[Json]:
        """Return every value a setting ever had, oldest first."""
        query = (
            sa.select(setting_history)
            .where(setting_history.c.scope == scope, setting_history.c.name == name)
            .order_by(setting_history.c.id)
        )
        with self.database.read() as link:
            return [dict(row) for row in link.execute(query).mappings()]

    def drop_settings(self, scope: str) -> None:
        """Forget every setting of a scope with its history: a form that was acted on."""
        with self.database.write() as link:
            link.execute(sa.delete(setting).where(setting.c.scope == scope))
            link.execute(sa.delete(setting_history).where(setting_history.c.scope == scope))

    # ---- watermark -----------------------------------------------------------------------------------

    def watermark(self, clinic_uid: str) -> Json | None:
        """Return how far a clinic's changes were planned."""
        query = sa.select(watermark.c.value).where(watermark.c.clinic_uid == clinic_uid)
        with self.database.read() as link:
            value: Json | None = link.execute(query).scalar_one_or_none()
        return value

    def move_watermark(self, clinic_uid: str, value: Mapping[str, Any]) -> None:
        """Move the watermark; only after the rows up to it are planned."""
        row = {"clinic_uid": clinic_uid, "value": dict(value), "moved_at": time.time()}
        with self.database.write() as link:
            self.database.upsert(link, watermark, [row], ["value", "moved_at"])

    # ---- lease ---------------------------------------------------------------------------------------

    def acquire_lease(
        self,
        clinic_uid: str,
        owner: str,
        seconds: float,
        *,
        grace: float = 0.0,
        is_dead: Callable[[str], bool] = lambda _owner: False,
    ) -> int:
        """Take the right to write for a clinic.

        Args:
            clinic_uid: The clinic.
            owner: Who takes it.
            seconds: How long it lasts without renewal.
            grace: How much longer an owner that fell silent is waited for: its last request, sent while the
                lease was good, may still be under way.
            is_dead: Tells of an owner whether it surely lives no more; then nothing is waited for.

        Returns:
            The fencing token; it grows with every owner.

        Raises:
            LeaseHeldError: When another process has it.
        """
        with self.database.write() as link:
            free = {"clinic_uid": clinic_uid, "owner": "", "token": 0, "expires_at": 0.0}
            self.database.upsert(link, lease, [free], [])
            # SQLite's writers queue up; PostgreSQL's do not, so the row is locked before it is judged.
            query = sa.select(lease).where(lease.c.clinic_uid == clinic_uid).with_for_update()
            row = link.execute(query).mappings().one()
            now = self.database.now(link)
            left = row["expires_at"] + grace - now if row["expires_at"] else 0.0
            if left > 0 and not is_dead(row["owner"]):
                raise LeaseHeldError(
                    problem=f"Another run is transferring this clinic (owner {row['owner']}).",
                    remedy=f"Wait for it; a run that died gives way in {left:.0f} s.",
                )
            token = row["token"] + 1
            values = {"clinic_uid": clinic_uid, "owner": owner, "token": token, "expires_at": now + seconds}
            self.database.upsert(link, lease, [values], ["owner", "token", "expires_at"])
        return int(token)

    def lease_is_held(self, clinic_uid: str, is_dead: Callable[[str], bool] = lambda _owner: False) -> bool:
        """Tell whether a run has the right to write for a clinic now."""
        query = sa.select(lease.c.expires_at, lease.c.owner).where(lease.c.clinic_uid == clinic_uid)
        with self.database.read() as link:
            row = link.execute(query).first()
            return row is not None and row[0] > self.database.now(link) and not is_dead(row[1])

    def renew_lease(self, clinic_uid: str, token: int, seconds: float) -> None:
        """Prolong a lease that is still ours, also when it ran out and nobody took it.

        Raises:
            LeaseHeldError: When another process took it over.
        """
        with self.database.write() as link:
            expires_at = self.database.now(link) + seconds
            change = (
                sa.update(lease)
                .where(lease.c.clinic_uid == clinic_uid, lease.c.token == token)
                .values(expires_at=expires_at)
            )
            if link.execute(change).rowcount != 1:
                raise LeaseHeldError(
                    problem="This run slept too long and another one took over its clinic.",
                    remedy="Nothing more was sent; the other run goes on.",
                    code="lease_lost",
                )

    def release_lease(self, clinic_uid: str, token: int) -> None:
        """Give a lease back, if it is still ours."""
        with self.database.write() as link:
            link.execute(
                sa.update(lease)
                .where(lease.c.clinic_uid == clinic_uid, lease.c.token == token)
                .values(expires_at=0.0)
            )

    # ---- runs ----------------------------------------------------------------------------------------

    def start_run(self, run_id: str, clinic_uid: str, mode: str, by: str) -> None:
        """Record the start of a run."""
        row = {
            "run_id": run_id,
            "clinic_uid": clinic_uid,
            "mode": mode,
            "started_by": by,
            "started_at": time.time(),
            "state": "running",
            "counts": {},
        }
        with self.database.write() as link:
            self.database.upsert(link, run, [row], ["started_at", "state"])

    def knows_run(self, run_id: str) -> bool:
        """Tell whether a run was started under an id."""
        with self.database.read() as link:
            return link.execute(sa.select(run.c.run_id).where(run.c.run_id == run_id)).first() is not None

    def finish_run(self, run_id: str, state: str, counts: Mapping[str, Any]) -> None:
        """Record the end of a run."""
        with self.database.write() as link:
            link.execute(
                sa.update(run)
                .where(run.c.run_id == run_id)
                .values(state=state, counts=dict(counts), finished_at=time.time())
            )

    def runs(self, clinic_uid: str, limit: int = 20, state: str | None = None) -> list[RunRecord]:
        """Return the latest runs of a clinic, newest first."""
        query = sa.select(run).where(run.c.clinic_uid == clinic_uid)
        if state is not None:
            query = query.where(run.c.state == state)
        with self.database.read() as link:
            rows = link.execute(query.order_by(run.c.started_at.desc()).limit(limit)).mappings()
            return [RunRecord(**row) for row in rows]

    def last_run(self, clinic_uid: str, state: str | None = None) -> RunRecord | None:
        """Return the latest run of a clinic, or the latest that ended so."""
        return next(iter(self.runs(clinic_uid, 1, state)), None)

    # ---- audit ---------------------------------------------------------------------------------------

    def append_audit(self, event: str, resource: str, level: str, payload: Mapping[str, Any]) -> int:
        """Record an event before it is emitted, and return its number."""
        values = {
            "event": event,
            "resource": resource,
            "level": level,
            "payload": dict(payload),
            "occurred_at": time.time(),
            "emitted": False,
        }
        with self.database.write() as link:
            inserted = link.execute(sa.insert(audit).values(values)).inserted_primary_key
        return int(inserted[0]) if inserted else 0

    def mark_emitted(self, number: int) -> None:
        """Record that an event reached Prefect."""
        with self.database.write() as link:
            link.execute(sa.update(audit).where(audit.c.id == number).values(emitted=True))

    def unemitted(self, since: float, limit: int) -> list[AuditRow]:
        """Return events of late that never reached Prefect, oldest first."""
        query = (
            sa.select(audit)
            .where(audit.c.emitted.is_(False), audit.c.occurred_at >= since)
            .order_by(audit.c.id)
            .limit(limit)
        )
        with self.database.read() as link:
            return [AuditRow(**row) for row in link.execute(query).mappings()]

    def audit(
        self,
        *,
        since: float | None = None,
        event_prefix: str | None = None,
        resource: str | None = None,
        level: str | None = None,
        limit: int = 100,
        order: Literal["asc", "desc"] = "desc",
    ) -> list[AuditRow]:
        """Return events by date."""
        query = sa.select(audit)
        if since is not None:
            query = query.where(audit.c.occurred_at >= since)
        if event_prefix is not None:
            query = query.where(audit.c.event.startswith(event_prefix, autoescape=True))
        if resource is not None:
            query = query.where(audit.c.resource == resource)
        if level is not None:
            query = query.where(audit.c.level == level)
        key = audit.c.id.desc() if order == "desc" else audit.c.id.asc()
        with self.database.read() as link:
            return [AuditRow(**row) for row in link.execute(query.order_by(key).limit(limit)).mappings()]
