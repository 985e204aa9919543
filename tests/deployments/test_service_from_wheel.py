"""The package as an administrator has it: a wheel in an empty environment, run by a (played) systemd."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from zipfile import ZipFile

import pytest
import requests

from tests.support.empty_machine import Machine, built, copied_source, machine_in
from tests.support.ports import free_port
from tests.support.running_up import pids_of

pytestmark = [
    pytest.mark.soak,
    pytest.mark.server,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="plays systemd"),
]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    wheel = built(copied_source(folder / "source"), folder / "dist")
    names = ZipFile(wheel).namelist()
    assert not [name for name in names if name.startswith("tests/") or "/tests/" in name]
    assert {"deployments/windows/service.ps1", "deployments/systemd/unit.py"} <= set(names)
    with machine_in(folder) as result:
        result.install(wheel)
        yield result


def test_the_road_of_a_service(machine: Machine) -> None:
    assert machine.service("status")["installed"] is False
    installed = machine.service("install", "--port", str(free_port()))
    assert (installed["installed"], installed["active"], installed["enabled"]) == (True, True, True)

    found = machine.answering()
    assert (found["home"], found["version"]) == (str(machine.home), "0.1.0")
    user, _, secret = (machine.home / "prefect.auth").read_text().strip().partition(":")
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(f"{found['api']}/admin/version", timeout=30).status_code == 401
        assert (
            session.get(f"{found['api']}/admin/version", auth=(user, secret), timeout=30).status_code == 200
        )
        page = session.get(found["api"].removesuffix("api"), timeout=30)
    # The account of a service may write into the state alone, not into the package: so may its server.
    pages = machine.home / "prefect" / "ui" / "v1"
    assert (page.status_code, page.text) == (200, (pages / "index.html").read_text(encoding="utf-8"))
    lines = pids_of(machine.home).values()
    assert lines
    assert not [line for line in lines if secret in line]

    removed = machine.service("uninstall", "--wipe-state")
    assert removed["state"] == "wiped"
    assert machine.said.rstrip().endswith("Stopped."), "it ended in order"
    assert not machine.home.exists()
    assert pids_of(machine.home) == {}
    assert [*(machine.folder / "config").rglob("*.service")] == []
    assert machine.service("status")["installed"] is False
