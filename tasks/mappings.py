"""The mapping in the ledger: loaded, checked, saved with its history, and what a change makes due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from tasks.errors import MappingError
from tasks.events import emit
from tasks.ledger.store import Ledger
from tasks.mapping.difference import differences, redirected
from tasks.mapping.model import Filters
from tasks.mapping.model import Mapping as CardMapping
from tasks.mapping.rules import refuse_unsound
from tasks.records import Pipeline

__all__ = [
    "MAPPING",
    "PENDING",
    "Change",
    "Saved",
    "former_mappings",
    "load_mapping",
    "mapping_history",
    "pending_resend",
    "read_everything",
    "save_mapping",
    "settle_pending",
    "stored_mapping",
]

#: Name of the mapping among the settings of an account.
MAPPING: Final = "mapping"
#: Name of the account's setting that names the data whose field changed and whose cards were not sent again.
PENDING: Final = "backfill"
#: Name of the part of a clinic's watermark that says when everything is read again (``tasks.extract``).
FULL_DUE: Final = "full_due_at"
#: Long ago: the next run reads everything.
AT_ONCE: Final = "2000-01-01T00:00:00"


def _scope(account_id: int) -> str:
    return f"account:{account_id}"


def stored_mapping(ledger: Ledger, account_id: int) -> CardMapping | None:
    """Return the account's mapping, ``None`` when there is none yet."""
    stored = ledger.setting(_scope(account_id), MAPPING)
    return None if stored is None else CardMapping.model_validate(stored)


def load_mapping(ledger: Ledger, account_id: int) -> CardMapping:
    """Return the account's mapping.

    Raises:
        MappingError: When the transfer is not configured yet.
    """
    mapping = stored_mapping(ledger, account_id)
    if mapping is None:
        raise MappingError(
            problem="The transfer is not configured: there is no mapping for this amoCRM account.",
            remedy="Run: ident-amocrm autoconfigure --yes",
            code="not_configured",
        )
    return mapping


@dataclass(frozen=True, slots=True)
class Saved:
    """What saving a mapping changed.

    Attributes:
        mapping: The mapping in force now.
        changes: One Russian line for each difference.
        redirected: Data, by card, that go to another field than before.
    """

    mapping: CardMapping
    changes: list[str]
    redirected: dict[str, frozenset[str]] = field(default_factory=dict)


def save_mapping(ledger: Ledger, mapping: CardMapping, by: str, pipelines: Sequence[Pipeline] = ()) -> Saved:
    """Check a mapping and put it in force.

    Args:
        ledger: The installation's ledger.
        mapping: The mapping.
        by: Who or what changed it, for the history.
        pipelines: The account's pipelines, for the names of stages.

    Raises:
        MappingError: When it is not sound; the mapping in force stays then.
    """
    refuse_unsound(mapping)
    before = stored_mapping(ledger, mapping.account_id)
    changes = differences(before, mapping, pipelines)
    moved = redirected(before, mapping)
    if before == mapping:
        return Saved(mapping, [])
    if moved:
        # Written first: were it lost with the process, nobody would know that cards lack their values.
        _put_pending(
            ledger, mapping.account_id, _joined(pending_resend(ledger, mapping.account_id), moved), by
        )
    ledger.put_setting(_scope(mapping.account_id), MAPPING, mapping.model_dump(mode="json"), by=by)
    if before is not None and _all_filters(before) != _all_filters(mapping):
        # A wider filter lets through what no increment would ever name.
        for record in ledger.connections():
            read_everything(ledger, record.clinic_uid)
    emit("settings.changed", "all", "amocrm", "info", {"changes": len(changes)}, ledger)
    return Saved(mapping, changes, moved)


def _all_filters(mapping: CardMapping) -> dict[str, Filters]:
    return {"": mapping.filters} | {uid: mapping.for_clinic(uid).filters for uid in mapping.clinics}


def read_everything(ledger: Ledger, clinic_uid: str) -> None:
    """Let the clinic's next run read everything, if it has ever run."""
    mark = ledger.watermark(clinic_uid)
    if mark:
        ledger.move_watermark(clinic_uid, {**mark, FULL_DUE: AT_ONCE})


def former_mappings(ledger: Ledger, account_id: int) -> list[CardMapping]:
    """Return what the account's mapping was before, the latest first."""
    rows = ledger.setting_history(_scope(account_id), MAPPING)
    return [CardMapping.model_validate(row["value"]) for row in reversed(rows[:-1])]


# ---- data that go elsewhere now ----------------------------------------------------------------------------


def pending_resend(ledger: Ledger, account_id: int) -> dict[str, frozenset[str]]:
    """Return the data, by card, whose field changed since their cards were sent."""
    stored = ledger.setting(_scope(account_id), PENDING) or {}
    return {card: frozenset(data) for card, data in stored.items() if data}


def settle_pending(ledger: Ledger, account_id: int, done: dict[str, frozenset[str]], by: str) -> None:
    """Forget data whose cards were made due, or are to stay as they are."""
    left = {
        card: data - done.get(card, frozenset()) for card, data in pending_resend(ledger, account_id).items()
    }
    _put_pending(ledger, account_id, left, by)


def _joined(one: dict[str, frozenset[str]], other: dict[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    return {
        card: one.get(card, frozenset()) | other.get(card, frozenset()) for card in sorted({*one, *other})
    }


def _put_pending(ledger: Ledger, account_id: int, data: dict[str, frozenset[str]], by: str) -> None:
    value = {card: sorted(names) for card, names in data.items() if names}
    ledger.put_setting(_scope(account_id), PENDING, value, by=by)


# ---- history -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the mapping: when, by whom, what."""

    at: str
    by: str
    changes: list[str]


def mapping_history(ledger: Ledger, account_id: int) -> list[Change]:
    """Return every change of an account's mapping, oldest first."""
    rows: list[dict[str, Any]] = ledger.setting_history(_scope(account_id), MAPPING)
    found: list[Change] = []
    before: CardMapping | None = None
    for row in rows:
        mapping = CardMapping.model_validate(row["value"])
        at = datetime.fromtimestamp(row["changed_at"], tz=UTC).isoformat(timespec="seconds")
        found.append(Change(at, row["changed_by"], differences(before, mapping)))
        before = mapping
    return found
