"""An installation whose clinic was transferred: what its runs are measured on.

The ledger is filled by the load itself, of which only amoCRM's answers are invented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any, Final, cast
from uuid import uuid4

import sqlalchemy as sa
from pydantic import BaseModel, SecretStr

from deployments.sandbox.clinic.generator import ClinicSpec, stream
from deployments.sandbox.clinic.schema import METADATA
from deployments.sandbox.clinic.store import write_sqlite
from tasks.amocrm.account import read_account
from tasks.amocrm.client import AmoClient
from tasks.amocrm.custom_fields import read_custom_fields
from tasks.amocrm.pacing import Pacer
from tasks.amocrm.pipelines import read_pipelines
from tasks.configure import _Account
from tasks.extract import read_changes
from tasks.ident.connection import IdentConnection, build_engine
from tasks.ident.reader import IdentReader
from tasks.ledger.hashing import FieldHasher
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.load import open_load, send_rows
from tasks.loading.ports import Destination
from tasks.mapping.autoconfigure import apply, propose
from tasks.mapping.catalogue import SPECIAL
from tasks.mapping.model import Mapping as CardMapping
from tasks.plan import build_plan
from tasks.records import Account, CustomField, Kind, Pipeline
from tasks.report import build_report
from tasks.settings import Settings
from tasks.validate import apply_expectations
from tasks.workspace import Workspace

__all__ = ["busy_clinic", "configure", "open_run", "transfer"]

UID: Final = "measured"
ACCOUNT: Final = "account.json"
TOKEN: Final = "measured"  # noqa: S105 - opens nothing
#: Nobody answers there: a run without changes asks nothing.
NOWHERE: Final = "http://127.0.0.1:9"
#: A run is measured, not the load before it: amoCRM takes no more in one request.
BATCH: Final = 250
#: A day of a clinic as the generator spreads it, and its quarters of an hour.
DAYS: Final = 210
QUARTERS: Final = 40
#: An appointment is booked, moved or confirmed, begun, ended and billed: so often it changes.
CHANGES: Final = 5


class _Configured(BaseModel):
    """What the gate reads of amoCRM, and when it is in the clinic: always the same moment, of a file."""

    account: Account
    pipelines: tuple[Pipeline, ...]
    contact_fields: tuple[CustomField, ...]
    mapping: CardMapping
    connection: dict[str, Any]
    present: datetime | None


def busy_clinic(spec: ClinicSpec, database: Path) -> datetime:
    """Write a clinic in which a quarter of an hour changed as much as in a busy one, and return its present.

    Every tick reads that quarter again: IDENT's stamps may be older than their commit.
    """
    write_sqlite(stream(spec), database)
    noon = datetime.combine(spec.today, datetime.min.time()) + timedelta(hours=12)
    # What the generator stamped last, at noon, is read no more.
    present = noon + timedelta(minutes=20)
    table = METADATA.tables["Receptions"]
    changed = max(1, CHANGES * spec.appointments // (DAYS * QUARTERS))
    next_ones = sa.select(table.c.ID).where(table.c.PlanStart >= noon).order_by(table.c.PlanStart)
    engine = sa.create_engine(f"sqlite:///{database}")
    with engine.begin() as connection:
        stamped = sa.update(table).where(table.c.ID.in_(next_ones.limit(changed)))
        connection.execute(stamped.values(DateTimeChanged=present - timedelta(minutes=5)))
    engine.dispose()
    return present


def configure(folder: Path, connection: Mapping[str, Any], present: datetime | None) -> None:
    """Set the transfer up in an empty account, and keep what the gate would read of it.

    Args:
        folder: The installation's.
        connection: How the clinic is reached.
        present: The moment of a clinic in a file; a server has a clock of its own.
    """
    from deployments.sandbox.amocrm.server import StandIn  # noqa: PLC0415 - no run that is measured has it

    settings = _settings(folder)
    with StandIn(token=TOKEN, limit=None, index_lag=0) as crm:
        client = AmoClient(crm.url, SecretStr(TOKEN), settings=settings, pacer=Pacer(1000.0))
        account = read_account(client)
        fields = [read_custom_fields(client, entity) for entity in ("contacts", "leads")]
        proposal = propose(account, read_pipelines(client), fields[0], fields[1], special=SPECIAL)
        mapping = apply(proposal, _Account(client))
        found = _Configured(
            account=account,
            pipelines=tuple(read_pipelines(client)),
            contact_fields=tuple(read_custom_fields(client, "contacts")),
            mapping=mapping,
            connection=dict(connection),
            present=present,
        )
        client.close()
    (folder / ACCOUNT).write_text(found.model_dump_json(), encoding="utf-8")


def _settings(folder: Path) -> Settings:
    settings = Settings(home=folder, batch_size=BATCH, workers=1)
    settings.prepare_home()
    return settings


def open_run(folder: Path, mode: str, *, url: str = NOWHERE) -> Workspace:
    """Open a run's working memory, as the gate does when it has asked amoCRM.

    Args:
        folder: The installation's.
        mode: ``incremental`` or ``full``.
        url: Where amoCRM answers.
    """
    settings = _settings(folder)
    found = _Configured.model_validate_json((folder / ACCOUNT).read_text(encoding="utf-8"))
    connection = IdentConnection.model_validate(found.connection)
    ledger = Ledger(settings.ledger_url).open()
    present = found.present
    engine = build_engine(connection, clock=None if present is None else lambda: present)
    reader = IdentReader(engine, connection)
    run_id = str(uuid4())
    record = ConnectionRecord(name=UID, clinic_uid=UID, block_name=UID, timezone=connection.timezone)
    if not ledger.connections():
        ledger.save_connection(record)
    ledger.start_run(run_id, UID, mode, by="measured")

    def release() -> None:
        reader.close()
        ledger.close()

    return Workspace(
        run_id=run_id,
        clinic=record,
        connection=connection,
        settings=settings,
        ledger=ledger,
        reader=reader,
        client=AmoClient(url, SecretStr(TOKEN), settings=settings, pacer=Pacer(1000.0)),
        hasher=FieldHasher(settings.installation_key(), UID),
        mode=mode,
        dry_run=False,
        guard=lambda: None,
        release=release,
        account=found.account,
        mapping=found.mapping,
        pipelines=found.pipelines,
        contact_fields=found.contact_fields,
        schema="measured",
    )


@dataclass(slots=True)
class _Obliging:
    """An amoCRM that takes what it is given."""

    ids: count[int]
    lock: Lock

    def highest_id(self, _kind: Kind) -> int:
        return 0

    def create(self, _kind: Kind, payloads: Sequence[dict[str, Any]]) -> dict[str, int]:
        with self.lock:
            return {payload["request_id"]: next(self.ids) for payload in payloads}


def transfer(folder: Path) -> dict[str, int]:
    """Transfer the whole clinic; returns how many contacts and deals amoCRM has then."""
    from deployments.sandbox.amocrm.server import StandIn  # noqa: PLC0415 - as above

    with StandIn(token=TOKEN, limit=None, index_lag=0) as crm:  # asked for what nobody has sent
        space = open_run(folder, "full", url=crm.url)
        read_changes(space)
        apply_expectations(space)
        space.verdicts.clear()
        build_plan(space)
        run = open_load(space)
        run.destination = cast("Destination", _Obliging(count(1), Lock()))
        send_rows(space, run, space.plan)
        space.ledger.finish_run(space.run_id, "completed", build_report(space).as_dict())
        told = {kind.value: space.ledger.applied_count(UID, kind) for kind in (Kind.CONTACT, Kind.LEAD)}
        space.ledger.database.fold()
        space.release()
    return told
