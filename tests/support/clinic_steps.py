"""A sandbox clinic and a stand-in amoCRM, run through the steps without Prefect: seconds instead of minutes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import requests
from pydantic import SecretStr

import expectations.gate
from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.store import write_sqlite
from tasks import basis, events, gate, reconcile, validate
from tasks.amocrm.account import read_account
from tasks.amocrm.client import AmoClient
from tasks.amocrm.custom_fields import read_custom_fields
from tasks.amocrm.pacing import Pacer
from tasks.amocrm.pipelines import read_pipelines
from tasks.configure import _Account
from tasks.extract import read_changes
from tasks.ident.connection import IdentConnection, build_engine
from tasks.ident.reader import IdentReader
from tasks.launch import LAUNCH, Launch
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.load import apply_plan, recover_attempts
from tasks.mapping.autoconfigure import apply, propose
from tasks.mapping.catalogue import SPECIAL
from tasks.mapping.model import Mapping as CardMapping
from tasks.plan import build_cards, build_plan
from tasks.reconcile_report import ReconcileReport, build_reconcile_report, reconcile_markdown
from tasks.records import Kind
from tasks.report import SyncReport, build_report
from tasks.settings import Settings
from tasks.workspace import Workspace, close_workspace
from tests.support import quick_gate

TIMEZONE = "Europe/Moscow"
TOKEN = "sandbox-token"
CLINIC, UID = "clinic1", "clinicuid1"
ENTITIES = {Kind.CONTACT: "contacts", Kind.LEAD: "leads"}


@dataclass
class ClinicSteps:
    """One clinic, its account and its ledger."""

    folder: Path
    crm: StandIn
    ledger: Ledger
    settings: Settings
    connection: IdentConnection
    today: datetime
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    # ---- running ---------------------------------------------------------------------------------------

    def client(self) -> AmoClient:
        """A client that does not wait: the stand-in has no limit here."""
        return AmoClient(self.crm.url, SecretStr(TOKEN), settings=self.settings, pacer=Pacer(1000.0))

    def reader(self) -> IdentReader:
        return IdentReader(build_engine(self.connection), self.connection)

    def configure(self) -> None:
        client = self.client()
        account = read_account(client)
        contact_fields = read_custom_fields(client, "contacts")
        lead_fields = read_custom_fields(client, "leads")
        proposal = propose(account, read_pipelines(client), contact_fields, lead_fields, special=SPECIAL)
        self.save_mapping(apply(proposal, _Account(client)))
        self.ledger.put_setting("installation", "amocrm", {"account_id": account.id}, by="test")
        client.close()

    @property
    def mapping(self) -> CardMapping:
        known = self.ledger.setting("installation", "amocrm") or {}
        return gate.load_mapping(self.ledger, int(known["account_id"]))

    def save_mapping(self, mapping: CardMapping) -> None:
        stored = mapping.model_dump(mode="json")
        self.ledger.put_setting(f"account:{mapping.account_id}", gate.MAPPING, stored, by="test")

    @contextmanager
    def _read(self, mode: str, *, dry_run: bool) -> Iterator[Workspace]:
        run_id = f"run{next(self.numbers)}"
        if mode == "reconcile":
            space = reconcile.wait_for_gate(run_id, CLINIC, dry_run=dry_run)
        else:
            space = gate.pass_gate(run_id, CLINIC, mode, dry_run=dry_run)
        try:
            if not dry_run:
                self.ledger.start_run(run_id, UID, mode, by="test")
                recover_attempts(space)
            read_changes(space)
            validate.apply_expectations(space)
            yield space
        finally:
            close_workspace(run_id)

    def sync(self, mode: str = "incremental") -> SyncReport:
        with self._read(mode, dry_run=False) as space:
            build_plan(space)
            apply_plan(space)
            return build_report(space)

    def dry_run(self, mode: str = "incremental") -> SyncReport:
        with self._read(mode, dry_run=True) as space:
            build_plan(space)
            return build_report(space)

    def row_hash(self, kind: Kind, key: int) -> int:
        """Return the hash of a card as IDENT has it now."""
        with self._read("full", dry_run=True) as space:
            build_cards(space)
            return space.cards[kind].row_hash(key)

    def reconcile(self, *, dry_run: bool = False) -> Reconciled:
        with self._read("reconcile", dry_run=dry_run) as space:
            reconcile.compare_sides(space)
            if not dry_run:
                reconcile.apply_repairs(space)
                build_plan(space)
                apply_plan(space)
            report = build_reconcile_report(space)
            return Reconciled(report, reconcile_markdown(report, self.crm.url, {}))

    # ---- looking and changing --------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        found: dict[str, Any] = self.crm.admin("dump")
        return found

    def amo_id(self, kind: Kind, key: int) -> int:
        return self.ledger.applied_rows(UID, kind, [key])[key].amo_id

    def entity(self, kind: Kind, amo_id: int) -> dict[str, Any]:
        rows: list[dict[str, Any]] = self.dump()[ENTITIES[kind]]
        return next(row for row in rows if row["id"] == amo_id)

    def value(self, kind: Kind, amo_id: int, field_id: int) -> Any:
        for item in self.entity(kind, amo_id)["custom_fields_values"] or ():
            if item["field_id"] == field_id:
                return item["values"][0]["value"]
        return None

    def field_id(self, kind: Kind, datum: str) -> int:
        rules = self.mapping.contact if kind is Kind.CONTACT else self.mapping.lead
        found = next(rule.field_id for rule in rules if rule.datum == datum)
        assert found is not None
        return found

    def external_field(self, kind: Kind) -> int:
        mapping = self.mapping
        return mapping.contact_external_field if kind is Kind.CONTACT else mapping.lead_external_field

    def edit(self, kind: Kind, amo_id: int, **changes: Any) -> None:
        self.crm.admin("edit", {"entity": ENTITIES[kind], "id": amo_id, "changes": changes})

    def delete(self, kind: Kind, amo_id: int) -> None:
        self.crm.admin("delete", {"entity": ENTITIES[kind], "id": amo_id})

    def call(self, method: str, path: str, body: object) -> Any:
        answer = requests.request(
            method,
            f"{self.crm.url}/api/v4/{path}",
            json=body,
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=30,
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def ident(self, statement: str, *values: Any) -> None:
        """Change the clinic's database."""
        with sqlite3.connect(self.folder / "clinic.db") as database:
            database.execute(statement, values)
        database.close()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Read the clinic's database."""
        database = sqlite3.connect(self.folder / "clinic.db")
        found = database.execute(query).fetchall()
        database.close()
        return found


@dataclass(frozen=True)
class Reconciled:
    """What a reconciliation told."""

    report: ReconcileReport
    artifact: str

    @property
    def found(self) -> dict[tuple[str, str], list[int]]:
        """Source ids by difference and entity."""
        return {
            (line.mismatch, line.entity): sorted(row["source_id"] for row in line.rows)
            for line in self.report.differences
        }

    def ours(self) -> dict[tuple[str, str], list[int]]:
        """Those that the run is to repair."""
        lines = [line for line in self.report.differences if line.handling == "repair"]
        return {
            key: ids
            for key, ids in self.found.items()
            if key in {(one.mismatch, one.entity) for one in lines}
        }


@contextmanager
def clinic_steps(
    folder: Path, patch: Any, *, appointments: int = 60, has_suites: bool = False
) -> Iterator[ClinicSteps]:
    """Open a clinic of 30 days' history with a configured, empty account.

    Only ``has_suites`` runs the suites: they are most of what a small run costs.
    """
    today = datetime.now(tz=ZoneInfo(TIMEZONE))
    write_sqlite(generate(ClinicSpec(appointments=appointments, today=today.date())), folder / "clinic.db")
    settings = Settings(home=folder / "home")
    settings.prepare_home()
    connection = IdentConnection(driver="sqlite", database=str(folder / "clinic.db"), timezone=TIMEZONE)
    ledger = Ledger(settings.ledger_url).open()
    record = ConnectionRecord(name=CLINIC, clinic_uid=UID, block_name="b", timezone=TIMEZONE)
    ledger.save_connection(record)
    launch = Launch(from_day=today.date() - timedelta(days=30))
    ledger.put_setting(f"clinic:{UID}", LAUNCH, launch.model_dump(mode="json"), by="test")
    with StandIn(token=TOKEN, limit=None, index_lag=0) as crm:
        steps = ClinicSteps(folder, crm, ledger, settings, connection, today)
        patch.setattr(gate, "load_settings", lambda: settings)
        patch.setattr(gate, "open_ledger", lambda _settings: ledger)
        patch.setattr(gate, "open_source", lambda _record, _settings: (connection, steps.reader()))
        patch.setattr(gate, "open_destination", lambda _ledger, _settings: steps.client())
        patch.setattr(events, "emit_event", lambda **_parts: None)
        basis.attest(ledger, record, basis.Basis.CONSENT, by="test")
        if not has_suites:
            patch.setattr(expectations.gate, "validate", quick_gate.judge)
        steps.configure()
        yield steps
    ledger.close()
