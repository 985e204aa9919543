"""The gate: what must hold before a run may touch anything."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import deployment

from tasks.amocrm.account import read_account
from tasks.amocrm.client import AmoClient
from tasks.amocrm.custom_fields import read_custom_fields
from tasks.amocrm.pipelines import read_pipelines
from tasks.basis import basis_warning, check_basis
from tasks.breaker import close_breaker, refuse_while_open
from tasks.conditions import Conditions
from tasks.connections import (
    AMOCRM,
    INSTALLATION,
    amocrm_account,
    open_destination,
    open_ledger,
    open_source,
)
from tasks.drift import refuse_vital
from tasks.errors import ConfigurationError, RunStoppedError
from tasks.fingerprints import check_highest
from tasks.ident.connection import IdentConnection
from tasks.ident.reader import IdentReader
from tasks.launch import LAUNCH, Launch
from tasks.lease import LeaseKeeper
from tasks.ledger.hashing import FieldHasher
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.mapping.drift import Drift, check, usable
from tasks.mapping.model import Mapping as CardMapping
from tasks.mappings import MAPPING, load_mapping
from tasks.records import Account, CustomField, Pipeline
from tasks.schema_news import tell_news
from tasks.settings import Settings, load_settings
from tasks.subscribe import check_subscription
from tasks.transfer import is_started
from tasks.workspace import Workspace, open_workspace

__all__ = [
    "MAPPING",
    "Guard",
    "Sides",
    "configured_mapping",
    "gate",
    "live_account",
    "load_mapping",
    "open_sides",
    "pass_gate",
]


class Guard:
    """What is asked before each writing request: may this run still send?

    A run of the schedule ends when the operator stops the transfer, wherever it runs: the wish stands in the
    ledger, which works without signals and across machines. A run that a person started by itself goes on.
    Every run ends when the legal basis is withdrawn: a first load may last hours.
    """

    def __init__(self, lease: LeaseKeeper, ledger: Ledger, record: ConnectionRecord) -> None:
        self._lease, self._ledger, self._record = lease, ledger, record
        self._stoppable = is_started(ledger, record)

    def __call__(self) -> None:
        """Renew the lease; raise when it was lost, the transfer was stopped or its basis was withdrawn."""
        self._lease()
        check_basis(self._ledger, self._record)
        if self._stoppable and not is_started(self._ledger, self._record):
            raise RunStoppedError(
                problem="The transfer was stopped; the batch in flight was finished.",
                remedy=f"What is left is sent after: ident-amocrm start {self._record.name}",
            )


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides of the transfer, opened: every condition is met."""

    connection: IdentConnection
    reader: IdentReader
    client: AmoClient
    found: _LiveAccount
    warnings: list[str] = field(default_factory=list)


def open_sides(
    ledger: Ledger, settings: Settings, record: ConnectionRecord, opened: list[Callable[[], None]]
) -> Sides:
    """Look at all conditions: legal basis, subscription, database, amoCRM, mapping.

    Args:
        ledger: The installation's ledger.
        settings: The installation's settings.
        record: The clinic.
        opened: Takes what has to be closed, also when a condition is not met.

    Raises:
        IdentAmocrmError: The unmet condition; where there are several, each is named with its remedy.
    """
    conditions = Conditions()
    client = conditions.attempt(lambda: open_destination(ledger, settings))
    if client is not None:
        opened.append(client.close)
    with ThreadPoolExecutor(3, thread_name_prefix="gate") as pool:
        asked = None if client is None else _Asked.of(client, pool)
        account = client if client is None else conditions.attempt(lambda: live_account(client, ledger))
        if account is None:
            conditions.attempt(lambda: configured_mapping(ledger))
        source = conditions.attempt(lambda: _source(record, settings, ledger, opened))
        basis = conditions.attempt(lambda: check_basis(ledger, record))
        # Last: the users are counted by an amoCRM that answers.
        conditions.attempt(lambda: check_subscription(ledger, settings, client if account else None))
        mapped = None
        if asked is not None and account is not None:
            mapped = conditions.attempt(lambda: _mapped(asked, ledger, account, record.clinic_uid))
    conditions.demand(ledger)
    if client is None or source is None or mapped is None or basis is None:
        raise AssertionError  # an unmet condition was raised above
    connection, reader = source
    warnings = [*reader.catalogue.warnings, *client.warnings, *map(str, mapped.drifts)]
    warnings += filter(None, [basis_warning(basis, record)])
    return Sides(connection, reader, client, mapped, warnings)


def _source(
    record: ConnectionRecord, settings: Settings, ledger: Ledger, opened: list[Callable[[], None]]
) -> tuple[IdentConnection, IdentReader]:
    connection, reader = open_source(record, settings)
    opened.append(reader.close)
    check_highest(record, reader, ledger)
    return connection, reader


def configured_mapping(ledger: Ledger) -> CardMapping:
    """Return the mapping of the connected account, without asking amoCRM.

    Raises:
        MappingError: When the transfer is not configured yet.
    """
    known = ledger.setting(INSTALLATION, AMOCRM)
    return load_mapping(ledger, int(str(known["account_id"])) if known else 0)


def pass_gate(run_id: str, clinic: str, mode: str, *, dry_run: bool) -> Workspace:
    """Check every condition of a run and open its working memory.

    Raises:
        IdentAmocrmError: With every unmet condition and its remedy; nothing was changed.
    """
    settings = load_settings()
    ledger = open_ledger(settings)
    record = ledger.connection(clinic)
    if deployment.id:
        refuse_while_open(ledger)
    lease = _lease(ledger, record, settings)
    opened: list[Callable[[], None]] = [lease.release]
    try:
        sides = open_sides(ledger, settings, record, opened)
        reader, client, found = sides.reader, sides.client, sides.found
        guard = Guard(lease, ledger, record)
        client.guard_writes(guard)
        launch = _launch(ledger, record.clinic_uid, reader.now().date, keep=not dry_run)
    except BaseException:
        _close(opened)
        raise
    space = open_workspace(
        Workspace(
            run_id=run_id,
            clinic=record,
            connection=sides.connection,
            settings=settings,
            ledger=ledger,
            reader=reader,
            client=client,
            hasher=FieldHasher(settings.installation_key(), record.clinic_uid),
            mode=mode,
            dry_run=dry_run,
            guard=guard,
            release=lambda: _close(opened),
            launch=launch,
            account=found.account,
            mapping=found.mapping,
            pipelines=found.pipelines,
            contact_fields=found.contact_fields,
            drifts=found.drifts,
            schema=found.schema,
            warnings=sides.warnings,
        )
    )
    tell_news(space)
    return space


def _lease(ledger: Ledger, record: ConnectionRecord, settings: Settings) -> LeaseKeeper:
    grace = settings.connect_timeout + settings.read_timeout
    return LeaseKeeper(ledger, record.clinic_uid, settings.lease_seconds, grace)


def _close(opened: list[Callable[[], None]]) -> None:
    for close in reversed(opened):
        close()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked beside the account: every run waits for all of it before it does anything else."""

    pipelines: Future[list[Pipeline]]
    contact_fields: Future[list[CustomField]]
    lead_fields: Future[list[CustomField]]

    @classmethod
    def of(cls, client: AmoClient, pool: ThreadPoolExecutor) -> _Asked:
        """Ask; what an account that is not the connected one answers is not looked at."""
        return cls(
            pool.submit(read_pipelines, client),
            pool.submit(read_custom_fields, client, "contacts"),
            pool.submit(read_custom_fields, client, "leads"),
        )


@dataclass(frozen=True, slots=True)
class _LiveAccount:
    """The account as it is now, with as much of the clinic's mapping as fits it."""

    account: Account
    mapping: CardMapping
    pipelines: tuple[Pipeline, ...]
    contact_fields: tuple[CustomField, ...]
    drifts: tuple[Drift, ...]
    schema: str


def live_account(client: AmoClient, ledger: Ledger) -> Account:
    """Read the account behind the token; the first good answer closes the breaker.

    Raises:
        ConfigurationError: When it is not the connected one.
    """
    expected = int(str(amocrm_account(ledger)["account_id"]))
    account = read_account(client)
    close_breaker(ledger)
    if account.id != expected:
        raise ConfigurationError(
            problem=f"The token is of account {account.id}; account {expected} is connected.",
            remedy="Create a token in the connected account and run: ident-amocrm connect-amocrm",
            code="another_account",
        )
    return account


def _mapped(asked: _Asked, ledger: Ledger, account: Account, clinic_uid: str) -> _LiveAccount:
    """Compare the mapping with the live account."""
    mapping = load_mapping(ledger, account.id).for_clinic(clinic_uid)
    pipelines = asked.pipelines.result()
    contact_fields, lead_fields = asked.contact_fields.result(), asked.lead_fields.result()
    drifts = check(mapping, pipelines, contact_fields, lead_fields)
    refuse_vital(drifts)
    schema = _digest([mapping.model_dump_json(), pipelines, contact_fields, lead_fields])
    fitting = usable(mapping, drifts, contact_fields, lead_fields)
    return _LiveAccount(account, fitting, tuple(pipelines), tuple(contact_fields), tuple(drifts), schema)


def _digest(parts: Sequence[object]) -> str:
    """Return a digest of mapping, stages and fields: what amoCRM refused may fit once it changed."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _launch(ledger: Ledger, clinic_uid: str, today: Callable[[], object], *, keep: bool) -> Launch:
    """Return the launch configuration; a first run without one begins today and remembers it."""
    stored = ledger.setting(f"clinic:{clinic_uid}", LAUNCH)
    if stored is not None:
        return Launch.model_validate(stored)
    launch = Launch.model_validate({"from_day": today()})
    if keep:
        ledger.put_setting(f"clinic:{clinic_uid}", LAUNCH, launch.model_dump(mode="json"), by="sync")
    return launch


@task(name="gate", cache_policy=NO_CACHE, persist_result=False)
def gate(run_id: str, clinic: str, mode: str, *, dry_run: bool) -> dict[str, str]:
    """Check the conditions of the run."""
    space = pass_gate(run_id, clinic, mode, dry_run=dry_run)
    for warning in space.warnings:
        get_run_logger().warning(warning)
    return {"clinic": clinic, "uid": space.uid, "mode": mode}
