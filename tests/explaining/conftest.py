"""A demo clinic and a stand-in amoCRM, taken through one state of the transfer after another."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from prefect.client.orchestration import get_client
from pydantic import SecretStr
from typer.testing import CliRunner, Result

import expectations.gate
from deployments.cli import explain as command
from deployments.cli.main import app
from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.clinic.candidates import Candidate, Candidates
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.rows import Row
from deployments.sandbox.clinic.store import SqliteStore, write_sqlite
from flows.explain import Question
from flows.explain import explain as explain_flow
from flows.sync import sync
from tasks.amocrm.contacts import create_contacts
from tasks.basis import Basis, attest
from tasks.configure import autoconfigure
from tasks.connections import connect_amocrm, connect_database, open_destination, open_ledger
from tasks.errors import IdentAmocrmError
from tasks.explain import explain_row, story_markdown
from tasks.explaining.story import Story
from tasks.frames import Entity
from tasks.ident.connection import IdentConnection
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.mapping.catalogue import SPECIAL
from tasks.settings import load_settings
from tasks.transfer import start_transfer, stop_transfer
from tests.support import quick_gate
from tests.support.migrated import copy_migrated

TIMEZONE = "Europe/Moscow"
CLINIC = "north"
TOKEN = "explain-token"
NAMELESS = {"Surname": None, "Name": None, "Patronymic": None}


@dataclass
class Scene:
    """One clinic, one account, and what was told about rows on the way."""

    folder: Path
    crm: StandIn
    ledger: Ledger
    store: SqliteStore
    record: ConnectionRecord
    candidates: Candidates
    stories: dict[str, Story] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)

    def tell(self, name: str, entity: Entity, source_id: int) -> Story:
        """Ask about a row, and keep all that is shown of the answer."""
        story = explain_row(self.ledger, None, entity, source_id)
        self.stories[name] = story
        self.ids[name] = source_id
        self.outputs[f"{name}: json"] = json.dumps(story.as_dict(), ensure_ascii=False)
        self.outputs[f"{name}: markdown"] = story_markdown(story)
        return story

    def patient(self, name: str, source_id: int) -> Story:
        return self.tell(name, Entity.PATIENT, source_id)

    def appointment(self, name: str, source_id: int) -> Story:
        return self.tell(name, Entity.APPOINTMENT, source_id)

    def sync(self, name: str = "", **options: Any) -> None:
        """Run the main job; an error that stops it is kept."""
        try:
            sync(CLINIC, **options)
        except IdentAmocrmError as error:
            self.errors[name] = error.code

    def touch(self, table: str, key: Row, values: Row) -> None:
        self.store.update(table, key, values | {"DateTimeChanged": now()})

    def newcomer(self, like: int, phone: str) -> int:
        """Register a patient who is like another one but for the phone."""
        person = self.store.rows("Persons", ID=like)[0]
        card = self.store.rows("Patients", ID_Persons=like)[0]
        stamp = {"DateTimeChanged": now()}
        key = self.store.insert("Persons", person | {"ID": None, "MobilePhone": phone} | stamp)
        self.store.insert("Patients", card | {"ID_Persons": key} | stamp)
        return key

    def book(self, like: Row, **values: Any) -> int:
        """Add an appointment that is like another one but for some columns."""
        unlike = {"ID": None, "ID_ReceptionsTransferFrom": None, "DateTimeChanged": now()}
        return self.store.insert("Receptions", like | unlike | values)

    def fault(self, **described: Any) -> None:
        self.crm.admin("faults", described)

    def run(self, *arguments: str) -> Result:
        """Run the command as an operator would."""
        done = CliRunner().invoke(app, ["explain", *arguments], env={"COLUMNS": "200"})
        self.outputs[" ".join(arguments)] = done.output
        return done


def now() -> datetime:
    return datetime.now(tz=ZoneInfo(TIMEZONE)).replace(tzinfo=None, microsecond=0)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    from prefect.testing import utilities  # it loads all of Prefect's server

    folder = tmp_path_factory.mktemp("explain")
    prefect = tmp_path_factory.mktemp("prefect")
    copy_migrated(prefect / "prefect-test.db")
    with pytest.MonkeyPatch.context() as patch, StandIn(token=TOKEN, limit=None, index_lag=0) as crm:
        patch.setattr(utilities, "mkdtemp", lambda: str(prefect))  # where the harness has its database
        patch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
        patch.setenv("IDENT_AMOCRM_HOME", str(folder / "home"))
        patch.setenv("IDENT_AMOCRM_REQUESTS_PER_SECOND", "7")
        patch.setenv("IDENT_AMOCRM_RETRY_SECONDS", "0")
        patch.setattr(expectations.gate, "validate", quick_gate.judge)
        load_settings.cache_clear()
        with utilities.prefect_test_harness(server_startup_timeout=120):
            yield from _opened(folder, crm, patch)
        load_settings.cache_clear()


def _opened(folder: Path, crm: StandIn, patch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Connect the clinic and the account, and configure them."""
    database = folder / "clinic.db"
    write_sqlite(generate(ClinicSpec(today=now().date(), appointments=120, patients=60)), database)
    ledger = open_ledger()
    patch.setattr(command, "open_session", lambda: ledger)
    store = SqliteStore(database)
    connection = IdentConnection(driver="sqlite", database=str(database), timezone=TIMEZONE)
    record = connect_database(CLINIC, connection, ledger).record
    attest(ledger, record, Basis.CONSENT, by="test")
    connect_amocrm(crm.url, SecretStr(TOKEN), ledger)
    autoconfigure(ledger, load_settings(), lambda _proposal: True, special=SPECIAL)
    tomorrow = datetime.combine(now().date(), time()) + timedelta(days=1)
    candidates = Candidates(store, tomorrow, random.Random(1))
    try:
        yield Scene(folder, crm, ledger, store, record, candidates)
    finally:
        store.close()


def delete_appointment(scene: Scene, key: int) -> None:
    """Delete a reception, as only the vendor's tools can."""
    with closing(sqlite3.connect(scene.folder / "clinic.db")) as link, link:
        link.execute("UPDATE CurrentTimeTable SET ID_Receptions = NULL WHERE ID_Receptions = ?", (key,))
        link.execute("DELETE FROM Receptions WHERE ID = ?", (key,))


def before_the_first_run(scene: Scene) -> Candidate:
    """Ask before anything was started, then prepare rows that cannot pass."""
    plain = scene.candidates.any()
    scene.appointment("never started", plain.reception["ID"])
    broken = scene.candidates.any()
    scene.touch("Persons", {"ID": broken.patient}, NAMELESS)
    scene.ids |= {"broken patient": broken.patient, "visit of broken": broken.reception["ID"]}
    chained = scene.candidates.any().reception
    backwards = {"PlanStart": chained["PlanStart"], "PlanEnd": chained["PlanStart"] - timedelta(hours=1)}
    late = scene.book(chained, ID_ReceptionsTransferFrom=chained["ID"], **backwards)
    scene.ids |= {"chained": chained["ID"], "late": late}
    scene.ids["slot"] = scene.book(chained, ID_Patients=None)
    old = min(scene.store.rows("Receptions"), key=lambda row: row["PlanStart"])
    scene.ids["old"] = scene.book(chained, PlanStart=old["PlanStart"], PlanEnd=old["PlanEnd"])
    return plain


def after_the_first_run(scene: Scene, plain: Candidate) -> None:
    start_transfer(scene.ledger, scene.record, now().date(), history_days=0, by="test")
    scene.sync()
    scene.appointment("transferred appointment", plain.reception["ID"])
    scene.patient("transferred patient", plain.patient)
    scene.patient("kept back", scene.ids["broken patient"])
    scene.appointment("patient kept back", scene.ids["visit of broken"])
    scene.appointment("chain held back", scene.ids["chained"])
    scene.appointment("holder of the chain", scene.ids["late"])
    scene.appointment("slot", scene.ids["slot"])
    scene.appointment("outside the window", scene.ids["old"])
    scene.patient("unknown", 999_999)


def trouble_with_amocrm(scene: Scene, plain: Candidate) -> None:
    scene.touch("Persons", {"ID": plain.patient}, {"City": "Тверь"})
    scene.patient("changed", plain.patient)
    scene.fault(mode="status", status=400, method="PATCH", path_prefix="/api/v4/contacts")
    scene.sync()
    scene.patient("refused", plain.patient)
    lost = scene.newcomer(plain.patient, "8-926-000-11-22")
    visit = scene.book(plain.reception, ID_Patients=lost)
    scene.appointment("not read yet", visit)
    scene.fault(mode="drop_after", method="POST", path_prefix="/api/v4/contacts")
    scene.sync()
    scene.patient("answer lost", lost)
    scene.appointment("waits for its patient", visit)
    scene.sync()
    scene.patient("found again", lost)
    moved = scene.candidates.any()
    scene.ids |= {"moved": moved.reception["ID"], "root of moved": moved.root}
    gone = scene.stories["found again"].facts.applied
    assert gone is not None
    scene.crm.admin("delete", {"entity": "contacts", "id": gone.amo_id})
    scene.patient("deleted by hand", lost)
    scene.touch("Persons", {"ID": lost}, {"City": "Клин"})
    scene.sync()
    scene.patient("deleted by hand, parked", lost)


def merged_by_hand(scene: Scene, plain: Candidate) -> None:
    """A manager merges our contact into one of his own; the mark moves along."""
    ours = scene.stories["transferred patient"].facts.amo_id
    client = open_destination(scene.ledger, load_settings())
    survivor = create_contacts(client, [{"name": "Контакт менеджера", "request_id": "1"}])["1"]
    client.close()
    scene.crm.admin("merge", {"id": survivor, "duplicates": [ours]})
    scene.ids["survivor"] = survivor
    scene.patient("merged by hand", plain.patient)


def everything_else(scene: Scene) -> None:
    vanished = scene.candidates.any().reception["ID"]
    delete_appointment(scene, vanished)
    scene.appointment("gone", vanished)
    row = scene.store.rows("Receptions", ID=scene.ids["moved"])[0]
    later = {"PlanStart": row["PlanStart"] + timedelta(days=1), "PlanEnd": row["PlanEnd"] + timedelta(days=1)}
    scene.ids["successor"] = scene.book(row, ID_ReceptionsTransferFrom=row["ID"], **later)
    scene.sync()
    scene.appointment("rescheduled", row["ID"])
    scene.appointment("successor", scene.ids["successor"])
    stop_transfer(scene.ledger, scene.record, by="test")
    fresh = scene.newcomer(row["ID_Patients"], "8-926-000-33-44")
    scene.patient("stopped", fresh)
    start_transfer(scene.ledger, scene.record, now().date(), history_days=0, by="test")
    scene.crm.admin("settings", {"paid": False})
    scene.sync("unpaid")
    scene.patient("runs fail", fresh)
    scene.appointment("amoCRM away", row["ID"])
    scene.crm.admin("settings", {"paid": True})


def commands_and_forms(scene: Scene, plain: Candidate) -> None:
    visit = str(plain.reception["ID"])
    scene.run("appointment", visit)
    scene.run("appointment", visit, "--output", "json")
    scene.run("patient", str(scene.ids["broken patient"]), "--clinic", CLINIC, "--output", "json")
    scene.run("patient", "999999")
    state = explain_flow(Question(what="приём", number=int(visit)), return_state=True)
    scene.outputs["state"] = state.message or ""
    with get_client(sync_client=True) as client:
        found = [one for one in client.read_artifacts() if (one.key or "").startswith("explain-")]
    scene.outputs["artifact"] = "\n".join(str(one.data) for one in found)
    scene.outputs["artifact keys"] = "\n".join(f"{one.key} {one.description}" for one in found)


def with_the_database_away(scene: Scene, plain: Candidate) -> None:
    (scene.folder / "clinic.db").rename(scene.folder / "elsewhere.db")
    scene.appointment("IDENT away", plain.reception["ID"])
    scene.patient("IDENT away, kept back", scene.ids["broken patient"])
    scene.patient("IDENT away, unknown", 999_999)
    (scene.folder / "elsewhere.db").rename(scene.folder / "clinic.db")


@pytest.fixture(scope="module")
def told(scene: Scene) -> Scene:
    """Play the whole story once."""
    plain = before_the_first_run(scene)
    scene.ids["plain"] = plain.reception["ID"]
    acts: tuple[Callable[[Scene, Candidate], None], ...] = (
        after_the_first_run,
        trouble_with_amocrm,
        lambda scene, _plain: everything_else(scene),
        commands_and_forms,
        merged_by_hand,
        with_the_database_away,
    )
    for act in acts:
        act(scene, plain)
    return scene
