"""What people teach the router, and the models that it learnt: in Postgres, so that every router process judges by the same.

`router.example` is never changed: a later correction of the same feedback is another row, and the one before is marked, so
that a model's array of ids still names what it was learnt from. An erasure deletes a customer's rows by their pseudonym
(`example_customer`); a model that was learnt from them is then built again from what is left.

`router.turn` says what judges: the newest that was not taken back.

Besides, a case may be handed to a rota, and whose turn it is is kept; and so is which cases went to whom other rules gave them.
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

UP = (
    "CREATE SCHEMA router",
    """CREATE TABLE router.example (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        workspace text NOT NULL,
        said jsonb NOT NULL,
        at timestamptz NOT NULL,
        digest bytea,
        feedback_id uuid,
        customer bytea,
        partition integer,
        "offset" bigint,
        superseded boolean NOT NULL DEFAULT false)""",
    # Of a file's rows, those that are alike are one: `digest` is what they say.
    "CREATE UNIQUE INDEX example_file ON router.example (workspace, digest) WHERE digest IS NOT NULL",
    """CREATE UNIQUE INDEX example_feedback ON router.example (workspace, feedback_id)
        WHERE feedback_id IS NOT NULL AND NOT superseded""",
    "CREATE INDEX example_customer ON router.example (workspace, customer) WHERE customer IS NOT NULL",
    """CREATE TABLE router.model (
        workspace text NOT NULL,
        version text NOT NULL,
        made_at timestamptz NOT NULL,
        made_of text NOT NULL,
        heads jsonb NOT NULL,
        data bytea NOT NULL,
        examples bigint[] NOT NULL,
        PRIMARY KEY (workspace, version))""",
    """CREATE TABLE router.turn (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        workspace text NOT NULL,
        version text NOT NULL,
        since timestamptz NOT NULL,
        why text NOT NULL,
        taken_back_at timestamptz,
        FOREIGN KEY (workspace, version) REFERENCES router.model)""",
    # One process learns at a time: it says until when it may be waited for.
    """CREATE TABLE router.trial (
        workspace text PRIMARY KEY REFERENCES shared.workspace,
        busy_until timestamptz NOT NULL DEFAULT '-infinity',
        upto bigint NOT NULL DEFAULT 0,
        at timestamptz,
        found jsonb)""",
)

# Cases that went to whom other rules gave them, as batches that can be taken back. `sequence`: of the step that moved the case,
# by which what happened since is told.
REOWNED = (
    """CREATE TABLE closer.reowning (
        id uuid PRIMARY KEY,
        workspace text NOT NULL,
        at timestamptz NOT NULL,
        by text NOT NULL,
        why text NOT NULL)""",
    "CREATE INDEX reowning_newest ON closer.reowning (workspace, at)",
    """CREATE TABLE closer.reowned (
        batch uuid NOT NULL REFERENCES closer.reowning,
        case_id uuid NOT NULL REFERENCES closer.case,
        before text NOT NULL,
        after text NOT NULL,
        sequence integer NOT NULL,
        undone_sequence integer,
        stays boolean NOT NULL DEFAULT false,
        PRIMARY KEY (batch, case_id))""",
    "CREATE INDEX reowned_case ON closer.reowned (case_id)",
)

# Whose turn was last, of each rota; moved with the case that it opens.
ROTAS = (
    """CREATE TABLE closer.rota (
        workspace text NOT NULL,
        name text NOT NULL,
        last text,
        PRIMARY KEY (workspace, name))""",
    # As it was, and at the end the rota.
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
        data->>'rota' AS rota
    FROM closer.case""",
)


def upgrade() -> None:
    for statement in (*UP, *REOWNED, *ROTAS):
        # No parameters here: `::` must not be taken for one.
        op.get_bind().exec_driver_sql(statement)
