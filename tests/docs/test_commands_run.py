"""The commands of the documentation, typed one after the other on a demo clinic and a stand-in amoCRM.

The tests of this file are one story, in their order. Prefect is left out: its blocks are held in memory, its
flows run as their steps.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import uuid4

import pytest
from cryptography.fernet import Fernet
from typer.testing import CliRunner

from deployments.cli.main import app
from deployments.sandbox.amocrm.server import StandIn
from tasks.extract import read_changes
from tasks.load import apply_plan, recover_attempts
from tasks.plan import build_plan
from tasks.reconcile import apply_repairs, compare_sides, wait_for_gate
from tasks.reconcile_report import build_reconcile_report
from tasks.records import Kind, Reject
from tasks.validate import apply_expectations
from tasks.workspace import close_workspace
from tests.docs.story import ELSEWHERE, STORY, Step
from tests.support.clinic_database import TIMEZONE
from tests.support.doc_commands import OURS, command_line, documented
from tests.support.sandbox_installation import CLINIC, TOKEN, SandboxInstallation, sandbox_installation

#: Files with a secret alone; the documentation says to delete them once they were read.
SECRETS = ("ident.txt", "amocrm.txt", "token.txt", "file")
#: Numbers of patients in the documentation; here the first ones that were transferred.
PATIENTS = ("812", "811", "123", "640")
RULE = "phone_mobile_e164"


@dataclass
class Reader:
    """Somebody who types what stands in the documentation."""

    place: SandboxInstallation
    folder: Path

    @cached_property
    def patients(self) -> dict[str, int]:
        """Who stands for the patients of the documentation, from the first load on."""
        known = self.place.ledger.applied_index(self.place.uid, Kind.CONTACT).source_ids
        return {number: int(key) for number, key in zip(PATIENTS, known, strict=False)}

    def types(self, step: Step) -> str:
        """Run a command, and return what it said."""
        words = [self._meant(word, step.command) for word in shlex.split(step.command)[1:]]
        if words[0] == "connect-database":
            words += ["--driver", "sqlite", "--database", str(self.place.database), "--timezone", TIMEZONE]
        if words[0] == "restore":
            self.place.close()
        done = CliRunner().invoke(app, words, input=step.answer or None)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code in step.codes, f"{step.command}: {done.output}"
        assert step.shows in done.output, f"{step.command}: {done.output}"
        return done.output

    def _meant(self, word: str, command: str) -> str:
        """What a reader of this installation would type instead of an example."""
        ledger = self.place.ledger
        match word:
            case "https://NAME.amocrm.ru":
                return self.place.crm.url
            case "2026-12-31":
                return (datetime.now(tz=UTC) + timedelta(days=30)).date().isoformat()
            case "2026-0001":
                return ledger.invoices(unpaid=True)[0].number
        if word.startswith("/backups/"):
            return str(self.folder / Path(word).name)
        if word == "4711" or (word in PATIENTS and " appointment " in command):
            return str(ledger.applied_index(self.place.uid, Kind.LEAD).source_ids[0])
        return str(self.patients[word]) if word in PATIENTS else word

    def keep_back(self) -> None:
        """Let rows be listed, as a run does."""
        rows = [Reject("patient", self.patients[one], RULE, "phone_mobile") for one in PATIENTS[:2]]
        rows += [Reject("contact", self.patients["640"], "NotSupportedChoice", "Пол", 5)]
        self.place.ledger.add_rejects(self.place.uid, rows)

    def sync(self, _name: str, *, mode: str, dry_run: bool, rebaseline: bool) -> dict[str, Any]:
        """What the flow ``sync`` does."""
        report: dict[str, Any] = self.place.sync(mode, dry_run=dry_run, rebaseline=rebaseline).as_dict()
        return report

    def reconcile(self, _name: str, *, dry_run: bool) -> dict[str, Any]:
        """What the flow ``reconcile`` does."""
        run_id = str(uuid4())
        space = wait_for_gate(run_id, CLINIC, dry_run=dry_run)
        try:
            if not dry_run:
                self.place.ledger.start_run(run_id, self.place.uid, "reconcile", by="test")
                recover_attempts(space)
            read_changes(space)
            apply_expectations(space)
            compare_sides(space)
            if not dry_run:
                apply_repairs(space)
                build_plan(space)
                apply_plan(space)
            return build_reconcile_report(space).as_dict()
        finally:
            close_workspace(run_id)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("reader")
    with (
        pytest.MonkeyPatch.context() as patch,
        mock.patch.dict(os.environ),  # what the commands set for Prefect is forgotten after them
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        sandbox_installation(folder, crm, patch, patients=8, appointments=16) as place,
    ):
        for name in [*os.environ]:
            if name.startswith("PREFECT_"):
                del os.environ[name]
        found = Reader(place, folder)
        for name in SECRETS:
            (folder / name).write_text(TOKEN, encoding="utf-8")
        place.home.mkdir(mode=0o700)
        (place.home / "blocks.key").write_bytes(Fernet.generate_key())
        (place.home / "blocks.key").chmod(0o600)
        patch.chdir(folder)
        patch.setenv("COLUMNS", "200")
        # It is built anew for every command: a third of what this story would cost.
        patch.setattr("typer.testing._get_command", lambda _app: command_line())
        patch.setattr("flows.sync.sync", found.sync)
        patch.setattr("flows.reconcile.reconcile", found.reconcile)
        yield found


def test_every_command_of_the_documentation_is_run_here_or_says_who_runs_it() -> None:
    run = {step.command for steps in STORY.values() for step in steps}
    told = {one.plain for one in documented() if one.program == OURS and one.is_whole}
    elsewhere = {command for command in told if command.startswith(tuple(ELSEWHERE))}
    assert sorted(told - run - elsewhere) == []
    assert sorted(run - told) == [], "the documentation has them no more"
    assert [begin for begin in ELSEWHERE if not any(one.startswith(begin) for one in elsewhere)] == []
    assert run.isdisjoint(elsewhere)


@pytest.mark.parametrize("chapter", STORY)
def test_the_commands_do_what_the_documentation_says(reader: Reader, chapter: str) -> None:
    if chapter == "review":
        reader.keep_back()
    # Who pays in the trial has nobody to pay for in addition yet.
    ahead = timedelta(days=15 if chapter == "subscribe" else 0)
    with mock.patch("tasks.subscribe._now", return_value=datetime.now(tz=UTC) + ahead):
        for step in STORY[chapter]:
            reader.types(step)
    if chapter == "connect":
        (reader.folder / "file").unlink()
