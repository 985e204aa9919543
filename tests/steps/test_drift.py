"""A field or a stage that a person deleted in amoCRM: only what depends on it waits, and nothing is lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from deployments.sandbox.amocrm.server import StandIn
from tasks import configure
from tasks.backfill import count_rows, mark_rows
from tasks.errors import MappingError
from tasks.gate import load_mapping
from tasks.health import check_account
from tasks.health_page import health_markdown
from tasks.mapping.model import FieldRule
from tasks.mapping.model import Mapping as CardMapping
from tasks.mappings import save_mapping
from tests.support.clinic_database import clinic_now
from tests.support.sandbox_installation import TOKEN, SandboxInstallation, sandbox_installation


@pytest.fixture(scope="module")
def transferred(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxInstallation]:
    folder = tmp_path_factory.mktemp("drift")
    with (
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        pytest.MonkeyPatch.context() as patch,
        sandbox_installation(folder, crm, patch, appointments=120) as found,
    ):
        found.connect()
        found.sync()
        found.remember()
        yield found


@pytest.fixture
def place(transferred: SandboxInstallation) -> SandboxInstallation:
    transferred.recall()
    return transferred


def mapping_of(place: SandboxInstallation) -> CardMapping:
    known = place.ledger.setting("installation", "amocrm") or {}
    return load_mapping(place.ledger, int(known["account_id"]))


def rule(place: SandboxInstallation, card: str, datum: str) -> FieldRule:
    found: FieldRule = next(one for one in getattr(mapping_of(place), card) if one.datum == datum)
    return found


def delete_field(place: SandboxInstallation, kind: Any, field_id: int | None) -> None:
    assert field_id is not None
    place.crm.sandbox.state.delete_field(kind, field_id)


def values(place: SandboxInstallation, kind: str, field_id: int | None) -> dict[int, Any]:
    return {
        row["id"]: item["values"][0]["value"]
        for row in place.crm.admin("dump")[kind]
        for item in row["custom_fields_values"] or ()
        if item["field_id"] == field_id
    }


def repair(place: SandboxInstallation) -> configure.Configured:
    _proposal, done = configure.autoconfigure(place.ledger, place.settings, lambda _proposal: True)
    assert done is not None
    return done


def test_a_deleted_field_is_named_the_rest_goes_on_and_its_values_come_back(
    place: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.blocks.load_account", lambda: place.secrets["account"])
    doctor, branch = rule(place, "lead", "doctor"), rule(place, "lead", "branch")
    before = len(values(place, "leads", doctor.field_id))
    assert before > 10
    delete_field(place, "leads", doctor.field_id)
    place.hour(1)
    report = place.sync()
    assert report.applied["leads"]["create"] + report.applied["leads"]["move"] > 0, "the rest went on"
    assert report.rejected == 0
    [warning] = report.warnings
    assert warning == (
        "Поле сделки „IDENT: Врач“ удалено в amoCRM: запустите autoconfigure или выберите другое"
    )
    assert len(values(place, "leads", branch.field_id)) >= before
    checks = check_account(place.ledger, place.settings)
    assert warning in health_markdown("clinic1", checks, {}, clinic_now(), place.settings)
    [event] = place.ledger.audit(event_prefix="ident-amocrm.settings.drifted")
    assert event.payload == {"count": 1}
    assert place.sync().planned == place.sync("full").planned, "what waits is not planned again and again"

    done = repair(place)
    assert done.resent["lead"] >= before
    assert place.sync().mode == "full", "what changed meanwhile is named by no increment any more"
    new = rule(place, "lead", "doctor")
    assert new.field_id != doctor.field_id
    deals = len(place.crm.admin("dump")["leads"])
    assert len(values(place, "leads", new.field_id)) == deals
    assert place.differences() == []
    writes = place.writes()
    place.sync("full")
    assert place.writes() == writes
    assert repair(place).saved.changes == []


def test_a_value_that_changed_while_its_field_was_gone_arrives_without_backfill(
    place: SandboxInstallation,
) -> None:
    """The same field comes back, as an archive of amoCRM's support would bring it: only differences are sent."""
    city = rule(place, "contact", "city")
    state = place.crm.sandbox.state
    kept = state.fields["contacts"].pop(city.field_id or 0)
    with closing(sqlite3.connect(place.database)) as database, database:
        [person] = database.execute("SELECT min(ID_Persons) FROM Patients").fetchone()
        database.execute("UPDATE Persons SET City = 'Тверь' WHERE ID = ?", [person])
        database.execute("UPDATE Persons SET DateTimeChanged = datetime('now', '+1 day')")
    first = place.sync()
    assert first.planned["contacts"]["update"] == 0
    state.fields["contacts"][kept.id] = kept
    report = place.sync()
    assert report.planned["contacts"]["update"] == 1
    assert "Тверь" in values(place, "contacts", city.field_id).values()
    assert place.differences() == []


def test_a_deleted_stage_holds_the_moves_into_it_and_no_contact(place: SandboxInstallation) -> None:
    mapping = mapping_of(place)
    arrived = {side.stages["arrived"] for side in (mapping.primary, mapping.repeat)}  # type: ignore[index]
    state = place.crm.sandbox.state
    for pipeline in state.pipelines.values():
        for stage in [one for one in pipeline.statuses if one.id in arrived]:
            other = next(one for one in pipeline.statuses if one.id not in arrived and one.is_editable)
            for lead in state.records["leads"].values():
                if lead.status_id == stage.id:
                    lead.status_id = other.id
            pipeline.statuses.remove(stage)
    place.hour(1)
    place.hour(2)
    report = place.sync()
    assert sum("этап" in text.casefold() for text in report.warnings) == 2
    repair(place)
    place.sync()
    assert [one for one in place.differences() if "contact" in one.casefold()] == []


def test_a_deleted_pipeline_keeps_its_new_deals_back_and_they_come_after_the_repair(
    place: SandboxInstallation,
) -> None:
    mapping = mapping_of(place)
    state = place.crm.sandbox.state
    pipeline = state.pipelines[mapping.primary.pipeline_id]
    del state.pipelines[pipeline.id]
    place.hour(3)
    before = len(place.crm.admin("dump")["contacts"])
    report = place.sync()
    assert any("Воронка" in text for text in report.warnings)
    assert len(place.crm.admin("dump")["contacts"]) >= before
    state.pipelines[pipeline.id] = pipeline
    place.sync()
    # A new time is written at once, where the deal stands: «Перенесён» was not there to put it into.
    moved = {f"deal {root}: Воронка и этап" for root in place.witness.rescheduled}
    assert set(place.differences()) <= moved
    assert [row for _uid, row in place.ledger.rejects(place.uid) if row.reason == "stage_not_mapped"] == []


@pytest.mark.parametrize("card", ["contact", "lead"])
def test_without_the_field_of_the_mark_nothing_is_sent(place: SandboxInstallation, card: str) -> None:
    mapping = mapping_of(place)
    kind = {"contact": "contacts", "lead": "leads"}[card]
    delete_field(place, kind, getattr(mapping, f"{card}_external_field"))
    writes = place.writes()
    with pytest.raises(MappingError) as refusal:
        place.sync()
    assert refusal.value.code == "mapping_drift"
    assert place.writes() == writes


def test_backfill_sends_the_changed_field_and_nothing_else(place: SandboxInstallation) -> None:
    mapping = mapping_of(place)
    state = place.crm.sandbox.state
    other = state.add_field("leads", "Доктор", "select", None)
    other.enums = {}
    state.add_enum(other, "Был до нас", 10, None)
    rules = [
        one.model_copy(update={"field_id": other.id, "field_type": "select", "field_name": "Доктор"})
        if one.datum == "doctor"
        else one
        for one in mapping.lead
    ]
    saved = save_mapping(place.ledger, mapping.model_copy(update={"lead": rules}), "test")
    assert saved.redirected == {"lead": frozenset({"doctor"})}
    assert saved.changes == ["Сделка / Врач: «IDENT: Врач» → «Доктор»"]
    assert place.sync().planned["leads"] == {"create": 0, "update": 0, "move": 0}, "only on a person's word"
    counted = count_rows(place.ledger, place.settings, saved.redirected)
    deals = place.crm.admin("dump")["leads"]
    assert counted == {"lead": len(deals)}
    assert mark_rows(place.ledger, place.settings, mapping.account_id, saved.redirected, "test") == counted
    report = place.sync()
    assert report.planned["leads"] == {"create": 0, "update": len(deals), "move": 0}
    assert report.planned["contacts"] == {"create": 0, "update": 0}
    changed = {row["id"]: row for row in place.crm.admin("dump")["leads"]}
    for deal in deals:
        now = changed[deal["id"]]
        assert (now["status_id"], now["name"], now["price"]) == (
            deal["status_id"],
            deal["name"],
            deal["price"],
        )
    assert len(values(place, "leads", other.id)) == len(deals)
    labels = [one.value for one in other.enums.values()]
    assert labels[0] == "Был до нас"
    assert len(labels) == len(set(labels)) > 2
    assert place.sync().planned["leads"] == {"create": 0, "update": 0, "move": 0}
