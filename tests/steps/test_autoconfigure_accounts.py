"""Autoconfiguration of accounts that are empty, half furnished under similar names, and complete."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from deployments.sandbox.amocrm.server import StandIn
from tasks import configure, connections
from tasks.errors import IdentAmocrmError, TransferRefusedError
from tasks.launch import TRANSFER
from tasks.mapping.catalogue import CONTACT_CARD, LEAD_CARD, SPECIAL, STAGES
from tasks.mapping.rules import problems
from tasks.mappings import mapping_history
from tests.support.sandbox_installation import CLINIC, TOKEN, SandboxInstallation, sandbox_installation

#: Fields that are no part of the card itself and not amoCRM's own, and the field of the mark.
CONTACT_FIELDS = sum(not item.builtin and item.type != "multitext" for item in CONTACT_CARD) + 1
LEAD_FIELDS = sum(not item.builtin for item in LEAD_CARD) + 1


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxInstallation]:
    folder = tmp_path_factory.mktemp("accounts")
    with (
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        pytest.MonkeyPatch.context() as patch,
        sandbox_installation(folder, crm, patch, patients=2, appointments=2) as found,
    ):
        connections.connect_database(CLINIC, found.connection(), found.ledger)
        connections.connect_amocrm(crm.url, SecretStr(TOKEN), found.ledger)
        found.remember()
        yield found


@pytest.fixture
def place(installed: SandboxInstallation) -> SandboxInstallation:
    installed.recall()
    return installed


def run(place: SandboxInstallation) -> configure.Configured:
    _proposal, done = configure.autoconfigure(
        place.ledger, place.settings, lambda _proposal: True, special=SPECIAL
    )
    assert done is not None
    return done


def actions(done: configure.Configured) -> dict[str, str]:
    return {element.key: element.action for element in done.proposal.elements}


def size(place: SandboxInstallation) -> tuple[int, int, int, int]:
    dump = place.crm.admin("dump")
    stages = sum(len(one["_embedded"]["statuses"]) for one in dump["pipelines"])
    fields = dump["fields"]
    return len(dump["pipelines"]), stages, len(fields["contacts"]), len(fields["leads"])


def again_nothing(place: SandboxInstallation) -> None:
    before, dump = size(place), place.crm.admin("dump")["fields"]
    done = run(place)
    assert set(actions(done).values()) == {"reuse"}
    assert done.saved.changes == []
    assert size(place) == before
    assert place.crm.admin("dump")["fields"] == dump


def test_an_empty_account_gets_everything(place: SandboxInstallation) -> None:
    before = size(place)
    done = run(place)
    proposed = actions(done)
    assert {proposed.pop("contact.phone_mobile"), proposed.pop("contact.phone_other")} == {"reuse"}
    assert proposed.pop("contact.email") == "reuse"
    assert set(proposed.values()) == {"create"}
    assert not problems(done.saved.mapping)
    pipelines, _stages, contacts, leads = size(place)
    assert pipelines - before[0] == 2
    assert (contacts - before[2], leads - before[3]) == (CONTACT_FIELDS, LEAD_FIELDS)
    marks = [
        one for one in place.crm.admin("dump")["fields"]["contacts"] if one["code"] == "IDENT_PATIENT_ID"
    ]
    assert [one["is_api_only"] for one in marks] == [True]
    page = configure.configured_markdown(done)
    assert "✅ Связка настроена" in page
    assert page.count("🆕") == len(proposed)
    [event] = place.ledger.audit(event_prefix="ident-amocrm.settings.autoconfigured")
    assert event.payload["created"] == len(proposed)
    [change] = mapping_history(place.ledger, done.saved.mapping.account_id)
    assert (change.by, change.changes) == ("autoconfigure", ["Настройка создана."])
    again_nothing(place)


def test_half_an_account_is_completed_around_what_fits(place: SandboxInstallation) -> None:
    state = place.crm.sandbox.state
    pipeline = state.add_pipeline("ПЕРВИЧНЫЕ ПРИЕМЫ", sort=10, is_main=False, is_unsorted_on=True)
    for sort, name in enumerate(("Новая заявка", "Записан", "Пришел в клинику", "No-show"), start=2):
        state.add_status(pipeline, name, sort * 10, None)
    for kind, name, type_ in (
        ("contacts", "Дата рождения", "birthday"),
        ("contacts", "Пол пациента", "text"),
        ("contacts", "Город", "numeric"),
        ("leads", "Врачи", "text"),
        ("leads", "Дата и время приема", "date_time"),
        ("leads", "Стоимость приёма", "checkbox"),
        ("leads", "Статус записи", "select"),
    ):
        field = state.add_field(kind, name, type_, None)  # type: ignore[arg-type]
        if type_ == "select":
            field.enums = {}
            state.add_enum(field, "ЗАПЛАНИРОВАН", 10, None)
            state.add_enum(field, "VIP", 20, None)
    before = size(place)
    done = run(place)
    found = actions(done)
    reused = {key for key, action in found.items() if action == "reuse"}
    assert reused == {
        *("primary", "primary.planned", "primary.arrived", "primary.no_show"),
        *(
            "contact.birth_date",
            "contact.sex",
            "contact.phone_mobile",
            "contact.phone_other",
            "contact.email",
        ),
        *("lead.doctor", "lead.start_at", "lead.status"),
    }
    pipelines, _stages, contacts, leads = size(place)
    assert pipelines - before[0] == 1
    assert (contacts - before[2], leads - before[3]) == (CONTACT_FIELDS - 2, LEAD_FIELDS - 3)
    types = {
        one["id"]: one["type"]
        for kind in ("contacts", "leads")
        for one in place.crm.admin("dump")["fields"][kind]
    }
    mapping = done.saved.mapping
    for rule in (*mapping.contact, *mapping.lead):
        assert rule.field_id is None or types[rule.field_id] == rule.field_type
    status = next(one for one in place.crm.admin("dump")["fields"]["leads"] if one["name"] == "Статус записи")
    assert [one["value"] for one in status["enums"]][:2] == ["ЗАПЛАНИРОВАН", "VIP"]
    assert len(status["enums"]) == 7
    assert "не подходит: флаг" in {one.key: one.note for one in done.proposal.elements}["lead.amount"]
    again_nothing(place)


def test_a_complete_account_is_only_read(place: SandboxInstallation) -> None:
    run(place)
    place.forget_ledger()
    connections._ledger.cache_clear()
    connections.connect_amocrm(place.crm.url, SecretStr(TOKEN), place.ledger)
    again = configure.propose_configuration(place.ledger, place.settings, special=SPECIAL)
    assert {element.action for element in again.elements} == {"reuse"}
    assert len([one for one in again.elements if one.block == "pipelines"]) == 2 * (len(STAGES) + 1)
    before = size(place)
    run(place)
    assert size(place) == before


@pytest.mark.parametrize(
    "path", ["/api/v4/leads/pipelines", "/api/v4/contacts/custom_fields", "/api/v4/leads/custom_fields"]
)
def test_a_lost_answer_half_way_leaves_no_twins(place: SandboxInstallation, path: str) -> None:
    place.crm.admin("faults", {"mode": "truncate", "method": "POST", "path_prefix": path})
    with pytest.raises(IdentAmocrmError):
        run(place)
    run(place)
    dump = place.crm.admin("dump")
    for names in (
        [one["name"] for one in dump["pipelines"]],
        *([one["name"] for one in dump["fields"][kind]] for kind in ("contacts", "leads")),
    ):
        assert len(names) == len(set(names))
    again_nothing(place)


def test_it_is_refused_while_the_transfer_runs(place: SandboxInstallation) -> None:
    place.ledger.put_setting(f"clinic:{place.uid}", TRANSFER, {"started": True}, by="test")
    before = size(place)
    with pytest.raises(TransferRefusedError) as refusal:
        run(place)
    assert refusal.value.code == "transfer_running"
    assert "ident-amocrm stop" in refusal.value.remedy
    place.ledger.put_setting(f"clinic:{place.uid}", TRANSFER, {"started": False}, by="test")
    token = place.ledger.acquire_lease(place.uid, "another machine:1:x", 60)
    with pytest.raises(TransferRefusedError):
        run(place)
    place.ledger.release_lease(place.uid, token)
    assert size(place) == before
