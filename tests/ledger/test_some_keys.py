"""Of a big snapshot only what is asked for is read: by lists of few keys, whole where they are many."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.ledger import snapshot
from tasks.ledger.store import Ledger
from tasks.records import AppliedRow, Kind


@pytest.fixture(params=[1, 20_000], ids=["many keys", "few keys"])
def ledger(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setattr(snapshot, "MANY", request.param)
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db").open()
    contacts = [AppliedRow(Kind.CONTACT, key, 100 + key, 10 * key, {}) for key in (1, 2, 3)]
    marks = {4: True, 5: False, 6: None}
    leads = [AppliedRow(Kind.LEAD, key, 200 + key, -1, {}, is_primary=mark) for key, mark in marks.items()]
    ledger.apply_local("u", 1, [*contacts, *leads])
    ledger.apply_local("other", 1, [AppliedRow(Kind.CONTACT, 2, 900, 1, {})])
    return ledger


def test_the_index_is_of_the_keys_that_are_asked_for(ledger: Ledger) -> None:
    for ids, found in (([3, 1, 7], [1, 3]), ([7, 8], []), ([], []), (None, [1, 2, 3]), ({2, 1}, [1, 2])):
        index = ledger.applied_index("u", Kind.CONTACT, ids)
        assert index.source_ids.tolist() == found
        assert index.row_hashes.tolist() == [10 * key for key in found]
        assert index.amo_ids.tolist() == [100 + key for key in found]


def test_marks_are_of_deals_that_have_one(ledger: Ledger) -> None:
    keys, marks = ledger.applied_primaries("u", [4, 5, 6, 7])
    assert dict(zip(keys.tolist(), marks.tolist(), strict=True)) == {4: True, 5: False}


def test_entities_lead_back_to_their_rows(ledger: Ledger) -> None:
    assert ledger.sources_of("u", Kind.CONTACT, [103, 101, 900, 204]) == {103: 3, 101: 1}
    assert ledger.highest_applied("u", Kind.CONTACT) == 103
    assert ledger.highest_applied("u", Kind.LEAD) == 206
    assert ledger.highest_applied("nobody", Kind.LEAD) == 0
