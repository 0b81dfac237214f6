"""Tickets that were moved in the tool that they came from, and what became of it here.

`closer.move` is written with the position of the event that tells of it, and settled afterwards (`services/closer/moves.py`).
Rows stay: an event that is read again is known by its id, and the last move of a ticket by its time. None names a customer.

Feedback keeps in its attributes which ticket it is of: an index finds it there, and nothing is written twice.
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

STATEMENTS = (
    # `name`, `name_id`: what the tool calls the team; `team`: which of ours that is. `look_at`: when it is looked at; NULL:
    # it is settled, by `outcome`.
    """CREATE TABLE closer.move (
        workspace text NOT NULL,
        id uuid NOT NULL,
        source text NOT NULL,
        work_id text NOT NULL,
        name text,
        name_id text,
        at timestamptz NOT NULL,
        heard_at timestamptz NOT NULL,
        look_at timestamptz,
        team text,
        outcome text,
        settled_at timestamptz,
        PRIMARY KEY (workspace, id))""",
    "CREATE INDEX move_due ON closer.move (look_at, at, id) WHERE look_at IS NOT NULL",
    "CREATE INDEX move_work ON closer.move (workspace, source, work_id, at)",
    """CREATE VIEW published.moves AS SELECT
        workspace, id, source, work_id, coalesce(name, name_id) AS name, team, outcome, at, settled_at
    FROM closer.move""",
    """CREATE INDEX feedback_work ON closer.feedback (workspace, (value->>'source'),
        (coalesce(value->'attributes'->>'ticket_id', value->'attributes'->>'conversation_id', value->'attributes'->>'work_id')))
        WHERE coalesce(value->'attributes'->>'ticket_id', value->'attributes'->>'conversation_id',
            value->'attributes'->>'work_id') IS NOT NULL""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        # No parameters here: `::` and `?` must not be taken for one.
        op.get_bind().exec_driver_sql(statement)
