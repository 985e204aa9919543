"""The pace of an amoCRM account, for workers on several machines."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pace",
        sa.Column("integration", sa.String(length=32), nullable=False),
        sa.Column("written_at", sa.Float(), nullable=False),
        sa.Column("next_start", sa.Float(), nullable=False),
        sa.Column("paused_until", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("integration", name=op.f("pk_pace")),
    )
