"""The event log: from the ledger's audit table, filtered, sorted, as a table or as CSV."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from tasks.connections import open_ledger
from tasks.errors import ConfigurationError
from tasks.events import PREFIX
from tasks.ledger.store import Ledger
from tasks.spreadsheet import as_table

__all__ = ["COLUMNS", "Line", "Sort", "as_csv", "journal_lines", "parse_since", "publish_journal"]

Sort = Literal["newest", "oldest", "event", "level", "clinic"]
#: Prefect's first UI renders every row of a table: more than this freezes it.
MOST_ROWS: Final = 500
COLUMNS: Final = ("at", "event", "clinic", "level", "payload")
SEVERITY: Final = {"error": 0, "warning": 1, "info": 2}
UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Line:
    """One event."""

    at: str
    event: str
    clinic: str
    resource: str
    level: str
    payload: dict[str, Any]

    @property
    def data(self) -> str:
        """The payload as a short text."""
        return ", ".join(f"{name}={value}" for name, value in self.payload.items())


def parse_since(text: str, now: datetime) -> datetime:
    """Read ``2026-03-01``, ``2026-03-01T08:00`` (UTC where no zone is given), or ``90m``, ``24h``, ``7d``.

    Raises:
        ConfigurationError: When it is none of them.
    """
    if found := re.fullmatch(r"(\d{1,5})([mhdw])", text.strip()):
        return now - timedelta(**{UNITS[found[2]]: int(found[1])})
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigurationError(
            problem=f"{text!r} is no date and no span of time.",
            remedy="Write for example 2026-03-01, 2026-03-01T08:00, 24h or 7d.",
            code="since",
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def journal_lines(
    ledger: Ledger,
    *,
    event: str | None = None,
    clinic: str | None = None,
    level: str | None = None,
    since: datetime | None = None,
    sort: Sort = "newest",
    limit: int = MOST_ROWS,
) -> list[Line]:
    """Return events: the newest ones that fit, in the wanted order.

    Args:
        ledger: The installation's ledger.
        event: Beginning of the name, with or without the product's prefix.
        clinic: Name of a clinic.
        level: ``info``, ``warning`` or ``error``.
        since: The earliest time.
        sort: The order.
        limit: How many at most; with ``oldest`` the oldest ones.

    Raises:
        NotConnectedError: When there is no such clinic.
    """
    known = [*ledger.former_connections(), *ledger.connections()]
    names = {f"{PREFIX}clinic.{record.clinic_uid}": record.name for record in known}
    prefix = None if not event else event if event.startswith(PREFIX) else f"{PREFIX}{event}"
    resource = None if not clinic else f"{PREFIX}clinic.{ledger.connection(clinic).clinic_uid}"
    rows = ledger.audit(
        since=since.timestamp() if since else None,
        event_prefix=prefix,
        resource=resource,
        level=level,
        limit=limit,
        order="asc" if sort == "oldest" else "desc",
    )
    lines = [
        Line(
            at=datetime.fromtimestamp(row.occurred_at, tz=UTC).isoformat(timespec="seconds"),
            event=row.event,
            clinic=names.get(row.resource, ""),
            resource=row.resource,
            level=row.level,
            payload=row.payload,
        )
        for row in rows
    ]
    # Sorting is stable: within an event, a level or a clinic the newest stays first.
    if sort == "event":
        lines.sort(key=lambda line: line.event)
    elif sort == "level":
        lines.sort(key=lambda line: SEVERITY.get(line.level, 3))
    elif sort == "clinic":
        lines.sort(key=lambda line: line.clinic)
    return lines


def as_csv(lines: Sequence[Line]) -> str:
    """Return the events as CSV; the name of a clinic is anybody's."""
    return as_table(COLUMNS, ((line.at, line.event, line.clinic, line.level, line.data) for line in lines))


@task(name="journal", cache_policy=NO_CACHE, persist_result=False)
def publish_journal(days: int, clinic: str, event: str, level: str, sort: Sort, limit: int) -> int:
    """Publish the event log as a table; an empty text leaves a filter out."""
    lines = journal_lines(
        open_ledger(),
        event=event or None,
        clinic=clinic or None,
        level=level or None,
        since=datetime.now(tz=UTC) - timedelta(days=days),
        sort=sort,
        limit=min(limit, MOST_ROWS),
    )
    create_table_artifact(
        [
            {
                "Когда (UTC)": line.at,
                "Событие": line.event,
                "Клиника": line.clinic,
                "Уровень": line.level,
                "Данные": line.data,
            }
            for line in lines
        ],
        key="journal",
        description=f"Список событий: {len(lines)}",
    )
    return len(lines)
