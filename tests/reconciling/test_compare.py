"""Each kind of difference, from ids alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tasks.reconciling.compare import Comparison, Side, compare, compare_links
from tasks.reconciling.findings import HANDLING, Finding, Handling, Mismatch
from tasks.reconciling.judge import Judgement, Sight
from tasks.records import Kind


def side(**values: Any) -> Side:
    return Side(Kind.CONTACT, **values)


def ours(amo_id: int = 100, key: int = 1, **values: Any) -> Sight:
    return Sight(amo_id, marked=key, held_by=key, **values)


def told(comparison: Comparison) -> list[tuple[Mismatch, int, tuple[int, ...]]]:
    return [(one.mismatch, one.source_id, one.amo_ids) for one in comparison.findings]


def test_what_agrees_is_no_difference() -> None:
    found = compare(side(cards={1}, held={1: 100}, sights=[ours()]))
    assert (found.findings, dict(found.due), found.adopt) == ([], {}, {})
    assert found.stands == {1: 100}


def test_missing_is_ours_and_unsettled_waits() -> None:
    found = compare(side(cards={1, 2}, unknown={2}))
    assert told(found) == [(Mismatch.MISSING, 1, ()), (Mismatch.UNSETTLED, 2, ())]
    assert [one.handling for one in found.findings] == [Handling.REPAIR, Handling.WAIT]


def test_what_is_kept_back_with_its_reason_is_only_counted() -> None:
    found = compare(side(cards={1}, kept_back={1}))
    assert told(found) == [(Mismatch.KEPT_BACK, 1, ())]
    assert found.findings[0].handling is Handling.LEAVE


def test_what_a_person_deleted_is_listed_and_never_made_due() -> None:
    found = compare(side(cards={1}, held={1: 100}))
    assert told(found) == [(Mismatch.DELETED, 1, (100,))]
    assert found.deleted == {1}
    assert (dict(found.due), found.adopt) == ({}, {})


def test_what_a_person_deleted_is_listed_also_when_kept_back() -> None:
    assert told(compare(side(cards={1}, held={1: 100}, kept_back={1}))) == [(Mismatch.DELETED, 1, (100,))]


def test_an_orphan_is_adopted() -> None:
    orphan = Sight(100, marked=1)
    found = compare(side(sights=[orphan]))  # also one outside the window
    assert told(found) == [(Mismatch.ORPHAN, 1, (100,))]
    assert found.adopt == {1: orphan}
    assert found.stands == {1: 100}


def test_twins_are_listed_and_the_lowest_is_kept() -> None:
    found = compare(side(cards={1}, held={1: 100}, sights=[Sight(102, marked=1), ours()]))
    assert told(found) == [(Mismatch.TWINS, 1, (100, 102))]
    assert found.adopt == {}
    assert found.findings[0].handling is Handling.PERSON


def test_the_ledger_follows_the_lowest_twin() -> None:
    lowest = Sight(98, marked=1)
    found = compare(side(cards={1}, held={1: 100}, sights=[ours(), lowest]))
    assert told(found) == [(Mismatch.TWINS, 1, (98, 100)), (Mismatch.MARK_ELSEWHERE, 1, (100, 98))]
    assert found.adopt == {1: lowest}


def test_an_orphan_with_twins_is_adopted_once() -> None:
    found = compare(side(sights=[Sight(102, marked=1), Sight(100, marked=1)]))
    assert told(found) == [(Mismatch.TWINS, 1, (100, 102)), (Mismatch.ORPHAN, 1, (100,))]
    assert found.adopt[1].amo_id == 100


def test_the_ledger_follows_a_mark_that_a_merge_took_along() -> None:
    found = compare(side(cards={1}, held={1: 100}, sights=[Sight(90, marked=1)]))
    assert told(found) == [(Mismatch.MARK_ELSEWHERE, 1, (100, 90))]
    assert found.deleted == set()
    assert found.stands == {1: 90}


@pytest.mark.parametrize("stranger", [Sight(100, marked=1, held_by=2), Sight(100, marked=1, taken=True)])
def test_an_entity_of_another_row_is_left_to_a_person(stranger: Sight) -> None:
    held = {2: 100} if stranger.held_by else {}
    found = compare(side(held=held, sights=[stranger]))
    assert told(found) == [(Mismatch.MARK_TAKEN, 1, (100,))]
    assert found.adopt == {}


@pytest.mark.parametrize(
    ("judgement", "due"),
    [
        (Judgement(quiet="city"), {"city"}),
        (Judgement(ours=("sex",), quiet="city"), {"sex"}),
        (Judgement(behind=("sex",), quiet="city"), set()),  # due already, and takes the mark along
    ],
)
def test_an_emptied_mark_makes_the_row_due(judgement: Judgement, due: set[str]) -> None:
    found = compare(side(cards={1}, held={1: 100}, sights=[Sight(100, held_by=1, judgement=judgement)]))
    assert told(found)[0] == (Mismatch.MARK_EMPTIED, 1, (100,))
    assert dict(found.due).get(1, set()) == due


def test_an_emptied_mark_outside_the_window_is_left() -> None:
    assert compare(side(held={1: 100}, sights=[Sight(100, held_by=1)])).findings == []


def test_fields_and_stages_are_made_due_by_name() -> None:
    judgement = Judgement(behind=("sex",), ours=("city",), edited=("comment",), stage="behind")
    found = compare(side(cards={1}, held={1: 100}, sights=[ours(judgement=judgement)]))
    assert [(one.mismatch, one.fields) for one in found.findings] == [
        (Mismatch.BEHIND, ("sex",)),
        (Mismatch.FIELD, ("city",)),
        (Mismatch.EDITED, ("comment",)),
        (Mismatch.STAGE_BEHIND, ()),
    ]
    assert dict(found.due) == {1: {"city", "stage"}}


def test_a_persons_edit_and_move_are_never_made_due() -> None:
    judgement = Judgement(edited=("comment",), stage="left", quiet="city")
    found = compare(side(cards={1}, held={1: 100}, sights=[ours(judgement=judgement)]))
    assert {one.handling for one in found.findings} == {Handling.LEAVE}
    assert dict(found.due) == {}


def test_gone_waits_for_the_second_full_read() -> None:
    first = compare(side(held={1: 100}, gone={1}, sights=[ours()]))
    again = compare(side(held={1: 100}, gone={1}, gone_before={1}, sights=[ours()]))
    assert told(first) == told(again) == [(Mismatch.GONE, 1, (100,))]
    assert [first.findings[0].handling, again.findings[0].handling] == [Handling.WAIT, Handling.REPAIR]
    assert again.absent == set()


def test_gone_on_both_sides_is_closed_in_the_ledger() -> None:
    assert compare(side(held={1: 100}, gone={1})).absent == set()
    assert compare(side(held={1: 100}, gone={1}, gone_before={1})).absent == {1}


def test_what_was_closed_is_not_looked_at_again() -> None:
    assert compare(side(closed={1}, sights=[Sight(100, marked=1)])).findings == []


def links(
    sights: Sequence[Sight], linked: Mapping[int, int], contacts: Comparison | None = None
) -> Comparison:
    deals, both = Comparison(), Side(Kind.LEAD, sights=sights)
    compare_links(both, deals, contacts or Comparison(stands={7: 70}), {1: 7}, linked)
    return deals


def test_a_deal_with_its_contact_is_right_whoever_else_is_attached() -> None:
    found = links([ours(contact_ids=(50, 70))], {1: 70})
    assert (found.findings, found.relinked) == ([], {})


def test_a_link_that_moved_with_its_contact_is_noted_in_the_ledger() -> None:
    found = links([ours(contact_ids=(70,))], {1: 60})
    assert (found.findings, found.relinked) == ([], {1: 70})


def test_a_link_that_was_never_made_is_ours() -> None:
    found = links([ours(contact_ids=(60,))], {1: 60})
    assert told(found) == [(Mismatch.LINK_MISSING, 1, (100,))]
    assert dict(found.due) == {1: {"patient_id"}}
    assert found.detached == set()


def test_a_deal_is_linked_to_a_contact_that_this_run_makes_anew() -> None:
    found = links([ours()], {1: 60}, Comparison(missing={7}))
    assert told(found) == [(Mismatch.LINK_MISSING, 1, (100,))]
    assert found.detached == {1}


def test_a_link_that_a_person_changed_is_left() -> None:
    found = links([ours(contact_ids=(60,))], {1: 70})
    assert told(found) == [(Mismatch.LINK_CHANGED, 1, (100, 60))]
    assert dict(found.due) == {}


@pytest.mark.parametrize("contacts", [Comparison(stands={7: 70}, deleted={7}), Comparison()])
def test_the_deals_of_a_deleted_or_missing_contact_are_not_listed_twice(contacts: Comparison) -> None:
    assert links([ours()], {1: 70}, contacts).findings == []


def test_every_difference_has_somebody_to_handle_it() -> None:
    assert set(HANDLING) == set(Mismatch)
    assert Finding(Mismatch.GONE, Kind.LEAD, 1, waits=True).handling is Handling.WAIT
