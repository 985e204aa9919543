"""What the suites keep from amoCRM: a run, a row, or one value; and how it comes there once IDENT is mended."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.compare import CONTACT_MARK
from expectations import suites
from tasks.connections import connect_database
from tasks.errors import ConfigurationError, GuardError, SchemaError
from tasks.fingerprints import columns_of
from tasks.frames import Entity
from tasks.gate import pass_gate
from tasks.ident.introspect import Catalogue, described
from tasks.ledger.store import ConnectionRecord
from tasks.records import Kind
from tasks.schema_news import check_types, differences
from tasks.settings import load_settings
from tasks.validate import save_thresholds, thresholds_of
from tasks.whole import SETTING
from tasks.workspace import close_workspace
from tests.support.clinic_database import clinic_now
from tests.support.clinic_steps import UID as STEPS_UID
from tests.support.clinic_steps import clinic_steps
from tests.support.sandbox_installation import CLINIC, TOKEN, SandboxInstallation, sandbox_installation


@pytest.fixture(scope="module")
def transferred(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxInstallation]:
    with (
        pytest.MonkeyPatch.context() as patch,
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        sandbox_installation(tmp_path_factory.mktemp("clinic"), crm, patch, has_suites=True) as found,
    ):
        found.connect()
        found.sync()
        assert found.differences() == []
        found.remember()
        yield found


@pytest.fixture
def clinic(transferred: SandboxInstallation) -> Iterator[SandboxInstallation]:
    transferred.recall()
    yield transferred
    load_settings.cache_clear()


def stamp() -> str:
    return f"{clinic_now():%Y-%m-%d %H:%M:%S}.000000"


def ident(clinic: SandboxInstallation, sql: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(clinic.database)) as link, link:
        return link.execute(sql, values).fetchall()


def touch(clinic: SandboxInstallation, table: str, key: int, **values: object) -> None:
    """Change a row as IDENT does, with its stamp."""
    column = "ID_Persons" if table == "Patients" else "ID"
    parts = ", ".join(f"{name} = ?" for name in (*values, "DateTimeChanged"))
    ident(clinic, f"UPDATE {table} SET {parts} WHERE {column} = ?", *values.values(), stamp(), key)


def somebody(clinic: SandboxInstallation) -> int:
    """A patient with a readable mobile phone and an open appointment of the future."""
    listed = {reject.source_id for _uid, reject in clinic.ledger.rejects(clinic.uid)}
    rows = ident(
        clinic,
        "SELECT ID_Patients FROM Receptions JOIN Persons ON Persons.ID = ID_Patients "
        "WHERE PlanStart > ? AND ReceptionCanceled IS NULL AND LENGTH(MobilePhone) > 9 AND Surname IS NOT NULL",
        stamp(),
    )
    return next(int(key) for (key,) in rows if key not in listed)


def newcomer(clinic: SandboxInstallation, **person: object) -> tuple[int, int]:
    """Register somebody with an appointment tomorrow; returns both ids."""
    key = ident(clinic, "SELECT MAX(ID) + 1 FROM Persons")[0][0]
    visit = ident(clinic, "SELECT MAX(ID) + 1 FROM Receptions")[0][0]
    values = {"Surname": "Новая", "Name": "Анна", "MobilePhone": f"+7 916 000-{key:04}"} | person
    names = ", ".join(values)
    ident(
        clinic,
        f"INSERT INTO Persons (ID, DateTimeChanged, {names}) VALUES (?, ?{', ?' * len(values)})",
        key,
        stamp(),
        *values.values(),
    )
    ident(clinic, "INSERT INTO Patients (ID_Persons, DateTimeChanged) VALUES (?, ?)", key, stamp())
    start = clinic_now().replace(minute=0, second=0, microsecond=0) + timedelta(days=1)
    ident(
        clinic,
        "INSERT INTO Receptions (ID, ID_Patients, PlanStart, PlanEnd, DateTimeAdded, DateTimeChanged, RowVersion)"
        " SELECT ?, ?, ?, ?, ?, ?, MAX(RowVersion) FROM Receptions",
        visit,
        key,
        f"{start:%Y-%m-%d %H:%M:%S}.000000",
        f"{start + timedelta(hours=1):%Y-%m-%d %H:%M:%S}.000000",
        stamp(),
        stamp(),
    )
    return key, visit


def listed(clinic: SandboxInstallation) -> dict[tuple[str, int], set[str]]:
    found: dict[tuple[str, int], set[str]] = {}
    for _uid, reject in clinic.ledger.rejects(clinic.uid):
        found.setdefault((reject.entity, reject.source_id), set()).add(reject.reason)
    return found


def contact(clinic: SandboxInstallation, key: int) -> dict[str, Any] | None:
    """A contact's phones, e-mail and fields, by name."""
    crm = clinic.witness.look().crm
    rows = [row for row in crm.contacts if crm.mark(row, CONTACT_MARK).endswith(f"-P-{key}")]
    return crm.values(rows[0]) | {"last_name": rows[0]["last_name"]} if rows else None


# ---- a run -------------------------------------------------------------------------------------------------


def test_an_emptied_column_stops_the_run_before_its_first_request(clinic: SandboxInstallation) -> None:
    ident(clinic, "UPDATE Persons SET City = NULL, DateTimeChanged = ?", stamp())
    newcomer(clinic)
    before = clinic.writes()
    with pytest.raises(GuardError, match=r"columns_emptied \(city\)\. Nothing was sent") as caught:
        clinic.sync("full")
    assert caught.value.code == "validation_stop"
    assert "docs/ru/quality.md#columns_emptied" in caught.value.remedy
    assert clinic.writes() == before


def test_a_table_that_shrank_stops_an_increment_too(clinic: SandboxInstallation) -> None:
    save_thresholds(clinic.ledger, clinic.uid, {"fewest_rows": "10"}, by="test")
    ident(clinic, "DELETE FROM Receptions WHERE ID % 2 = 0")
    newcomer(clinic)
    before = clinic.writes()
    with pytest.raises(GuardError, match="rows_volume"):
        clinic.sync()
    assert clinic.writes() == before


def test_a_first_load_is_stopped_before_its_first_contact(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        sandbox_installation(
            tmp_path, crm, monkeypatch, patients=10, appointments=30, has_suites=True
        ) as found,
    ):
        found.connect()
        before = found.writes()
        broken = tuple(
            replace(rule, arguments={"regex": "("}) if rule.code == "comment_clean" else rule
            for rule in suites.SUITES[Entity.PATIENT]
        )
        monkeypatch.setitem(suites.SUITES, Entity.PATIENT, broken)
        with pytest.raises(GuardError, match="comment_clean"):
            found.sync()
        assert found.writes() == before


# ---- a row -------------------------------------------------------------------------------------------------


def test_a_patient_without_a_name_waits_with_the_deals_and_comes_with_them(
    clinic: SandboxInstallation,
) -> None:
    held, visit = newcomer(clinic, Surname=None, Name=None)
    good, other = newcomer(clinic)
    report = clinic.sync()
    assert (report.invalid, report.incomplete, report.has_rejects) == (1, 0, True)
    assert listed(clinic)["patient", held] == {"name_present"}
    assert listed(clinic)["appointment", visit] == {"patient_kept_back"}
    deals = clinic.ledger.applied_index(clinic.uid, Kind.LEAD).source_ids.tolist()
    assert contact(clinic, held) is None
    assert contact(clinic, good) is not None
    assert (visit in deals, other in deals) == (False, True)
    assert clinic.differences() == []
    touch(clinic, "Persons", held, Surname="Нашлась")
    clinic.sync()
    assert ("patient", held) not in listed(clinic)
    assert ("appointment", visit) not in listed(clinic)
    assert clinic.differences() == []


def test_what_is_held_keeps_the_date_on_which_it_was_first_seen(clinic: SandboxInstallation) -> None:
    held, visit = newcomer(clinic, Surname=None, Name=None, Email="нет собаки")
    clinic.sync()

    def seen() -> dict[tuple[int, str], tuple[float, float]]:
        return {
            (reject.source_id, reject.reason): (reject.first_seen, reject.last_seen)
            for _uid, reject in clinic.ledger.rejects(clinic.uid)
            if reject.source_id in {held, visit}
        }

    before = seen()
    assert set(before) == {(held, "name_present"), (held, "email_shape"), (visit, "patient_kept_back")}
    touch(clinic, "Persons", held, Email="anna@example.org")
    clinic.sync()
    after = seen()
    assert set(after) == {(held, "name_present"), (visit, "patient_kept_back")}
    for key, (first, last) in after.items():
        assert first == before[key][0]
        assert last > before[key][1]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"PlanEnd": "2020-01-01 09:00:00.000000"}, "end_not_before_start"),
        ({"ID_Patients": 999_999}, "patient_known"),
        ({"PatientAppeared": "2090-01-01 09:00:00.000000"}, "arrived_not_future"),
    ],
)
def test_a_wrong_appointment_waits_alone_and_comes_when_it_is_mended(
    clinic: SandboxInstallation, wrong: dict[str, object], code: str
) -> None:
    key, visit = newcomer(clinic)
    good = ident(clinic, "SELECT * FROM Receptions WHERE ID = ?", visit)
    names = [row[1] for row in ident(clinic, "PRAGMA table_info(Receptions)")]
    right = {name: good[0][names.index(name)] for name in wrong}
    touch(clinic, "Receptions", visit, **wrong)
    clinic.sync()
    assert listed(clinic)["appointment", visit] == {code}
    assert contact(clinic, key) is not None
    assert clinic.ledger.applied_rows(clinic.uid, Kind.LEAD, [visit]) == {}
    touch(clinic, "Receptions", visit, **right)
    clinic.sync()
    assert ("appointment", visit) not in listed(clinic)
    assert clinic.differences() == []


# ---- a value -----------------------------------------------------------------------------------------------


def test_a_phone_that_broke_is_withheld_and_amocrm_keeps_the_one_it_has(clinic: SandboxInstallation) -> None:
    key = somebody(clinic)
    before = contact(clinic, key)
    assert before
    phones = before["Телефон"]
    assert phones
    touch(clinic, "Persons", key, MobilePhone="не помнит", City="Новый город")
    report = clinic.sync()
    assert (report.incomplete, report.invalid) == (1, 0)
    after = contact(clinic, key)
    assert after
    assert (after["Телефон"], after["IDENT: Город"]) == (phones, "Новый город")
    assert listed(clinic)["patient", key] == {"phone_mobile_e164"}
    # Nothing more is owed, by a full read no more than by an increment.
    assert [clinic.sync(mode).writes for mode in ("incremental", "full")] == [0, 0]
    assert listed(clinic)["patient", key] == {"phone_mobile_e164"}
    touch(clinic, "Persons", key, MobilePhone="8 (916) 555-44-33")
    clinic.sync()
    mended = contact(clinic, key)
    assert mended
    assert "+79165554433" in mended["Телефон"]
    assert ("patient", key) not in listed(clinic)
    assert clinic.differences() == []


def test_a_phone_that_is_deleted_is_no_broken_one(clinic: SandboxInstallation) -> None:
    key = somebody(clinic)
    touch(clinic, "Persons", key, MobilePhone=None, Phone=None)
    clinic.sync()
    emptied = contact(clinic, key)
    assert emptied
    assert not emptied.get("Телефон")
    assert ("patient", key) not in listed(clinic)


def test_a_newcomer_without_a_readable_phone_comes_with_the_deals(clinic: SandboxInstallation) -> None:
    key, visit = newcomer(clinic, MobilePhone="12-34", Email="нет", Birthday="1900-01-01")
    clinic.sync()
    card = contact(clinic, key)
    assert card
    assert not card.get("Телефон")
    assert listed(clinic)["patient", key] == {"phone_mobile_e164", "email_shape", "birth_date_sentinel"}
    assert visit in clinic.ledger.applied_index(clinic.uid, Kind.LEAD).source_ids.tolist()
    assert clinic.differences() == []
    touch(
        clinic, "Persons", key, MobilePhone="8 916 777 66 55", Email="anna@example.org", Birthday="1980-02-03"
    )
    clinic.sync()
    mended = contact(clinic, key)
    assert mended
    assert mended["Телефон"] == {"+79167776655"}
    assert ("patient", key) not in listed(clinic)
    assert clinic.differences() == []


def test_a_contact_that_is_adopted_keeps_what_ident_has_broken(clinic: SandboxInstallation) -> None:
    crm = clinic.witness.look().crm
    fields = {one["name"]: one["id"] for one in crm.fields.values()}
    born = {"field_id": fields["IDENT: Дата рождения"], "values": [{"value": "1985-04-05T00:00:00+03:00"}]}
    phone = {"field_code": "PHONE", "values": [{"value": "+79165550011", "enum_code": "WORK"}]}
    person = {"last_name": "Новая", "first_name": "Анна", "custom_fields_values": [born, phone]}
    answer = requests.post(
        f"{clinic.crm.url}/api/v4/contacts",
        json=[person],
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=10,
    )
    answer.raise_for_status()
    key, _visit = newcomer(clinic, MobilePhone="8 916 555-00-11", Birthday="1900-01-01", City="Тверь")
    report = clinic.sync()
    assert report.applied["contacts"] == {"create": 0, "update": 1}
    card = contact(clinic, key)
    assert card
    assert (str(card["IDENT: Дата рождения"]), card["IDENT: Город"]) == ("1985-04-05", "Тверь")


def test_reconciling_finds_no_fault_with_a_withheld_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with clinic_steps(tmp_path, monkeypatch, has_suites=True) as steps:
        steps.sync("full")
        phones = steps.field_id(Kind.CONTACT, "phone_mobile")
        contacts = steps.ledger.applied_index(STEPS_UID, Kind.CONTACT)
        key, amo_id = next(
            (int(one), int(amo))
            for one, amo in zip(contacts.source_ids, contacts.amo_ids, strict=True)
            if steps.value(Kind.CONTACT, int(amo), phones)
        )
        phone = steps.value(Kind.CONTACT, amo_id, phones)
        sql = (
            "UPDATE Persons SET MobilePhone = 'не помнит', Phone = NULL, Birthday = '1900-01-01' WHERE ID = ?"
        )
        steps.ident(sql, key)
        assert steps.sync("full").incomplete >= 1
        before = steps.crm.admin("stats")["writes"]
        found = steps.reconcile().found
        assert key not in {one for ids in found.values() for one in ids}
        assert steps.crm.admin("stats")["writes"] == before
        assert steps.value(Kind.CONTACT, amo_id, phones) == phone


def test_an_appointment_goes_without_an_impossible_end(clinic: SandboxInstallation) -> None:
    _key, visit = newcomer(clinic)
    clinic.sync()
    ident(clinic, "UPDATE Receptions SET PlanEnd = PlanStart WHERE ID = ?", visit)
    touch(clinic, "Receptions", visit, Comment="Другая заметка")
    clinic.sync()
    assert listed(clinic)["appointment", visit] == {"duration_plausible"}
    # amoCRM keeps the end that it has; everything else follows.
    assert clinic.differences() == [f"deal {visit}: IDENT: Окончание приёма"]


# ---- the table as a whole ----------------------------------------------------------------------------------


def test_silence_in_working_hours_is_told_once(clinic: SandboxInstallation) -> None:
    clinic.sync()
    assert clinic.sync().warnings == clinic.sync().warnings
    always = {"opens": "0", "closes": "24", "working_days": "1,2,3,4,5,6,7", "quiet_hours": "3"}
    save_thresholds(clinic.ledger, clinic.uid, always, by="test")
    scope = f"clinic:{clinic.uid}"
    stored = clinic.ledger.setting(scope, SETTING) or {}
    old = (clinic_now() - timedelta(hours=5)).isoformat(timespec="seconds")
    ident(clinic, "UPDATE Receptions SET DateTimeChanged = MIN(DateTimeChanged, ?)", old.replace("T", " "))
    clinic.ledger.put_setting(scope, SETTING, {**stored, "newest": old, "told": ""}, by="test")

    def events() -> int:
        return len(clinic.ledger.audit(event_prefix="ident-amocrm.database.unusual", limit=200))

    before = (
        events()
    )  # in the afternoon the clinic, whose day was written in the morning, is silent by itself
    told = [warning for warning in clinic.sync().warnings if "давно ничего не меняется" in warning]
    assert len(told) == 1
    assert events() == before + 1
    assert not [warning for warning in clinic.sync().warnings if "давно ничего не меняется" in warning]


def test_thresholds_are_a_setting_of_the_clinic(clinic: SandboxInstallation) -> None:
    ledger, uid = clinic.ledger, clinic.uid
    save_thresholds(ledger, uid, {"longest_appointment_hours": "2", "working_days": "1,2"}, by="test")
    chosen = thresholds_of(ledger, uid)
    assert (chosen.longest_appointment_hours, chosen.working_days) == (2.0, (1, 2))
    _key, visit = newcomer(clinic)
    start = datetime.fromisoformat(
        ident(clinic, "SELECT PlanStart FROM Receptions WHERE ID = ?", visit)[0][0]
    )
    touch(clinic, "Receptions", visit, PlanEnd=f"{start + timedelta(hours=3):%Y-%m-%d %H:%M:%S}.000000")
    clinic.sync()
    assert listed(clinic)["appointment", visit] == {"duration_plausible"}
    save_thresholds(ledger, uid, {"longest_appointment_hours": ""}, by="test")
    assert thresholds_of(ledger, uid).longest_appointment_hours == 12.0
    for nonsense in ({"opens": "30"}, {"colour": "red"}, {"opens": "21"}, {"working_days": "8"}):
        with pytest.raises(ConfigurationError):
            save_thresholds(ledger, uid, nonsense, by="test")
    assert thresholds_of(ledger, uid).working_days == (1, 2)


# ---- another IDENT -----------------------------------------------------------------------------------------


def test_a_new_version_of_ident_is_told_before_anything_is_sent(clinic: SandboxInstallation) -> None:
    ident(clinic, "ALTER TABLE Persons ADD COLUMN Telegram TEXT")
    ident(clinic, "ALTER TABLE Receptions ADD COLUMN VideoLink TEXT")
    ident(clinic, "ALTER TABLE Patients DROP COLUMN Profession")
    space = pass_gate(str(uuid4()), CLINIC, "incremental", dry_run=False)
    close_workspace(space.run_id)
    said = [warning for warning in space.warnings if warning.startswith("Изменилась база IDENT.")]
    assert said == [
        "Изменилась база IDENT. Появились колонки: Persons.telegram (text), Receptions.videolink (text).",
        "Изменилась база IDENT. Исчезли колонки: Patients.profession (text).",
    ]
    clinic.sync()
    events = [row for row in clinic.ledger.audit(limit=200) if row.event.endswith("database.changed")]
    assert [row.payload for row in events] == [{"added": 2, "removed": 1, "retyped": 0}]
    assert not [warning for warning in clinic.sync().warnings if warning.startswith("Изменилась база")]


def test_a_column_of_another_kind_stops_the_transfer() -> None:
    before = {
        "persons": {"id": "int", "email": "nvarchar", "birthday": "date"},
        "receptions": {"planstart": "datetime"},
    }
    record = ConnectionRecord(
        name="Север", clinic_uid="n", block_name="b", timezone="Europe/Moscow", fingerprint={}
    )

    def catalogue(types: dict[str, dict[str, str]]) -> Catalogue:
        return Catalogue({table: frozenset(found) for table, found in types.items()}, types)

    known = ConnectionRecord(
        name="Север",
        clinic_uid="n",
        block_name="b",
        timezone="Europe/Moscow",
        fingerprint={"types": described(catalogue(before)), "columns": columns_of(catalogue(before))},
    )
    wider = {
        "persons": {"id": "bigint", "email": "varchar", "birthday": "nvarchar"},
        "receptions": {"planstart": "datetime2"},
    }
    check_types(known, catalogue(wider))
    (line,) = differences(described(catalogue(before)), described(catalogue(wider)))
    assert line == (
        "Сменили тип колонки: Persons.Birthday: date → nvarchar, Persons.Email: nvarchar → varchar, "
        "Persons.ID: int → bigint, Receptions.PlanStart: datetime → datetime2."
    )
    other = {**before, "receptions": {"planstart": "nvarchar"}}
    with pytest.raises(SchemaError, match=r"Receptions\.PlanStart \(datetime → nvarchar\)") as caught:
        check_types(known, catalogue(other))
    assert caught.value.code == "schema_retyped"
    check_types(record, catalogue(other))


def test_connecting_again_accepts_another_ident(clinic: SandboxInstallation) -> None:
    ident(clinic, "ALTER TABLE Persons ADD COLUMN Telegram TEXT")
    connect_database(CLINIC, clinic.connection(), clinic.ledger)
    assert not [warning for warning in clinic.sync().warnings if warning.startswith("Изменилась база")]
