"""What is compared: cards of many patients and appointments, as they were sent and as they are now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from deployments.sandbox.quality.frames import frame
from tasks.frames import Entity
from tasks.ledger.hashing import FieldHasher
from tasks.ledger.store import Ledger
from tasks.mapping.texts import contact_texts, lead_texts
from tasks.planning.chains import collapse
from tasks.records import DATA, AppliedRow, Kind

__all__ = ["CASES", "LEDGER", "RENDERED", "UID", "cards", "hasher", "later", "place", "planted", "write"]

#: Case -> how many of so many rows are new, changed or gone.
CASES: Final[dict[str, Callable[[int], int]]] = {
    "nothing": lambda _rows: 0,
    "100 cards": lambda rows: min(50, rows),  # of each kind
    "10 %": lambda rows: rows // 10,
}
RENDERED: Final = {Kind.CONTACT: Entity.PATIENT, Kind.LEAD: Entity.APPOINTMENT}
#: What changed cards say instead, a third of them in each column; no card says it before.
CHANGED: Final = {
    Kind.CONTACT: {"city": "иначе", "comment": "иначе", "phone_other": "+74951234567"},
    Kind.LEAD: {"comment": "иначе", "doctor": "иначе", "start_at": "2031-02-03T04:05:06Z"},
}
UID: Final = "measured"
LEDGER: Final = "ledger.db"
ACCOUNT: Final = 1
ZONE: Final = ZoneInfo("Europe/Moscow")
BATCH: Final = 20_000


def place(folder: Path, kind: Kind, case: str | None = None) -> Path:
    """Return where the cards of a case lie; without one those that were sent before."""
    return folder / f"{kind.value}-{'before' if case is None else list(CASES).index(case)}.parquet"


def hasher() -> FieldHasher:
    """Return the hasher of the measured clinic."""
    return FieldHasher(b"measured".ljust(32), UID)


def planted(rows: int, case: str) -> dict[str, int]:
    """Return how many rows of each kind a case has."""
    count = CASES[case](rows)
    return {"new": count // 10, "changed": count - 2 * (count // 10), "gone": count // 10}


def later(before: pd.DataFrame, kind: Kind, case: str) -> pd.DataFrame:
    """Return cards as they stand later: of ten touched ones eight changed, one went, one came."""
    counts = planted(len(before), case)
    touched = np.random.default_rng(2).choice(len(before), CASES[case](len(before)), replace=False)
    gone, copied, changed = np.split(touched, np.cumsum([counts["gone"], counts["new"]]))
    after = before.copy()
    for column, places in zip(CHANGED[kind], np.array_split(changed, 3), strict=True):
        after.loc[after.index[places], column] = CHANGED[kind][column]
    new = before.iloc[copied].set_axis(before.index[copied] + len(before))
    result = pd.concat([after.drop(index=before.index[gone]), new])
    result.index.name = before.index.name
    return result


def cards(kind: Kind, rows: int) -> pd.DataFrame:
    """Return cards of invented rows, rendered as the plan step does."""
    made = frame(RENDERED[kind], rows)
    return contact_texts(made) if kind is Kind.CONTACT else lead_texts(collapse(made), ZONE)


def write(folder: Path, sizes: dict[Kind, int], cases: list[str]) -> None:
    """Write the cards of every case, and the ledger as it stands after the earlier ones were sent."""
    ledger = Ledger(f"sqlite:///{folder / LEDGER}").open()
    for kind, rows in sizes.items():
        before = cards(kind, rows)
        before.to_parquet(place(folder, kind))
        for part in _acknowledged(kind, before):
            ledger.apply_local(UID, ACCOUNT, part)
        for case in cases:
            later(before, kind, case).to_parquet(place(folder, kind, case))
    ledger.database.fold()
    ledger.close()


def _acknowledged(kind: Kind, texts: pd.DataFrame) -> Iterator[list[AppliedRow]]:
    hashes = hasher().hash_frame(kind, texts)
    row_hashes = hasher().row_hashes(hashes)
    for start in range(0, len(texts), BATCH):
        part = slice(start, start + BATCH)
        yield [
            AppliedRow(kind, key, key, row_hash, dict(zip(DATA[kind], values, strict=True)))
            for key, row_hash, values in zip(
                hashes.index[part].tolist(),
                row_hashes[part].tolist(),
                hashes.iloc[part].to_numpy().tolist(),
                strict=True,
            )
        ]
