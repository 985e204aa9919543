"""``up`` and ``demo``: the whole project running, in earnest and on a sandbox."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.cli.output import say

__all__ = ["demo", "up"]


def up(
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the UI; the next free one if taken.")
    ] = 4200,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond 127.0.0.1 a password is needed.")
    ] = "127.0.0.1",
) -> None:
    """Run the Prefect server, a worker and the schedules until stopped."""
    from deployments.environment import prepare_environment
    from deployments.up import run_up
    from tasks.settings import load_settings

    settings = load_settings()
    prepare_environment(settings)
    say(f"Starting; logs are in {settings.home / 'logs'}. The first start takes up to a minute.")
    code = run_up(settings, port=port, host=host, ready=_tell)
    say("Stopped.")
    raise typer.Exit(code)


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
