"""What the ledger keeps of a run."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tasks.ledger.store import Ledger
from tasks.recording import new_run_id


def test_a_flow_run_that_prefect_starts_again_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", "a-flow-run")
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").open()) as ledger:
        for expected in ("a-flow-run", "a-flow-run-2", "a-flow-run-3"):
            assert new_run_id(ledger) == expected
            ledger.start_run(expected, "u", "full", by="sync")
