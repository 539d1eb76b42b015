"""Orders, and the jobs that confirm them."""

import sqlalchemy as sa
from alembic import op

import sqla_oban.alembic_env  # noqa: F401 (brings op.oban_upgrade)

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.oban_upgrade(1, from_version=0)
    op.create_table(
        "orders",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["oban_jobs.id"], name="orders_job_id_fkey", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="orders_pkey"),
    )
    op.create_index("orders_job_id_index", "orders", ["job_id"])


def downgrade() -> None:
    op.drop_table("orders")
    op.oban_downgrade(0, from_version=1)
