"""Adding up and joining what belongs together."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tasks.ident.bills import joined, summed
from tasks.ident.normalise import amounts

SIZE = 4
PLACES = st.integers(-1, SIZE - 1)
MONEY = st.decimals(Decimal(-10_000), Decimal(100_000_000), places=10, allow_nan=False)


@given(st.lists(st.tuples(PLACES, st.none() | st.text("абв", min_size=1, max_size=3))))
def test_texts_are_joined_in_their_order(rows: list[tuple[int, str | None]]) -> None:
    expected: dict[int, list[str]] = defaultdict(list)
    for place, text in rows:
        if text is not None:
            expected[place].append(text)
    places = np.array([place for place, _ in rows], dtype=np.intp)
    found = joined(places, pa.array([text for _, text in rows], type=pa.string()), SIZE)
    assert found.to_pylist() == ["; ".join(expected[place]) or None for place in range(SIZE)]


@given(st.lists(st.tuples(PLACES, st.none() | MONEY)), st.booleans())
def test_amounts_are_added_up_exactly(rows: list[tuple[int, Decimal | None]], as_text: bool) -> None:
    expected: dict[int, Decimal] = {}
    for place, amount in rows:
        if amount is not None:
            expected[place] = expected.get(place, Decimal()) + amount
    places = np.array([place for place, _ in rows], dtype=np.intp)
    values = [str(amount) if as_text and amount is not None else amount for _, amount in rows]
    found = summed(places, amounts(values), SIZE)
    assert found.to_pylist() == [expected.get(place) for place in range(SIZE)]
