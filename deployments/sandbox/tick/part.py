"""One measurement: ``python -m deployments.sandbox.tick.part FOLDER tick``.

When its process was started stands on standard input.
"""

from __future__ import annotations

import cProfile
import io
import json
import pstats
import re
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Final

import typer

from deployments.sandbox.gauges import Memory, Stopwatch
from deployments.sandbox.measuring import ROOT
from deployments.sandbox.tick.installation import open_run, transfer
from tasks.extract import read_changes
from tasks.fingerprints import remember_highest
from tasks.load import apply_plan, recover_attempts
from tasks.plan import build_plan
from tasks.report import build_report
from tasks.validate import apply_expectations
from tasks.workspace import Workspace

__all__ = ["MODES", "STEPS", "main", "profiled"]

#: What is measured -> the mode of the run.
MODES: Final = {"tick": "incremental", "full": "full"}
STEPS: Final = ("open", "extract", "validate", "plan", "rest")
#: Lines of each half of a profile.
SHOWN: Final = 40


def main(
    folder: Annotated[Path, typer.Argument(help="The installation.")],
    what: Annotated[str, typer.Argument(help=f"transfer | {' | '.join(MODES)}")],
    profile: Annotated[Path | None, typer.Option(help="File for the profile.")] = None,
) -> None:
    """Measure, and print what was measured as JSON."""
    if what == "transfer":
        typer.echo(json.dumps(transfer(folder)))
        return
    started = (json.load(sys.stdin) or {}).get("started") or time.time()
    # Of the processor, whatever else the machine does.
    memory, watch, profiler = Memory(), Stopwatch(), cProfile.Profile(time.process_time)
    with nullcontext() if profile is None else profiler:
        with watch.stage("open"):
            space = open_run(folder, MODES[what])
            space.reader.now()
            asked = {"clock": time.time() - started, "processor": time.process_time()}
        _run(space, watch)
    if profile is not None:
        profile.write_text(profiled(profiler), encoding="utf-8")
    told = {
        "processor": watch.processor,
        "clock": watch.clock,
        "first_query": asked,
        "peak_mb": memory.peak_mb,
        "highest_mb": memory.highest_mb,
        "found": {
            "read": dict(space.extracted),
            "full": space.full,
            "planned": len(space.plan),
            "broken": dict(sorted(space.broken.items())),
            "invalid": space.invalid,
        },
    }
    typer.echo(json.dumps(told))


def _run(space: Workspace, watch: Stopwatch) -> None:
    """Take the steps of ``flows.sync``, in its order."""
    try:
        with watch.stage("rest"):
            recover_attempts(space)
        with watch.stage("extract"):
            read_changes(space)
        with watch.stage("validate"):
            apply_expectations(space)
            space.verdicts.clear()  # they are shown by Prefect, in pages
        with watch.stage("plan"):
            build_plan(space)
        with watch.stage("rest"):
            apply_plan(space)
            space.ledger.finish_run(space.run_id, "completed", build_report(space).as_dict())
            remember_highest(space.clinic, space.reader, space.ledger)
    finally:
        space.release()


def profiled(profiler: cProfile.Profile) -> str:
    """Return where the time went, in all and by itself, with no path of this machine."""
    text = io.StringIO()
    stats = pstats.Stats(profiler, stream=text)
    for order in ("cumulative", "tottime"):
        stats.sort_stats(order).print_stats(SHOWN)
    shown = text.getvalue().replace(f"{ROOT}/", "")
    shown = re.sub(r"\S*/(?:site-packages|python\d[\d.]*)/", "", shown)
    return "\n".join(line.rstrip() for line in shown.splitlines()).strip() + "\n"


if __name__ == "__main__":
    typer.run(main)
