"""What operations look at: the SLA board, which sources are heard of, which mails went out, and who did what.

A number on the board is a sum of a few rows, and the rows that it counted are found by an index. What is to do now is
counted in the queue's own index, which therefore holds the policy and whether a promise is broken beside the order: nothing
else of a case is read for it. What was kept and broken is a row for each clock (`closer.settled`), written with the effect
and never changed, and the sums by day are kept behind the effects (`services/closer/tally.py`). `..._anew` holds what is
not summed up yet; who reads adds both, so that a number is exact at any moment. The triggers are the statement's, not the
row's: a batch pays once.

What is in `closer.settled` names no person. `closer.heard` counts by hours, in UTC as everything is stored.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

QUEUE = (
    "ALTER TABLE closer.case ADD COLUMN policy text GENERATED ALWAYS AS (data->>'policy') STORED",
    "DROP INDEX closer.case_queue_team",
    "CREATE INDEX case_queue_team ON closer.case (workspace, team, queue_at, id, policy, breached) WHERE unfinished",
    # As it was, but that `policy` is the column: what the index holds.
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
        convert_from(personal, 'UTF8')::jsonb->>'email' AS customer_email
    FROM closer.case""",
)

SETTLED = (
    # `team`: whose the case was then. `at`: when it was kept, or the deadline at which it was broken.
    """CREATE TABLE closer.settled (
        workspace text NOT NULL,
        at timestamptz NOT NULL,
        team text NOT NULL,
        policy text NOT NULL,
        target text NOT NULL,
        clock text NOT NULL,
        met boolean NOT NULL,
        case_id uuid NOT NULL,
        generation integer NOT NULL)""",
    "CREATE INDEX settled_newest ON closer.settled (workspace, team, policy, clock, at, case_id, target)",
    "CREATE INDEX settled_missed ON closer.settled (workspace, team, policy, clock, at, case_id, target) WHERE NOT met",
    """CREATE TABLE closer.attained (
        workspace text NOT NULL,
        day date NOT NULL,
        team text NOT NULL,
        policy text NOT NULL,
        target text NOT NULL,
        clock text NOT NULL,
        met bigint NOT NULL,
        missed bigint NOT NULL,
        PRIMARY KEY (workspace, day, team, policy, target, clock))""",
    "CREATE TABLE closer.attained_anew (LIKE closer.attained)",
    """CREATE FUNCTION closer.tally_settled() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO closer.attained_anew (workspace, day, team, policy, target, clock, met, missed)
        SELECT workspace, (at AT TIME ZONE 'UTC')::date, team, policy, target, clock,
               count(*) FILTER (WHERE met), count(*) FILTER (WHERE NOT met)
        FROM written GROUP BY 1, 2, 3, 4, 5, 6;
        RETURN NULL; END $$""",
    """CREATE TRIGGER tally AFTER INSERT ON closer.settled REFERENCING NEW TABLE AS written
        FOR EACH STATEMENT EXECUTE FUNCTION closer.tally_settled()""",
    "CREATE VIEW published.settled AS SELECT workspace, at, team, policy, target, clock, met, case_id, generation"
    " FROM closer.settled",
    """CREATE VIEW published.attainment AS
        SELECT workspace, day, team, policy, target, clock, met, missed FROM closer.attained
        UNION ALL SELECT workspace, day, team, policy, target, clock, met, missed FROM closer.attained_anew""",
    # Of the cases that are there already.
    """INSERT INTO closer.settled (workspace, at, team, policy, target, clock, met, case_id, generation)
        SELECT k.workspace, v.at, k.team, k.policy, k.target, v.clock, v.met, k.case_id, k.generation
        FROM published.clocks k CROSS JOIN LATERAL (VALUES
            ('business', k.business_met, CASE WHEN k.business_met THEN k.met_at ELSE k.business_breached_at END),
            ('wall', k.wall_met, CASE WHEN k.wall_met THEN k.met_at ELSE k.wall_breached_at END)) AS v (clock, met, at)
        WHERE v.met IS NOT NULL AND v.at IS NOT NULL AND k.policy IS NOT NULL""",
)

HEARD = (
    """CREATE TABLE closer.heard (
        workspace text NOT NULL,
        source text NOT NULL,
        hour timestamptz NOT NULL,
        events bigint NOT NULL,
        PRIMARY KEY (workspace, source, hour))""",
    """CREATE TABLE closer.source (
        workspace text NOT NULL,
        source text NOT NULL,
        last_at timestamptz NOT NULL,
        PRIMARY KEY (workspace, source)) WITH (fillfactor = 50)""",
    """CREATE TABLE closer.heard_anew (
        workspace text NOT NULL,
        source text NOT NULL,
        hour timestamptz NOT NULL,
        events bigint NOT NULL,
        last_at timestamptz NOT NULL)""",
    """CREATE FUNCTION closer.tally_feedback() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO closer.heard_anew (workspace, source, hour, events, last_at)
        SELECT workspace, left(value->>'source', 255), date_trunc('hour', received_at, 'UTC'), count(*), max(received_at)
        FROM written GROUP BY 1, 2, 3;
        RETURN NULL; END $$""",
    """CREATE TRIGGER tally AFTER INSERT ON closer.feedback REFERENCING NEW TABLE AS written
        FOR EACH STATEMENT EXECUTE FUNCTION closer.tally_feedback()""",
    """CREATE VIEW published.heard AS
        SELECT workspace, source, hour, events FROM closer.heard
        UNION ALL SELECT workspace, source, hour, events FROM closer.heard_anew""",
    """CREATE VIEW published.sources AS
        SELECT workspace, source, max(last_at) AS last_at FROM (
            SELECT workspace, source, last_at FROM closer.source
            UNION ALL SELECT workspace, source, last_at FROM closer.heard_anew) AS s GROUP BY workspace, source""",
    """INSERT INTO closer.heard_anew (workspace, source, hour, events, last_at)
        SELECT workspace, left(value->>'source', 255), date_trunc('hour', received_at, 'UTC'), count(*), max(received_at)
        FROM closer.feedback GROUP BY 1, 2, 3""",
)

MAILS = (
    # Newest first, of one status or, merged, of all: in place of the one for `unknown` alone.
    "CREATE INDEX notification_newest ON closer.notification (workspace, status, created_at, case_id, kind, generation)",
    "DROP INDEX closer.notification_unknown",
)

AUDIT = (
    "CREATE INDEX audit_at ON shared.audit (workspace, at, id)",
    "DROP INDEX shared.audit_newest",
    # What people did to cases. What the service and customers did is most of a timeline, and in neither index.
    """CREATE INDEX timeline_step ON closer.timeline (workspace, what, at, case_id, sequence, actor)
        WHERE actor NOT IN ('system', 'customer')""",
    """CREATE INDEX timeline_person ON closer.timeline (workspace, actor, at, case_id, sequence, what)
        WHERE actor NOT IN ('system', 'customer')""",
)


def upgrade() -> None:
    for statement in (*QUEUE, *SETTLED, *HEARD, *MAILS, *AUDIT):
        # No parameters here: `::` and `?` must not be taken for one.
        op.get_bind().exec_driver_sql(statement)
