"""When amoCRM lost what the mapping names: only what depends on it waits, and nothing of it is forgotten.

A datum without its field, or a deal's state without its stage, keeps the hash that amoCRM last acknowledged.
So a changed value is not taken for sent: it differs still when the field is back, and goes out then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd

from tasks.amocrm.client import AmoClient
from tasks.amocrm.custom_fields import read_custom_fields
from tasks.amocrm.pipelines import read_pipelines
from tasks.errors import MappingError
from tasks.events import emit
from tasks.ledger.store import Ledger
from tasks.mapping.drift import Drift, check
from tasks.mapping.model import Mapping as CardMapping
from tasks.mapping.model import StageKey
from tasks.mappings import read_everything
from tasks.records import Kind
from tasks.workspace import Workspace

__all__ = ["DRIFTED", "hold", "is_gone_paused", "live_drifts", "refuse_vital", "resume_repaired"]

#: Name of the clinic's setting that names what its last run had to leave out.
DRIFTED: Final = "drifted"
CARDS: Final = {Kind.CONTACT: "contact", Kind.LEAD: "lead"}


def live_drifts(client: AmoClient, mapping: CardMapping) -> list[Drift]:
    """Compare a mapping, with what single clinics do otherwise, with the account as it is now."""
    pipelines = read_pipelines(client)
    fields = [read_custom_fields(client, entity) for entity in ("contacts", "leads")]
    found: dict[Drift, None] = {}
    for uid in ("", *mapping.clinics):
        found |= dict.fromkeys(check(mapping.for_clinic(uid), pipelines, fields[0], fields[1]))
    return list(found)


def refuse_vital(drifts: Sequence[Drift]) -> None:
    """Stop where the field of our mark is gone: no card could be told from a new one.

    Raises:
        MappingError: With everything that drifted.
    """
    if any(drift.is_vital for drift in drifts):
        named = "; ".join(f"{drift.what} «{drift.name}»: {drift.cause}" for drift in drifts)
        raise MappingError(
            problem=f"The mapping no longer fits the amoCRM account: {named}.",
            remedy="Run: ident-amocrm autoconfigure --yes",
            code="mapping_drift",
        )


def hold(space: Workspace, kind: Kind, hashes: pd.DataFrame) -> pd.DataFrame:
    """Give what cannot be transferred now the hash that amoCRM last acknowledged, 0 where it never did."""
    paused = [
        datum
        for drift in space.drifts
        for card, _dot, datum in [drift.datum.partition(".")]
        if card == CARDS[kind] and datum in hashes.columns
    ]
    places = {place for drift in space.drifts for place in drift.places} if kind is Kind.LEAD else set()
    if not (paused or places) or hashes.empty:
        return hashes
    keys = [int(key) for key in hashes.index]
    known = space.ledger.applied_rows(space.uid, kind, keys)
    held = hashes.copy()

    def sent(key: int, datum: str) -> int:
        return known[key].hashes.get(datum, 0) if key in known else 0

    for datum in paused:
        held[datum] = pd.Series([sent(key, datum) for key in keys], index=hashes.index, dtype="int64")
    if places:
        stage = hashes["stage"].tolist()
        held["stage"] = pd.Series(
            [
                sent(key, "stage")
                if (space.primaries[key], StageKey(space.stage_keys[key])) in places
                else value
                for key, value in zip(keys, stage, strict=True)
            ],
            index=hashes.index,
            dtype="int64",
        )
    return held


def is_gone_paused(space: Workspace) -> bool:
    """Tell whether deals of deleted appointments have no stage to be closed in: they wait then."""
    return any(key is StageKey.GONE for drift in space.drifts for _primary, key in drift.places)


def resume_repaired(space: Workspace) -> None:
    """Read everything once after a repair: what changed meanwhile is named by no increment any more."""
    scope = f"clinic:{space.uid}"
    now = sorted({drift.code for drift in space.drifts})
    before = (space.ledger.setting(scope, DRIFTED) or {}).get("codes", [])
    if now == before:
        return
    if set(before) - set(now):
        if space.dry_run:
            space.mode = "full"
        else:
            read_everything(space.ledger, space.uid)
    if not space.dry_run:
        space.ledger.put_setting(scope, DRIFTED, {"codes": now}, by=space.run_id)
        _tell(space.ledger, space, len(now))


def _tell(ledger: Ledger, space: Workspace, count: int) -> None:
    name = space.clinic.name
    if count:
        emit("settings.drifted", space.uid, name, "warning", {"count": count}, ledger)
    else:
        emit("settings.repaired", space.uid, name, "info", {"count": count}, ledger)
