"""What the ledger keeps of a run."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks import events, recording
from tasks.errors import GuardError
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.recording import new_run_id, recorded


def test_a_flow_run_that_prefect_starts_again_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", "a-flow-run")
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").open()) as ledger:
        for expected in ("a-flow-run", "a-flow-run-2", "a-flow-run-3"):
            assert new_run_id(ledger) == expected
            ledger.start_run(expected, "u", "full", by="sync")


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (GuardError(problem="p", remedy="r", code="shrunk"), "shrunk", "guard_tripped"),
        (ValueError("Иванова +79161234567"), "defect", "failed"),
        (KeyboardInterrupt(), "interrupted", ""),
        (SystemExit(143), "interrupted", ""),
    ],
)
def test_a_run_that_failed_is_never_left_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: str, told: str
) -> None:
    monkeypatch.setattr(events, "emit_event", lambda **_parts: None)
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").open()) as ledger:
        ledger.save_connection(ConnectionRecord("clinic", "u", "block", "Europe/Moscow"))
        for _ in range(2):  # the same failure again is no news
            with (
                pytest.raises(type(error)),
                recorded(new_run_id(ledger), "clinic", "full", ledger, job="sync", dry_run=False),
            ):
                raise error
        run = ledger.last_run("u")
        assert run is not None
        assert (run.state, run.counts) == ("failed", {"code": code})
        names = [row.event for row in ledger.audit()]
        assert names == ([f"ident-amocrm.sync.{told}"] if told else [])


@pytest.mark.parametrize(
    ("started", "late", "tags", "skipped"),
    [
        (True, 3600, ["auto-scheduled"], True),
        (True, -3600, ["auto-scheduled"], False),
        (True, 3600, [], False),
        (False, -3600, ["auto-scheduled"], True),
    ],
)
def test_a_tick_whose_work_is_done_already_is_skipped(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: bool,
    late: float,
    tags: list[str],
    skipped: bool,
) -> None:
    due = datetime.now(tz=UTC) - timedelta(seconds=late)
    monkeypatch.setattr(recording, "deployment", SimpleNamespace(id="d"))
    monkeypatch.setattr(recording, "flow_run", SimpleNamespace(tags=tags, scheduled_start_time=due))
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").open()) as ledger:
        ledger.save_connection(ConnectionRecord("clinic", "u", "block", "Europe/Moscow"))
        ledger.put_setting("clinic:u", "transfer", {"started": started}, by="test")
        assert (recording.not_its_turn(ledger, "clinic") is not None) is (not started and bool(tags))
        ledger.start_run("r", "u", "full", by="sync")
        ledger.finish_run("r", "completed", {})
        found = recording.not_its_turn(ledger, "clinic")
        assert (found is not None) is skipped
        assert found is None or found.name == "Skipped"
