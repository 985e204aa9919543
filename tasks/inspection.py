"""The export for an inspection: who started and decided what, when, with which counts; nobody's data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from tasks.basis import BASIS
from tasks.events import PREFIX
from tasks.launch import LAUNCH, NOTIFY, TRANSFER
from tasks.ledger.store import Ledger
from tasks.mappings import MAPPING
from tasks.spreadsheet import as_table
from tasks.validate import THRESHOLDS

__all__ = ["COLUMNS", "Inspected", "as_csv", "inspect"]

COLUMNS: Final = ("at_utc", "kind", "clinic", "what", "who", "result", "counts")
#: More events than any installation has in a year.
MOST: Final = 10_000_000
#: Settings that a person makes, and what of their value is told: all else may name people of the clinic.
DECISIONS: Final[dict[str, tuple[str, ...]]] = {
    BASIS: ("basis",),
    TRANSFER: ("started",),
    LAUNCH: ("from_day", "to_day", "deals"),
    MAPPING: (),
    NOTIFY: (),
    THRESHOLDS: (),
}


@dataclass(frozen=True, slots=True)
class Inspected:
    """One line of the export.

    Attributes:
        at: When, epoch seconds.
        kind: ``run``, ``event``, ``decision``, ``waiver`` or ``erasure``.
        clinic: The clinic's name; ``all`` for the installation.
        what: What was done.
        who: Who did it, as far as that is known: a person's name, or which part of the program.
        result: How it ended.
        counts: Numbers and codes.
    """

    at: float
    kind: str
    clinic: str
    what: str
    who: str = ""
    result: str = ""
    counts: str = ""


def inspect(ledger: Ledger, since: datetime, until: datetime) -> list[Inspected]:
    """Return everything of a time, oldest first.

    Args:
        ledger: The installation's ledger.
        since: From when on.
        until: Until when.
    """
    known = [*ledger.former_connections(), *ledger.connections()]
    names = {record.clinic_uid: record.name for record in known}
    begin, end = since.timestamp(), until.timestamp()
    lines = [
        *_runs(ledger, names, begin, end),
        *_events(ledger, names, begin, end),
        *_decisions(ledger, names, begin, end),
    ]
    lines += [
        Inspected(
            one.waived_at,
            "waiver",
            names.get(one.clinic_uid, one.clinic_uid),
            one.reason,
            one.waived_by,
            one.entity,
        )
        for one in ledger.waivers_between(begin, end)
    ]
    lines += [
        Inspected(
            one.asked_at,
            "erasure",
            names.get(one.clinic_uid, one.clinic_uid),
            f"patient {one.patient_id}",
            one.asked_by,
            f"finished {_moment(one.finished_at)}" if one.finished_at else "not finished",
        )
        for one in ledger.erasures()
        if begin <= one.asked_at < end
    ]
    return sorted(lines, key=lambda line: line.at)


def _runs(ledger: Ledger, names: Mapping[str, str], begin: float, end: float) -> Iterator[Inspected]:
    for one in ledger.runs_between(begin, end):
        counts = ", ".join(f"{name}={value}" for name, value in _numbers(one.counts))
        clinic = names.get(one.clinic_uid, one.clinic_uid)
        yield Inspected(
            one.started_at, "run", clinic, f"{one.started_by} {one.mode} {one.run_id}", "", one.state, counts
        )


def _events(ledger: Ledger, names: Mapping[str, str], begin: float, end: float) -> Iterator[Inspected]:
    for row in ledger.audit(since=begin, limit=MOST, order="asc"):
        if row.occurred_at < end:
            uid = row.resource.removeprefix(f"{PREFIX}clinic.")
            counts = ", ".join(f"{name}={value}" for name, value in row.payload.items())
            what = row.event.removeprefix(PREFIX)
            yield Inspected(row.occurred_at, "event", names.get(uid, uid), what, "", row.level, counts)


def _decisions(ledger: Ledger, names: Mapping[str, str], begin: float, end: float) -> Iterator[Inspected]:
    for one in ledger.changes_between(DECISIONS, begin, end):
        scope, _colon, uid = one.scope.partition(":")
        clinic = names.get(uid, uid) if scope == "clinic" else "all"
        told = ", ".join(f"{name}={one.value.get(name)}" for name in DECISIONS[one.name])
        yield Inspected(one.changed_at, "decision", clinic, one.name, one.changed_by, "", told)


def _numbers(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Return the numbers of a run's report with their names, and the code of a failure."""
    for name, one in value.items():
        if isinstance(one, Mapping):
            yield from _numbers(one, f"{path}{name}.")
        elif (isinstance(one, (int, float)) and not isinstance(one, bool)) or name == "code":
            yield f"{path}{name}", one


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, tz=UTC).isoformat(timespec="seconds")


def as_csv(lines: Sequence[Inspected]) -> str:
    """Return the lines as CSV; what people called themselves is no formula."""
    cells = (
        (_moment(one.at), one.kind, one.clinic, one.what, one.who, one.result, one.counts) for one in lines
    )
    return as_table(COLUMNS, cells)
