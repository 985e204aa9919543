"""The other sides: ``python -m deployments.sandbox.diff.baseline pandas FOLDER …``.

They keep the cards that were sent as a Parquet file, read it whole and compare it with the cards of now.
datacompy wants an older pandas than this project runs on, so it has an interpreter of its own: nothing but
Python's own modules, pandas and datacompy may be imported here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import Any

from deployments.sandbox.diff.answer import Answer
from deployments.sandbox.gauges import Memory, Stopwatch

__all__ = ["SIDES", "by_datacompy", "by_pandas", "by_polars", "main", "measure"]


def by_pandas(before: Any, after: Any) -> Answer:
    """Take the keys apart, and let ``DataFrame.compare`` find the cells."""
    both = before.index.intersection(after.index)
    cells = before.loc[both].compare(after.loc[both])
    names = list(cells.columns.unique(level=0))
    # Each column stands there twice, before and now; cells that are the same are missing in both.
    differs = cells.notna().to_numpy().reshape(len(cells), len(names), 2).any(axis=2)
    return Answer(
        after.index.difference(before.index).tolist(),
        _columns(cells.index.tolist(), names, differs),
        before.index.difference(after.index).tolist(),
    )


def by_datacompy(before: Any, after: Any) -> Answer:
    """Let ``datacompy.PandasCompare`` join on the key and match every column."""
    from datacompy import PandasCompare  # noqa: PLC0415 - another interpreter has it

    names = list(before.columns)
    found = PandasCompare(before, after, on_index=True)
    matched = found.intersect_rows[[f"{name}_match" for name in names]]
    differs = ~matched[~matched.all(axis=1)]
    return Answer(
        found.df2_unq_rows.index.tolist(),
        _columns(differs.index.tolist(), names, differs.to_numpy(dtype=bool)),
        found.df1_unq_rows.index.tolist(),
    )


def by_polars(before: Any, after: Any) -> Answer:
    """Let ``datacompy.PolarsCompare`` do the same with polars, in several threads."""
    import polars as pl  # noqa: PLC0415 - another interpreter has it
    from datacompy import PolarsCompare  # noqa: PLC0415

    names: list[str] = list(before.columns)
    key = names.pop()  # Parquet has pandas' index last
    found = PolarsCompare(before, after, join_columns=[key])
    matched = found.intersect_rows.select(key, *(f"{name}_match" for name in names))
    differs = matched.filter(~pl.all_horizontal(pl.exclude(key)))
    cells = differs.select(~pl.exclude(key)).to_numpy()
    return Answer(
        found.df2_unq_rows[key].to_list(),
        _columns(differs[key].to_list(), names, cells),
        found.df1_unq_rows[key].to_list(),
    )


def _columns(keys: list[int], names: list[str], differs: Any) -> dict[int, tuple[str, ...]]:
    return {
        key: tuple(name for name, cell in zip(names, row, strict=True) if cell)
        for key, row in zip(keys, differs, strict=True)
    }


#: Side -> how it compares, the library that reads its files, the library that is told.
SIDES: dict[str, tuple[Callable[[Any, Any], Answer], str, str]] = {
    "pandas": (by_pandas, "pandas", "pandas"),
    "datacompy": (by_datacompy, "pandas", "datacompy"),
    "datacompy on polars": (by_polars, "polars", "datacompy"),
}


def measure(side: str, times: int, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Measure one side on pairs of files, the cards of before and of now."""
    compare, reader, library = SIDES[side]
    read = import_module(reader).read_parquet
    cards = [read(after) for _before, after in pairs]
    memory, told = Memory(), list[dict[str, Any]]()
    for _ in range(times):
        watch, answers = Stopwatch(), list[Answer]()
        for (before, _after), now in zip(pairs, cards, strict=True):
            with watch.stage("snapshot"):
                sent = read(before)
            with watch.stage("compare"):
                answers.append(compare(sent, now))
        told.append({"processor": watch.processor, "clock": watch.clock})
    best = min(told, key=lambda one: sum(one["processor"].values()))
    versions = {name: version(name) for name in dict.fromkeys((library, reader))}
    return {
        **best,
        "peak_mb": memory.peak_mb,
        "found": [answer.told() for answer in answers],
        "version": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }


def main(side: str, times: int, files: list[str]) -> None:
    """Measure, and print what was measured as JSON; no typer here, which the other interpreter lacks."""
    sys.stdout.write(json.dumps(measure(side, times, list(zip(files[::2], files[1::2], strict=True)))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
