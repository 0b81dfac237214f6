"""Whoever writes to the outbox wakes the relay by that alone, without a question of its own in each transaction."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in (
        """CREATE FUNCTION shared.outbox_written() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN NOTIFY flywheel_outbox; RETURN NULL; END'""",
        """CREATE TRIGGER outbox_written AFTER INSERT ON shared.outbox
        FOR EACH STATEMENT EXECUTE FUNCTION shared.outbox_written()""",
    ):
        op.get_bind().exec_driver_sql(statement)
