"""A whole installation without Prefect: a demo clinic in SQLite, the stand-in amoCRM, the steps of a run."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from pydantic import SecretStr

import expectations.gate
from deployments.demo import _rescheduled
from deployments.sandbox import compare
from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.simulate import simulate
from deployments.sandbox.clinic.store import SqliteStore, write_sqlite
from deployments.sandbox.compare import differences, sqlite_rows
from deployments.sandbox.proofs import Witness
from tasks import basis, blocks, configure, connections, events
from tasks.ahead import ahead_stopped, read_early, start_ahead
from tasks.amocrm.pacing import Pacer
from tasks.errors import NotConnectedError
from tasks.extract import read_changes
from tasks.fingerprints import remember_highest
from tasks.gate import pass_gate
from tasks.ident.connection import IdentConnection
from tasks.launch import LAUNCH, Launch
from tasks.ledger.store import Ledger
from tasks.load import apply_plan, recover_attempts
from tasks.mapping.catalogue import SPECIAL
from tasks.plan import build_plan
from tasks.rebaseline import refuse_unconfirmed, settle_baseline
from tasks.report import build_report
from tasks.settings import Settings, load_settings
from tasks.validate import apply_expectations
from tasks.workspace import Workspace, close_workspace
from tests.support import quick_gate
from tests.support.clinic_database import TIMEZONE, clinic_now

CLINIC = "clinic1"
TOKEN = "stand-in-token"


@dataclass
class SandboxInstallation:
    """One installation and both of its sides.

    Attributes:
        home: Folder of its state.
        database: The clinic's file.
        crm: The account.
        secrets: What Prefect's blocks would hold.
    """

    home: Path
    database: Path
    crm: StandIn
    secrets: dict[str, Any] = field(default_factory=dict)
    witness: Witness = field(init=False)
    memory: Any = None

    @property
    def settings(self) -> Settings:
        return load_settings()

    @property
    def ledger(self) -> Ledger:
        return connections.open_ledger(self.settings)

    @property
    def uid(self) -> str:
        return self.ledger.connection(CLINIC).clinic_uid

    def connection(self, database: Path | None = None) -> IdentConnection:
        return IdentConnection(driver="sqlite", database=str(database or self.database), timezone=TIMEZONE)

    def connect(self) -> None:
        """Connect both sides, configure the account, transfer all history."""
        record = connections.connect_database(CLINIC, self.connection(), self.ledger).record
        basis.attest(self.ledger, record, basis.Basis.CONSENT, by="test")
        connections.connect_amocrm(self.crm.url, SecretStr(TOKEN), self.ledger)
        configure.autoconfigure(self.ledger, self.settings, lambda _proposal: True, special=SPECIAL)
        self.launch()

    def launch(self) -> None:
        everything = Launch().model_dump(mode="json")
        self.ledger.put_setting(f"clinic:{self.uid}", LAUNCH, everything, by="test")

    def sync(self, mode: str = "incremental", *, dry_run: bool = False, rebaseline: bool = False) -> Any:
        """Run the steps of the flow in its order; returns the run's report."""
        run_id = str(uuid4())
        ledger = self.ledger
        if not dry_run:
            ledger.start_run(run_id, self.uid, mode, by="test")
        space = pass_gate(run_id, CLINIC, mode, dry_run=dry_run)
        try:
            self._steps(space, rebaseline=rebaseline)
            report = build_report(space)
            if not dry_run:
                ledger.finish_run(run_id, "completed", report.as_dict())
                remember_highest(space.clinic, space.reader, ledger)
            return report
        finally:
            close_workspace(run_id)

    @staticmethod
    def _steps(space: Workspace, *, rebaseline: bool) -> None:
        dry_run = space.dry_run
        read_early(space.run_id)
        if not dry_run:
            recover_attempts(space)
        space.rebaseline = rebaseline
        settle_baseline(space)
        with ahead_stopped(space.run_id):
            start_ahead(space)
            read_changes(space)
            apply_expectations(space)
            build_plan(space)
            refuse_unconfirmed(space)
            if not dry_run:
                apply_plan(space)

    def remember(self) -> None:
        """Keep both sides and all state as they are now, for ``recall``."""
        self.ledger.database.fold()
        self.close()
        shutil.copytree(self.home, self.home.with_name("kept-home"))
        shutil.copyfile(self.database, self.database.with_suffix(".kept"))
        witness = self.witness
        self.memory = copy.deepcopy(
            (self.crm.sandbox.state, witness.frozen, witness.rescheduled, dict(self.secrets))
        )

    def recall(self) -> None:
        """Put everything back to where ``remember`` saw it."""
        self.close()
        shutil.rmtree(self.home)
        shutil.copytree(self.home.with_name("kept-home"), self.home)
        shutil.copyfile(self.database.with_suffix(".kept"), self.database)
        state, frozen, moved, secrets = copy.deepcopy(self.memory)
        self.crm.sandbox.state = state
        self.witness.frozen, self.witness.rescheduled = frozen, moved
        self.secrets.clear()
        self.secrets.update(secrets)

    def hour(self, seed: int) -> None:
        """Let an hour pass in the clinic; the witness learns what was rescheduled."""
        before = self.witness.look()
        store = SqliteStore(self.database)
        try:
            simulate(store, "hour", clinic_now(), seed=seed)
        finally:
            store.close()
        self.witness.rescheduled |= _rescheduled(before, self.witness)

    # ---- what the tests do to it ---------------------------------------------------------------------

    def forget_ledger(self) -> None:
        """Lose the ledger's file, as a broken disk would."""
        self.close()
        for path in self.home.glob("ledger.db*"):
            path.unlink()

    def keep_ledger(self) -> Path:
        """Copy the ledger's file aside, as an administrator would."""
        self.ledger.database.fold()
        kept = self.home.parent / "kept.db"
        shutil.copyfile(self.home / "ledger.db", kept)
        return kept

    def put_ledger(self, kept: Path) -> None:
        """Copy it back by hand."""
        self.forget_ledger()
        shutil.copyfile(kept, self.home / "ledger.db")

    def close(self) -> None:
        self.ledger.close()
        connections._ledger.cache_clear()

    # ---- what the tests look at ----------------------------------------------------------------------

    def cards(self) -> dict[str, dict[int, dict[str, Any]]]:
        """Everything the account holds; when it was updated is left out."""
        dump = self.crm.admin("dump")
        return {
            kind: {
                row["id"]: {name: value for name, value in row.items() if name != "updated_at"}
                for row in dump[kind]
            }
            for kind in ("contacts", "leads")
        } | {"notes": {row["id"]: row["params"] for row in dump["notes"]}}

    def differences(self) -> list[str]:
        """What amoCRM holds otherwise than the clinic's database says."""
        view = self.witness.look()
        return [str(found) for found in differences(view.wanted, view.crm)]

    def writes(self) -> int:
        return int(self.crm.admin("stats")["writes"])


@contextmanager
def sandbox_installation(
    folder: Path,
    crm: StandIn,
    patch: pytest.MonkeyPatch,
    *,
    patients: int = 30,
    appointments: int = 90,
    has_suites: bool = False,
) -> Iterator[SandboxInstallation]:
    """Make an installation with a fresh clinic, connected to nothing yet.

    Only ``has_suites`` runs the suites: they are most of what a small run costs.
    """
    database = folder / "clinic.db"
    write_sqlite(
        generate(ClinicSpec(today=clinic_now().date(), patients=patients, appointments=appointments)),
        database,
    )
    found = SandboxInstallation(folder / "home", database, crm)
    patch.setenv("IDENT_AMOCRM_HOME", str(found.home))
    patch.setattr(connections, "Pacer", lambda _rate, _path: Pacer(1000.0))
    patch.setattr(compare, "PAUSE", 0)
    patch.setattr(events, "emit_event", lambda **_parts: None)
    if not has_suites:
        patch.setattr(expectations.gate, "validate", quick_gate.judge)
    _hold_secrets(found.secrets, patch)
    load_settings.cache_clear()
    connections._ledger.cache_clear()
    found.witness = Witness(
        rows=sqlite_rows(database), base_url=crm.url, token=TOKEN, writes=found.writes, timezone=TIMEZONE
    )
    try:
        yield found
    finally:
        found.close()
        load_settings.cache_clear()


def _hold_secrets(secrets: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
    """Keep what blocks keep in memory: a Prefect server takes longer to start than these tests."""

    def load_database(clinic: str) -> IdentConnection:
        try:
            return cast("IdentConnection", secrets[clinic])
        except KeyError:
            raise NotConnectedError(problem=clinic, remedy="", code="block_missing") from None

    def save_account(account: blocks.AmoCrmAccount) -> None:
        secrets["account"] = account

    patch.setattr(blocks, "save_database", secrets.__setitem__)
    patch.setattr(blocks, "load_database", load_database)
    patch.setattr(blocks, "delete_database", secrets.pop)
    patch.setattr(blocks, "save_account", save_account)
    patch.setattr(blocks, "load_account", lambda: secrets["account"])
