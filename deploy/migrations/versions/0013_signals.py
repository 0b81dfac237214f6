"""Signals: what is counted of the feedback that is routed, and what of it was too much.

The handler writes, with the effect, a row for each piece of feedback that a signal of routing.yaml counts (`hit`) and, for
the batch, how many each group got in which minute (`counted_anew`). One worker at a time adds these up (`counted`) and judges.
Hits are kept for as long as a window may be, sums for as long as weeks are compared.

A *series* is what is counted (the conditions, the group, the metric), by a hash of it: how many are too many may be changed
without counting anew. `series` says from when to when all of it is counted.

`signal_feedback` are the rows of a signal: those that raised it, and those that came while it was up. Nothing here names a
person; `group_name` is a value of the attribute or field that whoever wrote the rules chose.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

COUNTED = (
    """CREATE TABLE closer.hit (
        workspace text NOT NULL,
        series text NOT NULL,
        group_name text NOT NULL,
        at timestamptz NOT NULL,
        feedback_id uuid NOT NULL,
        number float8,
        PRIMARY KEY (workspace, series, group_name, at, feedback_id))""",
    "CREATE INDEX hit_at ON closer.hit USING brin (at)",
    """CREATE TABLE closer.counted (
        workspace text NOT NULL,
        series text NOT NULL,
        group_name text NOT NULL,
        minute timestamptz NOT NULL,
        came integer NOT NULL,
        total float8 NOT NULL,
        squares float8 NOT NULL,
        PRIMARY KEY (workspace, series, group_name, minute))""",
    "CREATE INDEX counted_minute ON closer.counted USING brin (minute)",
    "CREATE TABLE closer.counted_anew (LIKE closer.counted, noted_at timestamptz NOT NULL DEFAULT clock_timestamp())",
    # `since`: when it was first asked for, or again. `until`: up to when all that came is counted.
    """CREATE TABLE closer.series (
        workspace text NOT NULL,
        series text NOT NULL,
        since timestamptz NOT NULL,
        until timestamptz NOT NULL,
        PRIMARY KEY (workspace, series))""",
)

SIGNALS = (
    # `from_at`: since when it counts. `came`, `number` (the mean of the metric), `expected`, `threshold`: when it was raised.
    # `latest…`: at the last look, within the window that ends there.
    """CREATE TABLE closer.signal (
        id uuid PRIMARY KEY,
        workspace text NOT NULL,
        name text NOT NULL,
        series text NOT NULL,
        by text,
        group_name text NOT NULL,
        test text NOT NULL,
        metric text,
        team text NOT NULL,
        watchers text[] NOT NULL,
        within interval NOT NULL,
        from_at timestamptz NOT NULL,
        raised_at timestamptz NOT NULL,
        resolved_at timestamptz,
        reason text NOT NULL,
        came integer NOT NULL,
        number float8,
        expected float8,
        threshold float8 NOT NULL,
        latest integer NOT NULL,
        latest_number float8,
        look_at timestamptz NOT NULL,
        feedback integer NOT NULL,
        cases integer NOT NULL,
        customers integer NOT NULL,
        tags jsonb NOT NULL)""",
    # Raised once, and not again before it has passed.
    "CREATE UNIQUE INDEX signal_up ON closer.signal (workspace, name, group_name) WHERE resolved_at IS NULL",
    "CREATE INDEX signal_newest ON closer.signal (workspace, raised_at, id)",
    """CREATE TABLE closer.signal_feedback (
        signal_id uuid NOT NULL,
        feedback_id uuid NOT NULL,
        workspace text NOT NULL,
        at timestamptz NOT NULL,
        case_id uuid,
        PRIMARY KEY (signal_id, feedback_id))""",
    "CREATE INDEX signal_feedback_case ON closer.signal_feedback (case_id) WHERE case_id IS NOT NULL",
    """CREATE VIEW published.signals AS SELECT
        workspace, id, name, by, group_name, test, metric, team, watchers, within, from_at, raised_at, resolved_at, reason,
        came, number, expected, threshold, latest, latest_number, feedback, cases, customers, tags
    FROM closer.signal""",
    "CREATE VIEW published.signal_feedback AS SELECT workspace, signal_id, feedback_id, case_id, at FROM closer.signal_feedback",
)


def upgrade() -> None:
    for statement in (*COUNTED, *SIGNALS):
        # No parameters here: `::` must not be taken for one.
        op.get_bind().exec_driver_sql(statement)
