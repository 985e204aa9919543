"""Alembic's entry: runs inside the transaction that ``tasks.ledger.database`` opened."""

from alembic import context

from tasks.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
