from __future__ import annotations

import pandas as pd
import pytest

from tasks.planning.chains import collapse


def rows(*described: tuple[int, int | None, str, bool]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "appointment_id": [key for key, *_ in described],
            "rescheduled_from_id": pd.array([parent for _, parent, *_ in described], dtype="Int64"),
            "status": [status for *_, status, _ in described],
            "is_no_show": [no_show for *_, no_show in described],
        }
    )


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ([(1, None, "planned", False)], [(1, 1, "planned")]),
        ([(1, None, "cancelled", False), (2, 1, "planned", False)], [(1, 2, "planned")]),
        # an old row IDENT did not cancel is superseded all the same
        ([(1, None, "planned", False), (2, 1, "cancelled", False)], [(1, 2, "cancelled")]),
        (
            [(1, None, "cancelled", False), (2, 1, "cancelled", False), (5, 2, "arrived", False)],
            [(1, 5, "arrived")],
        ),
        # a fork: the living branch counts
        (
            [(1, None, "cancelled", False), (2, 1, "planned", False), (3, 1, "cancelled", False)],
            [(1, 2, "planned")],
        ),
        # the ancestor was deleted: its id stays the deal's key
        ([(7, 3, "planned", False)], [(3, 7, "planned")]),
        ([(1, None, "cancelled", True)], [(1, 1, "no_show")]),
        ([(1, None, "planned", True)], [(1, 1, "planned")]),
        # a loop, which only a damaged table has, still ends in one deal
        ([(1, 2, "planned", False), (2, 1, "planned", False)], [(1, 2, "planned")]),
    ],
)
def test_a_chain_is_one_deal(
    described: list[tuple[int, int | None, str, bool]], expected: list[tuple[int, int, str]]
) -> None:
    deals = collapse(rows(*described))
    found = list(zip(deals["root_id"], deals["appointment_id"], deals["stage_key"], strict=True))
    assert found == expected


def test_appointments_that_nobody_needs_any_more_are_let_go_of() -> None:
    described = [(1, None, "cancelled", False), (2, 1, "planned", False), (4, None, "cancelled", True)]
    given = rows(*described)
    pd.testing.assert_frame_equal(collapse(given, is_last=True), collapse(rows(*described)))
    assert list(given) == []
