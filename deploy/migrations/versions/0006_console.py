"""What the console needs: people's sessions, the order of a queue, who is at a case, and who may look.

`closer.case.queue_at` is what a queue is sorted by: the earliest moment at which a promise is broken that is not broken
yet; the end of time where none runs. It is a column, because a queue of a million is sorted by an index or not at all.

Sessions, log-in links, saved views and the audit trail belong to people, and no single service owns them. Links and
sessions are kept as SHA-256 only, as keys are.

`closer.search` and `closer.presence` hold what persons said and who they are: an erasure takes a customer's rows of the first.

Roles belong to the whole server, not to one database, and another database of it may be here at the same moment.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PEOPLE = (
    # `role`: given with the link; null: whatever teams.yaml says of the person now.
    """CREATE TABLE shared.login (
        digest bytea PRIMARY KEY,
        workspace text NOT NULL REFERENCES shared.workspace,
        person text NOT NULL,
        role text,
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        used_at timestamptz)""",
    """CREATE TABLE shared.session (
        digest bytea PRIMARY KEY,
        workspace text NOT NULL REFERENCES shared.workspace,
        person text NOT NULL,
        role text,
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        ended_at timestamptz)""",
    "CREATE INDEX session_person ON shared.session (workspace, person)",
    """CREATE TABLE shared.saved_view (
        workspace text NOT NULL REFERENCES shared.workspace,
        person text NOT NULL,
        name text NOT NULL,
        query text NOT NULL,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (workspace, person, name))""",
    """CREATE TABLE shared.audit (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        workspace text NOT NULL REFERENCES shared.workspace,
        at timestamptz NOT NULL,
        person text NOT NULL,
        role text NOT NULL,
        action text NOT NULL,
        object text NOT NULL,
        detail text NOT NULL)""",
    "CREATE INDEX audit_newest ON shared.audit (workspace, id)",
)

QUEUE = (
    # Filled at a case's next change; nobody has cases from before this.
    "ALTER TABLE closer.case ADD COLUMN queue_at timestamptz NOT NULL DEFAULT '9999-12-31T00:00:00Z'",
    "CREATE INDEX case_queue ON closer.case (workspace, queue_at, id) WHERE unfinished",
    "CREATE INDEX case_queue_team ON closer.case (workspace, team, queue_at, id) WHERE unfinished",
    "CREATE INDEX case_queue_unassigned ON closer.case (workspace, queue_at, id) WHERE unfinished AND assignee IS NULL",
    "CREATE INDEX case_queue_breached ON closer.case (workspace, queue_at, id) WHERE unfinished AND breached",
    # Who is at a case is true for a minute: it need not survive a crash.
    """CREATE UNLOGGED TABLE closer.presence (
        case_id uuid NOT NULL,
        person text NOT NULL,
        workspace text NOT NULL,
        doing text NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (case_id, person))""",
    # What was said, as it is searched: words, and pairs of characters where a script has no words between spaces.
    """CREATE TABLE closer.search (
        case_id uuid PRIMARY KEY,
        workspace text NOT NULL,
        words tsvector NOT NULL)""",
    "CREATE INDEX search_words ON closer.search USING gin (words)",
    # Cases with words that the index has not seen. The trigger is the statement's, not the row's: a batch pays once.
    "CREATE TABLE closer.unsearched (case_id uuid NOT NULL)",
    """CREATE FUNCTION closer.unsearched_feedback() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO closer.unsearched SELECT DISTINCT case_id FROM written WHERE case_id IS NOT NULL;
        RETURN NULL; END $$""",
    """CREATE TRIGGER unsearched AFTER INSERT ON closer.feedback REFERENCING NEW TABLE AS written
        FOR EACH STATEMENT EXECUTE FUNCTION closer.unsearched_feedback()""",
    """CREATE FUNCTION closer.unsearched_timeline() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO closer.unsearched SELECT DISTINCT case_id FROM written WHERE personal IS NOT NULL;
        RETURN NULL; END $$""",
    """CREATE TRIGGER unsearched AFTER INSERT ON closer.timeline REFERENCING NEW TABLE AS written
        FOR EACH STATEMENT EXECUTE FUNCTION closer.unsearched_timeline()""",
    "INSERT INTO closer.unsearched SELECT id FROM closer.case",
)

VIEWS = (
    # New columns stand at the end of a view that is replaced.
    """CREATE OR REPLACE VIEW published.cases AS SELECT
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
        version, first_feedback_id, breached, due_at,
        unfinished, queue_at,
        data->>'kind' AS kind,
        convert_from(personal, 'UTF8')::jsonb->>'name' AS customer_name,
        convert_from(personal, 'UTF8')::jsonb->>'email' AS customer_email
    FROM closer.case""",
    """CREATE OR REPLACE VIEW published.timeline AS SELECT
        workspace, case_id, sequence, at, what, state, actor, reason,
        convert_from(data, 'UTF8')::jsonb AS data,
        coalesce(convert_from(personal, 'UTF8')::jsonb->>'text', convert_from(personal, 'UTF8')::jsonb->>'answer') AS words,
        convert_from(personal, 'UTF8')::jsonb->>'to' AS assigned_to
    FROM closer.timeline""",
    "CREATE VIEW published.presence AS SELECT workspace, case_id, person, doing, at FROM closer.presence",
    "CREATE VIEW published.search AS SELECT workspace, case_id, words FROM closer.search",
    "CREATE VIEW published.audit AS SELECT workspace, id, at, person, role, action, object, detail FROM shared.audit",
)

ROLE = (
    """DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'flywheel_console') THEN
            BEGIN
                CREATE ROLE flywheel_console NOLOGIN;
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
            END;
        END IF;
        IF NOT pg_has_role(current_user, 'flywheel_console', 'MEMBER') THEN
            EXECUTE format('GRANT flywheel_console TO %I', current_user);
        END IF;
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'this database user may not make roles, and the console reads as one that may do nothing else'
            USING HINT = format('As an administrator: CREATE ROLE flywheel_console NOLOGIN; GRANT flywheel_console TO %I;',
                                current_user);
    END $$""",
    "GRANT USAGE ON SCHEMA published TO flywheel_console",
    "GRANT SELECT ON ALL TABLES IN SCHEMA published TO flywheel_console",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA published GRANT SELECT ON TABLES TO flywheel_console",
)


def upgrade() -> None:
    for statement in (*PEOPLE, *QUEUE, *VIEWS, *ROLE):
        # No parameters here: `::` and `?` must not be taken for one.
        op.get_bind().exec_driver_sql(statement)
