"""One measurement: ``python -m deployments.sandbox.quality.part patient 1000 gate``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Annotated, Any, Final, Protocol

import pandas as pd
import typer

from deployments.sandbox.gauges import Memory
from deployments.sandbox.quality.frames import NOW, frame, references
from tasks.frames import Entity

__all__ = ["ENGINES", "has_pandera", "main"]

ENGINES: Final = ("gate", "pandera")
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
    seconds, failing, memory = [], {}, Memory()
    for _ in range(times):
        # Of the processor, not of the clock: whatever else the machine does, the ratio stays.
        begun = time.process_time()
        failing = judge.run(prepared)
        seconds.append(time.process_time() - begun)
    told = {"seconds": min(seconds), "woken": woken, "peak_mb": memory.peak_mb, "failing": failing}
    typer.echo(json.dumps(told | {"rules": judge.rules, "version": judge.version}))


class _Judge(Protocol):
    """What is measured.

    Attributes:
        rules: How many rules it runs.
        version: The library.
    """

    rules: int
    version: str

    def prepare(self, given: pd.DataFrame) -> pd.DataFrame:
        """Return the rows as the judge wants them."""

    def run(self, given: pd.DataFrame) -> dict[str, int]:
        """Return how many rows break each rule about rows."""


class _Gate:
    """The gate as a run calls it: conversion, rules, and the frame taken apart."""

    def __init__(self, entity: Entity, rows: int) -> None:
        import great_expectations  # noqa: PLC0415 - its import is told apart

        from expectations.gate import validate  # noqa: PLC0415

        self._validate: Callable[..., Any] = validate
        self._entity, self._references = entity, references(rows)
        self.version = f"Great Expectations {great_expectations.__version__}"
        self.sample = self.verdict(frame(entity, WARM))
        self.rules = len(self.sample.results)

    @staticmethod
    def prepare(given: pd.DataFrame) -> pd.DataFrame:
        """Return the rows as they are: the gate converts them itself."""
        return given

    def verdict(self, given: pd.DataFrame) -> Any:
        """Return the verdict on a frame."""
        return self._validate(given, self._entity, references=self._references, now=NOW)

    def run(self, given: pd.DataFrame) -> dict[str, int]:
        """Return how many rows break each rule about rows."""
        results = self.verdict(given).results
        return {rule.code: failed for rule, _checked, failed in results if failed and not rule.is_table}


class _Pandera:
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
    return _Gate(entity, rows) if engine == "gate" else _Pandera(entity, rows)


if __name__ == "__main__":
    typer.run(main)
