"""Whom a clinic never transfers again: their cards in amoCRM were cleared on request."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasure",
        sa.Column("clinic_uid", sa.String(length=32), nullable=False),
        sa.Column("patient_id", sa.BigInteger(), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("asked_by", sa.String(length=64), nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("clinic_uid", "patient_id", name=op.f("pk_erasure")),
    )
