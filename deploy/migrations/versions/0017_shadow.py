"""Rules that run beside those in force, and what they would have decided otherwise.

Of what is compared only sums are kept, for each pair of a shadow and a version in force, and of what differs a few by their
id: no words of a customer, which stand where they always stood. `shadow_writer`: how far each process has come, so that
what it writes again after a lost answer is not added twice.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

STATEMENTS = (
    # `refused`: why it cannot be asked by the configuration in force. `ended`: stopped, replaced or adopted.
    """CREATE TABLE router.shadow (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        workspace text NOT NULL REFERENCES shared.workspace,
        hash text NOT NULL,
        rules text NOT NULL,
        since timestamptz NOT NULL,
        author text,
        reason text,
        refused text,
        ended_at timestamptz,
        ended text)""",
    "CREATE UNIQUE INDEX shadow_running ON router.shadow (workspace) WHERE ended_at IS NULL",
    # `live`: the version in force that it was compared with. `what`: of which `one` and `other` are what was decided by the
    # rules in force, and by these.
    """CREATE TABLE router.shadow_count (
        shadow bigint NOT NULL REFERENCES router.shadow ON DELETE CASCADE,
        live text NOT NULL,
        what text NOT NULL,
        one text NOT NULL,
        other text NOT NULL,
        n bigint NOT NULL,
        PRIMARY KEY (shadow, live, what, one, other))""",
    """CREATE TABLE router.shadow_sample (
        shadow bigint NOT NULL REFERENCES router.shadow ON DELETE CASCADE,
        live text NOT NULL,
        feedback_id text NOT NULL,
        at timestamptz NOT NULL,
        one text NOT NULL,
        other text NOT NULL,
        found jsonb NOT NULL,
        PRIMARY KEY (shadow, live, feedback_id))""",
    """CREATE TABLE router.shadow_writer (
        shadow bigint NOT NULL REFERENCES router.shadow ON DELETE CASCADE,
        writer uuid NOT NULL,
        written bigint NOT NULL,
        PRIMARY KEY (shadow, writer))""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
