from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from tasks.errors import GuardError, LeaseHeldError, NotConnectedError
from tasks.ledger.database import HEAD, MIGRATIONS
from tasks.ledger.hashing import FieldHasher
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.ledger.tables import lease, metadata
from tasks.records import DATA, Action, AppliedRow, Batch, Kind, Outcome, OutcomeState, PlanRow, Reject


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").open()


def contact(source_id: int, amo_id: int, row_hash: int = 7, **hashes: int) -> AppliedRow:
    return AppliedRow(Kind.CONTACT, source_id, amo_id, row_hash, hashes)


def outcome(source_id: int, state: OutcomeState, reason: str = "", run_id: str = "r1") -> Outcome:
    return Outcome(run_id, Kind.CONTACT, source_id, state, reason, data_hash=7)


def begin(ledger: Ledger, *ids: int, run_id: str = "r1") -> int:
    return ledger.begin_attempt(run_id, "u", 1, Batch(Kind.CONTACT, Action.CREATE, tuple(ids), 5, 100)).id


def test_migrations_make_the_declared_tables(ledger: Ledger) -> None:
    with ledger.database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == HEAD


def test_the_file_is_its_owners_alone(ledger: Ledger, tmp_path: Path) -> None:
    if os.name == "posix":
        assert (tmp_path / "ledger.db").stat().st_mode & 0o077 == 0


def test_two_processes_may_open_a_fresh_ledger_at_once(tmp_path: Path) -> None:
    code = f"from tasks.ledger.store import Ledger; Ledger('sqlite:///{tmp_path}/l.db').open()"
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(60) for process in started] == [0, 0]


def test_a_receipt_moves_the_snapshot_and_pays_what_was_owed(ledger: Ledger) -> None:
    ledger.save_plan(
        "r1", "u", [PlanRow(Kind.CONTACT, 1, Action.CREATE), PlanRow(Kind.CONTACT, 2, Action.CREATE)]
    )
    assert ledger.open_keys("u") == {Kind.CONTACT: frozenset({1, 2})}
    attempt = begin(ledger, 1, 2)
    assert [row.source_ids for row in ledger.open_attempts("u")] == [(1, 2)]
    ledger.acknowledge(
        attempt,
        [contact(1, 11, last_name=3)],
        [outcome(1, OutcomeState.APPLIED), outcome(2, OutcomeState.AMBIGUOUS, "not_named")],
    )
    assert ledger.open_attempts("u") == []
    assert ledger.open_keys("u") == {Kind.CONTACT: frozenset({2})}
    row = ledger.applied_rows("u", Kind.CONTACT, [1, 2])[1]
    assert (row.amo_id, row.row_hash, row.hashes["last_name"], row.hashes["debt"]) == (11, 7, 3, 0)
    index = ledger.applied_index("u", Kind.CONTACT)
    assert (index.source_ids.tolist(), index.row_hashes.tolist(), index.amo_ids.tolist()) == ([1], [7], [11])
    assert ledger.outcome_counts("r1") == {Kind.CONTACT: {OutcomeState.APPLIED: 1, OutcomeState.AMBIGUOUS: 1}}


def test_a_rejected_row_keeps_its_old_snapshot(ledger: Ledger) -> None:
    ledger.apply_local("u", 1, [contact(1, 11, row_hash=5)])
    ledger.save_plan("r1", "u", [PlanRow(Kind.CONTACT, 1, Action.UPDATE, ("sex",), 11)])
    ledger.close_attempt(begin(ledger, 1), [outcome(1, OutcomeState.REJECTED, "NotSupportedChoice")])
    assert ledger.applied_rows("u", Kind.CONTACT, [1])[1].row_hash == 5
    assert ledger.open_keys("u") == {}
    [(uid, reject)] = ledger.rejects()
    assert (uid, reject.entity, reject.reason, reject.data_hash) == ("u", "contact", "NotSupportedChoice", 7)
    assert ledger.release("u", "contact", [1]) == 1
    assert ledger.released_keys("u") == {Kind.CONTACT: frozenset({1})}
    ledger.acknowledge(begin(ledger, 1, run_id="r2"), [], [outcome(1, OutcomeState.APPLIED, run_id="r2")])
    assert ledger.rejects() == []


def test_one_contact_belongs_to_one_patient_and_the_receipt_is_all_or_nothing(ledger: Ledger) -> None:
    ledger.apply_local("u", 1, [contact(1, 11)])
    attempt = begin(ledger, 2, 3)
    with pytest.raises(GuardError):
        ledger.acknowledge(attempt, [contact(2, 12), contact(3, 11)], [outcome(2, OutcomeState.APPLIED)])
    assert ledger.applied_rows("u", Kind.CONTACT, [2, 3]) == {}
    assert len(ledger.open_attempts("u")) == 1
    assert ledger.owner_of(1, Kind.CONTACT, 11) == ("u", 1)
    links = [AppliedRow(Kind.LINK, key, 11, 11, {}) for key in (1, 2)]
    ledger.apply_local("u", 1, links)  # one contact, two deals


def test_a_killed_process_leaves_its_attempt_open_and_the_snapshot_unmoved(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    code = f"""
import os, signal
from tasks.ledger.store import Ledger
from tasks.records import Action, Batch, Kind, PlanRow
ledger = Ledger({url!r}).open()
ledger.save_plan("r1", "u", [PlanRow(Kind.CONTACT, 1, Action.CREATE)])
ledger.begin_attempt("r1", "u", 1, Batch(Kind.CONTACT, Action.CREATE, (1,), 5, 100))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    ledger = Ledger(url).open()
    [attempt] = ledger.open_attempts("u")
    assert (attempt.source_ids, attempt.highest_amo_id) == ((1,), 100)
    assert ledger.applied_count("u", Kind.CONTACT) == 0
    assert ledger.open_keys("u") == {Kind.CONTACT: frozenset({1})}
    ledger.note_scan(attempt.id, 123.0)
    assert (ledger.open_attempts("u")[0].scans, ledger.open_attempts("u")[0].last_scan_at) == (1, 123.0)


def test_the_lease_has_one_owner_and_a_late_one_notices(ledger: Ledger) -> None:
    first = ledger.acquire_lease("u", "a", 60)
    with pytest.raises(LeaseHeldError):
        ledger.acquire_lease("u", "b", 60)
    ledger.renew_lease("u", first, 60)
    with ledger.database.write() as connection:
        connection.execute(sa.update(lease).values(expires_at=1.0))
    second = ledger.acquire_lease("u", "b", 60)
    assert second > first
    with pytest.raises(LeaseHeldError):
        ledger.renew_lease("u", first, 60)
    ledger.release_lease("u", first)  # not its own any more: nothing happens
    ledger.renew_lease("u", second, 60)
    ledger.release_lease("u", second)
    assert ledger.acquire_lease("u", "c", 60) > second


def test_settings_keep_their_history(ledger: Ledger) -> None:
    assert ledger.setting("installation", "x") is None
    ledger.put_setting("installation", "x", {"a": 1}, by="one")
    ledger.put_setting("installation", "x", {"a": 2}, by="two")
    assert ledger.setting("installation", "x") == {"a": 2}
    assert [row["value"] for row in ledger.setting_history("installation", "x")] == [{"a": 1}, {"a": 2}]


def test_a_clinic_keeps_its_uid(ledger: Ledger) -> None:
    ledger.save_connection(
        ConnectionRecord("north", "u", "ident-north", "Europe/Moscow", {"server": "s"}, 1.0)
    )
    assert ledger.connection("north").fingerprint == {"server": "s"}
    ledger.remove_connection("north")
    with pytest.raises(NotConnectedError, match="connect-database north"):
        ledger.connection("north")
    ledger.save_connection(ConnectionRecord("north", "u", "ident-north", "Europe/Moscow", {}, 2.0))
    assert ledger.connection("north").clinic_uid == "u"


def test_runs_watermarks_and_audit(ledger: Ledger) -> None:
    ledger.start_run("r1", "u", "full", by="sync")
    ledger.finish_run("r1", "completed", {"n": 1})
    ledger.start_run("r2", "u", "incremental", by="sync")
    last = ledger.last_run("u", "completed")
    assert last is not None
    assert (last.run_id, last.counts) == ("r1", {"n": 1})
    ledger.move_watermark("u", {"mark": 1})
    ledger.move_watermark("u", {"mark": 2})
    assert ledger.watermark("u") == {"mark": 2}
    number = ledger.append_audit("ident-amocrm.transfer.started", "ident-amocrm.clinic.u", "info", {})
    ledger.append_audit("ident-amocrm.sync.failed", "ident-amocrm.clinic.u", "error", {"code": "x"})
    ledger.mark_emitted(number)
    assert [row.event for row in ledger.audit(event_prefix="ident-amocrm.transfer")] == [
        "ident-amocrm.transfer.started"
    ]
    assert [row.emitted for row in ledger.audit(order="asc")] == [True, False]


def test_validation_rejects_are_kept_by_reason_and_cleared_when_good(ledger: Ledger) -> None:
    ledger.add_rejects("u", [Reject("patient", 1, "phone_mobile_e164", "phone_mobile")])
    [(_, first)] = ledger.rejects("u")
    ledger.add_rejects("u", [Reject("patient", 1, "phone_mobile_e164", "phone_mobile")])
    [(_, again)] = ledger.rejects("u")
    assert again.first_seen == first.first_seen
    assert again.last_seen >= first.last_seen
    ledger.clear_rejects("u", "patient", [1, 2])
    assert ledger.rejects("u") == []


def test_four_threads_may_acknowledge_at_once(ledger: Ledger) -> None:
    def work(start: int) -> None:
        for key in range(start, start + 20):
            ledger.acknowledge(begin(ledger, key), [contact(key, key)], [outcome(key, OutcomeState.APPLIED)])

    threads = [threading.Thread(target=work, args=(number * 100,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.applied_count("u", Kind.CONTACT) == 80


# ---- hashing -----------------------------------------------------------------------------------------


def texts(kind: Kind, *values: str | None) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(values, dtype="str") for name in DATA[kind]})


@pytest.mark.parametrize("kind", [Kind.CONTACT, Kind.LEAD])
def test_another_key_changes_every_hash(kind: Kind) -> None:
    frame = texts(kind, "x", None, "2026-03-12T07:00:00Z")
    one = FieldHasher(b"a" * 32, "u").hash_frame(kind, frame)
    assert not (one == FieldHasher(b"b" * 32, "u").hash_frame(kind, frame)).to_numpy().any()
    assert not (one == FieldHasher(b"a" * 32, "v").hash_frame(kind, frame)).to_numpy().any()
    assert not (one == 0).to_numpy().any()


def test_one_value_hashes_as_in_a_frame_and_columns_differ() -> None:
    hasher = FieldHasher(b"a" * 32, "u")
    frame = hasher.hash_frame(Kind.CONTACT, texts(Kind.CONTACT, "x", None))
    for column in DATA[Kind.CONTACT]:
        assert hasher.hash_value(Kind.CONTACT, column, "x") == frame[column].iloc[0]
        assert hasher.hash_value(Kind.CONTACT, column, None) == frame[column].iloc[1]
    assert frame.iloc[0].nunique() == len(DATA[Kind.CONTACT])


def test_golden_hashes() -> None:
    hasher = FieldHasher(bytes(range(32)), "golden")
    assert hasher.hash_value(Kind.CONTACT, "last_name", "й") == GOLDEN[0]
    assert hasher.hash_value(Kind.LEAD, "start_at", None) == GOLDEN[1]
    frame = hasher.hash_frame(Kind.CONTACT, texts(Kind.CONTACT, "x"))
    assert hasher.row_hashes(frame).tolist() == [GOLDEN[2]]


def test_the_order_of_columns_matters_to_the_row_hash() -> None:
    hashes = pd.DataFrame({"a": [1, 2], "b": [2, 1]}, dtype="int64")
    first, second = FieldHasher.row_hashes(hashes)
    assert first != second
    assert first.dtype == np.int64


# Another number here means that every row of every installation would be compared with amoCRM anew.
GOLDEN = (5202429922018592257, -2223932641739067796, -323218419073658275)
