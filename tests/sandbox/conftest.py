"""One stand-in amoCRM for all tests of this room, emptied before each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deployments.sandbox.amocrm.server import StandIn
from tests.support.amocrm_caller import Caller


@pytest.fixture(scope="session")
def running() -> Iterator[StandIn]:
    with StandIn(token="t", limit=None, index_lag=0) as crm:
        yield crm


@pytest.fixture
def crm(running: StandIn) -> StandIn:
    running.admin("reset", {})
    running.admin(
        "settings", {"index_lag": 0, "limit": None, "paid": True, "token_valid": True, "api_filter": False}
    )
    return running


@pytest.fixture
def api(crm: StandIn) -> Iterator[Caller]:
    caller = Caller(crm)
    yield caller
    caller.session.close()
