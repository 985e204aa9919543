"""Erasing a person on request, as a command does it: a look at what is there, the tombstone, the clearing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from tasks.amocrm.client import AmoClient
from tasks.amocrm.custom_fields import read_custom_fields
from tasks.amocrm.pipelines import read_pipelines
from tasks.connections import open_destination, open_source
from tasks.destination import AmoDestination, MappedCards
from tasks.erasing import LETTERS, Erased, Erasing, Visits, carry_out, look, tell, visits_of
from tasks.errors import ConfigurationError, IdentAmocrmError, LeaseHeldError, NotConnectedError
from tasks.events import emit
from tasks.gate import live_account
from tasks.ident.connection import database_errors
from tasks.lease import LeaseKeeper
from tasks.ledger.hashing import FieldHasher
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.load import request_hasher
from tasks.loading.ports import Load
from tasks.loading.recovery import recover
from tasks.mapping.drift import check, usable
from tasks.mapping.erasing import Eraser
from tasks.mappings import former_mappings, stored_mapping
from tasks.planning.identity import external_id
from tasks.records import Kind
from tasks.review import LONGEST_NAME, refuse_text
from tasks.settings import Settings

__all__ = ["Erasure", "any_clinic", "erase", "lift", "refuse_nobody", "rehearse"]

#: How long to wait for a run in progress, and how often to ask.
TURN_SECONDS, ASK_SECONDS = 900.0, 2.0


@dataclass(slots=True)
class Erasure:
    """What was found of the asked patients, or done to them.

    Attributes:
        patients: One line a patient.
        warnings: What a person should know.
    """

    patients: list[Erased] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether nothing of anybody is left to do."""
        return all(one.finished for one in self.patients)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self) | {"finished": self.finished}


def any_clinic(ledger: Ledger, name: str) -> ConnectionRecord:
    """Return a clinic by name, also one that was disconnected: its patients still stand in amoCRM.

    Raises:
        NotConnectedError: When there never was one of this name.
    """
    known = [*ledger.connections(), *ledger.former_connections()]
    found = next((record for record in known if record.name == name), None)
    if found is None:
        raise NotConnectedError(
            problem=f"There is no clinic {name!r}.",
            remedy="Connected and former clinics: " + (", ".join(one.name for one in known) or "none"),
        )
    return found


def refuse_nobody(by: str) -> None:
    """Refuse a decision that nobody takes.

    Raises:
        ConfigurationError: When nobody is named, or the name looks like something else.
    """
    if not by:
        raise ConfigurationError(
            problem="Nobody is named who decides it.",
            remedy="Name a person or an office: --by NAME. It is kept with the tombstone.",
            code="nobody_decides",
        )
    refuse_text(by, LONGEST_NAME, "name")


def rehearse(
    ledger: Ledger, settings: Settings, record: ConnectionRecord, patients: Sequence[int]
) -> Erasure:
    """Return what an erasure would clear; nothing is written, and a run may go on meanwhile.

    Raises:
        IdentAmocrmError: When amoCRM cannot be read.
    """
    result = Erasure()
    with _opened(ledger, settings, record, lambda: None, result.warnings) as erasing:
        result.patients = [look(erasing, key) if erasing else Erased(key) for key in patients]
    return result


def erase(
    ledger: Ledger, settings: Settings, record: ConnectionRecord, patients: Sequence[int], *, by: str
) -> Erasure:
    """Erase patients: nobody sends them from now on, their cards are cleared, they are forgotten.

    Needs neither a subscription nor a legal basis nor a started transfer. Done again, it goes on from there.

    Raises:
        ConfigurationError: When nobody is named who asks for it.
        IdentAmocrmError: When amoCRM cannot be read or written; the tombstones stand, the rest is to do.
    """
    refuse_nobody(by)
    # First: a run that began before ends with its lease, every later one leaves them out.
    ledger.erase(record.clinic_uid, patients, by=by)
    result = Erasure()
    with (
        _turn(ledger, settings, record) as guard,
        _opened(ledger, settings, record, guard, result.warnings) as erasing,
    ):
        if erasing is None:
            for key in patients:
                ledger.finish_erasure(record.clinic_uid, key, ())
                result.patients.append(Erased(key, finished=True))
            return result
        unknown = recover(
            erasing.load,
            lambda kind, key: external_id(
                record.clinic_uid, LETTERS[Kind.CONTACT if kind is Kind.CONTACT else Kind.LEAD], key
            ),
            time.time(),
        )
        for key in patients:
            done = carry_out(erasing, key, unknown)
            result.patients.append(done)
            if done.finished:
                tell(ledger, record.clinic_uid, record.name, done)
    return result


def lift(ledger: Ledger, record: ConnectionRecord, patients: Sequence[int], *, by: str) -> list[int]:
    """Let patients be transferred again who came back and agreed; returns who had a tombstone.

    Raises:
        ConfigurationError: When nobody is named who decides it.
    """
    refuse_nobody(by)
    lifted = [key for key in patients if ledger.lift_erasure(record.clinic_uid, key)]
    if lifted:
        emit("subject.admitted", record.clinic_uid, record.name, "warning", {"patients": len(lifted)}, ledger)
    return lifted


@contextmanager
def _turn(
    ledger: Ledger, settings: Settings, record: ConnectionRecord, patience: float = TURN_SECONDS
) -> Iterator[Callable[[], None]]:
    """Hold the clinic's lease; a run in progress is waited for."""
    deadline = time.monotonic() + patience
    grace = settings.connect_timeout + settings.read_timeout
    while True:
        try:
            lease = LeaseKeeper(ledger, record.clinic_uid, settings.lease_seconds, grace)
            break
        except LeaseHeldError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(ASK_SECONDS)
    try:
        yield lease
    finally:
        lease.release()


@contextmanager
def _opened(
    ledger: Ledger,
    settings: Settings,
    record: ConnectionRecord,
    guard: Callable[[], None],
    warnings: list[str],
) -> Iterator[Erasing | None]:
    """Open the account as far as clearing needs it; nothing where nothing was ever sent."""
    if ledger.setting("installation", "amocrm") is None:
        yield None
        return
    with closing(open_destination(ledger, settings)) as client:
        account = live_account(client, ledger)
        mapping = stored_mapping(ledger, account.id)
        if mapping is None:
            yield None
            return
        client.guard_writes(guard)
        mapping = mapping.for_clinic(record.clinic_uid)
        pipelines, fields = read_pipelines(client), read_custom_fields(client, "contacts")
        lead_fields = read_custom_fields(client, "leads")
        mapping = usable(mapping, check(mapping, pipelines, fields, lead_fields), fields, lead_fields)
        cards = MappedCards(mapping, tuple(pipelines), tuple(fields), record.timezone)
        load = _load(ledger, settings, record, client, cards, guard, account.id)
        visits = _visits(settings, record, warnings)
        former = [one.for_clinic(record.clinic_uid) for one in former_mappings(ledger, account.id)]
        yield Erasing(ledger, load, client, Eraser(mapping, fields, lead_fields, former), visits)


def _load(
    ledger: Ledger,
    settings: Settings,
    record: ConnectionRecord,
    client: AmoClient,
    cards: MappedCards,
    guard: Callable[[], None],
    account_id: int,
) -> Load:
    key = settings.installation_key()
    return Load(
        run_id="erase",  # each patient's clearing has ids of its own
        clinic_uid=record.clinic_uid,
        account_id=account_id,
        destination=AmoDestination(client),
        journal=ledger,
        cards=cards,
        hasher=FieldHasher(key, record.clinic_uid),
        guard=guard,
        request_hash=request_hasher(key),
        batch_size=settings.batch_size,
        workers=1,
    )


def _visits(
    settings: Settings, record: ConnectionRecord, warnings: list[str]
) -> Callable[[int], Visits | None]:
    """Return what asks IDENT for a patient's appointments; a clinic that left has no database to ask."""
    if record.removed_at is not None:
        return lambda _patient_id: Visits()

    def ask(patient_id: int) -> Visits | None:
        try:
            connection, reader = open_source(record, settings)
            with closing(reader), database_errors(connection):
                return visits_of(reader, patient_id)
        except IdentAmocrmError as error:
            warnings.append(f"IDENT could not be asked for the appointments of patient {patient_id}: {error}")
            return None

    return ask
