"""What an analyst decides: waived rows flow although IDENT did not change them, ended waivers put them back."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

import expectations.gate
from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.clinic.names import BROKEN_PHONES
from tasks.errors import ConfigurationError, GuardError
from tasks.ledger.tables import waiver
from tasks.records import Kind, Reject
from tasks.review import (
    DAY,
    listed_rejects,
    refuse_text,
    retry_rows,
    revoke,
    rows_held_by,
    waive_rows,
)
from tasks.review_row import look_at
from tasks.settings import load_settings
from tasks.validate import apply_expectations
from tests.support.clinic_database import clinic_now
from tests.support.sandbox_installation import (
    CLINIC,
    TOKEN,
    SandboxInstallation,
    sandbox_installation,
)

NAME, PHONE, END = "name_present", "phone_mobile_e164", "end_not_before_start"
BROKEN_PHONE, GOOD_PHONE = "999111", "+79161234567"
#: Two words that no text of ours has.
NOTE, BY = "Квагга разрешила", "Вомбат"


class Dirty:
    """A transferred clinic with a nameless patient, a broken phone and an appointment that ends too early.

    They were like that before the first run: no increment would read them again.
    """

    def __init__(self, place: SandboxInstallation) -> None:
        self.place = place
        self.nameless, self.phoneless = self._patients()
        [self.early] = self._ids(
            "SELECT ID FROM Receptions WHERE ReceptionCanceled IS NULL AND ID_ReceptionsTransferFrom IS NULL"
            " AND PlanStart > ? AND ID_Patients NOT IN (?, ?) AND ID NOT IN"
            " (SELECT ID_ReceptionsTransferFrom FROM Receptions WHERE ID_ReceptionsTransferFrom > 0) LIMIT 1",
            f"{clinic_now():%Y-%m-%d %H:%M:%S}",
            self.nameless,
            self.phoneless,
        )
        self._mend_phones()
        for key in (self.nameless, self.phoneless):
            self.change("UPDATE Persons SET MobilePhone = ?, Phone = NULL WHERE ID = ?", GOOD_PHONE, key)
        self.name = self._ids("SELECT Surname FROM Persons WHERE ID = ?", self.nameless)[0]
        self.change("UPDATE Persons SET Surname = '', Name = '' WHERE ID = ?", self.nameless)
        self.change("UPDATE Persons SET MobilePhone = ? WHERE ID = ?", BROKEN_PHONE, self.phoneless)
        self.change("UPDATE Receptions SET PlanEnd = datetime(PlanStart, '-1 hour') WHERE ID = ?", self.early)
        long_ago = f"{clinic_now() - timedelta(days=3):%Y-%m-%d %H:%M:%S}"
        for table, key in (
            ("Persons", self.nameless),
            ("Persons", self.phoneless),
            ("Receptions", self.early),
        ):
            self.change(f"UPDATE {table} SET DateTimeChanged = ? WHERE ID = ?", long_ago, key)

    def _mend_phones(self) -> None:
        """Take away what the generator breaks by itself; whose it is goes by the day."""
        with closing(sqlite3.connect(self.place.database)) as link, link:
            link.executemany(
                "UPDATE Persons SET MobilePhone = NULL WHERE MobilePhone = ?",
                [(phone,) for phone in BROKEN_PHONES],
            )

    def _patients(self) -> list[int]:
        return self._ids(
            "SELECT ID_Patients FROM Receptions WHERE ReceptionCanceled IS NULL AND ID_Patients > 0"
            " GROUP BY ID_Patients HAVING count(*) > 1 ORDER BY count(*) DESC LIMIT 2"
        )

    def _ids(self, sql: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self.place.database)) as link:
            return [row[0] for row in link.execute(sql, values)]

    def change(self, sql: str, *values: object) -> None:
        with closing(sqlite3.connect(self.place.database)) as link, link:
            assert link.execute(sql, values).rowcount == 1

    @property
    def record(self) -> Any:
        return self.place.ledger.connection(CLINIC)

    def sync(self) -> Any:
        report = self.place.sync()
        assert report.mode == "incremental", "a full read would prove nothing"
        return report

    def waive(self, entity: str, reason: str, *ids: int, days: float = 90) -> int:
        return waive_rows(
            self.place.ledger,
            self.record,
            entity,
            reason,
            list(ids) or None,
            note=NOTE,
            by=BY,
            until=time.time() + days * DAY,
        )

    def revoke(self, entity: str, reason: str, *ids: int) -> int:
        return revoke(self.place.ledger, self.record, entity, reason, list(ids) or None, by=BY)

    def expire(self) -> None:
        """Let the time of every waiver run out."""
        with self.place.ledger.database.write() as connection:
            connection.execute(sa.update(waiver).values(until=time.time() - 1))

    def reasons(self) -> set[tuple[str, int, str]]:
        return {(row.entity, row.source_id, row.reason) for _uid, row in self.place.ledger.rejects()}

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        rows = self.place.ledger.audit(event_prefix="ident-amocrm.rejects.", order="asc")
        return [(row.event.removeprefix("ident-amocrm.rejects."), row.payload) for row in rows]

    def sent(self, kind: Kind) -> set[int]:
        return set(self.place.ledger.applied_index(self.place.uid, kind).source_ids.tolist())


@pytest.fixture(scope="module")
def transferred(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dirty]:
    with (
        pytest.MonkeyPatch.context() as patch,
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        sandbox_installation(
            tmp_path_factory.mktemp("clinic"), crm, patch, appointments=90, has_suites=True
        ) as found,
    ):
        dirty = Dirty(found)
        found.connect()
        found.sync()
        found.sync()
        found.remember()
        yield dirty


@pytest.fixture
def clinic(transferred: Dirty) -> Iterator[Dirty]:
    transferred.place.recall()
    yield transferred
    load_settings.cache_clear()


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """The keys of each frame that was judged."""
    frames: list[set[int]] = []
    judge = expectations.gate.validate

    def noting(frame: Any, *arguments: Any, **named: Any) -> Any:
        frames.append(set(frame.iloc[:, 0]))
        return judge(frame, *arguments, **named)

    monkeypatch.setattr(expectations.gate, "validate", noting)
    return frames


def test_what_is_kept_back_says_why_what_to_do_and_what_waits(clinic: Dirty) -> None:
    assert {
        ("patient", clinic.nameless, NAME),
        ("patient", clinic.phoneless, PHONE),
        ("appointment", clinic.early, END),
    } <= clinic.reasons()
    row = look_at(clinic.place.ledger, clinic.record, "contact", clinic.nameless)
    [reason] = row.reasons
    assert (row.look_up, reason["reason"], reason["field"]) == (
        f"Persons.ID = {clinic.nameless}",
        NAME,
        "last_name",
    )
    assert reason["explanation"]
    assert "карточк" in reason["remedy"]
    assert reason["waivable"]
    assert row.holds, "its appointments wait for it"
    held = {one["source_id"] for one in row.holds}
    assert held == {key for entity, key, why in clinic.reasons() if why == "patient_kept_back"}
    errors = listed_rejects(clinic.place.ledger, severity="error", entity="patient")
    assert {one.reject.source_id for one in errors} == {clinic.nameless, clinic.phoneless}


def test_a_waived_patient_flows_with_all_that_waited(clinic: Dirty, judged: list[set[int]]) -> None:
    waiting = {
        one.source_id
        for one in rows_held_by(clinic.place.ledger, clinic.place.uid, "patient", clinic.nameless)
    }
    clinic.sync()
    assert judged == []
    assert clinic.nameless not in clinic.sent(Kind.CONTACT)
    assert clinic.waive("patient", NAME, clinic.nameless) == 1
    report = clinic.sync()
    assert judged[0] == {clinic.nameless}, "only what is due"
    assert report.applied["contacts"]["create"] == 1
    assert clinic.nameless in clinic.sent(Kind.CONTACT)
    assert waiting <= clinic.sent(Kind.LEAD)
    assert not {row for row in clinic.reasons() if row[1] == clinic.nameless or row[1] in waiting}
    judged.clear()
    assert clinic.sync().writes == 0
    assert judged == [], "it is due once"
    assert clinic.events()[-1] == (
        "waived",
        {"entity": "patient", "reason": NAME, "rows": 1, "all_rows": False, "days": 90},
    )


def test_a_waived_value_is_sent_as_it_stands(clinic: Dirty) -> None:
    contact = clinic.place.ledger.applied_rows(clinic.place.uid, Kind.CONTACT, [clinic.phoneless])
    amo_id = contact[clinic.phoneless].amo_id
    assert BROKEN_PHONE not in str(clinic.place.cards()["contacts"][amo_id])
    clinic.waive("patient", PHONE, clinic.phoneless)
    assert clinic.sync().applied["contacts"]["update"] == 1
    assert BROKEN_PHONE in str(clinic.place.cards()["contacts"][amo_id])
    assert ("patient", clinic.phoneless, PHONE) not in clinic.reasons()


def test_an_ended_waiver_puts_its_row_back_once(clinic: Dirty, judged: list[set[int]]) -> None:
    clinic.waive("appointment", END, clinic.early)
    clinic.sync()
    assert clinic.early in clinic.sent(Kind.LEAD)
    assert clinic.waive("appointment", END, clinic.early) == 1, "prolonged while it holds nothing back"
    clinic.sync()
    clinic.expire()
    judged.clear()
    clinic.sync()
    assert judged == [{clinic.early}]
    assert ("appointment", clinic.early, END) in clinic.reasons()
    assert clinic.events()[-1] == (
        "waiver_expired",
        {"entity": "appointment", "reason": END, "rows": 1, "all_rows": False},
    )
    count = len(clinic.events())
    clinic.sync()
    assert judged == [{clinic.early}]
    assert len(clinic.events()) == count


def test_a_revoked_waiver_puts_its_row_back(clinic: Dirty) -> None:
    clinic.waive("appointment", END, clinic.early)
    clinic.sync()
    assert clinic.revoke("appointment", END, clinic.early) == 1
    clinic.sync()
    assert ("appointment", clinic.early, END) in clinic.reasons()
    names = [name for name, _payload in clinic.events()]
    assert (names[-1], "waiver_expired" in names) == ("waiver_revoked", False)
    [told] = look_at(clinic.place.ledger, clinic.record, "appointment", clinic.early).waivers
    assert (told["state"], told["note"], told["waived_by"], told["revoked_by"]) == ("revoked", NOTE, BY, BY)


def test_a_rule_waived_for_all_rows_comes_back_with_a_full_read(clinic: Dirty) -> None:
    assert clinic.waive("patient", PHONE) == 1
    clinic.sync()
    assert ("patient", clinic.phoneless, PHONE) not in clinic.reasons()
    stamp = f"{clinic_now():%Y-%m-%d %H:%M:%S}"
    sql = "UPDATE Persons SET MobilePhone = ?, DateTimeChanged = ? WHERE ID = ?"
    clinic.change(sql, "911", stamp, clinic.nameless)
    clinic.sync()
    assert ("patient", clinic.nameless, PHONE) not in clinic.reasons(), "rows to come pass as well"
    clinic.revoke("patient", PHONE)
    report = clinic.place.sync()
    assert report.mode == "full"
    assert {("patient", key, PHONE) for key in (clinic.nameless, clinic.phoneless)} <= clinic.reasons()
    clinic.sync()


def test_a_corrected_row_leaves_by_itself(clinic: Dirty) -> None:
    stamp = f"{clinic_now():%Y-%m-%d %H:%M:%S}"
    sql = "UPDATE Persons SET Surname = ?, DateTimeChanged = ? WHERE ID = ?"
    clinic.change(sql, "Исправлена", stamp, clinic.nameless)
    assert clinic.sync().applied["contacts"]["create"] == 1
    assert not {row for row in clinic.reasons() if row[2] in {NAME, "patient_kept_back"}}


def test_what_is_waived_while_a_run_is_under_way_is_left_to_the_next(
    clinic: Dirty, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(space: Any) -> Any:
        clinic.waive("appointment", END, clinic.early)
        return apply_expectations(space)

    retry_rows(clinic.place.ledger, clinic.record, "appointment", [clinic.early], None)
    with monkeypatch.context() as patch:
        patch.setattr("tests.support.sandbox_installation.apply_expectations", late)
        clinic.sync()
    assert clinic.early not in clinic.sent(Kind.LEAD)
    clinic.sync()
    assert clinic.early in clinic.sent(Kind.LEAD)


@pytest.mark.parametrize("how", ["waived", "waived with its rule", "tried again"])
def test_a_run_that_dies_before_its_plan_loses_nothing(
    clinic: Dirty, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "tried again":
        later = "UPDATE Receptions SET PlanEnd = datetime(PlanStart, '+1 hour') WHERE ID = ?"
        clinic.change(later, clinic.early)  # its stamp is old: no increment sees it
        assert retry_rows(clinic.place.ledger, clinic.record, "appointment", [clinic.early], END) == 1
    else:
        clinic.waive("appointment", END, *([clinic.early] if how == "waived" else []))

    def die(*_arguments: object) -> object:
        raise GuardError(problem="Died.", remedy="Again.")

    with monkeypatch.context() as patch:
        patch.setattr("tests.support.sandbox_installation.build_plan", die)
        with pytest.raises(GuardError, match="Died"):
            clinic.sync()
    assert ("appointment", clinic.early, END) not in clinic.reasons(), "the test proves nothing"
    clinic.sync()
    assert clinic.early in clinic.sent(Kind.LEAD)
    assert clinic.place.ledger.open_keys(clinic.place.uid) == {}


def test_the_end_of_a_waiver_of_the_whole_table_reads_nothing_again(clinic: Dirty) -> None:
    clinic.waive("appointment", "rows_volume")
    clinic.sync()
    clinic.expire()
    clinic.sync()
    assert [name for name, _payload in clinic.events()] == ["waived", "waiver_expired"]


def test_a_dry_run_settles_nothing(clinic: Dirty) -> None:
    clinic.waive("appointment", END, clinic.early)
    assert clinic.place.sync(dry_run=True).planned["leads"]["create"] == 1
    assert [one.taken_at for one in clinic.place.ledger.open_waivers(clinic.place.uid)] == [None]
    assert clinic.sync().applied["leads"]["create"] == 1


@pytest.mark.parametrize(
    ("entity", "reason", "code"),
    [
        ("contact", "NotSupportedChoice", "amocrm_refusal"),
        ("lead", "maybe_removed", "amocrm_refusal"),
        ("appointment", "patient_kept_back", "waits_for_another"),
        ("appointment", "patient_known", "not_waivable"),
        ("patient", "patient_known", "unknown_rule"),
        ("patient", NAME, "not_listed"),
    ],
)
def test_what_cannot_be_waived_is_refused(clinic: Dirty, entity: str, reason: str, code: str) -> None:
    clinic.place.ledger.add_rejects(
        clinic.place.uid, [Reject("contact", 999_999, "NotSupportedChoice", "Пол")]
    )
    with pytest.raises(ConfigurationError) as refusal:
        clinic.waive(entity, reason, 999_999)
    assert refusal.value.code == code
    assert clinic.place.ledger.open_waivers(clinic.place.uid) == []
    assert clinic.events() == []


@pytest.mark.parametrize("days", [0, -1, 400])
def test_a_waiver_has_an_end(clinic: Dirty, days: float) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        clinic.waive("patient", NAME, clinic.nameless, days=days)
    assert refusal.value.code == "waiver_days"


def test_notes_names_and_values_stay_in_the_ledger(
    clinic: Dirty, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr("tasks.events.emit_event", lambda **parts: sent.append(parts))
    with caplog.at_level(logging.DEBUG):
        clinic.waive("patient", NAME, clinic.nameless)
        clinic.waive("patient", PHONE)
        clinic.sync()
        clinic.revoke("patient", PHONE)
        clinic.expire()
        clinic.place.sync()
    logs = "\n".join(record.getMessage() for record in caplog.records)
    told = f"{logs}{sent}{clinic.place.ledger.audit()}{clinic.place.ledger.runs(clinic.place.uid)}"
    assert sent
    assert [word for word in (NOTE, BY, clinic.name, GOOD_PHONE, BROKEN_PHONE) if word in told] == []


digits = st.text("0123456789", min_size=7, max_size=12)
gaps = st.sampled_from(["", " ", "-", ".", " (", ") "])
words = st.text(st.sampled_from("абвгд ежзик"), max_size=20)


@given(words, digits, gaps, words)
def test_no_phone_passes_for_a_note(before: str, number: str, gap: str, after: str) -> None:
    text = f"{before}x{gap.join(number)}{after}"
    with pytest.raises(ConfigurationError) as refusal:
        refuse_text(text, 200, "note")
    assert refusal.value.code == "waiver_personal"
    assert number not in str(refusal.value)


@given(words.filter(str.strip))
def test_words_pass(text: str) -> None:
    refuse_text(text.strip(), 200, "note")


@pytest.mark.parametrize("text", ["", "я" * 201, "две\nстроки"])
def test_a_note_is_one_short_line(text: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        refuse_text(text, 200, "note")
    assert refusal.value.code == "waiver_text"


@pytest.mark.parametrize("text", ["пишите на ivan@example.org", "родился 12.03.1985", "+7 (916) 223-45-67"])
def test_a_note_holds_no_personal_data(text: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        refuse_text(text, 200, "note")
    assert refusal.value.code == "waiver_personal"
