"""How far each digest has come; when feedback was kept; and who was thanked.

A digest tells of what was kept in its period, and not of what was received in it: what comes late (the log was away) is
then in the next one instead of in none. `kept_at` of what is there already is the time of this migration, which every
period that is yet to come begins after.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE closer.feedback ADD COLUMN kept_at timestamptz NOT NULL DEFAULT now()",
    # Summed up as it grows: a range that is not is read whole each time that a digest is made.
    "CREATE INDEX feedback_kept ON closer.feedback USING brin (kept_at) WITH (autosummarize = on)",
    # One row a subscription that gets digests. `since`: the end of the last period that was told of. `counts`: what was
    # counted in it, and `before` when it began, for the next one to be compared with; null before the first.
    """CREATE TABLE closer.digest (
        subscription text PRIMARY KEY,
        workspace text NOT NULL,
        team text NOT NULL,
        since timestamptz NOT NULL,
        before timestamptz,
        counts bytea)""",
    # Praise that follows a case: whose work it praises. No words: they are the feedback's. `why`: what was taken for the
    # connection. An erasure takes the row with the feedback's.
    """CREATE TABLE closer.thanks (
        workspace text NOT NULL,
        feedback_id uuid NOT NULL,
        case_id uuid NOT NULL,
        team text NOT NULL,
        person text,
        why text NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (workspace, feedback_id))""",
    "CREATE INDEX thanks_person ON closer.thanks (workspace, person, at DESC)",
    "CREATE INDEX thanks_team ON closer.thanks (workspace, team, at DESC)",
    """CREATE VIEW published.thanks AS SELECT
        t.workspace, t.feedback_id, t.case_id, t.team, t.person, t.why, t.at, f.value->>'text' AS text,
        f.value->'routing'->>'language' AS language
    FROM closer.thanks t JOIN closer.feedback f ON f.workspace = t.workspace AND f.id = t.feedback_id""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        # No parameters here: `::` and `?` must not be taken for one.
        op.get_bind().exec_driver_sql(statement)
