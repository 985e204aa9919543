from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from deployments.automations import NOTICES, Channel, channels, notices
from tasks.launch import NOTIFY
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.settings import Settings
from tests.house.test_events import DOCUMENTED


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(Settings(home=tmp_path).ledger_url).open()) as found:
        for uid in ("a", "b", "c"):
            found.save_connection(ConnectionRecord(f"clinic {uid}", uid, uid, "Europe/Moscow"))
        found.put_setting("clinic:a", NOTIFY, {"block": "custom-webhook/own"}, by="test")
        found.put_setting("clinic:b", NOTIFY, {"block": "custom-webhook/all"}, by="test")
        yield found


def test_whom_to_tell(ledger: Ledger, tmp_path: Path) -> None:
    own = Channel("custom-webhook/own", "a")
    both = Channel("custom-webhook/all", "b")
    assert channels(ledger, Settings(home=tmp_path)) == [own, both]
    everybody = Settings(home=tmp_path, notify="custom-webhook/all")
    assert channels(ledger, everybody) == [Channel("custom-webhook/all"), own]


def test_they_wait_for_events_that_exist() -> None:
    assert {event for events in NOTICES.values() for event in events} <= DOCUMENTED


def test_a_clinics_channel_hears_of_its_clinic_and_of_the_installation() -> None:
    made = list(notices(Channel("custom-webhook/own", "a"), uuid4()))
    assert len({one.name for one in made}) == len(NOTICES)
    for one in made:
        match = one.trigger.model_dump(mode="json")["match"]["prefect.resource.id"]
        assert match == ["ident-amocrm.clinic.a", "ident-amocrm.clinic.all"]
    [whole, *_] = notices(Channel("custom-webhook/all"), uuid4())
    assert whole.trigger.model_dump(mode="json")["match"]["prefect.resource.id"] == ["ident-amocrm.clinic.*"]
