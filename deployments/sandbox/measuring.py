"""What measurements share: a process for each part, the machine's facts, what the report is made of."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from deployments.cli.output import Output, show
from tasks.errors import TransientError

__all__ = ["ROOT", "SaveOption", "exponent", "machine", "run_part", "tell"]

ROOT = Path(__file__).resolve().parents[2]
#: Packages whose versions the figures depend on; a baseline tells its own.
PACKAGES = ("pandas", "numpy", "pyarrow", "SQLAlchemy", "prefect", "great_expectations", "pyodbc")

SaveOption = Annotated[
    Path | None, typer.Option("--save", help="Folder for the result, of which the report is made.")
]


def machine() -> dict[str, Any]:
    """Return what the figures depend on beside the code."""
    return {
        "cores": os.cpu_count(),
        "memory_gb": _memory_gb(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _memory_gb() -> float | None:
    names = ("SC_PHYS_PAGES", "SC_PAGE_SIZE")
    if not set(names) <= getattr(os, "sysconf_names", {}).keys():  # Windows
        return None
    pages, size = map(os.sysconf, names)
    return round(pages * size / 1e9, 1)


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def run_part(
    module: str, *arguments: str, python: str = sys.executable, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Run one side of a measurement in a process of its own, and return the JSON that it prints last.

    Args:
        module: What runs.
        *arguments: Its arguments.
        python: The interpreter; a baseline whose packages fit with no others has its own.
        given: Standard input, as JSON.

    Raises:
        TransientError: When it fails.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(  # noqa: S603 - our own module
        [python, "-W", "ignore", "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        input=json.dumps(given),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise TransientError(
            problem=f"The measurement {' '.join((module, *arguments))} failed: {done.stderr[-2000:]}",
            remedy="Look at the message above.",
            code="bench",
        )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """Return the power of the size with which values grow: 1 is in proportion, 2 by the square.

    The slope of the straight line through the logarithms; ``None`` where there are too few to tell.
    """
    import numpy as np  # noqa: PLC0415 - the commands that only tell do not wait for it

    if len(set(sizes)) < 2 or min(values) <= 0:
        return None
    return round(float(np.polyfit(np.log(sizes), np.log(values), 1)[0]), 2)


def tell(name: str, data: Mapping[str, Any], output: Output, text: Table, save: Path | None) -> None:
    """Print a result with the machine's facts, and save it for the report.

    Args:
        name: The measurement's module in ``deployments.sandbox``.
        data: The result.
        output: As a table or as JSON.
        text: The result as a table; the report has the same one.
        save: Folder of what the report is made of.
    """
    data = {"machine": machine(), **data}
    show(data, output, text)
    if save is None:
        return
    columns = [str(column.header) for column in text.columns]
    cells = zip(*(map(str, column.cells) for column in text.columns), strict=True)
    document = {
        "name": name,
        "measured_on": datetime.now(tz=UTC).date().isoformat(),
        "title": str(text.title),
        "columns": columns,
        "rows": [list(row) for row in cells],
        "caption": str(text.caption or ""),
        "data": data,
    }
    save.mkdir(parents=True, exist_ok=True)
    written = json.dumps(document, ensure_ascii=False, indent=1, default=str)
    (save / f"{name}.json").write_text(written + "\n", encoding="utf-8")
