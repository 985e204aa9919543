"""Cards and columns by key: what is made when it is asked for is what the whole table says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deployments.sandbox.quality.frames import frame
from tasks import workspace
from tasks.frames import Entity
from tasks.keyed import Keyed
from tasks.ledger.hashing import FieldHasher
from tasks.mapping.texts import contact_texts
from tasks.records import Kind
from tasks.workspace import CardTable

ROWS = 7


@pytest.fixture
def patients() -> pd.DataFrame:
    return frame(Entity.PATIENT, ROWS)


def test_each_card_has_its_own_texts_and_hashes(
    patients: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "BLOCK", 3)
    asked: list[int] = []

    def render(rows: pd.DataFrame) -> pd.DataFrame:
        asked.append(len(rows))
        return contact_texts(rows)

    texts = contact_texts(patients)
    hasher = FieldHasher(b"key".ljust(32), "clinic")
    hashes = hasher.hash_frame(Kind.CONTACT, texts)
    table = CardTable(hashes, hasher.row_hashes(hashes), patients, render)
    keys = patients["patient_id"].tolist()
    assert asked == [], "texts were made before anybody asked"
    for place, key in enumerate(keys):
        wanted = {name: None if pd.isna(value) else value for name, value in texts.iloc[place].items()}
        assert table.texts(key) == wanted
        assert table.hashes_of(key) == hashes.iloc[place].to_dict()
        assert table.row_hash(key) == hasher.row_hashes(hashes)[place]
        assert key in table
    assert asked == [3, 3, 1], "a block was made twice, or all at once"
    missing = max(keys) + 1
    assert missing not in table
    with pytest.raises(KeyError):
        table.texts(missing)


def test_a_column_by_key_is_a_mapping_of_pythons_own_values() -> None:
    owners = Keyed(pd.Index([5, 3]), pd.Series([50, 30], dtype="Int64"), int)
    assert dict(owners) == dict(owners.items()) == {5: 50, 3: 30}
    assert list(owners.values()) == [50, 30]
    assert type(owners[3]) is int
    assert (owners.get(4), 3 in owners, 4 in owners, len(owners)) == (None, True, False, 2)
    marks = Keyed(pd.Index([1]), pd.Series([np.True_]), bool)
    assert marks[1] is True
    starts = Keyed(pd.Index([1]), pd.Series(pd.to_datetime(["2026-03-02T10:00Z"])), pd.Timestamp)
    assert starts[1] == pd.Timestamp("2026-03-02T10:00Z")
    assert dict(Keyed(pd.Index([], dtype="int64"), pd.Series([], dtype="str"), str)) == {}
