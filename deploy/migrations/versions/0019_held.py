"""Until when a case is held back by a rule, and why: shown, and the few that are held are found by an index of their own.

The clock that lets it go is the one that every case has (`due_at`).
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

STATEMENTS = (
    "CREATE INDEX case_held ON closer.case (workspace, id) WHERE data->'held'->>'because' IS NOT NULL",
    # As it was, and at the end the hold.
    """CREATE OR REPLACE VIEW published.cases AS SELECT
        workspace, id, case_key, customer, team,
        data->>'theme' AS theme,
        state, assignee,
        data->>'priority' AS priority,
        data->>'tier' AS tier,
        data->>'language' AS language,
        policy,
        opened_at, updated_at,
        (data->>'acknowledged_at')::timestamptz AS acknowledged_at,
        (data->>'resolved_at')::timestamptz AS resolved_at,
        (data->>'told_at')::timestamptz AS told_at,
        (data->>'first_told_at')::timestamptz AS first_told_at,
        (data->>'confirmed_at')::timestamptz AS confirmed_at,
        (data->>'assumed_at')::timestamptz AS assumed_at,
        coalesce((data->>'generation')::integer, 1) - 1 AS reopened_count,
        convert_from(personal, 'UTF8')::jsonb->'answer'->>'text' AS answer,
        data->>'untold' AS untold,
        (data->>'merged_into')::uuid AS merged_into,
        (data->>'linked_to')::uuid AS linked_to,
        coalesce((data->>'history')::boolean, false) AS history,
        (data->>'sequence')::integer AS sequence,
        version, first_feedback_id, breached, due_at,
        unfinished, queue_at,
        data->>'kind' AS kind,
        convert_from(personal, 'UTF8')::jsonb->>'name' AS customer_name,
        convert_from(personal, 'UTF8')::jsonb->>'email' AS customer_email,
        data->>'account' AS account_id,
        data->>'rota' AS rota,
        (data->'held'->>'until')::timestamptz AS held_until,
        data->'held'->>'because' AS held_because
    FROM closer.case""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        # No parameters here: `::` must not be taken for one.
        op.get_bind().exec_driver_sql(statement)
