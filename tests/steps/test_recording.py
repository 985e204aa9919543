"""What the ledger keeps of a run."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tasks import events
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
        (GuardError(problem="p", remedy="r", code="shrunk"), "shrunk", True),
        (ValueError("Иванова +79161234567"), "defect", True),
        (KeyboardInterrupt(), "interrupted", False),
        (SystemExit(143), "interrupted", False),
    ],
)
def test_a_run_that_failed_is_never_left_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: str, *, told: bool
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
        assert [name for name in names if name.endswith("sync.failed")] == names
        assert len(names) == told
