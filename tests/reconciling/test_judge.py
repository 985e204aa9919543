"""Whose a difference is: IDENT's to send, ours to repair, or a person's."""

from __future__ import annotations

import pytest

from tasks.reconciling.judge import Judgement, StageView, judge, judge_stage
from tasks.records import AppliedRow, Kind

PIPELINE = 1
PLANNED, RESCHEDULED, DONE = (PIPELINE, 10), (PIPELINE, 20), (PIPELINE, 30)
CARD = {"city": 5, "comment": 6, "stage": 7}


def known(**hashes: int) -> AppliedRow:
    return AppliedRow(Kind.LEAD, 1, 100, 99, CARD | hashes)


def test_a_value_that_was_sent_and_is_not_there_is_ours() -> None:
    assert judge({"city"}, (), (), "comment", CARD, known()) == Judgement(ours=("city",), quiet="comment")


def test_a_value_that_changed_in_ident_is_behind_and_needs_no_repair() -> None:
    assert judge({"city"}, (), (), None, CARD, known(city=4)) == Judgement(behind=("city",))


def test_a_yielded_value_is_a_persons() -> None:
    assert judge((), {"comment"}, (), None, CARD, known()) == Judgement(edited=("comment",))


def test_a_value_that_a_person_emptied_is_a_persons_unless_ident_changed_it() -> None:
    assert judge({"comment"}, (), {"comment"}, None, CARD, known()) == Judgement(edited=("comment",))
    assert judge({"comment"}, (), {"comment"}, None, CARD, known(comment=0)) == Judgement(behind=("comment",))


@pytest.mark.parametrize(
    ("view", "sent", "verdict"),
    [
        (StageView(DONE, DONE, last_sent=PLANNED), True, ""),
        (StageView(DONE, None), True, ""),
        (StageView(RESCHEDULED, PLANNED, RESCHEDULED, RESCHEDULED, may_move=True), True, ""),
        (StageView(PLANNED, DONE, last_sent=PLANNED, may_move=True), True, "behind"),
        (StageView(PLANNED, DONE, may_move=True), True, "behind"),
        (StageView(PLANNED, DONE, last_sent=DONE, may_move=True), True, "left"),
        (StageView(PLANNED, DONE, last_sent=RESCHEDULED, may_move=True), False, "behind"),
        (StageView(DONE, PLANNED, last_sent=DONE), True, "left"),
    ],
)
def test_a_stage_is_behind_only_where_we_put_it_and_forward(
    view: StageView, sent: bool, verdict: str
) -> None:
    assert judge_stage(view, sent=sent) == verdict


def test_a_stage_that_ident_changed_counts_as_a_change_not_as_a_repair() -> None:
    view = StageView(PLANNED, DONE, last_sent=PLANNED, may_move=True)
    assert judge((), (), (), None, CARD, known(), view) == Judgement(stage="behind")
    assert judge((), (), (), None, CARD, known(stage=3), view) == Judgement(behind=("stage",))
