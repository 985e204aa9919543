"""Our side: ``python -m deployments.sandbox.diff.ours FOLDER CASE``, the calls that the plan step makes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from deployments.sandbox.diff.answer import Answer
from deployments.sandbox.diff.cases import LEDGER, RENDERED, UID, hasher, place
from deployments.sandbox.gauges import Memory, Stopwatch
from tasks.ledger.store import Ledger
from tasks.planning.diff import gone_rows, plan_cards
from tasks.records import DATA, Action, Kind

__all__ = ["difference", "main"]


def difference(ledger: Ledger, kind: Kind, texts: pd.DataFrame, watch: Stopwatch) -> Answer:
    """Compare cards with the ledger as ``tasks.plan`` does, nothing being kept back or excluded."""
    with watch.stage("hash"):
        keyed = hasher()
        hashes = keyed.hash_frame(kind, texts)
        row_hashes = keyed.row_hashes(hashes)
    with watch.stage("snapshot"):
        index = ledger.applied_index(UID, kind)
    with watch.stage("compare"):
        found = plan_cards(
            kind,
            hashes,
            row_hashes,
            (index.source_ids, index.row_hashes),
            partial(ledger.applied_rows, UID, kind),
            DATA[kind],
            {},
        )
        known = index.source_ids.tolist()
        missing = frozenset(known) - frozenset(hashes.index.tolist())
        amo_ids = dict(zip(known, index.amo_ids.tolist(), strict=True)) if missing else {}
        gone = gone_rows(kind, missing, missing, amo_ids)
    new = [row.source_id for row in found.rows if row.action is Action.CREATE]
    changed = {row.source_id: row.changed for row in found.rows if row.action is not Action.CREATE}
    return Answer(new, changed, [row.source_id for row in gone])


def main(
    folder: Annotated[Path, typer.Argument(help="What was written for the measurement.")],
    case: Annotated[str, typer.Argument(help="What changed.")],
    times: Annotated[int, typer.Option(min=1, help="The best of so many is told.")] = 1,
) -> None:
    """Measure, and print what was measured as JSON."""
    texts = {kind: pd.read_parquet(place(folder, kind, case)) for kind in RENDERED}
    ledger = Ledger(f"sqlite:///{folder / LEDGER}")
    memory, told = Memory(), list[dict[str, Any]]()
    for _ in range(times):
        watch = Stopwatch()
        answers = {kind: difference(ledger, kind, texts[kind], watch) for kind in RENDERED}
        told.append({"processor": watch.processor, "clock": watch.clock})
    best = min(told, key=lambda one: sum(one["processor"].values()))
    shown = {kind.value: answer.told() for kind, answer in answers.items()}
    typer.echo(json.dumps(best | {"peak_mb": memory.peak_mb, "found": shown, "version": "this repository"}))


if __name__ == "__main__":
    typer.run(main)
