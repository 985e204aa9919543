"""One measurement: ``python -m deployments.sandbox.extraction.part pandas.read_sql``.

How to reach the clinic stands on standard input.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from deployments.sandbox.extraction.sides import FILE, SERVER, digest, queries
from deployments.sandbox.gauges import Memory, Stopwatch
from tasks.ident.connection import IdentConnection

__all__ = ["main"]


def main(side: Annotated[str, typer.Argument(help=" | ".join({**FILE, **SERVER}))]) -> None:
    """Measure, and print what was measured as JSON."""
    connection = IdentConnection.model_validate(json.load(sys.stdin))
    read, package = (FILE if connection.is_file else SERVER)[side]
    wanted = queries(connection)
    if package:
        import_module(package.replace("-", "_"))
    memory, watch = Memory(), Stopwatch()
    with watch.stage("read"):
        frames = read(connection, wanted)
    told = {
        "processor": watch.processor["read"],
        "clock": watch.clock["read"],
        "peak_mb": memory.peak_mb,
        "found": digest(frames, connection.zone),
        "version": f"{package} {version(package)}" if package else "this repository",
    }
    typer.echo(json.dumps(told))


if __name__ == "__main__":
    typer.run(main)
