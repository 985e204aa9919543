"""``up`` and ``demo``: the whole project running, in earnest and on a sandbox."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.output import say
from deployments.supervisor import RUNS_AT_ONCE

__all__ = ["demo", "up", "worker"]


def up(
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the UI; the next free one if taken.")
    ] = 4200,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond 127.0.0.1 a password is needed.")
    ] = "127.0.0.1",
    home: Annotated[Path | None, typer.Option(help="Folder of the state, as IDENT_AMOCRM_HOME.")] = None,
    worker: Annotated[
        bool, typer.Option("--worker/--no-worker", help="Whether this machine executes runs itself, too.")
    ] = True,
    log: Annotated[
        Path | None, typer.Option(help="Append what is said to this file: for a service without a journal.")
    ] = None,
) -> None:
    """Run the Prefect server, a worker and the schedules until stopped (Ctrl-C, or up.stop in the state)."""
    if home is not None:
        os.environ["IDENT_AMOCRM_HOME"] = str(home)
    if log is not None:
        _say_into(log)
    from deployments.environment import prepare_environment
    from deployments.up import run_up
    from tasks.settings import load_settings

    settings = load_settings()
    prepare_environment(settings)
    say(f"Starting; logs are in {settings.home / 'logs'}. The first start takes up to a minute.")
    code = run_up(settings, port=port, host=host, worker=worker, ready=_tell)
    say("Stopped.")
    raise typer.Exit(code)


def worker(
    limit: Annotated[int, typer.Option(min=1, help="Runs at once, some 250 MB each.")] = RUNS_AT_ONCE,
    health_check: Annotated[
        bool, typer.Option("--health-check", help="Answer at PREFECT_WORKER_WEBSERVER_PORT, path /health.")
    ] = False,
    log: Annotated[
        Path | None, typer.Option(help="Append what is said to this file: for a service without a journal.")
    ] = None,
) -> None:
    """Execute runs on this machine, for the Prefect server and ledger of another one, until stopped."""
    if log is not None:
        _say_into(log)
    from deployments.worker import run_worker
    from tasks.settings import load_settings

    code = run_worker(load_settings(), limit=limit, health_check=health_check)
    say("Stopped.")
    raise typer.Exit(code)


def _say_into(log: Path) -> None:
    """Let everything that is said from now on, errors included, stand in a file."""
    from deployments.child import cut_log

    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    cut_log(log)
    sys.stdout = sys.stderr = log.open("a", encoding="utf-8", buffering=1)


def _tell(url: str) -> None:
    say(f"Running. UI: {url}  Stop with Ctrl-C (or SIGTERM): nothing acknowledged is lost.")


def demo(
    once: Annotated[
        bool, typer.Option("--once", envvar="DEMO_ONCE", help="End after the proofs instead of staying up.")
    ] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the UI; the next free one.")] = 4200,
    appointments: Annotated[int, typer.Option(min=100, help="Size of the demo clinic.")] = 300,
    dirty: Annotated[
        bool,
        typer.Option("--dirty", help="Plant defects as real clinics have them, and show what catches them."),
    ] = False,
) -> None:
    """Run the main job on a demo clinic and a stand-in amoCRM, and prove each step."""
    from deployments.demo import run_demo
    from tasks.settings import load_settings

    code = run_demo(load_settings(), once=once, port=port, appointments=appointments, dirty=dirty)
    raise typer.Exit(code)
