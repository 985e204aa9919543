"""``ident-amocrm worker``: a machine that does not belong to the installation works for nobody."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from prefect.utilities.processutils import command_from_string

from deployments import run_flow, up, worker
from deployments.child import Child
from deployments.dead_runs import end_dead_runs
from deployments.place import enter_project, project_root
from deployments.registry import _job_variables
from deployments.run_flow import UNDER_WAY
from deployments.supervisor import PYTHON
from tasks.errors import ConfigurationError
from tasks.ledger.backup import BASELINE
from tasks.ledger.hashing import key_check
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.settings import Settings

API = "http://prefect.invalid/api"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", state_url="")


@pytest.fixture
def ledger(settings: Settings, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger that passes for one on a server."""
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").open()) as found:
        found.save_connection(ConnectionRecord("north", "u", "b", "Europe/Moscow"))
        found.database.is_sqlite = False
        yield found


def refused(settings: Settings, ledger: Ledger, api: str = API) -> str:
    with pytest.raises(ConfigurationError) as refusal:
        worker.refuse_stranger(settings, ledger, api)
    return refusal.value.code


def test_it_needs_a_server_a_shared_ledger_and_the_key(settings: Settings, ledger: Ledger) -> None:
    assert refused(settings, ledger, "") == "no_prefect_server"
    assert refused(settings, Ledger(settings.ledger_url)) == "ledger_of_one_machine"
    assert refused(settings, ledger) == "no_installation_key"
    assert not settings.home.exists(), "a key made now would be another one"


@pytest.mark.parametrize("same", [True, False])
def test_the_key_must_be_the_one_of_the_hashes(settings: Settings, ledger: Ledger, same: bool) -> None:
    ledger.database.is_sqlite = True
    own = key_check(settings.installation_key())
    known = own if same else key_check(b"another")
    ledger.put_setting("clinic:u", BASELINE, {"key": known, "scheme": 1}, by="test")
    ledger.database.is_sqlite = False
    if same:
        worker.refuse_stranger(settings, ledger, API)
    else:
        assert refused(settings, ledger) == "another_installation_key"


def test_nothing_of_the_machine_that_made_a_deployment_stands_in_it() -> None:
    class Server:
        api_url = type("Url", (), {"host": "server.invalid"})

    [*words] = command_from_string(_job_variables(Server())["command"])  # type: ignore[arg-type]
    assert words == ["sh", "-c", f'exec "${{{PYTHON}:-python3}}" -m deployments.run_flow']


@pytest.mark.skipif(os.name == "nt", reason="one machine there")
def test_a_run_is_this_machines_python_in_this_machines_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    own = tmp_path / "python of this machine"
    own.write_text('#!/bin/sh\necho "$0" "$@"\n')
    own.chmod(0o700)

    class Server:
        api_url = type("Url", (), {"host": "server.invalid"})

    command = command_from_string(_job_variables(Server())["command"])  # type: ignore[arg-type]
    done = subprocess.run(
        command, env={**os.environ, PYTHON: str(own)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{own} -m deployments.run_flow\n"
    monkeypatch.chdir(tmp_path)
    assert enter_project() == {"directory": str(project_root())}
    assert Path.cwd() == project_root()
    assert (Path.cwd() / "flows" / "sync.py").exists()


def test_children_know_their_python_and_up_may_leave_the_work_to_others(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    away = worker._WorkerSupervisor(settings, API, 7, ("--with-healthcheck",), threading.Event())
    assert away.worker.environment[PYTHON] == sys.executable
    assert away.worker.arguments[-1] == "--with-healthcheck"
    assert away.worker.arguments[away.worker.arguments.index("--limit") + 1] == "7"
    assert away.setup.arguments == ("--end-dead-runs", "--of-this-machine")

    def names(works: bool) -> set[str]:
        return {
            one.name
            for one in up._Supervisor(settings, "127.0.0.1", 4998, threading.Event(), works=works).beside
        }

    assert names(works=True) - names(works=False) == ({"host of runs"} if sys.platform == "linux" else set())


class Pool:
    """A server on which three runs are under way."""

    def __init__(self) -> None:
        self.runs = [type("Run", (), {"id": uuid4()})() for _ in range(3)]
        self.crashed: list[object] = []

    def read_flow_runs(self, *, offset: int, **_filters: object) -> list[Any]:
        return self.runs[offset:]

    def set_flow_run_state(self, run: object, state: Any, *, force: bool) -> None:
        assert force
        assert state.is_crashed()
        self.crashed.append(run)


def test_only_what_died_on_this_machine_is_ended(tmp_path: Path) -> None:
    pool = Pool()
    (tmp_path / UNDER_WAY).mkdir()
    for name in (pool.runs[1].id, uuid4()):  # one that the server knows as ended, too
        (tmp_path / UNDER_WAY / str(name)).touch()
    assert end_dead_runs(cast("Any", pool), tmp_path, of_this_machine=True) == 1
    assert pool.crashed == [pool.runs[1].id]
    assert [*(tmp_path / UNDER_WAY).iterdir()] == []
    assert end_dead_runs(cast("Any", pool), tmp_path, of_this_machine=True) == 0
    assert end_dead_runs(cast("Any", pool), tmp_path, of_this_machine=False) == 3


@pytest.mark.parametrize("code", [None, 0, 3])
def test_a_run_is_named_while_it_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    monkeypatch.setattr(
        os, "environ", {**os.environ, "IDENT_AMOCRM_HOME": str(tmp_path), "PREFECT__FLOW_RUN_ID": "r1"}
    )
    seen = []

    def live(*_arguments: object, **_options: object) -> int | None:
        seen.append([path.name for path in (tmp_path / UNDER_WAY).iterdir()])
        return code

    monkeypatch.setattr(run_flow, "_ask", lambda _home: None if code is None else object())
    monkeypatch.setattr(run_flow, "_stand_for", live)
    monkeypatch.setattr("deployments.run_flow.runpy.run_module", live)
    if code is None:
        run_flow.main()
    else:
        with pytest.raises(SystemExit) as ended:
            run_flow.main()
        assert ended.value.code == code
    assert seen == [["r1"]]
    assert [*(tmp_path / UNDER_WAY).iterdir()] == []


def test_a_server_that_is_away_is_waited_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    started: list[str] = []
    answers = iter([False, False, True])
    monkeypatch.setattr(worker, "answers", lambda _api: next(answers))
    monkeypatch.setattr(Child, "start", lambda child: started.append(child.name))
    monkeypatch.setattr(worker._WorkerSupervisor, "pause", lambda _self, _seconds=0.0: None)
    stop = threading.Event()
    away = worker._WorkerSupervisor(settings, API, 1, (), stop)
    for _ in range(3):
        away._start_worker()
    assert started == ["setup", "worker"], "the runs that died here end before another may begin"
    assert capsys.readouterr().err.count(f"No Prefect server answers at {API}") == 1
