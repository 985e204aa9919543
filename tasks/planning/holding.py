"""Rows that wait for a person, although nothing is wrong with them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import pandas as pd

from tasks.records import MAYBE_REMOVED, Action, Kind, PlanRow

__all__ = [
    "FOR_A_PERSON",
    "MANY_PAST_MOVES",
    "NOT_IN_AMOCRM",
    "PATIENT_BACK",
    "SEVERAL_CANDIDATES",
    "moves_of_the_past",
]

#: The patient of an appointment is kept back; the deal comes with the patient.
PATIENT_BACK: Final = "patient_kept_back"

#: Several contacts have the patient's phone and name.
SEVERAL_CANDIDATES: Final = "several_candidates"
#: IDENT changed more old appointments at once than a clinic does by hand (``ident.md`` 1.8: mass back-fill).
MANY_PAST_MOVES: Final = "many_past_moves"
#: A person deleted the card, or merged it into another one.
NOT_IN_AMOCRM: Final = "not_in_amocrm"
#: Reasons that nothing but a person's word ends.
FOR_A_PERSON: Final = frozenset({SEVERAL_CANDIDATES, MAYBE_REMOVED, MANY_PAST_MOVES})


def moves_of_the_past(
    rows: Sequence[PlanRow],
    starts: Mapping[int, pd.Timestamp],
    before: pd.Timestamp,
    released: Collection[int],
) -> list[PlanRow]:
    """Return planned moves of deals whose appointment is long over.

    Args:
        rows: The plan.
        starts: Beginning of each appointment, by deal.
        before: What counts as long over.
        released: Deals that a person let go.
    """
    return [
        row
        for row in rows
        if row.kind is Kind.LEAD
        and row.action is Action.MOVE
        and "stage" in row.changed
        and row.source_id not in released
        and row.source_id in starts
        and starts[row.source_id] < before
    ]
