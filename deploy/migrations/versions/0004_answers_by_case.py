"""What a customer has said about a case is looked up when they say more."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.get_bind().exec_driver_sql("CREATE INDEX answer_case ON closer.answer (case_id)")
