"""``rejects`` on the command line: listed, shown, exported, tried again, waived, taken back."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import rejects
from deployments.cli.main import app
from tasks.errors import IdentAmocrmError
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.records import Kind, Reject

UID, CLINIC = "clinicuid1", "=Север"
RULE = "phone_mobile_e164"


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    found = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").open()
    found.save_connection(ConnectionRecord(CLINIC, UID, "b", "Asia/Novosibirsk"))
    found.add_rejects(
        UID,
        [
            Reject("patient", 7, RULE, "phone_mobile"),
            Reject("patient", 8, RULE, "phone_mobile"),
            Reject("patient", 8, "name_present", "last_name"),
            Reject("appointment", 41, "patient_kept_back", "patient_id", held_by=8),
            Reject("appointment", 42, "no_patient", "patient_id"),
            Reject("contact", 7, "NotSupportedChoice", "Пол", 5),
        ],
    )
    monkeypatch.setattr(rejects, "open_session", lambda **_options: found)
    monkeypatch.setattr("tasks.events.emit_event", lambda **_parts: None)
    monkeypatch.setenv("COLUMNS", "200")
    yield found
    found.close()


def run(*arguments: str) -> Any:
    done = CliRunner().invoke(app, ["rejects", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if "json" in arguments else done.stdout


def refused(*arguments: str) -> str:
    with pytest.raises(IdentAmocrmError) as refusal:
        run(*arguments)
    return refusal.value.code


def listed(*filters: str) -> list[tuple[str, int, str]]:
    rows = run("list", *filters, "--output", "json")
    return [(row["entity"], row["source_id"], row["reason"]) for row in rows]


@pytest.mark.usefixtures("ledger")
def test_rows_keep_their_shape_and_say_what_to_do() -> None:
    rows = run("list", "--output", "json")
    assert {"clinic", "entity", "source_id", "reason", "field", "first_seen", "last_seen"} <= rows[0].keys()
    assert len(rows) == 6
    assert all(row["explanation"] and row["remedy"] for row in rows)
    by_reason = {row["reason"]: row for row in rows}
    assert by_reason[RULE]["severity"] == "error"
    assert by_reason["NotSupportedChoice"]["severity"] == ""
    assert "rejects retry" in by_reason["NotSupportedChoice"]["remedy"]
    assert by_reason["patient_kept_back"]["held_by"] == 8


@pytest.mark.usefixtures("ledger")
def test_filters() -> None:
    assert listed("--reason", RULE) == [("patient", 7, RULE), ("patient", 8, RULE)]
    assert listed("--entity", "contact") == [("contact", 7, "NotSupportedChoice")]
    assert listed("--severity", "info") == [("appointment", 42, "no_patient")]
    assert len(listed("--clinic", CLINIC, "--since", "1h")) == 6
    assert listed("--since", f"{datetime.fromtimestamp(time.time() + 60, tz=UTC):%Y-%m-%dT%H:%M:%S}") == []
    assert refused("list", "--clinic", "Юг") == "not_connected"


@pytest.mark.usefixtures("ledger")
def test_the_text_counts_by_reason() -> None:
    text = run("list")
    assert f"{CLINIC}, patient, {RULE}: 2" in text
    assert "Мобильный телефон не похож на номер" in text


@pytest.mark.usefixtures("ledger")
def test_show_tells_all_of_a_row_but_its_values() -> None:
    row = run("show", "patient", "8", "--output", "json")
    assert {reason["reason"] for reason in row["reasons"]} == {RULE, "name_present"}
    assert row["look_up"] == "Persons.ID = 8"
    assert row["holds"] == [{"entity": "appointment", "source_id": 41, "reason": "patient_kept_back"}]
    assert row["waivers"] == []
    assert {reason["link"] for reason in row["reasons"]} == {
        f"docs/ru/quality.md#{code}" for code in (RULE, "name_present")
    }
    both = run("show", "contact", "7", "--output", "json")
    assert {(one["entity"], one["reason"]) for one in both["reasons"]} == {
        ("patient", RULE),
        ("contact", "NotSupportedChoice"),
    }
    assert "Persons.ID = 8" in run("show", "patient", "8")
    assert "Ничего не задерживает" in run("show", "lead", "99")


def test_waive_and_unwaive(ledger: Ledger) -> None:
    rule = ("--entity", "patient", "--reason", RULE)
    told = run("waive", CLINIC, *rule, "--id", "7", "--note", "Номер за границей", "--output", "json")
    assert (told["rows"], told["all_rows"]) == (1, False)
    [given] = ledger.waivers(UID)
    assert (given.source_id, given.note, given.waived_by) == (7, "Номер за границей", "command line")
    assert round((given.until - given.waived_at) / 86_400) == 90
    page = run("show", "patient", "7", "--output", "json")
    assert [(one["state"], one["note"]) for one in page["waivers"]] == [("valid", "Номер за границей")]
    assert "Номер за границей" in run("show", "patient", "7")
    undone = run("unwaive", CLINIC, *rule, "--id", "7", "--by", "Анна", "--output", "json")
    assert undone["revoked"] == 1
    assert ledger.waivers(UID) == []


def test_a_whole_rule_until_a_day_of_the_clinic(ledger: Ledger) -> None:
    day = datetime.fromtimestamp(time.time() + 10 * 86_400, tz=UTC).date().isoformat()
    rule = ("--entity", "patient", "--reason", RULE)
    told = run(
        "waive", CLINIC, *rule, "--all-rows", "--note", "Так ведут", "--until", day, "--output", "json"
    )
    assert (told["rows"], told["all_rows"]) == (2, True)
    [given] = ledger.waivers(UID)
    assert given.source_id is None
    # Midnight in Novosibirsk, seven hours ahead, is five in the afternoon in Greenwich.
    assert datetime.fromtimestamp(given.until, tz=UTC).strftime("%Y-%m-%dT%H:%M") == f"{day}T17:00"


@pytest.mark.usefixtures("ledger")
def test_what_is_refused() -> None:
    note = ("--note", "Согласовано")
    rule = ("--entity", "patient", "--reason", RULE)
    assert refused("waive", CLINIC, *rule, *note) == "which_rows"
    assert refused("waive", CLINIC, *rule, *note, "--id", "7", "--all-rows") == "which_rows"
    assert refused("waive", CLINIC, *rule, *note, "--id", "9") == "not_listed"
    assert (
        refused("waive", CLINIC, *rule, "--note", "Звонить +7 916 123-45-67", "--id", "7")
        == "waiver_personal"
    )
    days = ("--days", "3", "--until", "2099-01-01")
    assert refused("waive", CLINIC, *rule, *note, "--id", "7", *days) == "waiver_days"
    assert refused("waive", CLINIC, *rule, *note, "--id", "7", "--until", "завтра") == "waiver_days"
    assert refused("waive", CLINIC, *rule, *note, "--id", "7", "--until", "2001-01-01") == "waiver_days"
    refusal = ("--entity", "contact", "--reason", "NotSupportedChoice")
    assert refused("waive", CLINIC, *refusal, *note, "--id", "7") == "amocrm_refusal"


def test_retry(ledger: Ledger) -> None:
    told = run("retry", CLINIC, "--entity", "contact", "--id", "7", "--output", "json")
    assert told == {"clinic": CLINIC, "released": 1}
    assert ledger.released_keys(UID) == {Kind.CONTACT: frozenset({7})}
    [event] = ledger.audit(event_prefix="ident-amocrm.rejects.")
    assert (event.event, event.payload) == ("ident-amocrm.rejects.retried", {"rows": 1})


@pytest.mark.usefixtures("ledger")
def test_a_file_for_a_spreadsheet_runs_nothing(tmp_path: Path) -> None:
    file = tmp_path / "rejects.csv"
    assert run("export", str(file), "--entity", "patient", "--output", "json")["rows"] == 3
    raw = file.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"))))
    assert [row["source_id"] for row in rows] == ["7", "8", "8"]
    assert {row["clinic"] for row in rows} == {f"'{CLINIC}"}
