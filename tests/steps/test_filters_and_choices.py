"""Filters decide who gets a deal, and the flexible forms decide what the mapping says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest

from deployments.sandbox.amocrm.server import StandIn
from tasks import choosing, connections
from tasks.errors import MappingError
from tasks.forms import run_input
from tasks.gate import load_mapping
from tasks.mapping.filters import narrowed, passes
from tasks.mapping.model import Filters, Policy, StageKey
from tasks.mapping.model import Mapping as CardMapping
from tasks.mappings import pending_resend, save_mapping
from tests.support.sandbox_installation import CLINIC, TOKEN, SandboxInstallation, sandbox_installation


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxInstallation]:
    folder = tmp_path_factory.mktemp("choices")
    with (
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        pytest.MonkeyPatch.context() as patch,
        sandbox_installation(folder, crm, patch, patients=20, appointments=60) as found,
    ):
        found.connect()
        patch.setattr(choosing, "create_markdown_artifact", lambda *_parts, **_named: None)
        found.remember()
        yield found


@pytest.fixture
def place(installed: SandboxInstallation) -> SandboxInstallation:
    installed.recall()
    return installed


def mapping_of(place: SandboxInstallation) -> CardMapping:
    known = place.ledger.setting("installation", "amocrm") or {}
    return load_mapping(place.ledger, int(known["account_id"]))


def submit(block: str, change: Callable[[dict[str, Any]], Any], clinic: str = "") -> Any:
    """Fill a form in as a person does: what is preselected, with a change."""
    form = choosing.block_form(block, clinic)
    shown = run_input(form)().model_dump(mode="json")
    answer = form.read(shown)
    change(answer)
    choosing.accept_choice(block, clinic, answer)
    return choosing.save_choice.fn(f"run:{block}", block, clinic, answer, "test")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    monkeypatch.setattr(choosing, "get_run_logger", lambda: logging.getLogger("test"))


@pytest.mark.parametrize("block", choosing.BLOCKS)
def test_a_form_submitted_as_it_is_changes_nothing(place: SandboxInstallation, block: str) -> None:
    before = mapping_of(place)
    assert submit(block, lambda _answer: None)["changes"] == []
    assert mapping_of(place) == before


def test_a_stage_is_chosen_for_each_pipeline_alone(place: SandboxInstallation) -> None:
    before = mapping_of(place)
    result = submit(choosing.STAGES, lambda answer: answer.update(primary_arrived="none"))
    assert result["changes"] == ["Первичный приём / Пациент пришёл: «Пациент пришёл» → не менять"]
    mapping = mapping_of(place)
    assert mapping.primary.stages[StageKey.ARRIVED] is None
    assert mapping.repeat == before.repeat


def test_another_pipeline_opens_a_second_form_with_its_stages(place: SandboxInstallation) -> None:
    state = place.crm.sandbox.state
    other = state.add_pipeline("Вторая клиника", sort=50, is_main=False, is_unsorted_on=False)
    booked = state.add_status(other, "Записан", 20, None)
    form = choosing.block_form(choosing.STAGES, "")
    answer = form.read({})
    answer["primary_pipeline"] = str(other.id)
    second = choosing.other_stages_form("", answer)
    assert second is not None
    shown = second.read({})
    assert shown["primary_planned"] == str(booked.id)
    shown["primary_completed"] = "142"
    choosing.accept_choice(choosing.STAGES, "", shown)
    choosing.save_choice.fn("run:second", choosing.STAGES, "", shown, "test")
    mapping = mapping_of(place)
    assert mapping.primary.pipeline_id == other.id
    assert mapping.primary.stages[StageKey.COMPLETED] == 142


def test_a_field_is_left_out_and_made_anew_without_a_twin(place: SandboxInstallation) -> None:
    before = len(place.crm.admin("dump")["fields"]["contacts"])
    assert submit(choosing.CONTACT, lambda answer: answer.update(city="never"))["changes"] == [
        "Контакт / Город: «IDENT: Город» → не передавать"
    ]
    place.ledger.put_setting(f"run:{choosing.CONTACT}", "saved", {}, by="test")
    form = choosing.block_form(choosing.CONTACT, "")
    answer = {**form.read({}), "city": "create"}
    choosing.save_choice.fn("run:again", choosing.CONTACT, "", answer, "test")
    assert len(place.crm.admin("dump")["fields"]["contacts"]) == before
    assert next(one for one in mapping_of(place).contact if one.datum == "city").policy is not Policy.NEVER
    assert pending_resend(place.ledger, mapping_of(place).account_id) == {"contact": frozenset({"city"})}


def test_one_field_for_two_data_is_refused_before_anything_is_made(place: SandboxInstallation) -> None:
    before, fields = mapping_of(place), place.crm.admin("dump")["fields"]
    city = next(one for one in before.contact if one.datum == "city")
    with pytest.raises(MappingError) as refusal:
        submit(choosing.CONTACT, lambda answer: answer.update(card_number=str(city.field_id)))
    assert refusal.value.code == "mapping_unsound"
    assert mapping_of(place) == before
    assert place.crm.admin("dump")["fields"] == fields


def test_a_clinic_chooses_for_itself(place: SandboxInstallation) -> None:
    submit(choosing.OWNERS, lambda answer: answer.update(deal_name="Визит {date}"), clinic=CLINIC)
    mapping = mapping_of(place)
    assert mapping.deal_name != "Визит {date}"
    assert mapping.for_clinic(place.uid).deal_name == "Визит {date}"
    place.sync()
    assert {lead["name"].split()[0] for lead in place.crm.admin("dump")["leads"]} == {"Визит"}


def test_a_filter_keeps_new_deals_out_and_sent_ones_up_to_date(place: SandboxInstallation) -> None:
    names = choosing.block_form(choosing.FILTERS, "").questions[1]
    assert len(names.options) > 1
    doctor = names.options[0].value
    mapping = mapping_of(place)
    save_mapping(place.ledger, mapping.model_copy(update={"filters": Filters(doctors=[doctor])}), "test")
    place.sync()
    field = next(rule.field_id for rule in mapping.lead if rule.datum == "doctor")

    def doctors() -> set[str]:
        return {
            str(item["values"][0]["value"])
            for lead in place.crm.admin("dump")["leads"]
            for item in lead["custom_fields_values"] or ()
            if item["field_id"] == field
        }

    assert doctors() <= {doctor}
    few = len(place.crm.admin("dump")["leads"])
    assert place.sync().planned["leads"]["create"] == 0
    save_mapping(place.ledger, mapping, "test")
    report = place.sync()
    assert report.mode == "full", "no increment names what a filter kept out"
    assert report.applied["leads"]["create"] > 0
    assert len(place.crm.admin("dump")["leads"]) > few
    assert place.differences() == []


def test_a_block_names_the_branches_whose_appointments_become_deals(place: SandboxInstallation) -> None:
    names = choosing.block_form(choosing.FILTERS, "").questions[0]
    assert len(names.options) > 1
    one, other = (option.value for option in names.options[:2])
    place.secrets[CLINIC] = place.connection().model_copy(update={"branches": f" {one} ,"})
    place.sync()
    field = next(rule.field_id for rule in mapping_of(place).lead if rule.datum == "branch")

    def branches() -> set[str]:
        return {
            str(item["values"][0]["value"])
            for lead in place.crm.admin("dump")["leads"]
            for item in lead["custom_fields_values"] or ()
            if item["field_id"] == field
        }

    assert branches() == {one}
    connections.connect_database(CLINIC, place.connection(), place.ledger)
    assert place.sync().mode == "full", "no increment names what the other branches have"
    assert branches() >= {one, other}
    assert place.differences() == []


def test_branches_that_block_and_mapping_do_not_share_let_nothing_through() -> None:
    assert narrowed(Filters(branches=["a"]), []).branches == ["a"]
    assert narrowed(Filters(), ["a", "b"]).branches == ["a", "b"]
    assert narrowed(Filters(branches=["b", "c"]), ["a", "b"]).branches == ["b"]
    nothing = narrowed(Filters(branches=["c"]), ["a"])
    assert not nothing.is_open
    frame = pd.DataFrame({"branch": ["a", "c", None], "start_at": pd.Timestamp.now(tz="UTC")})
    assert not passes(nothing, frame, pd.Timestamp.now(tz="UTC")).any()
