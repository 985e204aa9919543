"""Deliberate defects, and conditions that no code can help: installed in a child by name.

The defects are what others do: send before the attempt is written down, resend what may have arrived, move
the watermark before the plan, move the snapshot before amoCRM said anything. Each must turn the tests red.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable
from typing import Any

from tasks import plan as planning
from tasks.amocrm.client import AmoClient
from tasks.destination import AmoDestination
from tasks.errors import AmbiguousWriteError
from tasks.ledger import database
from tasks.ledger.store import Ledger
from tasks.loading import batch
from tasks.loading.ports import Load
from tasks.records import Attempt, Kind

__all__ = ["MUTATIONS", "install"]


def install(name: str) -> None:
    """Make this process defective."""
    (MUTATIONS | CONDITIONS)[name]()


def send_before_the_attempt() -> None:
    """Commit an attempt only once its request was answered."""
    begin, late = Ledger.begin_attempt, list[Callable[[], Attempt]]()
    real: dict[int, int] = {}

    def promised(ledger: Ledger, *values: Any) -> Attempt:
        late.append(lambda: begin(ledger, *values))
        return Attempt(-len(late), values[0], values[3], values[4], tuple(values[5]), values[7], 0.0)

    def written(write: Callable[..., Any]) -> Callable[..., Any]:
        def sent(destination: AmoDestination, *values: Any) -> Any:
            answer = write(destination, *values)
            real[-len(late)] = late[-1]().id
            return answer

        return sent

    def closing(close: Callable[..., None]) -> Callable[..., None]:
        def closed(ledger: Ledger, attempt_id: int, *values: Any) -> None:
            if attempt_id in real or attempt_id > 0:
                close(ledger, real.get(attempt_id, attempt_id), *values)

        return closed

    for name in ("create", "update", "add_note"):
        setattr(AmoDestination, name, written(getattr(AmoDestination, name)))
    for name in ("acknowledge", "close_attempt"):
        setattr(Ledger, name, closing(getattr(Ledger, name)))
    setattr(Ledger, "begin_attempt", promised)  # noqa: B010


def resend_an_ambiguous_create() -> None:
    """Send a creation again when its answer was lost."""
    post = AmoClient.post

    def stubborn(client: AmoClient, path: str, body: object, *, repeatable: bool = False) -> Any:
        try:
            return post(client, path, body, repeatable=repeatable)
        except AmbiguousWriteError:
            return post(client, path, body, repeatable=repeatable)

    setattr(AmoClient, "post", stubborn)  # noqa: B010


def watermark_before_the_plan() -> None:
    """Move the watermark first and save the plan then."""
    build, move = planning.build_plan, planning._move_watermark

    def hasty(space: Any) -> None:
        move(space)
        build(space)

    planning.build_plan = hasty


def snapshot_without_acknowledgement() -> None:
    """Record updates as done before they are sent."""
    send = batch.send_updates

    def trusting(load: Load, kind: Kind, items: Any) -> None:
        for item in items:
            rows = item.receipt(int(item.payload["id"]))
            load.journal.apply_local(load.clinic_uid, load.account_id, rows)
        send(load, kind, items)

    from tasks.loading import contacts, leads

    for module in (contacts, leads):
        module.send_updates = trusting  # type: ignore[attr-defined]


def disk_full() -> None:
    """Let no file grow beyond what the ledger already has."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_DISK, FULL_DISK))


def read_only() -> None:
    """Let the ledger be read, but not written; root may write whatever the file's mode says."""
    prepare = database._prepare_sqlite

    def prepared(raw: Any, record: Any) -> None:
        prepare(raw, record)
        raw.execute("PRAGMA query_only = ON")

    setattr(database, "_prepare_sqlite", prepared)  # noqa: B010


FULL_DISK = 16 * 1024
MUTATIONS: dict[str, Callable[[], None]] = {
    "send before the attempt": send_before_the_attempt,
    "resend an ambiguous create": resend_an_ambiguous_create,
    "watermark before the plan": watermark_before_the_plan,
    "snapshot without acknowledgement": snapshot_without_acknowledgement,
}
CONDITIONS: dict[str, Callable[[], None]] = {"disk full": disk_full, "read only": read_only}
