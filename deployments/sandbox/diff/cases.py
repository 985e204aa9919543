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


def later(before: pd.DataFrame, entity: Entity, case: str) -> pd.DataFrame:
    """Return a canonical frame as it stands later: of ten touched rows eight changed, one went, one came."""
    key = before.columns[0]
    counts = planted(len(before), case)
    touched = np.random.default_rng(2).choice(len(before), CASES[case](len(before)), replace=False)
    gone, copied, changed = np.split(touched, np.cumsum([counts["gone"], counts["new"]]))
    after = before.copy()
    for turn, places in enumerate(np.array_split(changed, 3)):
        _change(after, entity, turn, places)
    new = before.iloc[copied].assign(**{key: before[key].iloc[copied] + len(before)})
    return pd.concat([after.drop(index=before.index[gone]), new], ignore_index=True)


def _change(after: pd.DataFrame, entity: Entity, turn: int, places: np.ndarray) -> None:
    columns = ("city", "comment", "phone_other") if entity is Entity.PATIENT else ("comment", "doctor", "")
    if column := columns[turn]:
        after.loc[places, column] = "+74951234567" if column == "phone_other" else "иначе"
    else:
        after.loc[places, "start_at"] += pd.Timedelta(minutes=15)


def cards(frame: pd.DataFrame, kind: Kind) -> pd.DataFrame:
    """Render a canonical frame as the plan step does."""
    return contact_texts(frame) if kind is Kind.CONTACT else lead_texts(collapse(frame), ZONE)


def write(folder: Path, sizes: dict[Kind, int], cases: list[str]) -> None:
    """Write the cards of every case, and the ledger as it stands after the earlier ones were sent."""
    ledger = Ledger(f"sqlite:///{folder / LEDGER}").open()
    for kind, rows in sizes.items():
        entity = RENDERED[kind]
        before = frame(entity, rows)
        texts = cards(before, kind)
        texts.to_parquet(place(folder, kind))
        for part in _acknowledged(kind, texts):
            ledger.apply_local(UID, ACCOUNT, part)
        for case in cases:
            cards(later(before, entity, case), kind).to_parquet(place(folder, kind, case))
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
