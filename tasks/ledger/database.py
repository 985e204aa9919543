"""The ledger's database: engine, transactions, migrations, clock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from filelock import FileLock
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from tasks.errors import ConfigurationError, LedgerUnavailableError

__all__ = ["HEAD", "Database", "file_of"]

#: Revision that this code works with; a test compares it with the newest migration.
HEAD = "0006"
MIGRATIONS = Path(__file__).with_name("migrations")
MIGRATION_LOCK = 7_203_915  # any number: PostgreSQL's advisory locks are named by one


def file_of(url: str) -> Path | None:
    """Return the file of a ledger, ``None`` where it lies on a server or the address is none."""
    try:
        place = sa.engine.make_url(url)
    except sa.exc.ArgumentError:
        return None
    return Path(place.database) if place.get_backend_name() == "sqlite" and place.database else None


class Database:
    """One SQLAlchemy engine with short transactions.

    Writers begin with ``BEGIN IMMEDIATE`` on SQLite: a transaction that reads first and writes later would
    fail with "database is locked" without waiting when another one wrote in between.
    """

    def __init__(self, url: str) -> None:
        self.url = sa.engine.make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = sa.create_engine(self.url, pool_pre_ping=not self.is_sqlite)
        if self.is_sqlite:
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a reading transaction.

        Raises:
            LedgerUnavailableError: When the database cannot be used.
        """
        with _explained(self.url), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Open a writing transaction; it is committed when the block ends without an error.

        Raises:
            LedgerUnavailableError: When the database cannot be used; nothing was written then.
        """
        with (
            _explained(self.url),
            self.engine.connect().execution_options(ledger_write=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextlib.contextmanager
    def single(self) -> Iterator[sa.Connection]:
        """Open a connection whose statements are transactions of their own, on a server.

        Raises:
            LedgerUnavailableError: When the database cannot be used.
        """
        with _explained(self.url), self.engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def now(self, connection: sa.Connection) -> float:
        """Return the database's own clock in epoch seconds: leases of several machines are compared by it.

        PostgreSQL's ``now()`` is when the transaction began, which may have waited for a lock since.
        """
        text = (
            "SELECT (julianday('now') - 2440587.5) * 86400.0"
            if self.is_sqlite
            else "SELECT extract(epoch FROM clock_timestamp())"
        )
        return float(connection.execute(sa.text(text)).scalar_one())

    def upsert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        rows: Sequence[Mapping[str, Any]],
        update: Sequence[str],
    ) -> None:
        """Insert rows, or update the given columns where the key exists.

        The rows are parameters of one short statement, which is compiled once: a statement that lists
        hundreds of rows is compiled anew each time, and that took most of the planning of a first load.
        """
        if not rows:
            return
        statement = (sqlite_insert if self.is_sqlite else postgresql_insert)(table)
        keys = [column.name for column in table.primary_key.columns]
        changes = {name: statement.excluded[name] for name in update}
        if changes:
            statement = statement.on_conflict_do_update(index_elements=keys, set_=changes)
        else:
            statement = statement.on_conflict_do_nothing(index_elements=keys)
        connection.execute(statement, [dict(row) for row in rows])

    def migrate(self) -> None:
        """Bring the tables to this code's revision; safe when two processes start at once.

        Raises:
            ConfigurationError: When a newer version of this project wrote the ledger.
        """
        if self.revision() == HEAD:
            return
        if self.is_sqlite and self.url.database:
            path = Path(self.url.database)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(f"{path}.lock", mode=0o600):
                path.touch(mode=0o600, exist_ok=True)
                self._upgrade()
        else:
            self._upgrade()

    def revision(self) -> str | None:
        """Return the revision of the tables, ``None`` where there are none; nothing is created."""
        if self.is_sqlite and self.url.database and not Path(self.url.database).exists():
            return None
        with self.engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()

    def _upgrade(self) -> None:
        from alembic import command  # noqa: PLC0415 - only a fresh or old ledger needs it
        from alembic.config import Config  # noqa: PLC0415
        from alembic.util.exc import CommandError  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self.write() as connection:
            if not self.is_sqlite:
                connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError:
                raise ConfigurationError(
                    problem="The ledger was written by a newer version of ident-amocrm.",
                    remedy="Install that version again, or restore a backup made by this one.",
                    code="ledger_newer",
                ) from None

    def damage(self) -> list[str]:
        """Return what SQLite finds wrong with its own file; a server looks after itself.

        Raises:
            LedgerUnavailableError: When the database cannot be used.
        """
        if not self.is_sqlite:
            return []
        with self.read() as connection:
            lines = [str(row[0]) for row in connection.execute(sa.text("PRAGMA integrity_check"))]
        return [] if lines == ["ok"] else lines

    def fold(self) -> None:
        """Bring a SQLite file's side files into it, so that it may be moved alone."""
        raw = (
            self.engine.raw_connection()
        )  # SQLAlchemy's own begins a transaction, which no checkpoint passes
        try:
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            raw.close()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


@contextlib.contextmanager
def _explained(url: sa.URL) -> Iterator[None]:
    try:
        yield
    except sa.exc.OperationalError as error:
        # The statement and its values are left out of the text.
        code = getattr(error.orig, "sqlite_errorname", "") or getattr(error.orig, "sqlstate", "") or "?"
        place = url.database if url.get_backend_name() == "sqlite" else f"{url.host}/{url.database}"
        raise LedgerUnavailableError(
            problem=f"The ledger {place} cannot be used ({code}).",
            remedy=(
                "Check free space and rights of its folder, or that its server runs. Nothing is lost: what "
                "was not recorded is looked for in amoCRM before anything is sent again."
            ),
        ) from None


def _prepare_sqlite(raw: Any, _record: Any) -> None:
    raw.isolation_level = None  # SQLAlchemy's "begin" event starts transactions, see _begin_sqlite
    cursor = raw.cursor()
    cursor.execute("PRAGMA busy_timeout = 30000")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("ledger_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
