"""Initiatives: one change that answers many cases; and news of the work that stands behind them.

`closer.move` becomes `closer.news`: whatever is told of a ticket in the tool that it came from (moved, shipped, declined), each
written with the position of its event and settled afterwards (`services/closer/news.py`). `reached` are the cases that have their
step of it; a row is looked at again for a while although it has an outcome, since feedback may come after the news of it.

An initiative is unfinished until `shipped_at`. Whether its work has ended upstream is not kept: it follows from the news.
Nothing here names a customer; `answer` is what many of them get to read.
"""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

NEWS = (
    "DROP VIEW published.moves",
    "ALTER TABLE closer.move RENAME TO news",
    "ALTER INDEX closer.move_pkey RENAME TO news_pkey",
    "ALTER INDEX closer.move_due RENAME TO news_due",
    "ALTER INDEX closer.move_work RENAME TO news_work",
    "ALTER TABLE closer.news ADD COLUMN kind text NOT NULL DEFAULT 'moved'",
    "ALTER TABLE closer.news ALTER COLUMN kind DROP DEFAULT",
    # What the event names beside the work; and which cases have their step of it.
    "ALTER TABLE closer.news ADD COLUMN feedback_ids uuid[] NOT NULL DEFAULT '{}'",
    "ALTER TABLE closer.news ADD COLUMN reached uuid[] NOT NULL DEFAULT '{}'",
    """CREATE VIEW published.news AS SELECT
        workspace, id, kind, source, work_id, coalesce(name, name_id) AS name, team, outcome, at, settled_at,
        cardinality(reached) AS cases
    FROM closer.news""",
)

INITIATIVES = (
    """CREATE TABLE closer.initiative (
        workspace text NOT NULL,
        id uuid NOT NULL,
        title text NOT NULL,
        answer text,
        language text,
        created_at timestamptz NOT NULL,
        shipped_at timestamptz,
        steps integer NOT NULL DEFAULT 0,
        PRIMARY KEY (workspace, id))""",
    "CREATE INDEX initiative_newest ON closer.initiative (workspace, created_at, id)",
    """CREATE TABLE closer.initiative_work (
        workspace text NOT NULL,
        initiative_id uuid NOT NULL,
        source text NOT NULL,
        work_id text NOT NULL,
        PRIMARY KEY (workspace, initiative_id, source, work_id))""",
    "CREATE INDEX initiative_work_work ON closer.initiative_work (workspace, source, work_id)",
    """CREATE TABLE closer.initiative_case (
        workspace text NOT NULL,
        initiative_id uuid NOT NULL,
        case_id uuid NOT NULL,
        PRIMARY KEY (workspace, initiative_id, case_id))""",
    "CREATE INDEX initiative_case_case ON closer.initiative_case (case_id)",
    """CREATE TABLE closer.initiative_step (
        workspace text NOT NULL,
        initiative_id uuid NOT NULL,
        sequence integer NOT NULL,
        at timestamptz NOT NULL,
        what text NOT NULL,
        actor text NOT NULL,
        reason text NOT NULL,
        PRIMARY KEY (workspace, initiative_id, sequence))""",
    # The last that was told of each work, by the tool's own time.
    """CREATE VIEW published.initiative_work AS SELECT w.workspace, w.initiative_id, w.source, w.work_id, n.kind AS upstream, n.at
    FROM closer.initiative_work w LEFT JOIN LATERAL (
        SELECT kind, at FROM closer.news n WHERE n.workspace = w.workspace AND n.source = w.source AND n.work_id = w.work_id
            AND n.kind <> 'moved' ORDER BY n.at DESC, n.id DESC LIMIT 1) AS n ON true""",
    # A case that was merged waits as the one does in which it goes on, after so many merges as are followed.
    """CREATE VIEW published.initiative_cases AS SELECT i.workspace, i.initiative_id, i.case_id, c.customer, c.state,
        coalesce(m.unfinished, c.unfinished) AS waits
    FROM closer.initiative_case i JOIN closer.case c ON c.id = i.case_id
    LEFT JOIN LATERAL (
        WITH RECURSIVE way AS (
            SELECT (c.data->>'merged_into')::uuid AS id, 1 AS steps
            UNION ALL
            SELECT (n.data->>'merged_into')::uuid, steps + 1 FROM way JOIN closer.case n ON n.id = way.id
            WHERE n.state = 'merged' AND steps < 10)
        SELECT n.unfinished FROM way JOIN closer.case n ON n.id = way.id WHERE n.state <> 'merged') AS m
        ON c.state = 'merged'""",
    """CREATE VIEW published.initiatives AS SELECT i.workspace, i.id, i.title, i.answer, i.language, i.created_at, i.shipped_at,
        w.work, coalesce(w.shipped, false) AS shipped_upstream, c.cases, c.waiting
    FROM closer.initiative i
    CROSS JOIN LATERAL (
        SELECT coalesce(jsonb_agg(jsonb_build_object('source', source, 'work_id', work_id, 'upstream', upstream)
                ORDER BY source, work_id), '[]') AS work,
            bool_and(upstream IS NOT DISTINCT FROM 'shipped') AS shipped
        FROM published.initiative_work w WHERE w.workspace = i.workspace AND w.initiative_id = i.id) AS w
    CROSS JOIN LATERAL (
        SELECT count(*)::int AS cases, (count(DISTINCT coalesce(customer, case_id::text)) FILTER (WHERE waits))::int AS waiting
        FROM published.initiative_cases c WHERE c.workspace = i.workspace AND c.initiative_id = i.id) AS c""",
    """CREATE VIEW published.initiative_steps AS SELECT workspace, initiative_id, sequence, at, what, actor, reason
    FROM closer.initiative_step""",
)


def upgrade() -> None:
    for statement in (*NEWS, *INITIATIVES):
        # No parameters here: `::` and `?` must not be taken for one.
        op.get_bind().exec_driver_sql(statement)
