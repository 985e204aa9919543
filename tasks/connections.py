"""Connecting a clinic's database and the amoCRM account, and opening them again for a run.

A connection is tested before it is saved. What is secret goes into a Prefect block, what identifies the
clinic into the ledger: its unchanging uid, its zone, and a fingerprint of the database.
"""

from __future__ import annotations

import base64
import hashlib
import time
from dataclasses import asdict, dataclass, replace
from functools import cache

from pydantic import SecretStr

from tasks import blocks
from tasks.amocrm.account import read_account
from tasks.amocrm.authorisation import authorisation_lock
from tasks.amocrm.client import AmoClient
from tasks.amocrm.host import ABROAD, is_abroad
from tasks.amocrm.pacing import Pacer
from tasks.amocrm.token_endpoint import Integration, TokenEndpoint
from tasks.authorisation import account_of, token_lock, token_source
from tasks.blocks import AmoCrmAccount
from tasks.errors import ConfigurationError, NotConnectedError
from tasks.events import emit
from tasks.fingerprints import check_columns, check_highest, check_same, columns_of, same_database
from tasks.ident.connection import IdentConnection, build_engine, check_server, database_errors
from tasks.ident.fingerprint import Fingerprint, may_write, read_fingerprint
from tasks.ident.introspect import described, introspect, missing_required
from tasks.ident.reader import IdentReader
from tasks.ledger.shared import SharedPace
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.mappings import read_everything
from tasks.rebaseline import demand_rebaseline
from tasks.records import Account, Kind
from tasks.schema_news import check_types
from tasks.settings import Settings, load_settings
from tasks.subscribe import begin_trial

__all__ = [
    "AMOCRM",
    "INSTALLATION",
    "ConnectedDatabase",
    "amocrm_account",
    "authorise_amocrm",
    "connect_amocrm",
    "connect_database",
    "open_destination",
    "open_ledger",
    "open_source",
]

INSTALLATION = "installation"
AMOCRM = "amocrm"
#: Of the rate, so much is used: the way from a start to amoCRM's count takes now longer, now shorter. Five
#: thousandths leave it 5 ms in a second, whatever the rate.
PACE = 0.995
WRITABLE = "The login may write to the database. Ask IDENT's support for a read-only one (readonly_user)."


@cache
def _ledger(url: str) -> Ledger:
    return Ledger(url).open()


def open_ledger(settings: Settings | None = None) -> Ledger:
    """Open the installation's ledger, creating or migrating it where needed."""
    chosen = settings or load_settings()
    chosen.prepare_home()
    return _ledger(chosen.ledger_url)


@dataclass(frozen=True, slots=True)
class ConnectedDatabase:
    """What a successful connection found.

    Attributes:
        missing: Optional tables and columns that are not there.
        writable: Whether the login may write.
    """

    record: ConnectionRecord
    patients: int
    appointments: int
    missing: tuple[str, ...] = ()
    writable: bool = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know."""
        return (*self.missing, *((WRITABLE,) if self.writable else ()))


def connect_database(
    name: str,
    connection: IdentConnection,
    ledger: Ledger,
    *,
    block: str | None = None,
    same_clinic: bool = False,
    clinic_uid: str | None = None,
) -> ConnectedDatabase:
    """Test a clinic's database and save it under a name.

    Args:
        name: The clinic's name, as commands and deployments call it.
        connection: How to reach the database.
        ledger: The installation's ledger.
        block: The block that an operator filled in; by default one is made under the clinic's name.
        same_clinic: The clinic's database was moved or restored: keep its uid, compare with amoCRM anew.
        clinic_uid: The uid in the external ids in amoCRM, when the ledger that knew it is lost.

    Returns:
        The saved connection with what was found behind it.

    Raises:
        ConfigurationError: When the same database is connected under another name, or this name already
            belongs to another database.
        IdentAmocrmError: When the database cannot be reached or read; nothing is saved then.
    """
    check_server(connection)
    engine = build_engine(connection)
    with database_errors(connection):
        catalogue = introspect(engine)
        missing_required(catalogue)
        fingerprint = read_fingerprint(engine)
        writable = may_write(engine)
        reader = IdentReader(engine, connection, catalogue=catalogue)
        found = reader.count()
    record = _record(name, connection, fingerprint, ledger, same_clinic=same_clinic)
    record = replace(record, block_name=_block(record, block, ledger))
    schema = {"columns": columns_of(catalogue), "types": described(catalogue)}
    record = replace(record, fingerprint={**record.fingerprint, **schema})
    for known in ledger.connections():
        if known.clinic_uid == record.clinic_uid and not same_clinic:
            check_highest(known, reader, ledger)
    if clinic_uid is not None and record.clinic_uid not in ledger.clinics():
        record = replace(record, clinic_uid=clinic_uid)
    blocks.save_database(record.block_name, connection)
    ledger.save_connection(record)
    # Its branches may be others now, and no increment would ever name the appointments they let through.
    read_everything(ledger, record.clinic_uid)
    if same_clinic:
        demand_rebaseline(ledger, record.clinic_uid, "database_changed", by="connect-database")
    begin_trial(ledger, load_settings())
    emit("database.connected", record.clinic_uid, name, "info", dict(found), ledger)
    return ConnectedDatabase(
        record, found["patients"], found["appointments"], tuple(catalogue.warnings), writable
    )


def _record(
    name: str, connection: IdentConnection, fingerprint: Fingerprint, ledger: Ledger, *, same_clinic: bool
) -> ConnectionRecord:
    """Return the clinic's record; its uid is kept when the name or the database is known already."""
    described = asdict(fingerprint)
    place = f"{connection.host}:{connection.port or connection.instance}/{connection.database}"
    known = {record.name: record for record in ledger.connections()}
    for other in known.values():
        if other.name != name and same_database(other.fingerprint, {**described, "place": place}):
            raise ConfigurationError(
                problem=f"This database is already connected as {other.name!r}.",
                remedy=f"Use that name, or run: ident-amocrm disconnect-database {other.name}",
                code="database_twice",
            )
    place_known = {**described, "place": place}
    before = known.get(name) or _former(name, place_known, ledger)
    if before is not None and not same_clinic:
        check_same(name, before.fingerprint, described)
    uid = before.clinic_uid if before is not None else _clinic_uid(name, fingerprint)
    return ConnectionRecord(
        name=name,
        clinic_uid=uid,
        block_name=before.block_name if before is not None and before.removed_at is None else "",
        timezone=connection.timezone,
        fingerprint={**described, "place": place},
        connected_at=time.time(),
    )


def _block(record: ConnectionRecord, wanted: str | None, ledger: Ledger) -> str:
    """Return the block of a clinic: no two share one, also when one took another's former name."""
    taken = {other.block_name for other in ledger.connections() if other.clinic_uid != record.clinic_uid}
    if wanted in taken:
        raise ConfigurationError(
            problem=f"The block «IDENT Database» {wanted!r} belongs to another clinic.",
            remedy="Fill in a block of its own for each clinic.",
            code="block_in_use",
        )
    own = wanted or record.block_name or blocks.block_name(record.name)
    return f"{own}-{record.clinic_uid}" if own in taken else own


def _former(name: str, place: dict[str, object], ledger: Ledger) -> ConnectionRecord | None:
    """Return the clinic this was before it was disconnected: its cards in amoCRM carry its uid."""
    former = ledger.former_connections()
    same = [one for one in former if same_database(one.fingerprint, place)]
    named = [one for one in former if one.name == name and ledger.applied_count(one.clinic_uid, Kind.CONTACT)]
    return next(iter([*same, *named]), None)


def _clinic_uid(name: str, fingerprint: Fingerprint) -> str:
    """Derive the clinic's uid, so that connecting again after the ledger was lost yields the same one."""
    seed = f"{name}|{fingerprint.server}|{fingerprint.database}|{fingerprint.created}"
    digest = hashlib.blake2b(seed.encode(), digest_size=5).digest()
    return base64.b32encode(digest).decode("ascii").lower()


def connect_amocrm(base_url: str, token: SecretStr, ledger: Ledger) -> tuple[Account, list[str]]:
    """Test a long-lived amoCRM token and save the account.

    Args:
        base_url: ``https://<subdomain>.amocrm.ru``.
        token: The integration's long-lived token.
        ledger: The installation's ledger.

    Returns:
        The account and warnings to show.

    Raises:
        ConfigurationError: When another account is connected already.
        IdentAmocrmError: When the token does not work; nothing is saved then.
    """
    settings = load_settings()
    pacer = _pacer(ledger, settings, token.get_secret_value())
    account, warnings = _tested(base_url, token, ledger, settings, pacer)
    with authorisation_lock(token_lock(ledger, settings)):
        blocks.save_account(AmoCrmAccount(base_url=base_url, token=token))
    _connected(account, base_url, ledger)
    return account, warnings


def authorise_amocrm(
    base_url: str, integration: Integration, code: SecretStr, ledger: Ledger
) -> tuple[Account, list[str]]:
    """Exchange an authorisation code for OAuth tokens, test them and save the account; also once more.

    Args:
        base_url: ``https://<subdomain>.amocrm.ru``.
        integration: The integration, as its «Ключи и доступы» in amoCRM show it.
        code: Its authorisation code, which is used up by this.
        ledger: The installation's ledger.

    Returns:
        The account and warnings to show.

    Raises:
        ConfigurationError: When another account is connected already.
        IdentAmocrmError: When the code or the tokens do not work; nothing is saved then.
    """
    settings = load_settings()
    pacer = _pacer(ledger, settings, integration.client_id)
    # A process that renews the old tokens at this moment must not overwrite the new ones.
    with authorisation_lock(token_lock(ledger, settings)):
        tokens = TokenEndpoint(base_url, settings=settings, pacer=pacer).exchange_code(integration, code)
        account, warnings = _tested(base_url, tokens.access_token, ledger, settings, pacer)
        blocks.save_account(account_of(base_url, integration, tokens))
    _connected(account, base_url, ledger)
    return account, warnings


def _tested(
    base_url: str, token: SecretStr, ledger: Ledger, settings: Settings, pacer: Pacer
) -> tuple[Account, list[str]]:
    """Return the account behind a token, and warnings."""
    client = AmoClient(base_url, token, settings=settings, pacer=pacer)
    try:
        account = read_account(client)
    finally:
        client.close()
    known = ledger.setting(INSTALLATION, AMOCRM)
    if known and known["account_id"] != account.id:
        raise ConfigurationError(
            problem=f"Account {known['account_id']} is connected; this token is of account {account.id}.",
            remedy="Create the token in the connected account, or use another IDENT_AMOCRM_HOME for it.",
            code="another_account",
        )
    return account, [*client.warnings, *([ABROAD] if is_abroad(base_url) else [])]


def _connected(account: Account, base_url: str, ledger: Ledger) -> None:
    value = {"account_id": account.id, "base_url": base_url.rstrip("/"), "timezone": account.timezone}
    ledger.put_setting(INSTALLATION, AMOCRM, value, by="connect-amocrm")
    begin_trial(ledger, load_settings())
    emit("amocrm.connected", "all", "amocrm", "info", {"account_id": account.id}, ledger)


def amocrm_account(ledger: Ledger) -> dict[str, object]:
    """Return the connected account's setting.

    Raises:
        NotConnectedError: When none is connected.
    """
    known = ledger.setting(INSTALLATION, AMOCRM)
    if known is None:
        raise NotConnectedError(
            problem="No amoCRM account is connected.",
            remedy="Run: ident-amocrm connect-amocrm --base-url https://NAME.amocrm.ru --token-file FILE",
            code="amocrm_not_connected",
        )
    return known


def _pacer(ledger: Ledger, settings: Settings, integration: str) -> Pacer:
    """Return the pace that all processes of this installation share: amoCRM counts by integration.

    Args:
        ledger: The installation's ledger; one on a server may be shared by several machines.
        settings: The settings of the installation.
        integration: What tells integrations apart and outlives their OAuth tokens.
    """
    key = hashlib.blake2b(integration.encode(), digest_size=8).hexdigest()
    database = ledger.database
    place = settings.prepare_home() / f"pace-{key}" if database.is_sqlite else SharedPace(database, key)
    return Pacer(settings.requests_per_second * PACE, place)


def open_destination(ledger: Ledger, settings: Settings) -> AmoClient:
    """Open the connected account.

    Raises:
        NotConnectedError: When none is connected.
    """
    amocrm_account(ledger)
    account = blocks.load_account()
    key = account.client_id if account.is_oauth else account.token.get_secret_value()
    pacer = _pacer(ledger, settings, key)
    tokens = token_source(account, ledger, settings, pacer)
    return AmoClient(account.base_url, tokens, settings=settings, pacer=pacer)


def open_source(record: ConnectionRecord, settings: Settings) -> tuple[IdentConnection, IdentReader]:
    """Open a connected clinic's database.

    Raises:
        IdentAmocrmError: When it cannot be reached, or lacks what the transfer needs.
    """
    connection = blocks.load_database(record.block_name)
    check_server(connection)
    engine = build_engine(connection)
    with database_errors(connection):
        catalogue = introspect(engine)
        missing_required(catalogue)
        fingerprint = asdict(read_fingerprint(engine))
    check_same(record.name, record.fingerprint, fingerprint)
    check_columns(record, catalogue)
    check_types(record, catalogue)
    return connection, IdentReader(
        engine,
        connection,
        catalogue=catalogue,
        no_show_reasons=settings.no_show_reasons,
        page_size=settings.database_page_size,
    )
