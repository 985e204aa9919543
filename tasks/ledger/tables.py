"""Tables of the ledger; ``migrations`` creates them, a test compares the two."""

from __future__ import annotations

import sqlalchemy as sa

__all__ = [
    "applied",
    "attempt",
    "audit",
    "connection",
    "erasure",
    "invoice",
    "lease",
    "metadata",
    "outcome",
    "pace",
    "plan",
    "quality",
    "reject",
    "run",
    "sent",
    "setting",
    "setting_history",
    "subscription",
    "waiting",
    "waiver",
    "watermark",
]

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

UID = sa.String(32)
KIND = sa.String(16)
RUN = sa.String(40)
CODE = sa.String(64)
#: SQLite only counts up an INTEGER key; PostgreSQL needs the wide one.
SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")

#: What amoCRM acknowledged, one row per entity. ``row_hash`` 0: claimed or found again, content unknown.
applied = sa.Table(
    "applied",
    metadata,
    sa.Column("clinic_uid", UID, primary_key=True),
    sa.Column("kind", KIND, primary_key=True),
    sa.Column("source_id", sa.BigInteger, primary_key=True),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("amo_id", sa.BigInteger, nullable=False),
    sa.Column("row_hash", sa.BigInteger, nullable=False),
    sa.Column("hashes", sa.LargeBinary, nullable=False),
    sa.Column("scheme", sa.SmallInteger, nullable=False),
    sa.Column("pipeline_id", sa.BigInteger),
    sa.Column("status_id", sa.BigInteger),
    sa.Column("is_primary", sa.Boolean),
    sa.Column("applied_at", sa.Float, nullable=False),
    # A contact belongs to one patient and a deal to one appointment; a link names the contact of a deal, and
    # one contact has many.
    sa.Index(
        "uq_applied_entity",
        "account_id",
        "kind",
        "amo_id",
        unique=True,
        sqlite_where=sa.text("kind <> 'link'"),
        postgresql_where=sa.text("kind <> 'link'"),
    ),
    sqlite_with_rowid=False,
)

plan = sa.Table(
    "plan",
    metadata,
    sa.Column("run_id", RUN, primary_key=True),
    sa.Column("kind", KIND, primary_key=True),
    sa.Column("source_id", sa.BigInteger, primary_key=True),
    sa.Column("clinic_uid", UID, nullable=False),
    sa.Column("action", KIND, nullable=False),
    sa.Column("changed", sa.Text, nullable=False),  # names of data, joined by commas
    sa.Column("amo_id", sa.BigInteger),
    sa.Column("planned_at", sa.Float, nullable=False),
    sa.Index("ix_plan_clinic_uid_kind_source_id", "clinic_uid", "kind", "source_id"),
)

outcome = sa.Table(
    "outcome",
    metadata,
    sa.Column("run_id", RUN, primary_key=True),
    sa.Column("kind", KIND, primary_key=True),
    sa.Column("source_id", sa.BigInteger, primary_key=True),
    sa.Column("clinic_uid", UID, nullable=False),
    sa.Column("state", KIND, nullable=False),
    sa.Column("reason", CODE, nullable=False, default=""),
    sa.Column("field", sa.String(255), nullable=False, default=""),
    sa.Column("data_hash", sa.BigInteger, nullable=False, default=0),
    sa.Column("ended_at", sa.Float, nullable=False),
)

#: Rows that the transfer still owes: planned and neither applied nor rejected. Kept by the same transactions
#: that write plans and outcomes, so that a tick need not search the history.
waiting = sa.Table(
    "waiting",
    metadata,
    sa.Column("clinic_uid", UID, primary_key=True),
    sa.Column("kind", KIND, primary_key=True),
    sa.Column("source_id", sa.BigInteger, primary_key=True),
    sa.Column("since", sa.Float, nullable=False),
)

attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("id", SERIAL, primary_key=True, autoincrement=True),
    sa.Column("run_id", RUN, nullable=False),
    sa.Column("clinic_uid", UID, nullable=False),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("kind", KIND, nullable=False),
    sa.Column("action", KIND, nullable=False),
    sa.Column("source_ids", sa.Text, nullable=False),  # joined by commas
    sa.Column("request_hash", sa.BigInteger, nullable=False),
    sa.Column("highest_amo_id", sa.BigInteger, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("scans", sa.Integer, nullable=False, default=0),
    sa.Column("last_scan_at", sa.Float),
    sa.Column("closed_at", sa.Float),
    sa.Index("ix_attempt_clinic_uid_closed_at", "clinic_uid", "closed_at"),
)

#: What an attempt sent, until a receipt of the same rows replaces it.
sent = sa.Table(
    "sent",
    metadata,
    sa.Column("attempt_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", KIND, primary_key=True),
    sa.Column("source_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("clinic_uid", UID, nullable=False),
    sa.Column("amo_id", sa.BigInteger, nullable=False),
    sa.Column("row_hash", sa.BigInteger, nullable=False),
    sa.Column("hashes", sa.LargeBinary, nullable=False),
    sa.Column("scheme", sa.Integer, nullable=False),
    sa.Column("pipeline_id", sa.BigInteger),
    sa.Column("status_id", sa.BigInteger),
    sa.Column("is_primary", sa.Boolean),
    sa.Index("ix_sent_clinic_uid_kind_source_id", "clinic_uid", "kind", "source_id"),
)

reject = sa.Table(
    "reject",
    metadata,
    sa.Column("clinic_uid", UID, primary_key=True),
    sa.Column("entity", KIND, primary_key=True),
    sa.Column("source_id", sa.BigInteger, primary_key=True),
    sa.Column("reason", CODE, primary_key=True),
    sa.Column("field", sa.String(255), nullable=False, default=""),
    sa.Column("data_hash", sa.BigInteger, nullable=False, default=0),
    sa.Column("first_seen", sa.Float, nullable=False),
    sa.Column("last_seen", sa.Float, nullable=False),
    sa.Column("released", sa.Boolean, nullable=False, default=False),
    sa.Column("held_by", sa.BigInteger),  # the row that is at fault, where this one only depends on it
)

#: What an analyst lets pass, with all that went before it: nothing is changed but its end, nothing removed.
waiver = sa.Table(
    "waiver",
    metadata,
    sa.Column("id", SERIAL, primary_key=True, autoincrement=True),
    sa.Column("clinic_uid", UID, nullable=False),
    sa.Column("entity", KIND, nullable=False),
    sa.Column("source_id", sa.BigInteger, nullable=False),  # 0: every row (NULLs would not be unique)
    sa.Column("reason", CODE, nullable=False),
    sa.Column("note", sa.String(200), nullable=False),
    sa.Column("waived_by", CODE, nullable=False),
    sa.Column("waived_at", sa.Float, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
    sa.Column("taken_at", sa.Float),  # when a run first judged its rows with it
    sa.Column("revoked_at", sa.Float),
    sa.Column("revoked_by", CODE),
    sa.Column("ended_at", sa.Float),  # when its rows were judged without it, or a later one took its place
    sa.Index(
        "uq_waiver_open",
        "clinic_uid",
        "entity",
        "source_id",
        "reason",
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    ),
)

#: What each rule of data quality said in each run; of a run that saw changes only, just what failed.
quality = sa.Table(
    "quality",
    metadata,
    sa.Column("run_id", RUN, primary_key=True),
    sa.Column("entity", KIND, primary_key=True),
    sa.Column("rule", CODE, primary_key=True),
    sa.Column("clinic_uid", UID, nullable=False),
    sa.Column("is_whole", sa.Boolean, nullable=False),
    sa.Column("checked", sa.BigInteger, nullable=False),
    sa.Column("failed", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("ix_quality_clinic_uid_at", "clinic_uid", "at"),
)

#: Whom a clinic never transfers again.
erasure = sa.Table(
    "erasure",
    metadata,
    sa.Column("clinic_uid", UID, primary_key=True),
    sa.Column("patient_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("asked_at", sa.Float, nullable=False),
    sa.Column("asked_by", CODE, nullable=False),
    sa.Column("finished_at", sa.Float),  # when the cards were cleared and all else removed
)

watermark = sa.Table(
    "watermark",
    metadata,
    sa.Column("clinic_uid", UID, primary_key=True),
    sa.Column("value", sa.JSON, nullable=False),
    sa.Column("moved_at", sa.Float, nullable=False),
)

lease = sa.Table(
    "lease",
    metadata,
    sa.Column("clinic_uid", UID, primary_key=True),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("token", sa.BigInteger, nullable=False),  # grows with every owner: a late one is recognised
    sa.Column("expires_at", sa.Float, nullable=False),  # seconds of the database's clock
)

#: Where workers on several machines share the pace of an account; the clock is the database's.
pace = sa.Table(
    "pace",
    metadata,
    sa.Column("integration", UID, primary_key=True),
    sa.Column("written_at", sa.Float, nullable=False),
    sa.Column("next_start", sa.Float, nullable=False),
    sa.Column("paused_until", sa.Float, nullable=False),
)

setting = sa.Table(
    "setting",
    metadata,
    sa.Column("scope", sa.String(64), primary_key=True),
    sa.Column("name", CODE, primary_key=True),
    sa.Column("value", sa.JSON, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
    sa.Column("changed_by", CODE, nullable=False),
)

setting_history = sa.Table(
    "setting_history",
    metadata,
    sa.Column("id", SERIAL, primary_key=True, autoincrement=True),
    sa.Column("scope", sa.String(64), nullable=False),
    sa.Column("name", CODE, nullable=False),
    sa.Column("value", sa.JSON, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
    sa.Column("changed_by", CODE, nullable=False),
    sa.Index("ix_setting_history_scope_name", "scope", "name"),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", SERIAL, primary_key=True, autoincrement=True),
    sa.Column("event", sa.String(128), nullable=False),
    sa.Column("resource", sa.String(128), nullable=False),
    sa.Column("level", KIND, nullable=False),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("occurred_at", sa.Float, nullable=False),
    sa.Column("emitted", sa.Boolean, nullable=False, default=False),
    sa.Index("ix_audit_occurred_at", "occurred_at"),
)

connection = sa.Table(
    "connection",
    metadata,
    sa.Column("clinic_uid", UID, primary_key=True),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("block_name", sa.String(128), nullable=False),
    sa.Column("timezone", CODE, nullable=False),
    sa.Column("fingerprint", sa.JSON, nullable=False),
    sa.Column("connected_at", sa.Float, nullable=False),
    sa.Column("removed_at", sa.Float),
)

run = sa.Table(
    "run",
    metadata,
    sa.Column("run_id", RUN, primary_key=True),
    sa.Column("clinic_uid", UID, nullable=False),
    sa.Column("mode", KIND, nullable=False),
    sa.Column("started_by", CODE, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("finished_at", sa.Float),
    sa.Column("state", KIND, nullable=False),
    sa.Column("counts", sa.JSON, nullable=False),
    sa.Index("ix_run_clinic_uid_started_at", "clinic_uid", "started_at"),
)

subscription = sa.Table(
    "subscription",
    metadata,
    sa.Column("id", SERIAL, primary_key=True, autoincrement=True),
    sa.Column("state", KIND, nullable=False),
    sa.Column("paid_users", sa.Integer, nullable=False),
    sa.Column("starts_at", sa.Float, nullable=False),
    sa.Column("ends_at", sa.Float, nullable=False),
    sa.Column("recorded_at", sa.Float, nullable=False),
)

invoice = sa.Table(
    "invoice",
    metadata,
    sa.Column("number", sa.String(16), primary_key=True),
    sa.Column("kind", KIND, nullable=False),
    sa.Column("months", sa.Integer, nullable=False),
    sa.Column("users", sa.Integer, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("starts_at", sa.Float, nullable=False),
    sa.Column("ends_at", sa.Float, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("request_id", CODE, nullable=False),
    sa.Column("provider", CODE, nullable=False),
    sa.Column("paid_at", sa.Float),
    sa.Index("uq_invoice_request_id", "request_id", unique=True),
)
