from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import threading
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tasks.backup import restore, take_backup
from tasks.basis import BASIS, Basis, attest, check_basis, withdraw
from tasks.errors import ConfigurationError, LeaseHeldError, TransferRefusedError
from tasks.ledger import database as ledger_database
from tasks.ledger.backup import MANIFEST, read_manifest, restore_backup
from tasks.ledger.database import HEAD, MIGRATIONS, Database
from tasks.ledger.hashing import SCHEME, key_check
from tasks.ledger.quality import RuleCount
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.ledger.tables import metadata, pace
from tasks.records import (
    Action,
    AppliedRow,
    Batch,
    Invoice,
    Kind,
    Outcome,
    OutcomeState,
    PlanRow,
    Reject,
    Waiver,
)
from tasks.settings import Settings

Rows = dict[str, list[tuple[Any, ...]]]


def fill(ledger: Ledger) -> None:
    """Put something into every table."""
    ledger.save_connection(ConnectionRecord("north", "u", "north", "Europe/Moscow", {"server": "s"}, 1.5))
    ledger.put_setting("clinic:u", "baseline", {"key": "k", "scheme": SCHEME}, by="test")
    ledger.put_setting("installation", "текст", {"a": [1, None, "ё"]}, by="test")
    ledger.start_run("r1", "u", "full", by="test")
    ledger.save_plan("r1", "u", [PlanRow(Kind.CONTACT, key, Action.CREATE) for key in range(1, 5)])
    attempt = ledger.begin_attempt("r1", "u", 1, Batch(Kind.CONTACT, Action.CREATE, (1, 2), -5, 100)).id
    ledger.acknowledge(
        attempt,
        [AppliedRow(Kind.CONTACT, 1, 11, -(2**62), {"last_name": 2**63 - 1}, 3, 4, is_primary=True)],
        [Outcome("r1", Kind.CONTACT, 1, OutcomeState.APPLIED)],
    )
    ledger.begin_attempt(
        "r1",
        "u",
        1,
        Batch(Kind.CONTACT, Action.CREATE, (3,), 6, 100, (AppliedRow(Kind.CONTACT, 3, 0, 5, {}),)),
    )
    ledger.add_rejects("u", [Reject("patient", 4, "rule", "phone_mobile")])
    ledger.waive("u", [Waiver("patient", None, "rule", "Согласовано", "Аналитик", 9.5, 1.5)])
    ledger.erase("u", [5], by="Юрист")
    ledger.record_quality("u", "r1", "patient", [RuleCount("rule", 5, 1)], is_whole=True, keep_days=30)
    ledger.move_watermark("u", {"mark": {"row_version": "00ff"}})
    ledger.acquire_lease("u", "somebody", 60)
    ledger.release_lease("u", 1)
    ledger.append_audit("ident-amocrm.test.done", "ident-amocrm.clinic.u", "info", {"n": 1})
    ledger.begin_trial(1.0, 2.25)
    ledger.add_invoice(Invoice("", "paid", 6, 5, 29700, 2.25, 9.5, 0.1, "r1"))
    with ledger.database.write() as link:  # on a server alone the program writes it itself
        link.execute(
            sa.insert(pace).values(integration="i", written_at=1.5, next_start=2.25, paused_until=0.5)
        )


def content(database: Database, *, without: tuple[str, ...] = ()) -> Rows:
    with database.read() as link:
        return {
            table.name: [tuple(row) for row in link.execute(sa.select(table).order_by(*table.primary_key))]
            for table in metadata.sorted_tables
            if table.name not in without
        }


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", state_url="")


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    settings.prepare_home()
    with closing(Ledger(settings.ledger_url).open()) as found:
        fill(found)
        yield found


def backup(settings: Settings, ledger: Ledger, path: Path, **options: bool) -> Path:
    take_backup(settings, ledger, path, **{"with_key": False, "force": False, **options})
    return path


#: What a restore changes on purpose.
TOUCHED = ("audit", "lease", "setting", "setting_history")


def test_every_table_comes_back_as_it_was(settings: Settings, ledger: Ledger, tmp_path: Path) -> None:
    before = content(ledger.database)
    assert all(before.values()), "a table without rows proves nothing"
    path = backup(settings, ledger, tmp_path / "b.zip")
    with closing(Database(f"sqlite:///{tmp_path / 'other.db'}")) as other:
        restore_backup(other, path)
        assert content(other) == before


def test_the_file_is_its_owner_s_alone_and_holds_no_key(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    path = backup(settings, ledger, tmp_path / "b.zip")
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    manifest = read_manifest(path)
    key = settings.installation_key()
    assert (manifest.revision, manifest.scheme, manifest.key_check) == (HEAD, SCHEME, key_check(key))
    with zipfile.ZipFile(path) as archive:
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert key.hex().encode() not in everything
    assert key not in everything
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["b.zip"]


def test_a_file_that_is_there_is_kept_unless_forced(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    path = tmp_path / "b.zip"
    path.write_text("mine")
    with pytest.raises(ConfigurationError, match="--force") as refused:
        backup(settings, ledger, path)
    assert refused.value.code == "backup_exists"
    assert path.read_text() == "mine"
    assert read_manifest(backup(settings, ledger, path, force=True)).tables["applied"] == 1


def test_a_folder_that_is_not_there_is_named(settings: Settings, ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        backup(settings, ledger, tmp_path / "nowhere" / "b.zip")
    assert refused.value.code == "backup_not_written"


def test_a_backup_sees_one_moment_while_others_write(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    stop = threading.Event()

    def write() -> None:
        with closing(Ledger(settings.ledger_url)) as other:
            key = 100
            while not stop.is_set():
                key += 1
                # One transaction writes both tables: a backup has both rows or none.
                other.save_plan(f"run{key}", "u", [PlanRow(Kind.LEAD, key, Action.CREATE)])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        paths = [backup(settings, ledger, tmp_path / f"{number}.zip") for number in range(5)]
    finally:
        stop.set()
        writer.join()
    sizes = set()
    for path in paths:
        with closing(Database(f"sqlite:///{path.with_suffix('.db')}")) as copy:
            restore_backup(copy, path)
            rows = content(copy)
            planned = {row[2] for row in rows["plan"] if row[1] == "lead"}
            assert planned == {row[2] for row in rows["waiting"] if row[1] == "lead"}
            sizes.add(len(planned))
    assert len(sizes) > 1


def test_a_restore_replaces_the_ledger_keeps_the_old_one_and_marks_every_clinic(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    before = content(ledger.database, without=TOUCHED)
    path = backup(settings, ledger, tmp_path / "b.zip")
    ledger.apply_local("u", 1, [AppliedRow(Kind.CONTACT, 9, 19, 5, {})])
    ledger.release_lease("u", ledger.acquire_lease("u", "later", 60))
    later = content(ledger.database, without=TOUCHED)
    done = restore(settings, path)
    assert (done.clinics, done.same_key) == (("north",), True)
    with closing(Ledger(settings.ledger_url)) as restored:
        assert content(restored.database, without=TOUCHED) == before
        assert restored.setting("clinic:u", "baseline") == {"key": "k", "scheme": SCHEME, "due": "restored"}
        assert restored.setting_history("clinic:u", "baseline")[-1]["changed_by"] == "restore"
        assert next(row.event for row in restored.audit()) == "ident-amocrm.ledger.restored"
        # A process that still holds a right to write from before is not the latest any more.
        assert restored.acquire_lease("u", "new", 60) > 3
    assert done.replaced is not None
    with closing(Database(f"sqlite:///{done.replaced}")) as old:
        assert content(old, without=TOUCHED) == later


def test_a_restore_brings_no_basis_back_that_was_withdrawn_since(
    settings: Settings, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.events.emit_event", lambda **_parts: None)
    record = ledger.connection("north")
    attest(ledger, record, Basis.CONSENT, by="Юрист")
    path = backup(settings, ledger, tmp_path / "b.zip")
    withdraw(ledger, record, by="Юрист")
    restore(settings, path)
    with closing(Ledger(settings.ledger_url)) as restored:
        with pytest.raises(TransferRefusedError, match="Nobody attested"):
            check_basis(restored, record)
        assert restored.setting_history("clinic:u", BASIS)[-1]["value"]["basis"] == ""
        attest(restored, record, Basis.OTHER, by="Юрист")
    later = backup(settings, Ledger(settings.ledger_url).open(), tmp_path / "later.zip")
    restore(settings, path)
    restore(settings, later)
    with closing(Ledger(settings.ledger_url)) as restored:
        check_basis(restored, record)


@pytest.mark.parametrize("version", ["0005", "9999"])
def test_a_ledger_of_another_version_keeps_what_was_decided(
    version: str, settings: Settings, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An administrator restores right after an update, or goes back to an earlier version."""
    monkeypatch.setattr("tasks.events.emit_event", lambda **_parts: None)
    record = ledger.connection("north")
    attest(ledger, record, Basis.CONSENT, by="Юрист")
    path = backup(settings, ledger, tmp_path / "b.zip")
    ledger.erase("u", [77], by="Юрист")
    withdraw(ledger, record, by="Юрист")
    with ledger.database.write() as link:
        link.execute(sa.text("UPDATE alembic_version SET version_num = :version"), {"version": version})
    ledger.close()
    restore(settings, path)
    with closing(Ledger(settings.ledger_url)) as restored:
        assert restored.erased("u") == {5, 77}
        with pytest.raises(TransferRefusedError, match="Nobody attested"):
            check_basis(restored, record)


def test_a_restore_waits_for_a_run(settings: Settings, ledger: Ledger, tmp_path: Path) -> None:
    path = backup(settings, ledger, tmp_path / "b.zip")
    token = ledger.acquire_lease("u", "run", 60)
    with pytest.raises(LeaseHeldError, match="ident-amocrm stop"):
        restore(settings, path)
    ledger.renew_lease("u", token, 60)
    ledger.release_lease("u", token)
    restore(settings, path)


def test_a_damaged_ledger_may_be_replaced_and_is_kept(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    path = backup(settings, ledger, tmp_path / "b.zip")
    ledger.close()
    (settings.home / "ledger.db").write_bytes(b"not a database" * 100)
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (settings.home / name).unlink(missing_ok=True)
    done = restore(settings, path)
    assert done.replaced is not None
    assert done.replaced.read_bytes().startswith(b"not a database")
    with closing(Ledger(settings.ledger_url)) as restored:
        assert restored.applied_count("u", Kind.CONTACT) == 1


@pytest.mark.parametrize("damage", ["cut", "text", "flipped", "lines"])
def test_a_damaged_backup_changes_nothing(
    damage: str, settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    path = backup(settings, ledger, tmp_path / "b.zip")
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "text":
        path.write_text("hello")
    elif damage == "flipped":
        middle = whole.index(b"setting.jsonl") + 40
        path.write_bytes(
            whole[:middle] + bytes(byte ^ 255 for byte in whole[middle : middle + 8]) + whole[middle + 8 :]
        )
    else:
        rewrite(path, applied="")
    before = content(ledger.database)
    with pytest.raises(ConfigurationError) as refused:
        restore(settings, path)
    assert refused.value.code == "backup_unreadable"
    assert content(ledger.database, without=("lease",)) == {k: v for k, v in before.items() if k != "lease"}
    assert sorted(file.name for file in settings.home.iterdir() if "restoring" in file.name) == []
    ledger.acquire_lease("u", "next run", 60)


def rewrite(path: Path, **members: str) -> None:
    """Change members of a backup; ``manifest`` is merged."""
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    for name, text in members.items():
        if name == "manifest":
            held[MANIFEST] = json.dumps(json.loads(held[MANIFEST]) | json.loads(text)).encode()
        else:
            held[f"{name}.jsonl"] = text.encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in held.items():
            archive.writestr(name, data)


def test_a_newer_schema_is_refused(settings: Settings, ledger: Ledger, tmp_path: Path) -> None:
    path = backup(settings, ledger, tmp_path / "b.zip")
    rewrite(path, manifest='{"revision": "9999"}')
    with pytest.raises(ConfigurationError, match="newer version") as refused:
        restore(settings, path)
    assert refused.value.code == "backup_newer"


def test_an_older_schema_is_migrated(
    settings: Settings, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = backup(settings, ledger, tmp_path / "b.zip")
    newer = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, newer, ignore=shutil.ignore_patterns("__pycache__"))
    (newer / "versions" / "later.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision, down_revision, branch_labels, depends_on = 'later', '{HEAD}', None, None\n"
        "def upgrade():\n"
        "    op.add_column('run', sa.Column('later', sa.Integer(), nullable=False, server_default='7'))\n"
    )
    monkeypatch.setattr(ledger_database, "MIGRATIONS", newer)
    monkeypatch.setattr(ledger_database, "HEAD", "later")
    restore(settings, path)
    with closing(sqlite3.connect(settings.home / "ledger.db")) as link:
        assert link.execute("SELECT run_id, later FROM run").fetchall() == [("r1", 7)]
        assert link.execute("SELECT version_num FROM alembic_version").fetchall() == [("later",)]


def test_the_keys_travel_only_when_asked_for(settings: Settings, ledger: Ledger, tmp_path: Path) -> None:
    key = settings.installation_key()
    path = backup(settings, ledger, tmp_path / "b.zip", with_key=True)
    elsewhere = Settings(home=tmp_path / "elsewhere", state_url="")
    other = elsewhere.installation_key()
    assert other != key
    assert restore(elsewhere, path).same_key
    assert elsewhere.installation_key() == key
    [kept] = elsewhere.home.glob("installation-replaced-*.key")
    assert bytes.fromhex(kept.read_text()) == other
    if os.name == "posix":
        assert stat.S_IMODE((elsewhere.home / "installation.key").stat().st_mode) == 0o600
    without = backup(settings, ledger, tmp_path / "c.zip")
    assert not restore(Settings(home=tmp_path / "third", state_url=""), without).same_key


# ---- PostgreSQL --------------------------------------------------------------------------------------------


def test_a_backup_moves_between_sqlite_and_postgresql(
    postgresql: str, settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    before = content(ledger.database)
    first = backup(settings, ledger, tmp_path / "sqlite.zip")
    server = Settings(home=tmp_path / "pg-home", state_url=postgresql)
    shutil.copytree(settings.home, server.home, ignore=shutil.ignore_patterns("ledger*"))
    restore(server, first)
    with closing(Ledger(postgresql).open()) as there:
        assert content(there.database, without=TOUCHED) == {
            k: v for k, v in before.items() if k not in TOUCHED
        }
        # Counted keys go on after those that came with the backup.
        assert there.begin_attempt("r2", "u", 1, Batch(Kind.LEAD, Action.CREATE, (5,), 7, 0)).id == 3
        second = backup(server, there, tmp_path / "pg.zip")
        now = content(there.database)
        with closing(Database(f"sqlite:///{tmp_path / 'back.db'}")) as back:
            restore_backup(back, second)
            assert content(back) == now
        done = restore(server, first)
        assert done.replaced is not None
        assert read_manifest(done.replaced).tables["attempt"] == 3
        assert there.open_attempts("u")[-1].run_id == "r1"
        token = there.acquire_lease("u", "run", 60)
        with pytest.raises(LeaseHeldError):
            restore(server, first)
        there.release_lease("u", token)
