"""A person who asked for it is gone from amoCRM and from here, and nothing brings them back."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from deployments.cli.main import app
from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.compare import sqlite_rows
from tasks import backup, erasing, erasure, lease, mappings
from tasks.amocrm.requester import Requester
from tasks.errors import AuthenticationError, ConfigurationError
from tasks.ledger.database import Database
from tasks.ledger.store import Ledger
from tasks.ledger.tables import metadata
from tasks.mapping.erasing import CLEARED
from tasks.records import Action, Batch, Kind
from tests.support.amocrm_caller import Caller
from tests.support.sandbox_installation import CLINIC, TOKEN, SandboxInstallation, sandbox_installation


@dataclass
class Person:
    """A patient of the clinic who has deals, one of them moved to another time."""

    place: SandboxInstallation
    patient_id: int
    contact: int
    deals: list[int]

    @property
    def mark(self) -> str:
        return f"IDENT-{self.place.uid}-P-{self.patient_id}"

    def values(self) -> set[str]:
        """What tells who it is, or what they came for, as IDENT has it."""
        rows = sqlite_rows(self.place.database)
        person = next(row for row in rows("Persons") if row["ID"] == self.patient_id)
        patient = next(row for row in rows("Patients") if row["ID_Persons"] == self.patient_id)
        texts = [person[name] for name in ("Surname", "Name", "Patronymic", "Email", "City")]
        texts += [patient["Comment"], patient["CardNumber"], patient["ParentSNP"]]
        texts += [row["Comment"] for row in rows("Receptions") if row["ID_Patients"] == self.patient_id]
        digits = "".join(one for one in str(person["MobilePhone"]) if one.isdigit())[-10:]
        return {str(text) for text in texts if text} | {digits}

    def cards(self) -> str:
        """Everything that the account holds of the person's cards, as text."""
        dump = self.place.crm.admin("dump")
        contact = [row for row in dump["contacts"] if row["id"] == self.contact]
        deals = [row for row in dump["leads"] if row["id"] in self.deals]
        notes = [row for row in dump["notes"] if row["entity_id"] in self.deals]
        return json.dumps([contact, deals, notes], ensure_ascii=False)


@pytest.fixture(scope="module")
def transferred(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxInstallation]:
    folder = tmp_path_factory.mktemp("erasing")
    with (
        pytest.MonkeyPatch.context() as patch,
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        sandbox_installation(folder, crm, patch, patients=8, appointments=30) as found,
    ):
        found.connect()
        found.sync()
        move_a_visit(found.database)
        found.sync("full")
        found.remember()
        yield found


@pytest.fixture
def person(transferred: SandboxInstallation) -> Person:
    transferred.recall()
    return chosen(transferred)


def move_a_visit(database: Path) -> None:
    """Give a planned visit another time, so that its deal gets a note."""
    with closing(sqlite3.connect(database)) as link, link:
        key, start, end = link.execute(
            "SELECT ID, PlanStart, PlanEnd FROM Receptions WHERE PlanStart > datetime('now', '+2 day') "
            "AND ReceptionCanceled IS NULL AND ID_Patients IS NOT NULL AND ID_ReceptionsTransferFrom IS NULL "
            "AND ID NOT IN (SELECT ID_ReceptionsTransferFrom FROM Receptions "
            "WHERE ID_ReceptionsTransferFrom IS NOT NULL) ORDER BY ID"
        ).fetchone()
        later = [str(datetime.fromisoformat(text) + timedelta(days=9)) for text in (start, end)]
        link.execute("UPDATE Receptions SET PlanStart = ?, PlanEnd = ? WHERE ID = ?", (*later, key))


def chosen(place: SandboxInstallation) -> Person:
    (note,) = [row for row in place.crm.admin("dump")["notes"] if "перенесён" in row["params"]["text"]]
    links = place.ledger.applied_index(place.uid, Kind.LINK)
    leads = place.ledger.applied_index(place.uid, Kind.LEAD)
    amo = dict(zip(leads.source_ids.tolist(), leads.amo_ids.tolist(), strict=True))
    contact_of = dict(zip(links.source_ids.tolist(), links.amo_ids.tolist(), strict=True))
    root = next(key for key, lead in amo.items() if lead == note["entity_id"])
    contacts = place.ledger.applied_index(place.uid, Kind.CONTACT)
    ids = dict(zip(contacts.amo_ids.tolist(), contacts.source_ids.tolist(), strict=True))
    contact = contact_of[root]
    return Person(place, ids[contact], contact, [amo[key] for key, of in contact_of.items() if of == contact])


def erase(person: Person) -> Any:
    place = person.place
    record = erasure.any_clinic(place.ledger, CLINIC)
    return erasure.erase(place.ledger, place.settings, record, [person.patient_id], by="Юрист")


def rows_of(person: Person) -> dict[str, int]:
    """Rows of the ledger that are about the person or their deals, by table."""
    ledger, uid = person.place.ledger, person.place.uid
    visits = {
        row["ID"]
        for row in sqlite_rows(person.place.database)("Receptions")
        if row["ID_Patients"] == person.patient_id
    }
    found: dict[str, int] = {}
    with ledger.database.read() as link:
        for table in metadata.sorted_tables:
            if "source_id" not in table.c:
                continue
            kind = table.c.kind if "kind" in table.c else table.c.entity
            contact = kind.in_(["contact", "patient"]) & (table.c.source_id == person.patient_id)
            deal = kind.not_in(["contact", "patient"]) & table.c.source_id.in_(visits)
            query = (
                sa.select(sa.func.count()).select_from(table).where(table.c.clinic_uid == uid, contact | deal)
            )
            found[table.name] = int(link.execute(query).scalar_one())
    return {name: count for name, count in found.items() if count}


def stays_away(person: Person) -> None:
    """Let every way run that sends or adopts somebody; the person is in none of them."""
    place = person.place
    place.ledger.move_watermark(place.uid, {})
    report = place.sync("full")
    assert sum(report.planned["contacts"].values()) + sum(report.planned["leads"].values()) == 0, (
        report.planned
    )
    assert person.mark not in json.dumps(place.crm.admin("dump"), ensure_ascii=False)
    assert rows_of(person) == {}


def test_the_person_is_gone_and_does_not_come_back(person: Person) -> None:
    place, values = person.place, person.values()
    assert len(values) >= 5
    before = person.cards()
    assert person.mark in before
    assert "перенесён" in before
    assert sum(value in before for value in values) >= 3
    others = place.cards()
    done = erase(person)
    (one,) = done.patients
    assert done.finished
    assert (one.contacts, set(one.deals), one.notes) == ((person.contact,), set(person.deals), 1)
    assert one.left == {}
    after = person.cards()
    assert [value for value in values if value in after] == []
    assert "IDENT" not in after, "neither mark nor tag nor the note's sign"
    assert after.count(CLEARED) == 2 + len(person.deals) + 1, "name and first name, deals, the note"
    now = place.cards()
    mine = {"contacts": {person.contact}, "leads": {*person.deals}}
    for kind, ids in mine.items():
        assert {key: row for key, row in now[kind].items() if key not in ids} == {
            key: row for key, row in others[kind].items() if key not in ids
        }, "nobody else is touched"
    assert rows_of(person) == {}
    stays_away(person)
    # A change of the person in IDENT, and a new visit, are not news either.
    with closing(sqlite3.connect(place.database)) as link, link:
        link.execute("UPDATE Persons SET Surname = 'Новая' WHERE ID = ?", (person.patient_id,))
    stays_away(person)
    assert "Новая" not in json.dumps(place.crm.admin("dump"), ensure_ascii=False)


def test_only_counts_are_told_and_no_value_stands_in_any_file(person: Person) -> None:
    place = person.place
    values = {value for value in person.values() if len(value) > 5}
    place.ledger.database.fold()
    erase(person)
    (event,) = place.ledger.audit(event_prefix="ident-amocrm.subject.")
    assert event.payload == {"contacts": 1, "deals": len(person.deals), "notes": 1, "left": 0}
    place.ledger.database.fold()
    files = [path.read_bytes() for path in place.home.rglob("*") if path.is_file()]
    assert len(files) > 2
    hits = [value for value in values for content in files if value.encode() in content]
    assert hits == []


def test_what_a_manager_typed_stays_and_is_listed(person: Person) -> None:
    state = person.place.crm.sandbox.state
    own = state.add_field("contacts", "Любимый цвет", "text", None)
    contact = state.records["contacts"][person.contact]
    phones = next(key for key, one in state.fields["contacts"].items() if one.code == "PHONE")
    contact.values[own.id] = [{"value": "синий"}]
    contact.values[phones].append({"value": "+79990001122", "enum_id": contact.values[phones][0]["enum_id"]})
    state.records["leads"][person.deals[0]].name = "Звонок от Ивана"
    (one,) = erase(person).patients
    assert one.finished
    assert contact.values[own.id] == [{"value": "синий"}]
    assert [item["value"] for item in contact.values[phones]] == ["+79990001122"]
    assert state.records["leads"][person.deals[0]].name == "Звонок от Ивана"
    assert set(one.left[f"deal {person.deals[0]}"]) == {"name"}
    assert set(one.left[f"contact {person.contact}"]) == {"phone_mobile", "phone_other"}


def test_a_dry_run_writes_nothing_and_needs_no_turn(person: Person) -> None:
    place = person.place
    before = place.writes()
    record = place.ledger.connection(CLINIC)
    token = place.ledger.acquire_lease(place.uid, "another", 60)
    (one,) = erasure.rehearse(place.ledger, place.settings, record, [person.patient_id]).patients
    place.ledger.release_lease(place.uid, token)
    assert (one.contacts, set(one.deals), one.notes, one.finished) == (
        (person.contact,),
        set(person.deals),
        1,
        False,
    )
    assert place.writes() == before
    assert place.ledger.erasures() == []
    with pytest.raises(ConfigurationError):
        erasure.erase(place.ledger, place.settings, record, [person.patient_id], by="")
    assert place.ledger.erasures() == []


def test_who_was_never_sent_is_never_sent(person: Person) -> None:
    """A patient who did not agree is taken out before anything is sent."""
    place = person.place
    with closing(sqlite3.connect(place.database)) as link, link:
        link.execute(
            "INSERT INTO Persons (ID, Surname, Name, MobilePhone) VALUES (9001, 'Несогласный', 'Пётр', '89161234567')"
        )
        link.execute("INSERT INTO Patients (ID_Persons) VALUES (9001)")
    record = place.ledger.connection(CLINIC)
    done = erasure.erase(place.ledger, place.settings, record, [9001], by="Юрист")
    assert done.finished
    place.sync("full")
    assert "Несогласный" not in json.dumps(place.crm.admin("dump"), ensure_ascii=False)
    assert erasure.lift(place.ledger, record, [9001, 9002], by="Юрист") == [9001]
    place.sync()
    assert "Несогласный" in json.dumps(place.crm.admin("dump"), ensure_ascii=False)


def test_a_backup_from_before_does_not_bring_them_back(person: Person, tmp_path: Path) -> None:
    place = person.place
    file = tmp_path / "before.zip"
    backup.take_backup(place.settings, place.ledger, file, with_key=False, force=False)
    erase(person)
    place.close()
    backup.restore(place.settings, file)
    assert place.ledger.erased(place.uid) == {person.patient_id}
    assert rows_of(person) != {}, "the backup knew them"
    place.sync("full", rebaseline=True)
    assert rows_of(person) == {}
    assert [one.finished_at is None for one in place.ledger.erasures()] == [False]
    assert [value for value in person.values() if value in person.cards()] == []


def test_while_ident_is_silent_it_stays_open_and_the_next_run_ends_it(person: Person) -> None:
    place = person.place
    away = place.database.with_suffix(".away")
    place.database.rename(away)
    done = erase(person)
    away.rename(place.database)
    assert not done.finished
    assert "IDENT could not be asked" in done.warnings[0]
    assert person.mark not in person.cards(), "what is known is cleared at once"
    assert rows_of(person) != {}
    place.sync()
    assert [one.finished_at is None for one in place.ledger.erasures()] == [False]


def test_what_amocrm_refuses_stays_open_and_disturbs_no_run(person: Person) -> None:
    place = person.place
    refused = {"mode": "status", "status": 400, "method": "PATCH", "path_prefix": "/api/v4/contacts"}
    for _ in range(2):
        place.crm.admin("faults", refused)
    assert not erase(person).finished
    report = place.sync()
    assert any("was to be erased" in line for line in report.warnings)
    assert report.planned["contacts"] == {"create": 0, "update": 0}
    assert place.crm.admin("faults") == []
    place.sync()
    assert rows_of(person) == {}
    assert [one.finished_at is None for one in place.ledger.erasures()] == [False]


def test_what_amocrm_refuses_for_good_is_told_by_each_run_and_sent_once_an_hour(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = person.place
    refused = {"mode": "status", "status": 400, "method": "PATCH", "path_prefix": "/api/v4/contacts"}
    place.crm.admin("faults", {**refused, "count": 100})

    def tried() -> int:
        before = sum(fault["count"] for fault in place.crm.admin("faults"))
        assert any("was to be erased" in line for line in place.sync().warnings)
        return int(before - sum(fault["count"] for fault in place.crm.admin("faults")))

    erase(person)
    assert [tried(), tried()] == [1, 1], "by each run of the first hour"
    clock = time.time() + 3700
    monkeypatch.setattr(erasing, "time", lambda: clock)
    assert tried() == 1
    clock = time.time() + 60
    with place.ledger.database.write() as link:
        link.execute(sa.text("UPDATE erasure SET asked_at = asked_at - 4000"))
    assert [tried() for _ in range(3)] == [0, 0, 0]
    assert not erase(person).finished, "the command tries at once"
    clock = time.time() + 3700
    place.crm.admin("faults", method="DELETE")
    place.sync()
    assert rows_of(person) == {}
    assert [one.finished_at is None for one in place.ledger.erasures()] == [False]


def test_a_deal_that_went_over_to_somebody_else_stays_theirs(person: Person) -> None:
    """Its number is that of an appointment of the erased person, who was there first."""
    place, patient = person.place, person.patient_id
    with closing(sqlite3.connect(place.database)) as link, link:
        moved, other = link.execute(
            "SELECT a.ID, (SELECT MIN(ID_Persons) FROM Patients WHERE ID_Persons <> ?) FROM Receptions a "
            "WHERE a.ID_Patients = ? AND a.ID_ReceptionsTransferFrom IS NULL AND a.ID NOT IN "
            "(SELECT ID_ReceptionsTransferFrom FROM Receptions WHERE ID_ReceptionsTransferFrom IS NOT NULL)",
            (patient, patient),
        ).fetchone()
        names = [row[1] for row in link.execute("PRAGMA table_info(Receptions)")]
        kept = ", ".join(f'"{name}"' for name in names if name not in {"ID", "ID_Patients"})
        link.execute(
            f"INSERT INTO Receptions (ID, ID_Patients, {kept}) SELECT 90001, ?, {kept} FROM Receptions WHERE ID = ?",
            (other, moved),
        )
        link.execute("UPDATE Receptions SET ID_ReceptionsTransferFrom = ? WHERE ID = 90001", (moved,))
    place.sync("full")
    (row,) = place.ledger.applied_rows(place.uid, Kind.LEAD, [moved]).values()
    assert erase(person).finished
    assert place.ledger.applied_rows(place.uid, Kind.LEAD, [moved]) == {moved: row}
    (deal,) = [one for one in place.crm.admin("dump")["leads"] if one["id"] == row.amo_id]
    assert deal["name"] != CLEARED


def test_deals_of_a_contact_that_was_merged_are_cleared_too(person: Person) -> None:
    """Once it was updated the ledger names the card that is left; its links still name the one that is gone."""
    place = person.place
    (survivor,) = Caller(place.crm).contacts({"name": "Завёл менеджер"})
    place.crm.admin("merge", {"id": survivor, "duplicates": [person.contact]})
    with closing(sqlite3.connect(place.database)) as link, link:
        link.execute("UPDATE Persons SET City = 'Омск' WHERE ID = ?", (person.patient_id,))
    place.sync("full")
    (row,) = place.ledger.applied_rows(place.uid, Kind.CONTACT, [person.patient_id]).values()
    assert row.amo_id == survivor
    (one,) = erase(person).patients
    assert set(one.deals) == set(person.deals)
    assert "IDENT" not in person.cards()
    assert rows_of(person) == {}


def test_a_field_that_the_mapping_names_no_more_is_cleared_of_what_we_sent(person: Person) -> None:
    """What was sent before a datum was left out stays in amoCRM, but not of who is erased."""
    place, state = person.place, person.place.crm.sandbox.state
    field = state.add_field("contacts", "Город клиники", "text", None)
    contact = state.records["contacts"][person.contact]
    account = place.ledger.setting("installation", "amocrm")
    mapping = mappings.load_mapping(place.ledger, int(account["account_id"]) if account else 0)
    (city,) = [rule for rule in mapping.contact if rule.datum == "city"]
    rest = [rule for rule in mapping.contact if rule is not city]
    own = city.model_copy(update={"field_id": field.id, "field_name": field.name})
    mappings.save_mapping(place.ledger, mapping.model_copy(update={"contact": [*rest, own]}), by="test")
    contact.values[field.id] = [dict(item) for item in contact.values[city.field_id or 0]]
    # Chosen by mistake for the mark once, and put back: what a manager typed there stays.
    typed = state.add_field("contacts", "Любимый цвет", "text", None)
    contact.values[typed.id] = [{"value": "синий"}]
    mistaken = {"contact_external_field": typed.id}
    mappings.save_mapping(place.ledger, mapping.model_copy(update=mistaken), by="test")
    renamed = {"contact": rest, "contact_tag": "Пациент"}
    mappings.save_mapping(place.ledger, mapping.model_copy(update=renamed), by="test")
    (one,) = erase(person).patients
    assert one.finished
    assert field.id not in contact.values
    assert contact.values[typed.id] == [{"value": "синий"}]
    assert one.left == {}
    assert contact.tags == {}


def test_a_note_that_amocrm_refuses_stays_open_and_stops_neither_cards_nor_runs(person: Person) -> None:
    place = person.place
    refused = {"mode": "status", "status": 400, "method": "PATCH", "path_prefix": "/api/v4/leads/notes"}
    for _ in range(2):
        place.crm.admin("faults", refused)
    assert not erase(person).finished
    assert person.mark not in person.cards(), "the cards are cleared all the same"
    assert "перенесён" in person.cards()
    assert any("was to be erased" in line for line in place.sync().warnings)
    place.sync()
    assert "перенесён" not in person.cards()
    assert rows_of(person) == {}


def test_a_deal_whose_answer_was_lost_is_waited_for_also_without_its_contact(person: Person) -> None:
    place, ledger, uid = person.place, person.place.ledger, person.place.uid
    leads = ledger.applied_index(uid, Kind.LEAD)
    root = next(
        key
        for key, deal in zip(leads.source_ids.tolist(), leads.amo_ids.tolist(), strict=True)
        if deal in person.deals
    )
    (known,) = ledger.applied_rows(uid, Kind.LEAD, [root]).values()
    (link,) = ledger.applied_rows(uid, Kind.LINK, [root]).values()
    ledger.forget(uid, Kind.LEAD, [root])
    ledger.forget(uid, Kind.LINK, [root])
    before = known.amo_id - 1
    open_batch(
        ledger, uid, Batch(Kind.LEAD, Action.CREATE, (root,), 7, before, (replace(known, amo_id=0), link))
    )
    place.crm.sandbox.state.records["leads"][known.amo_id].is_deleted = True  # not visible yet
    place.crm.admin("delete", {"entity": "contacts", "id": person.contact})
    assert not erase(person).finished
    place.crm.sandbox.state.records["leads"][known.amo_id].is_deleted = False
    place.sync()
    assert "IDENT" not in person.cards()
    assert rows_of(person) == {}
    assert ledger.open_attempts(uid) == []


def test_an_erased_person_is_looked_for_no_more_in_a_batch_that_others_wait_in(person: Person) -> None:
    place, ledger, uid = person.place, person.place.ledger, person.place.uid
    highest = max(place.crm.sandbox.state.records["contacts"])
    open_batch(ledger, uid, Batch(Kind.CONTACT, Action.CREATE, (person.patient_id, 777), 7, highest))
    ledger.finish_erasure(uid, person.patient_id, ())
    assert [one.source_ids for one in ledger.open_attempts(uid)] == [(777,)]


def open_batch(ledger: Ledger, uid: str, batch: Batch) -> None:
    """Let a request have left without an answer."""
    account = ledger.setting("installation", "amocrm")
    assert account is not None
    ledger.begin_attempt("lost", uid, int(account["account_id"]), batch)


def test_whoever_is_let_back_in_half_way_is_whole_again(person: Person) -> None:
    """Deals were cleared and the contact was not, when somebody saw that it was the wrong patient."""
    place, before = person.place, person.place.cards()
    refused = {"mode": "status", "status": 400, "method": "PATCH", "path_prefix": "/api/v4/contacts"}
    place.crm.admin("faults", refused)
    assert not erase(person).finished
    assert place.cards()["leads"] != before["leads"]
    assert erasure.lift(place.ledger, place.ledger.connection(CLINIC), [person.patient_id], by="Юрист")
    place.sync()
    assert contents(place.cards()) == contents(before)
    assert place.sync("full").writes == 0


def test_a_contact_that_was_cleared_gets_its_name_back(person: Person) -> None:
    place, before = person.place, person.place.cards()
    away = place.database.with_suffix(".away")
    place.database.rename(away)
    assert not erase(person).finished
    away.rename(place.database)
    assert CLEARED in person.cards()
    assert erasure.lift(place.ledger, place.ledger.connection(CLINIC), [person.patient_id], by="Юрист")
    place.sync()
    assert contents(place.cards()) == contents(before)


def contents(cards: dict[str, dict[int, dict[str, Any]]]) -> dict[tuple[str, int], Any]:
    """Everything of contacts and deals, whatever the order of their fields."""
    return {
        (kind, key): {
            name: sorted(map(str, one)) if isinstance(one, list) else one for name, one in row.items()
        }
        for kind in ("contacts", "leads")
        for key, row in cards[kind].items()
    }


def test_what_a_run_leaves_to_a_person_is_told(person: Person) -> None:
    place = person.place
    place.crm.sandbox.state.records["leads"][person.deals[0]].name = "Звонок от Ивана"
    place.ledger.erase(place.uid, [person.patient_id], by="Юрист")
    told = [line for line in place.sync().warnings if f"deal {person.deals[0]}: name" in line]
    assert len(told) == 1
    assert "Ивана" not in told[0]


def test_the_command_shows_asks_and_tells(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    place = person.place
    monkeypatch.setattr("deployments.cli.erase.open_session", lambda **_options: place.ledger)
    run, words = CliRunner().invoke, ["erase-subject", CLINIC, "--patient", str(person.patient_id)]
    before = place.writes()
    shown = run(app, [*words, "--dry-run", "--output", "json"])
    assert json.loads(shown.stdout)["patients"][0]["contacts"] == [person.contact]
    nobody = run(app, words)
    assert isinstance(nobody.exception, ConfigurationError)
    assert "--by NAME" in nobody.exception.remedy
    declined = run(app, [*words, "--by", "Юрист"], input="n\n")
    assert declined.exit_code == 0
    assert "nothing was changed" in declined.output
    assert (place.writes(), place.ledger.erasures()) == (before, [])
    done = run(app, [*words, "--by", "Юрист", "--yes"])
    assert done.exit_code == 0, done.output
    assert rows_of(person) == {}
    assert "Would be transferred again" in run(app, [*words, "--lift", "--dry-run", "--by", "Юрист"]).output
    assert place.ledger.erased(place.uid) == {person.patient_id}
    assert "Transferred again" in run(app, [*words, "--by", "Юрист", "--lift"]).output
    assert place.ledger.erasures() == []


def test_while_amocrm_is_away_the_command_still_keeps_them_from_being_sent(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = person.place
    monkeypatch.setattr("deployments.cli.erase.open_session", lambda **_options: place.ledger)
    place.crm.admin("faults", {"mode": "status", "status": 401, "path_prefix": "/api/v4/account"})
    words = ["erase-subject", CLINIC, "--patient", str(person.patient_id), "--by", "Юрист", "--yes"]
    assert isinstance(CliRunner().invoke(app, words).exception, AuthenticationError)
    assert place.ledger.erased(place.uid) == {person.patient_id}


# ---- dying half-way ----------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is dead: nothing that comes after this happens."""


class Death:
    """Ends a process, as far as anybody outside can see, at the n-th commit or request."""

    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0

    def pass_by(self) -> None:
        self.count += 1
        if self.at and self.count >= self.at:
            raise Killed

    @contextmanager
    def installed(self) -> Iterator[None]:
        write, exchange, death = Database.write, Requester._exchange, self

        @contextmanager
        def watched(database: Database) -> Iterator[sa.Connection]:
            with write(database) as connection:
                yield connection
                death.pass_by()  # before the commit
            death.pass_by()

        def sent(requester: Requester, call: Any, **more: Any) -> Any:
            death.pass_by()
            answer = exchange(requester, call, **more)
            death.pass_by()
            return answer

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Database, "write", watched)
            patch.setattr(Requester, "_exchange", sent)
            yield


@pytest.fixture(scope="module")
def steps(transferred: SandboxInstallation) -> int:
    """How many commits and requests an erasure passes, before and after each."""
    whole = Death(0)
    transferred.recall()
    with whole.installed():
        assert erase(chosen(transferred)).finished
    return whole.count


def kill(place: SandboxInstallation, at: int) -> None:
    """Kill an erasure at a step; whatever runs next finishes it."""
    place.recall()
    person = chosen(place)
    values = person.values()
    with Death(at).installed(), pytest.raises(Killed):
        erase(person)
    # The schedule where the tombstone stands, the command again where it does not.
    if place.ledger.erasures():
        place.sync()
    else:
        assert erase(person).finished
    assert [value for value in values if value in person.cards()] == [], at
    assert rows_of(person) == {}, at
    assert all(one.finished_at for one in place.ledger.erasures()), at
    assert place.ledger.open_attempts(place.uid) == [], at


@pytest.mark.parametrize("share", [0.6, 0.99])
def test_killed_it_goes_on_where_it_was(
    share: float, steps: int, transferred: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "is_dead", lambda _owner: True)
    assert steps > 40
    kill(transferred, max(1, round(steps * share)))


@pytest.mark.soak
def test_killed_at_every_step_it_goes_on_where_it_was(
    steps: int, transferred: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "is_dead", lambda _owner: True)
    for at in range(1, steps + 1):
        kill(transferred, at)
