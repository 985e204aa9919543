"""``ident-amocrm demo``: the whole road on the embedded sandbox, with a proof after each step.

Everything runs in processes of its own, through the same commands an operator uses; the sandbox is only a
database file and a server that speaks amoCRM's API.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import requests
from rich.console import Console
from rich.table import Table

from deployments.environment import answers, up_file
from deployments.progress_bar import progress_bar
from deployments.sandbox.clinic.dirty import Defect
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.simulate import simulate
from deployments.sandbox.clinic.store import SqliteStore, write_sqlite
from deployments.sandbox.compare import sqlite_rows
from deployments.sandbox.proofs import Proof, View, Witness
from expectations.suites import SUITES
from tasks.errors import ConfigurationError, TransientError
from tasks.settings import Settings

__all__ = ["Demo", "judge", "run_demo"]

CLINIC = "demo"
TIMEZONE = "Europe/Moscow"
HISTORY_DAYS = 30
#: Fewer have no room for a defect of every kind.
DIRTY_APPOINTMENTS = 360
MARKER = ".demo"
ROOT = Path(__file__).resolve().parents[1]
STOP_SECONDS = 40
START_SECONDS = 180
SCHEDULE_SECONDS = 120


@dataclass(slots=True)
class Demo:
    """One demo: where it lives, what it has proved so far."""

    home: Path
    console: Console
    proofs: list[Proof] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 while every proof holds."""
        return 0 if all(proof.holds for proof in self.proofs) else 1

    @property
    def environment(self) -> dict[str, str]:
        """What the demo's processes see: its own home, none of the user's Prefect settings."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        # The children run in the demo's folder; from a checkout that is not installed they find us by this.
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        return {**inherited, "IDENT_AMOCRM_HOME": str(self.home), "PYTHONPATH": path}

    @property
    def token_file(self) -> Path:
        """Where the stand-in's token lies."""
        return self.home / "amocrm.token"

    def command(self, *arguments: str) -> Any:
        """Run a command as an operator would, and return its JSON."""
        self.console.print(f"[bold]$ ident-amocrm {' '.join(arguments)}[/bold]", soft_wrap=True)
        done = subprocess.run(  # noqa: S603 - this interpreter, our own command
            [sys.executable, "-m", "deployments.cli.main", *arguments, "--output", "json"],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode == 1:
            raise TransientError(
                problem=f"ident-amocrm {arguments[0]} failed: {done.stderr.strip()}",
                remedy="Look at the message above; the demo starts from nothing each time.",
                code="demo",
            )
        return json.loads(done.stdout)

    def prove(self, proof: Proof) -> None:
        """Show a proof as soon as it is known."""
        self.proofs.append(proof)
        mark = "[green]✔ proved[/green]" if proof.holds else "[red]✘ NOT proved[/red]"
        self.console.print(f"  {mark}: {proof.title} ({proof.detail})", soft_wrap=True)


def run_demo(
    settings: Settings, *, once: bool, port: int, appointments: int = 300, dirty: bool = False
) -> int:
    """Run the demo.

    Args:
        settings: The settings of the installation; the demo has a home of its own inside.
        once: End after the proofs instead of staying up.
        port: Port of the Prefect UI.
        appointments: Size of the demo clinic.
        dirty: Whether defects are planted into it.

    Returns:
        0 when every proof holds, 1 otherwise.

    Raises:
        ConfigurationError: When a demo runs already.
        TransientError: When a part does not come up.
    """
    started = time.monotonic()
    demo = Demo(_fresh_home(settings), Console(highlight=False))
    with ExitStack() as stack:
        database = demo.home / "clinic.db"
        today = datetime.now(tz=ZoneInfo(TIMEZONE)).date()
        size = max(appointments, DIRTY_APPOINTMENTS) if dirty else appointments
        data = generate(ClinicSpec(appointments=size, today=today, dirty=dirty))
        write_sqlite(data, database)
        demo.console.print(f"Demo clinic: {database}")
        crm = stack.enter_context(_stand_in(demo))
        demo.console.print(f"Stand-in amoCRM with a board to look at: {crm}")
        ui = stack.enter_context(_up(demo, port))
        demo.console.print(f"Prefect UI: {ui}")
        witness = Witness(
            rows=sqlite_rows(database),
            base_url=crm,
            token=demo.token_file.read_text(encoding="utf-8").strip(),
            writes=lambda: requests.get(f"{crm}/sandbox/admin/stats", timeout=30).json()["writes"],
            timezone=TIMEZONE,
            from_day=today - timedelta(days=HISTORY_DAYS),
        )
        _connect(demo, database, crm)
        _transfer(demo, witness, database, ui)
        if dirty:
            _defects(demo, data.defects)
        demo.links += [("Prefect UI", ui), ("Board of the stand-in amoCRM", crm)]
        _schedule(demo, ui)
        _summary(demo, time.monotonic() - started)
        if not once:
            demo.console.print("The transfer goes on every 30 seconds. Ctrl-C ends the demo.")
            _wait()
    return demo.exit_code


def judge(demo: Demo, witness: Witness, before: View) -> View:
    """Prove that nothing was written since a moment and that both sides agree; return both sides now."""
    now = witness.look()
    demo.prove(witness.untouched(before, now))
    demo.prove(witness.complete(now))
    return now


def _connect(demo: Demo, database: Path, crm: str) -> None:
    demo.command("connect-database", CLINIC, "--driver", "sqlite", "--database", str(database))
    demo.command("basis", "attest", CLINIC, "--basis", "consent", "--by", "demo")
    demo.command("connect-amocrm", "--base-url", crm, "--token-file", str(demo.token_file))
    # The people of the demo are invented: it shows all that can be transferred.
    made = demo.command("autoconfigure", "--yes", "--special", "all")
    created = sum(element["action"] == "create" for element in made["elements"])
    demo.console.print(f"  {created} pipelines, stages and fields created")
    # Starting remembers how far back to go; stopped again, so that no scheduled run mixes with the proofs.
    demo.command("start", CLINIC, "--history-days", str(HISTORY_DAYS))
    demo.command("stop", CLINIC)


def _transfer(demo: Demo, witness: Witness, database: Path, ui: str) -> None:
    plan = demo.command("sync", CLINIC, "--dry-run")["planned"]
    demo.console.print(f"  planned: {plan['contacts']['create']} contacts, {plan['leads']['create']} deals")
    with progress_bar(Settings(home=demo.home), CLINIC):
        first = demo.command("sync", CLINIC)
    demo.links.append(("Report of the first sync", f"{ui}/artifacts/artifact/{first['artifact']}"))
    complete = witness.look()
    demo.prove(witness.complete(complete))
    demo.prove(witness.kept_back(complete, _rejected(demo)))
    demo.command("sync", CLINIC)
    again = judge(demo, witness, complete)
    _hour(demo, witness, database, again, ui)


def _hour(demo: Demo, witness: Witness, database: Path, before: View, ui: str) -> None:
    store = SqliteStore(database)
    try:
        now = datetime.now(tz=ZoneInfo(TIMEZONE)).replace(tzinfo=None)
        changes = simulate(store, "hour", now, seed=1)
    finally:
        store.close()
    played = ", ".join(dict.fromkeys(change.kind for change in changes))
    demo.console.print(f"An hour passes in the clinic: {played}")
    witness.rescheduled = _rescheduled(before, witness)
    result = demo.command("sync", CLINIC)
    demo.links.append(("Report of the hour", f"{ui}/artifacts/artifact/{result['artifact']}"))
    after = witness.look()
    demo.prove(witness.exactly(before, after))
    demo.prove(witness.complete(after))
    demo.prove(witness.kept_back(after, _rejected(demo)))


def _rescheduled(before: View, witness: Witness) -> frozenset[int]:
    """Return deals that stood in amoCRM with another time than the database has now."""
    start = "IDENT: Начало приёма"
    now = witness.expectation().deals
    return frozenset(
        root
        for root, deal in before.wanted.deals.items()
        if root in now and now[root].fields[start] != deal.fields[start]
    )


def _rejected(demo: Demo) -> set[int]:
    rows = demo.command("rejects", "list")
    return {row["source_id"] for row in rows if row["entity"] == "patient"}


def _defects(demo: Demo, defects: tuple[Defect, ...]) -> None:
    """Show which rule caught which planted defect; those that only count keep nothing back."""
    listed = {(row["entity"], row["source_id"], row["reason"]) for row in demo.command("rejects", "list")}
    actions = {(entity.value, rule.code): rule.action for entity, rules in SUITES.items() for rule in rules}
    table = Table(title=f"Planted defects: {len(defects)}", title_justify="left")
    for column in ("Defect", "Of", "IDENT id", "Rule", "What follows", "Listed"):
        table.add_column(column)
    missed = 0
    for defect in sorted(defects, key=lambda one: (one.entity, one.code, one.kind, one.key)):
        action = actions[defect.entity, defect.code]
        found = (defect.entity, defect.key, defect.code) in listed
        # Appointments outside the launch window are not read; all patients are.
        missed += defect.entity == "patient" and action in {"quarantine", "withhold"} and not found
        shown = (defect.kind, defect.entity, str(defect.key), defect.code, action, "✔" if found else "")
        table.add_row(*shown)
    demo.console.print(table)
    kinds = len({defect.kind for defect in defects})
    demo.prove(
        Proof("What was planted into patients' cards is listed by its rule", missed == 0, f"{kinds} kinds")
    )


def _schedule(demo: Demo, ui: str) -> None:
    """Start the schedule and wait until a run of it has completed by itself."""
    demo.command("start", CLINIC)
    until = time.monotonic() + SCHEDULE_SECONDS
    completed = 0
    while time.monotonic() < until and not completed:
        time.sleep(2)
        answer = requests.post(
            f"{ui}/api/flow_runs/count",
            json={
                "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
                "deployments": {"name": {"any_": [CLINIC]}},
            },
            timeout=30,
        )
        completed = int(answer.json())
    demo.prove(
        Proof("The schedule transfers by itself", completed > 0, f"{completed} scheduled runs completed")
    )


def _summary(demo: Demo, seconds: float) -> None:
    table = Table(title=f"Demo: {seconds:.0f} seconds", title_justify="left")
    table.add_column("Proof")
    table.add_column("Result")
    table.add_column("Detail")
    for proof in demo.proofs:
        table.add_row(
            proof.title, "[green]holds[/green]" if proof.holds else "[red]FAILS[/red]", proof.detail
        )
    demo.console.print(table)
    for name, link in demo.links:
        demo.console.print(f"{name}: {link}", soft_wrap=True)


def _fresh_home(settings: Settings) -> Path:
    """Return an empty home; only a folder that an earlier demo made is ever deleted."""
    home = settings.prepare_home() / "demo"
    if answers(_recorded_api(home)):
        raise ConfigurationError(
            problem="A demo runs already.",
            remedy="End it with Ctrl-C, or set IDENT_AMOCRM_HOME to another folder.",
            code="already_up",
        )
    if home.exists():
        if not (home / MARKER).exists():
            raise ConfigurationError(
                problem=f"{home} is not a folder that a demo made.",
                remedy="Move it away, or set IDENT_AMOCRM_HOME to another folder.",
                code="demo_home",
            )
        shutil.rmtree(home)
    home.mkdir(mode=0o700)
    (home / MARKER).touch()
    return home


def _recorded_api(home: Path) -> str:
    try:
        return str(json.loads(up_file(Settings(home=home)).read_text(encoding="utf-8"))["api"])
    except (OSError, ValueError, KeyError):
        return ""


@contextmanager
def _stand_in(demo: Demo) -> Iterator[str]:
    command = ["-m", "deployments.sandbox.amocrm", "--port", "0", "--token-file", str(demo.token_file)]
    with _child(demo, command, "stand-in") as process:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise TransientError(
                problem="The stand-in amoCRM did not start.",
                remedy=f"See {demo.home / 'stand-in.log'}.",
                code="demo",
            )
        yield str(json.loads(line)["url"])


@contextmanager
def _up(demo: Demo, port: int) -> Iterator[str]:
    command = ["-m", "deployments.cli.main", "up", "--port", str(port)]
    with _child(demo, command, "up") as process:
        until = time.monotonic() + START_SECONDS
        while not (api := _recorded_api(demo.home)) or not answers(api):
            if process.poll() is not None or time.monotonic() > until:
                raise TransientError(
                    problem="Prefect did not start.",
                    remedy=f"See {demo.home / 'up.log'} and {demo.home / 'logs'}.",
                    code="demo",
                )
            time.sleep(0.3)
        yield api.removesuffix("/api")


@contextmanager
def _child(demo: Demo, arguments: list[str], name: str) -> Iterator[subprocess.Popen[str]]:
    with (demo.home / f"{name}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, our own modules
            [sys.executable, *arguments],
            env=demo.environment,
            cwd=demo.home,
            stdout=subprocess.PIPE if name == "stand-in" else log,
            stderr=log,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C reaches the demo alone, which ends its children in order
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()


def _wait() -> None:
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        return
