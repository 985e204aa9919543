-- The image has made Prefect's database. The ledger needs one of its own: each has Alembic's table.
CREATE DATABASE ledger;
