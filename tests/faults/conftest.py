from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.sandbox.amocrm.server import StandIn
from tests.faults.world import Template, World, stand_in, template


@pytest.fixture(scope="session")
def crm() -> Iterator[StandIn]:
    with stand_in() as served:
        yield served


@pytest.fixture(scope="session")
def origin(crm: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Template:
    return template(tmp_path_factory.mktemp("faults") / "origin", crm)


@pytest.fixture
def world(origin: Template, crm: StandIn, tmp_path: Path) -> Iterator[World]:
    with World.copy(origin, crm, tmp_path / "world", seed=1).open() as opened:
        yield opened
