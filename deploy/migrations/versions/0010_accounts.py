"""Companies: what is known of an account, what its people said, and what customers did.

`closer.account` is state, replaced whole by whoever keeps it (`PUT /v1/accounts/{id}`). Feedback, cases and activity name
an account by `customer.account_id`; nothing refers to its row, so that either may come first and either may go.

`closer.activity` is what customers did, kept for a year and some weeks (`services/closer/activity.py`): it names a customer,
and an erasure takes a customer's rows by `activity_customer`.

Feedback keeps its account in its value: an index finds it there, and nothing is written twice.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ACCOUNTS = (
    """CREATE TABLE closer.account (
        workspace text NOT NULL,
        id text NOT NULL,
        name text NOT NULL,
        tier text,
        revenue numeric(20, 4),
        currency text,
        renewal_on date,
        owner text,
        outcome text,
        outcome_by date,
        outcome_reached boolean NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (workspace, id))""",
    # Those without a renewal stand last.
    "CREATE INDEX account_renewal ON closer.account (workspace, coalesce(renewal_on, '9999-12-31'::date), id)",
    """CREATE VIEW published.accounts AS SELECT
        workspace, id, name, tier, revenue, currency, renewal_on, owner, outcome, outcome_by, outcome_reached,
        created_at, updated_at, coalesce(renewal_on, '9999-12-31'::date) AS renews
    FROM closer.account""",
)

ACTIVITY = (
    # `at`: when it was done; `received_at`: when we heard of it, which spans of measures go by.
    """CREATE TABLE closer.activity (
        workspace text NOT NULL,
        id uuid NOT NULL,
        customer text NOT NULL,
        account text,
        activity text NOT NULL,
        source text NOT NULL,
        at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        attributes jsonb NOT NULL,
        PRIMARY KEY (workspace, id))""",
    "CREATE INDEX activity_customer ON closer.activity (workspace, customer, at)",
    "CREATE INDEX activity_account ON closer.activity (workspace, account, at) WHERE account IS NOT NULL",
    "CREATE INDEX activity_old ON closer.activity (received_at)",
    # What is measured is a few of all that customers do.
    """CREATE INDEX activity_measured ON closer.activity (workspace, activity, received_at)
        WHERE activity IN ('help.searched', 'help.viewed', 'contact.abandoned')""",
    """CREATE VIEW published.activity AS SELECT
        workspace, id, customer, account AS account_id, activity, source, at, received_at, attributes
    FROM closer.activity""",
)

NAMED = (
    """CREATE INDEX feedback_account ON closer.feedback (workspace, (value->'customer'->>'account_id'), received_at)
        WHERE value->'customer'->>'account_id' IS NOT NULL""",
    """CREATE INDEX case_account ON closer.case (workspace, (data->>'account'), id)
        WHERE unfinished AND data->>'account' IS NOT NULL""",
    # As it was, and at the end the account.
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
        data->>'account' AS account_id
    FROM closer.case""",
)


def upgrade() -> None:
    for statement in (*ACCOUNTS, *ACTIVITY, *NAMED):
        # No parameters here: `::` and `?` must not be taken for one.
        op.get_bind().exec_driver_sql(statement)
