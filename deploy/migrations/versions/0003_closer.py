"""The closer: what was said, the cases it became, what happened to them, and who was told.

A value is kept as the log gave it, and beside it only what is looked up or sorted by: a piece of feedback that opens a
case costs five inserts, and each column and index is paid for at every one of them. `published.*` shows the rest by
name; other services read those views and nothing else. Columns are added there, never renamed or removed.

JSON that only we write and that is read a case at a time is kept as its bytes: Postgres need not take it apart.

Personal fields stand in their own members and columns, so that an erasure can take them and leave the counts right:
`feedback.customer` and `feedback.value`'s customer, title, text, url, attributes and external_id; `case.customer` and
`case.personal`; `timeline.personal`; `unsubscribed`.

A case is one row with its clocks within it. `due_at` is the earliest moment that is yet to be said, of all of its
clocks, so the row's lock is the only lock that a timer needs. Case ids begin with the time, so the newest stand together.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = (
    "CREATE SCHEMA closer",
    # Where the next record of each partition is read, moved with the effect. `log` names the log, since another one
    # (embedded first, Kafka later) counts from 0 again.
    """CREATE TABLE closer.position (
        log text NOT NULL,
        topic text NOT NULL,
        partition integer NOT NULL,
        position bigint NOT NULL,
        PRIMARY KEY (log, topic, partition)) WITH (fillfactor = 10)""",
    # `value` is the routed value. `routed_ms`: the log's own time.
    """CREATE TABLE closer.feedback (
        workspace text NOT NULL,
        id uuid NOT NULL,
        received_at timestamptz NOT NULL,
        customer text,
        case_id uuid,
        bodyhash text NOT NULL,
        topic text NOT NULL,
        partition integer NOT NULL,
        "offset" bigint NOT NULL,
        routed_ms bigint NOT NULL,
        traceparent text NOT NULL,
        value jsonb NOT NULL,
        PRIMARY KEY (workspace, id))""",
    "CREATE INDEX feedback_received ON closer.feedback USING brin (received_at)",
    # What else was decided: by the router, and conflicts found here.
    """CREATE TABLE closer.decision (
        workspace text NOT NULL,
        id uuid NOT NULL,
        decision text NOT NULL,
        of text,
        reason text NOT NULL,
        at timestamptz NOT NULL,
        topic text NOT NULL,
        partition integer NOT NULL,
        "offset" bigint NOT NULL,
        PRIMARY KEY (workspace, id, topic, partition, "offset"))""",
    # `data`: the rest of services.closer.case.Case, and the deadlines as they stand. `case_key` is a pseudonym.
    """CREATE TABLE closer.case (
        id uuid PRIMARY KEY,
        workspace text NOT NULL,
        case_key text NOT NULL,
        customer text,
        team text NOT NULL,
        state text NOT NULL,
        unfinished boolean NOT NULL GENERATED ALWAYS AS
            (state IN ('open', 'acknowledged', 'in_progress', 'waiting_on_customer', 'reopened')) STORED,
        assignee text,
        opened_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        due_at timestamptz,
        breached boolean NOT NULL,
        version integer NOT NULL,
        first_feedback_id uuid NOT NULL,
        traceparent text NOT NULL,
        data jsonb NOT NULL,
        personal bytea) WITH (fillfactor = 80)""",
    # One unfinished case per case key.
    "CREATE UNIQUE INDEX case_unfinished ON closer.case (case_key, workspace) WHERE unfinished",
    "CREATE INDEX case_finished ON closer.case (case_key, workspace) WHERE NOT unfinished",
    "CREATE INDEX case_due ON closer.case (due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX case_customer ON closer.case (customer, id) WHERE customer IS NOT NULL",
    "CREATE INDEX case_team ON closer.case (workspace, team, id)",
    "CREATE INDEX case_state ON closer.case (workspace, state, id)",
    "CREATE INDEX case_assignee ON closer.case (assignee, id) WHERE assignee IS NOT NULL",
    "CREATE INDEX case_breached ON closer.case (workspace, id) WHERE breached",
    # Policy and calendar as they were when a clock started, by a hash of their content.
    """CREATE TABLE closer.snapshot (
        id text PRIMARY KEY,
        value jsonb NOT NULL)""",
    """CREATE TABLE closer.timeline (
        case_id uuid NOT NULL,
        sequence integer NOT NULL,
        workspace text NOT NULL,
        at timestamptz NOT NULL,
        what text NOT NULL,
        state text NOT NULL,
        actor text NOT NULL,
        reason text NOT NULL,
        data bytea NOT NULL,
        personal bytea,
        PRIMARY KEY (case_id, sequence))""",
    # `due_at`: the next try, or when the claim (`token`) runs out. Nobody is told the same twice: the key is the message.
    """CREATE TABLE closer.notification (
        case_id uuid NOT NULL,
        kind text NOT NULL,
        generation integer NOT NULL,
        workspace text NOT NULL,
        feedback_id uuid,
        channel text NOT NULL,
        language text NOT NULL,
        status text NOT NULL,
        reason text NOT NULL,
        created_at timestamptz NOT NULL,
        sent_at timestamptz,
        attempts integer NOT NULL DEFAULT 0,
        due_at timestamptz,
        token uuid,
        provider_id text,
        PRIMARY KEY (case_id, kind, generation)) WITH (fillfactor = 80)""",
    "CREATE INDEX notification_due ON closer.notification (due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX notification_unknown ON closer.notification (workspace, created_at) WHERE status = 'unknown'",
    # Written before each send, closed after it: one without an end is a send whose outcome nobody knows.
    """CREATE TABLE closer.attempt (
        case_id uuid NOT NULL,
        kind text NOT NULL,
        generation integer NOT NULL,
        number integer NOT NULL,
        token uuid NOT NULL,
        started_at timestamptz NOT NULL,
        ended_at timestamptz,
        outcome text,
        detail text NOT NULL DEFAULT '',
        PRIMARY KEY (case_id, kind, generation, number))""",
    # What was said on the customer's page, so that the same is not said twice; the words themselves are feedback.
    """CREATE TABLE closer.answer (
        workspace text NOT NULL,
        feedback_id uuid NOT NULL,
        case_id uuid NOT NULL,
        generation integer NOT NULL,
        solved boolean NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (workspace, feedback_id))""",
    # `customer`: the customer, and in a row of its own the address, in lower case: it holds for whoever is reached there.
    """CREATE TABLE closer.unsubscribed (
        workspace text NOT NULL,
        customer text NOT NULL,
        case_id uuid NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (workspace, customer))""",
)

VIEWS = (
    "CREATE SCHEMA IF NOT EXISTS published",
    """CREATE VIEW published.feedback AS SELECT
        workspace, id, received_at,
        (value->>'occurred_at')::timestamptz AS occurred_at,
        value->>'source' AS source,
        value->>'channel' AS channel,
        customer,
        value->'customer'->>'name' AS customer_name,
        value->'customer'->>'email' AS customer_email,
        value->'customer'->>'tier' AS tier,
        value->'customer'->>'account_id' AS account_id,
        value->>'title' AS title,
        value->>'text' AS text,
        value->'routing'->>'language' AS language,
        coalesce(nullif(value->'scores', 'null'), '[]') AS scores,
        (value->>'solicited')::boolean AS solicited,
        value->>'touchpoint' AS touchpoint,
        value->>'lifecycle_stage' AS lifecycle_stage,
        value->>'url' AS url,
        coalesce(nullif(value->'attributes', 'null'), '{}') AS attributes,
        value->'routing'->>'team' AS team,
        ARRAY(SELECT jsonb_array_elements_text(value->'routing'->'tags')) AS tags,
        value->'routing'->>'theme' AS theme,
        value->'routing'->>'kind' AS kind,
        value->'routing'->'sentiment'->>'label' AS sentiment_label,
        (value->'routing'->'sentiment'->>'score')::float8 AS sentiment_score,
        value->'routing'->>'priority' AS priority,
        (value->'routing'->>'confidence')::float8 AS confidence,
        value->'routing'->>'decided_by' AS decided_by,
        value->'routing'->>'rule' AS rule,
        value->'routing'->>'ruleset_version' AS ruleset_version,
        value->'routing'->'reasons' AS reasons,
        (value->'routing'->>'follow_up')::boolean AS follow_up,
        coalesce((value->'routing'->>'history')::boolean, false) AS history,
        case_id,
        to_timestamp(routed_ms / 1000.0) AS routed_at,
        topic, partition, "offset", traceparent
    FROM closer.feedback""",
    """CREATE VIEW published.decisions AS SELECT
        workspace, id, decision, of, reason, at
    FROM closer.decision""",
    """CREATE VIEW published.cases AS SELECT
        workspace, id, case_key, customer, team,
        data->>'theme' AS theme,
        state, assignee,
        data->>'priority' AS priority,
        data->>'tier' AS tier,
        data->>'language' AS language,
        data->>'policy' AS policy,
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
        version, first_feedback_id, breached, due_at
    FROM closer.case""",
    # A clock that fell away (merged, reopened, nobody to tell) is neither met nor missed, unless its time was up before.
    """CREATE VIEW published.clocks AS SELECT
        c.workspace, c.id AS case_id, c.team,
        c.data->>'priority' AS priority,
        c.data->>'policy' AS policy,
        k.target, k.generation, k.business_due, k.wall_due,
        CASE WHEN k.met THEN k.stopped_at END AS met_at,
        CASE WHEN k.met THEN coalesce(k.stopped_at <= k.business_due, true)
             WHEN k.business_breached THEN false END AS business_met,
        CASE WHEN k.met THEN k.stopped_at <= k.wall_due
             WHEN k.wall_breached THEN false END AS wall_met,
        CASE WHEN k.business_breached THEN k.business_due END AS business_breached_at,
        CASE WHEN k.wall_breached THEN k.wall_due END AS wall_breached_at,
        (c.data->'warned'->>(k.generation || '.' || k.target))::timestamptz AS warned_at,
        k.open
    FROM closer.case c CROSS JOIN LATERAL (
        SELECT r.key AS target, (c.data->'clocks'->>'generation')::integer AS generation,
               (r.value->>0)::timestamptz AS business_due, (r.value->>1)::timestamptz AS wall_due,
               NULL::timestamptz AS stopped_at, NULL::boolean AS met,
               c.data->'clocks'->'fired' ? (r.key || '.business.breached') AS business_breached,
               c.data->'clocks'->'fired' ? (r.key || '.wall.breached') AS wall_breached,
               true AS open
        FROM jsonb_each(c.data->'clocks'->'due') AS r
        UNION ALL
        SELECT s->>'target', (s->>'generation')::integer,
               (s->'due'->>'business')::timestamptz, (s->'due'->>'wall')::timestamptz,
               (s->>'stopped_at')::timestamptz, (s->>'met')::boolean,
               coalesce((s->>'stopped_at')::timestamptz > (s->'due'->>'business')::timestamptz, false),
               (s->>'stopped_at')::timestamptz > (s->'due'->>'wall')::timestamptz,
               false
        FROM jsonb_array_elements(c.data->'clocks'->'settled') AS s) AS k""",
    """CREATE VIEW published.timeline AS SELECT
        workspace, case_id, sequence, at, what, state, actor, reason,
        convert_from(data, 'UTF8')::jsonb AS data,
        coalesce(convert_from(personal, 'UTF8')::jsonb->>'text', convert_from(personal, 'UTF8')::jsonb->>'answer') AS words
    FROM closer.timeline""",
    """CREATE VIEW published.notifications AS SELECT
        workspace, workspace || '/' || case_id || '/' || kind || '/' || generation AS id, case_id, feedback_id, kind,
        generation, channel, language, status, reason, created_at, sent_at, attempts, provider_id,
        CASE WHEN status IN ('pending', 'sending') THEN due_at END AS due_at
    FROM closer.notification""",
)


def upgrade() -> None:
    for statement in (*TABLES, *VIEWS):
        # No parameters here: `::` and `?` must not be taken for one.
        op.get_bind().exec_driver_sql(statement)
