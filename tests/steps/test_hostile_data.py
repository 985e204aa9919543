"""Hostile data of a clinic, from its database to amoCRM and to everything that an operator looks at.

Nothing breaks, nothing is lost, what is longer than amoCRM stores is cut where that was agreed, and no page or
file says more than ids and names of ours.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator

import pytest
import requests

import expectations.gate
from tasks import data_docs
from tasks.data_docs import show_verdicts
from tasks.load import apply_plan
from tasks.mapping.texts import TEXT_LENGTH, TEXTAREA_LENGTH
from tasks.plan import build_plan
from tasks.records import Kind
from tasks.report import SyncReport, build_report, sync_markdown
from tasks.review import listed_rejects
from tasks.review_export import as_csv
from tests.support import quick_gate
from tests.support.clinic_steps import UID, ClinicSteps, clinic_steps
from tests.support.hostile import MARK, VALUES

#: Table, its key, and the columns that hold anybody's text.
COLUMNS = (
    ("Persons", "ID", ("Surname", "Name", "Patronymic", "Phone", "MobilePhone", "Email", "City")),
    ("Patients", "ID_Persons", ("CardNumber", "ParentSNP", "Comment")),
    ("Receptions", "ID", ("Comment", "CancelReasonComment")),
    ("OwnCompanies", "ID", ("Name", "BranchName")),
    ("Armchairs", "ID", ("NameArmchair",)),
    ("InfoSources", "ID", ("Name",)),
    ("ReceptionCancelReasons", "ID", ("Name",)),
    ("AppointmentSources", "ID", ("Name",)),
    ("ServiceItems", "ID", ("Name",)),
    ("ProfessionNames", "ID", ("NameProfession",)),
)


def poison(steps: ClinicSteps) -> None:
    """Put each hostile value into each column, as far as there are rows."""
    values = list(VALUES.values())
    for table, key, columns in COLUMNS:
        keys = [row[0] for row in steps.rows(f"SELECT {key} FROM {table} ORDER BY {key}")]
        for number, one in enumerate(keys):
            for place, column in enumerate(columns):
                value = values[(number + place) % len(values)]
                steps.ident(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", value, one)


class Poisoned:
    """The clinic after its first load, with the real suites and their pages, and what was said meanwhile."""

    def __init__(self, steps: ClinicSteps, said: list[str]) -> None:
        self.steps, self.said = steps, said
        with steps._read("full", dry_run=False) as space:
            build_plan(space)
            apply_plan(space)
            show_verdicts(space)
            self.report: SyncReport = build_report(space)
            space.plan.clear()
            build_plan(space)
            self.again = list(space.plan)


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Poisoned]:
    folder = tmp_path_factory.mktemp("hostile")
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    with (
        pytest.MonkeyPatch.context() as patch,
        clinic_steps(folder, patch, appointments=60, has_suites=True) as steps,
    ):
        patch.setattr(data_docs, "create_table_artifact", lambda **_parts: None)
        patch.setattr(data_docs, "get_run_logger", lambda: logging.getLogger("tasks.data_docs"))
        poison(steps)
        found = Poisoned(steps, said)
        patch.setattr(
            expectations.gate, "validate", quick_gate.judge
        )  # for the reconciliation, whose page is looked at
        yield found
    logging.getLogger().removeHandler(handler)


def test_every_row_arrives_or_is_listed(poisoned: Poisoned) -> None:
    steps, report = poisoned.steps, poisoned.report
    held = {(row.entity, row.source_id) for _uid, row in steps.ledger.rejects(UID)}
    for kind, query in (
        (Kind.CONTACT, "SELECT ID_Persons FROM Patients"),
        (
            Kind.LEAD,
            "SELECT ID FROM Receptions WHERE ID_Patients IS NOT NULL AND ID_ReceptionsTransferFrom IS NULL",
        ),
    ):
        keys = {row[0] for row in steps.rows(query)}
        there = set(steps.ledger.applied_rows(UID, kind, keys))
        entity = "patient" if kind is Kind.CONTACT else "appointment"
        assert there, kind
        if kind is Kind.CONTACT:
            assert keys - there <= {key for of, key in held if of in {entity, kind.value}}
    assert report.rejected == report.deferred == report.ambiguous == 0
    assert report.applied["contacts"]["create"] > 10
    assert report.applied["leads"]["create"] > 10


def test_what_was_cut_or_cleaned_is_no_difference_the_next_time(poisoned: Poisoned) -> None:
    assert poisoned.again == []


def test_texts_stand_in_amocrm_as_they_were_cut_where_agreed(poisoned: Poisoned) -> None:
    dump = poisoned.steps.dump()
    texts = [
        str(value["value"])
        for key in ("contacts", "leads")
        for row in dump[key]
        for field in row["custom_fields_values"] or ()
        for value in field["values"]
    ]
    names = [row[name] or "" for row in dump["contacts"] for name in ("first_name", "last_name")]
    assert max(map(len, texts)) == TEXTAREA_LENGTH
    assert max(map(len, names)) == TEXT_LENGTH
    for kind in ("script", "sql", "formula", "emoji", "template"):
        assert [text for text in (*texts, *names) if VALUES[kind].strip()[:TEXT_LENGTH] in text], kind


def test_no_log_no_report_and_no_table_says_a_value(poisoned: Poisoned) -> None:
    steps = poisoned.steps
    shown = [*poisoned.said, sync_markdown(poisoned.report, steps.crm.url), repr(poisoned.report.as_dict())]
    shown.append(steps.reconcile(dry_run=True).artifact)
    assert [text[:200] for text in shown if MARK in text] == []
    home = steps.settings.home
    for path in home.rglob("*"):
        if path.is_file():
            assert MARK.encode() not in path.read_bytes(), path.relative_to(home)
    assert list(home.glob("data-docs/pages/**/*.html"))


def test_the_list_of_what_is_kept_back_runs_nothing(poisoned: Poisoned) -> None:
    text = as_csv(listed_rejects(poisoned.steps.ledger))
    assert MARK not in text
    rows = list(csv.reader(io.StringIO(text)))
    assert len(rows) > 1
    assert [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))] == []


def test_the_board_shows_markup_as_text(poisoned: Poisoned) -> None:
    page = requests.get(f"{poisoned.steps.crm.url}/board?cards=500", timeout=30).text
    assert MARK in page
    for kind in ("script", "image", "attribute"):
        assert VALUES[kind][:40] not in page
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page
