"""What teams' subscriptions are to be told, and how far that has come. A row an event, or a row a case that is shown.

No row holds what a customer said: the value of `feedback.routed` is read from `closer.feedback` when it is sent, so an
erasure reaches what waits as well. `body` is the value of `feedback.cases`, which names nobody; null where the feedback
is meant. A row without `due_at` costs the worker nothing: its index holds only what is to be done.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    # `id`: subscription and event (or case), so that nothing is owed twice. `event`: feedback.routed, case.changed, or
    # `case` for one that is shown: `remote` is what the other side calls its place, `shown` the sequence that stands
    # there, `said` the one up to which its steps were told, `wanted` the one that both are to reach.
    # `waiting_since`: when the present wait began. `due_at`: the next try, or when the claim (`token`) runs out.
    """CREATE TABLE closer.delivery (
        id uuid PRIMARY KEY,
        workspace text NOT NULL,
        team text NOT NULL,
        subscription text NOT NULL,
        channel text NOT NULL,
        destination text NOT NULL,
        event text NOT NULL,
        feedback_id uuid,
        case_id uuid,
        at timestamptz NOT NULL,
        body bytea,
        traceparent text NOT NULL,
        status text NOT NULL,
        reason text NOT NULL DEFAULT '',
        created_at timestamptz NOT NULL,
        waiting_since timestamptz NOT NULL,
        sent_at timestamptz,
        attempts integer NOT NULL DEFAULT 0,
        due_at timestamptz,
        token uuid,
        remote text,
        wanted integer NOT NULL DEFAULT 0,
        shown integer NOT NULL DEFAULT 0,
        said integer NOT NULL DEFAULT 0) WITH (fillfactor = 80)""",
    "CREATE INDEX delivery_due ON closer.delivery (subscription, due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX delivery_listed ON closer.delivery (workspace, created_at DESC, id DESC)",
    "CREATE INDEX delivery_failed ON closer.delivery (workspace, created_at DESC, id DESC) WHERE status = 'failed'",
    "CREATE INDEX delivery_created ON closer.delivery USING brin (created_at)",
    """CREATE VIEW published.deliveries AS SELECT
        workspace, id, team, channel, destination, event, feedback_id, case_id, status, reason, created_at, sent_at,
        attempts, CASE WHEN status IN ('pending', 'sending') THEN due_at END AS due_at
    FROM closer.delivery""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
