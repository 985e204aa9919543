"""One measurement: ``python -m deployments.sandbox.quality.part patient 1000 gate``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Annotated, Any, Final

import pandas as pd
import typer

from deployments.sandbox.quality.frames import NOW, frame, references
from tasks.frames import Entity

__all__ = ["ENGINES", "has_pandera", "main"]

#: ``frame`` only makes the rows: what the others need is told by the difference.
ENGINES: Final = ("frame", "gate", "pandera")
#: Rows with which every library is woken up.
WARM: Final = 200


def has_pandera() -> bool:
    """Tell whether the baseline is installed."""
    return find_spec("pandera") is not None


def main(
    entity: Annotated[Entity, typer.Argument(help="What the rows are.")],
    rows: Annotated[int, typer.Argument(min=WARM, help="How many.")],
    engine: Annotated[str, typer.Argument(help=" | ".join(ENGINES))],
    times: Annotated[int, typer.Option(min=1, help="The best of so many is told.")] = 3,
) -> None:
    """Measure, and print what was measured as JSON."""
    started = time.process_time()
    judge = _judge(entity, rows, engine)
    woken = time.process_time() - started
    given = frame(entity, rows)
    prepared = judge.prepare(given)
    seconds, failing = [], {}
    for _ in range(times if engine != "frame" else 0):
        # Of the processor, not of the clock: whatever else the machine does, the ratio stays.
        begun = time.process_time()
        failing = judge.run(prepared)
        seconds.append(time.process_time() - begun)
    told = {"seconds": min(seconds, default=0.0), "woken": woken, "peak_mb": _peak(), "failing": failing}
    typer.echo(json.dumps(told | {"rules": judge.rules, "version": judge.version}))


class _Judge:
    """Makes rows and judges none."""

    rules = 0
    version = ""

    @staticmethod
    def prepare(given: pd.DataFrame) -> pd.DataFrame:
        """Return the rows as the judge wants them."""
        return given

    def run(self, _given: pd.DataFrame) -> dict[str, int]:
        """Return how many rows break each rule about rows."""
        return {}


class _Gate(_Judge):
    """The gate as a run calls it: conversion, rules, and the frame taken apart."""

    def __init__(self, entity: Entity, rows: int) -> None:
        import great_expectations  # noqa: PLC0415 - a process that only makes rows does without

        from expectations.gate import validate  # noqa: PLC0415

        self._validate: Callable[..., Any] = validate
        self._entity, self._references = entity, references(rows)
        self.version = f"Great Expectations {great_expectations.__version__}"
        self.sample = self.verdict(frame(entity, WARM))
        self.rules = len(self.sample.results)

    def verdict(self, given: pd.DataFrame) -> Any:
        """Return the verdict on a frame."""
        return self._validate(given, self._entity, references=self._references, now=NOW)

    def run(self, given: pd.DataFrame) -> dict[str, int]:
        """Return how many rows break each rule about rows."""
        results = self.verdict(given).results
        return {rule.code: failed for rule, _checked, failed in results if failed and not rule.is_table}


class _Pandera(_Judge):
    """The same checks in pandera, on rows that were converted before."""

    def __init__(self, entity: Entity, rows: int) -> None:
        from deployments.sandbox.quality.baseline import VERSION, Baseline  # noqa: PLC0415

        self._baseline = Baseline(_Gate(entity, rows).sample, references(rows))
        self.rules, self.version = len(self._baseline.rules), f"pandera {VERSION}"
        self._baseline.failing(self.prepare(frame(entity, WARM)))

    @staticmethod
    def prepare(given: pd.DataFrame) -> pd.DataFrame:
        """Return the rows with times and money as the rules compare them."""
        from expectations.gate import _checked  # noqa: PLC0415

        return _checked(given)

    def run(self, given: pd.DataFrame) -> dict[str, int]:
        """Return how many rows break each rule."""
        return {code: len(places) for code, places in self._baseline.failing(given).items()}


def _judge(entity: Entity, rows: int, engine: str) -> _Judge:
    if engine == "gate":
        return _Gate(entity, rows)
    return _Pandera(entity, rows) if engine == "pandera" else _Judge()


def _peak() -> float:
    """Return the most memory that this process ever held, in megabytes; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0.0
    import resource  # noqa: PLC0415 - POSIX only

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1_000_000


if __name__ == "__main__":
    typer.run(main)
