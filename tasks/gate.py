"""The gate: what must hold before a run may touch anything."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from uuid import uuid4

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from tasks.amocrm.account import read_account
from tasks.amocrm.client import AmoClient
from tasks.amocrm.custom_fields import read_custom_fields
from tasks.amocrm.pipelines import read_pipelines
from tasks.connections import amocrm_account, open_destination, open_ledger, open_source
from tasks.errors import ConfigurationError, MappingError
from tasks.fingerprints import check_highest
from tasks.launch import LAUNCH, Launch
from tasks.ledger.hashing import FieldHasher
from tasks.ledger.store import Ledger
from tasks.mapping.autoconfigure import check
from tasks.mapping.model import Mapping as CardMapping
from tasks.records import Account, CustomField, Pipeline
from tasks.settings import load_settings
from tasks.workspace import Workspace, open_workspace

__all__ = ["MAPPING", "LeaseKeeper", "gate", "load_mapping", "pass_gate"]

#: Name of the mapping among the settings of an account.
MAPPING = "mapping"


class LeaseKeeper:
    """Keeps a clinic's lease for one run; called before each request.

    A process that slept longer than the lease finds it lost and stops before it sends anything.
    """

    def __init__(self, ledger: Ledger, clinic_uid: str, seconds: int) -> None:
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self.token = ledger.acquire_lease(clinic_uid, owner, seconds)
        self._ledger, self._uid, self._seconds = ledger, clinic_uid, seconds
        self._renewed = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self) -> None:
        """Renew the lease when a quarter of it is over; raise when it was lost."""
        with self._lock:
            if time.monotonic() - self._renewed > self._seconds / 4:
                self._ledger.renew_lease(self._uid, self.token, self._seconds)
                self._renewed = time.monotonic()

    def release(self) -> None:
        """Give the lease back."""
        self._ledger.release_lease(self._uid, self.token)


def load_mapping(ledger: Ledger, account_id: int) -> CardMapping:
    """Return the account's mapping.

    Raises:
        MappingError: When the transfer is not configured yet.
    """
    stored = ledger.setting(f"account:{account_id}", MAPPING)
    if stored is None:
        raise MappingError(
            problem="The transfer is not configured: there is no mapping for this amoCRM account.",
            remedy="Run: ident-amocrm autoconfigure --yes",
            code="not_configured",
        )
    return CardMapping.model_validate(stored)


def pass_gate(run_id: str, clinic: str, mode: str, *, dry_run: bool) -> Workspace:
    """Check every condition of a run and open its working memory.

    Raises:
        IdentAmocrmError: With the first unmet condition and its remedy; nothing was changed.
    """
    settings = load_settings()
    ledger = open_ledger(settings)
    record = ledger.connection(clinic)
    known = amocrm_account(ledger)
    lease = LeaseKeeper(ledger, record.clinic_uid, settings.lease_seconds)
    opened: list[Callable[[], None]] = [lease.release]
    try:
        connection, reader = open_source(record, settings)
        opened.append(reader.close)
        check_highest(record, reader, ledger)
        client = open_destination(ledger, settings)
        opened.append(client.close)
        account, mapping, pipelines, contact_fields = _account(client, ledger, int(str(known["account_id"])))
        launch = _launch(ledger, record.clinic_uid, reader.now().date, keep=not dry_run)
    except BaseException:
        _close(opened)
        raise
    return open_workspace(
        Workspace(
            run_id=run_id,
            clinic=record,
            connection=connection,
            settings=settings,
            ledger=ledger,
            reader=reader,
            client=client,
            hasher=FieldHasher(settings.installation_key(), record.clinic_uid),
            mode=mode,
            dry_run=dry_run,
            guard=lease,
            release=lambda: _close(opened),
            launch=launch,
            account=account,
            mapping=mapping,
            pipelines=tuple(pipelines),
            contact_fields=tuple(contact_fields),
            warnings=[*reader.catalogue.warnings, *client.warnings],
        )
    )


def _close(opened: list[Callable[[], None]]) -> None:
    for close in reversed(opened):
        close()


def _account(
    client: AmoClient, ledger: Ledger, expected: int
) -> tuple[Account, CardMapping, list[Pipeline], list[CustomField]]:
    """Read the live account and compare the mapping with it."""
    account = read_account(client)
    if account.id != expected:
        raise ConfigurationError(
            problem=f"The token is of account {account.id}; account {expected} is connected.",
            remedy="Create a token in the connected account and run: ident-amocrm connect-amocrm",
            code="another_account",
        )
    mapping = load_mapping(ledger, account.id)
    pipelines = read_pipelines(client)
    contact_fields = read_custom_fields(client, "contacts")
    drifts = check(mapping, pipelines, contact_fields, read_custom_fields(client, "leads"))
    if drifts:
        named = "; ".join(f"{drift.what} «{drift.name}»: {drift.cause}" for drift in drifts)
        raise MappingError(
            problem=f"The mapping no longer fits the amoCRM account: {named}.",
            remedy="Run: ident-amocrm autoconfigure --yes",
            code="mapping_drift",
        )
    return account, mapping, pipelines, contact_fields


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
