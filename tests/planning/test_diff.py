from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.planning.diff import gone_rows, plan_cards, plan_links_and_notes
from tasks.records import DATA, Action, AppliedRow, Kind, PlanRow

NAMES = DATA[Kind.LEAD]


def hashes(*rows: tuple[int, dict[str, int]]) -> tuple[pd.DataFrame, np.ndarray]:
    frame = pd.DataFrame(
        [[values.get(name, 5) for name in NAMES] for _key, values in rows],
        index=pd.Index([key for key, _ in rows], dtype="int64"),
        columns=list(NAMES),
        dtype="int64",
    )
    return frame, frame.to_numpy().sum(axis=1)


def snapshot(frame: pd.DataFrame, row_hashes: np.ndarray) -> dict[int, AppliedRow]:
    return {
        int(key): AppliedRow(
            Kind.LEAD, int(key), 100 + int(key), int(row_hash), dict(zip(NAMES, row, strict=True))
        )
        for key, row_hash, row in zip(frame.index, row_hashes, frame.to_numpy().tolist(), strict=True)
    }


def difference(before: pd.DataFrame, after: pd.DataFrame, **options: object) -> object:
    known = snapshot(before, before.to_numpy().sum(axis=1))
    keys = np.array(sorted(known), dtype=np.int64)
    index = (keys, np.array([known[int(key)].row_hash for key in keys], dtype=np.int64))
    return plan_cards(
        Kind.LEAD,
        after,
        after.to_numpy().sum(axis=1),
        index,
        lambda wanted: {key: known[key] for key in wanted},
        options.get("transferred", set(NAMES)),  # type: ignore[arg-type]
        options.get("parked", {}),  # type: ignore[arg-type]
    )


def test_new_changed_and_equal_rows() -> None:
    before, _ = hashes((1, {}), (2, {}), (3, {}))
    after, _ = hashes((1, {}), (2, {"doctor": 9}), (3, {"stage": 9}), (4, {}))
    result = difference(before, after)
    assert result.rows == [  # type: ignore[attr-defined]
        PlanRow(Kind.LEAD, 4, Action.CREATE),
        PlanRow(Kind.LEAD, 2, Action.UPDATE, ("doctor",), 102),
        PlanRow(Kind.LEAD, 3, Action.MOVE, ("stage",), 103),
    ]


def test_a_change_that_is_not_transferred_writes_nothing() -> None:
    before, _ = hashes((1, {}))
    after, _ = hashes((1, {"comment": 9}))
    result = difference(before, after, transferred=set(NAMES) - {"comment"})
    assert result.rows == []  # type: ignore[attr-defined]
    assert result.silent == [1]  # type: ignore[attr-defined]


def test_what_amocrm_refused_is_not_sent_again_until_it_changes() -> None:
    before, _ = hashes((1, {}))
    after, sums = hashes((1, {"doctor": 9}), (2, {}))
    parked = {1: int(sums[0]), 2: int(sums[1])}
    result = difference(before, after, parked=parked)
    assert result.rows == []  # type: ignore[attr-defined]
    assert result.parked == [2, 1]  # type: ignore[attr-defined]
    changed = difference(before, after, parked={key: value + 1 for key, value in parked.items()})
    assert [row.source_id for row in changed.rows] == [2, 1]  # type: ignore[attr-defined]


def test_back_to_the_old_value_is_a_change() -> None:
    a, _ = hashes((1, {"doctor": 1}))
    b, _ = hashes((1, {"doctor": 2}))
    assert difference(a, b).rows  # type: ignore[attr-defined]
    assert difference(b, a).rows  # type: ignore[attr-defined]


def test_links_and_notes_hang_on_deals() -> None:
    rows = [
        PlanRow(Kind.LEAD, 1, Action.CREATE),
        PlanRow(Kind.LEAD, 2, Action.MOVE, ("start_at", "patient_id"), 102),
        PlanRow(Kind.LEAD, 3, Action.UPDATE, ("doctor",), 103),
    ]
    assert plan_links_and_notes(rows) == [
        PlanRow(Kind.LINK, 1, Action.CREATE),
        PlanRow(Kind.LINK, 2, Action.UPDATE, ("patient_id",)),
        PlanRow(Kind.NOTE, 2, Action.CREATE),
    ]


def test_gone_needs_two_reads() -> None:
    assert gone_rows(Kind.LEAD, {1, 2}, {2, 3}, {1: 101, 2: 102, 3: 103}) == [
        PlanRow(Kind.LEAD, 2, Action.MOVE, ("gone",), 102)
    ]
